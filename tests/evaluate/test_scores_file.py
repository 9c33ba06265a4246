"""Predictions of any system: what the file may say, what it may not, and that nothing of a patient is left over."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.made_run import silent_work
from scipy.special import expit, logit

from medtea.core.errors import DataError
from medtea.core.pseudonyms import Pseudonyms
from medtea.core.settings import parse
from medtea.core.work import read_json
from medtea.data.acquisition import read_acquisition
from medtea.data.index import read_index
from medtea.evaluate import scores_file, scores_stage
from medtea.evaluate.scores import COLUMNS
from medtea.evaluate.scores_file import Given, read_scores
from medtea.evaluate.stage import Settings as EvaluateSettings
from medtea.metrics.classification import auroc

NAMES = Pseudonyms(b"a key of sixteen characters or more")
BOTH = {"train": ("north",), "external": ("south",)}
SECRET = "Zimmermann"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")


def row(number: int, **given: Any) -> dict[str, Any]:
    """A prediction; labels alternate, every third patient is selected on at north."""
    hospital = "north" if number % 2 else "south"
    selected = hospital == "north" and number % 3 == 0
    score = round(0.5 + 0.4 * math.sin(number) + 0.1 * (number // 2 % 2 - 0.5), 4)
    found = {"patient": f"{SECRET} {number}", "hospital": hospital, "label": number // 2 % 2, "score": score}
    return found | {"split": "val" if selected else "test"} | given


def rows(count: int = 40, **given: Any) -> list[dict[str, Any]]:
    return [row(number, **given) for number in range(count)]


def write(folder: Path, content: Iterable[Mapping[str, Any]]) -> Path:
    table = list(content)
    path = folder / f"{SECRET}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for one in table for name in one)), restval="")
        writer.writeheader()
        writer.writerows(table)
    return path


def read(folder: Path, content: Iterable[Mapping[str, Any]], **settings: Any) -> Given:
    path = write(folder, content)
    given = settings or BOTH
    return read_scores(parse(scores_file.Settings, {"path": str(path)} | given), path, NAMES)


def test_hospitals_get_their_roles_by_name_or_by_column(tmp_path: Path) -> None:
    by_name = read(tmp_path, rows())
    words = {"north": "IID", "south": "external"}
    by_column = read(tmp_path, [one | {"role": words[one["hospital"]]} for one in rows()], scale="probability")
    assert by_name.scores["role"].tolist() == by_column.scores["role"].tolist()
    assert by_name.scores.groupby("hospital")["role"].unique().map(list).to_dict() == {
        "north": ["train"],
        "south": ["external"],
    }
    assert set(by_name.scores["split"]) == {"val", "test"}


def test_rows_of_training_are_counted_and_not_scored(tmp_path: Path) -> None:
    given = [*rows(), row(101, split="training")]
    found = read(tmp_path, given)
    assert (len(found.index), len(found.scores)) == (41, 40)


@pytest.mark.parametrize(
    ("scale", "made"), [("probability", lambda p: p), ("percent", lambda p: 100 * p), ("logit", logit)]
)
def test_scores_of_any_scale_become_probabilities(tmp_path: Path, scale: str, made: Any) -> None:
    plain = rows()
    given = [one | {"score": repr(float(made(one["score"])))} for one in plain]
    found = read(tmp_path, given, **BOTH, scale=scale).scores["score"]
    np.testing.assert_allclose(found, [one["score"] for one in plain], rtol=1e-12)


def test_an_endless_logit_is_refused_and_a_large_one_is_not(tmp_path: Path) -> None:
    assert read(tmp_path, [*rows(), row(41, score="800")][1:], **BOTH, scale="logit").scores["score"].max() == expit(
        800
    )
    with pytest.raises(DataError, match="'score' in line 42 is not a finite number"):
        read(tmp_path, [*rows(), row(41, score="inf")], **BOTH, scale="logit")


WRONG = [
    ({"label": "2"}, r"'label' in line 42 is not 0 or 1\."),
    ({"label": ""}, "'label' in line 42 is not 0 or 1"),
    ({"score": "nan"}, r"'score' in line 42 is not a number in \[0, 1\], which scores.scale: probability expects"),
    ({"score": ""}, "'score' in line 42 is not a number"),
    ({"score": "1.2"}, r"percent or logit"),
    ({"score": SECRET}, "'score' in line 42 is not a number"),
    ({"split": SECRET}, "'split' in line 42 is not train, val or test"),
    ({"hospital": ""}, "'hospital' in line 42 is not a name"),
    ({"patient": " "}, "'patient' in line 42 is not a patient's number"),
    ({"patient": row(3)["patient"], "split": "test"}, r"patient p[0-9a-f]{12} \(and 0 more\) is in training or valid"),
    ({"hospital": "south", "split": "val"}, "'south' is external and has rows of training or validation"),
    ({"hospital": "west"}, "nothing says what west is for. Name each hospital by --train"),
]


@pytest.mark.parametrize(("given", "said"), WRONG)
def test_what_is_not_allowed_is_told_by_its_line_and_not_quoted(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read(tmp_path, [*rows(), row(41) | given])
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_wrong_lines_are_counted_and_blank_lines_do_not_shift_them(tmp_path: Path) -> None:
    path = write(tmp_path, [*rows(3), row(5, label="x"), row(7, label="y")])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "", *lines[1:]]))
    with pytest.raises(DataError, match=r"line 6 \(and 1 more\)"):
        read_scores(parse(scores_file.Settings, {"path": str(path)} | BOTH), path, NAMES)


def test_a_missing_column_is_told_with_the_nearest(tmp_path: Path) -> None:
    given = [{"patient_id" if name == "patient" else name: value for name, value in one.items()} for one in rows()]
    with pytest.raises(DataError, match=r"no column 'patient'\. Rename 'patient_id'; needed are patient, hospital"):
        read(tmp_path, given)


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("patient,hospital,label,score,score\n1,north,0,0.1,0.2\n")
    with pytest.raises(DataError, match="the column 'score' more than once"):
        read_scores(parse(scores_file.Settings, {"path": str(path)} | BOTH), path, NAMES)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column 'patient'"),
        (b"patient,hospital,label,score\n", "no row below its header"),
        (b"\xff\xfe\x00", r"cannot be read \(UnicodeDecodeError\)"),
        (b'patient,hospital,label,score\n"' + b"x" * 200_000, r"cannot be read \(Error\)"),
    ],
)
def test_a_file_that_is_empty_or_no_table_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_scores(parse(scores_file.Settings, {"path": str(path)} | BOTH), path, NAMES)


def test_a_file_that_is_not_there_is_refused_without_its_name(tmp_path: Path) -> None:
    given = parse(scores_file.Settings, {"path": str(tmp_path / f"{SECRET}.csv")} | BOTH)
    with pytest.raises(DataError, match=r"the file cannot be read \(FileNotFoundError\)") as caught:
        scores_stage.run(silent_work(tmp_path / "run"), EvaluateSettings(replicates=100), given)
    assert SECRET not in str(caught.value)


def test_hospitals_are_named_once_and_as_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no hospital 'nort'.*Did you mean 'north'"):
        read(tmp_path, rows(), train=("nort",), external=("south",))
    with pytest.raises(DataError, match="'south' is named as trained at and as external"):
        read(tmp_path, rows(), train=("north", "south"), external=("south",))
    with pytest.raises(DataError, match="'north' has more than one role"):
        read(tmp_path, [one | {"role": ("iid", "ood")[n == 1]} for n, one in enumerate(rows())], scale="probability")
    with pytest.raises(DataError, match=r"'role' in line 2 .* is not train or external"):
        read(tmp_path, rows(role="somewhere"), scale="probability")


def test_the_same_number_at_two_hospitals_is_one_patient_or_two_as_asked(tmp_path: Path) -> None:
    given = [*rows(), row(2, hospital="north", split="val", patient="7"), row(2, patient="7")]
    with pytest.raises(DataError, match="per_hospital"):
        read(tmp_path, given)
    assert len(read(tmp_path, given, **BOTH, patient_ids="per_hospital").scores) == 42


def two_methods(**second: Any) -> list[dict[str, Any]]:
    return rows(method="ours") + [one | second for one in rows(method="theirs")]


def test_methods_are_compared_on_the_same_radiographs(tmp_path: Path) -> None:
    found = read(tmp_path, two_methods()).scores
    assert found.groupby("method")["radiograph"].apply(list).map(tuple).nunique() == 1
    with pytest.raises(DataError, match="'ours' and 'theirs' differ in 2 radiographs"):
        read(tmp_path, two_methods()[:-2])
    other = two_methods()
    other[-1]["label"] = 1 - other[-1]["label"]
    with pytest.raises(DataError, match="differ in a patient, label or split of one radiograph"):
        read(tmp_path, other)


def test_a_radiograph_has_one_row_for_each_method(tmp_path: Path) -> None:
    named = [one | {"radiograph": f"image {n}"} for n, one in enumerate(rows())]
    assert read(tmp_path, named).scores["radiograph"].nunique() == 40
    with pytest.raises(DataError, match="a radiograph a second time in line 42; keep one row"):
        read(tmp_path, [*named, named[3]])


def test_a_patient_with_two_rows_needs_named_radiographs_once_methods_are_compared(tmp_path: Path) -> None:
    again = [*rows(method="ours"), row(1, method="ours"), *rows(method="theirs"), row(1, method="theirs")]
    with pytest.raises(DataError, match="Give a column 'radiograph'"):
        read(tmp_path, again)
    alone = read(tmp_path, again[:41]).scores
    assert (alone["radiograph"].nunique(), alone["patient"].nunique()) == (41, 40)


def test_only_controlled_words_are_taken_of_how_it_was_taken(tmp_path: Path) -> None:
    facts = {"sex": "female", "age": "93.5", "year": "2011", "portable": "Yes", "view": "AP supine"}
    free = {"sex": SECRET, "age": "-3", "year": SECRET, "portable": SECRET, "view": SECRET, "manufacturer": SECRET}
    given = [one | (facts | {"manufacturer": "Philips Med."} if n % 2 else free) for n, one in enumerate(rows())]
    found = read(tmp_path, given)
    assert found.acquisition[1] == {
        "manufacturer": "Philips",
        "sex": "F",
        "age_years": 90,
        "year": 2011,
        "portable": "yes",
    }
    assert found.acquisition[0] == {"manufacturer": "other", "sex": "unknown", "portable": "unknown"}
    assert found.index["view"].tolist()[:2] == ["unknown", "AP"]
    assert found.read == ("split", "view", "sex", "age", "year", "portable", "manufacturer")


def test_the_numbers_of_a_file_are_those_of_its_rows_and_nothing_else_of_it_is_kept(tmp_path: Path) -> None:
    given = [one | {"sex": "F", "note": f"{SECRET} seems well"} for one in two_methods()]
    path = write(tmp_path, given)
    work = silent_work(tmp_path / "run")
    settings = parse(scores_file.Settings, {"path": str(path)} | BOTH)
    index, artefact = scores_stage.run(work, EvaluateSettings(replicates=100), settings)
    scores = pd.read_csv(artefact.scores)
    assert scores.columns.tolist()[: len(COLUMNS)] == list(COLUMNS)
    tested = pd.DataFrame(given).query("split == 'test' and method == 'ours'")
    for entry in read_json(artefact.metrics)["scores"]:
        part = tested[tested["hospital"].eq(entry["group"])]
        assert entry["auroc"]["value"] == pytest.approx(auroc(part["label"], part["score"]))
        assert entry["role"] == {"north": "iid", "south": "ood"}[entry["group"]]
    assert len(read_index(index.index)) == len(read_acquisition(index.acquisition)) == 40
    assert re.fullmatch("p[0-9a-f]{12}", scores["patient"][0])
    for file in work.folder.rglob("*"):
        assert file.is_dir() or SECRET.encode() not in file.read_bytes(), file.name
    again = silent_work(tmp_path / "run")
    scores_stage.run(again, EvaluateSettings(replicates=100), settings)
    assert again.ran == []
    write(tmp_path, [*given[:40], *(one | {"score": 0.5} for one in given[40:])])
    scores_stage.run(again, EvaluateSettings(replicates=100), settings)
    assert again.ran == ["cohort", "evaluate"]


def test_without_validation_rows_there_is_no_operating_point(tmp_path: Path) -> None:
    path = write(tmp_path, [one | {"split": "test"} for one in rows()])
    settings = parse(scores_file.Settings, {"path": str(path)} | BOTH)
    _, artefact = scores_stage.run(silent_work(tmp_path / "run"), EvaluateSettings(replicates=100), settings)
    metrics = read_json(artefact.metrics)
    assert metrics["operating_point"].startswith("no answer: ")
    for entry in metrics["scores"]:
        assert entry["threshold"] is None
        assert entry["sensitivity"]["value"] is None
        assert entry["auroc"]["value"] is not None
