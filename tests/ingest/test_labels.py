from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pandas as pd
import pytest
from oracles.made_run import tiny_config, write_config
from oracles.made_sources import made_table

from medtea import cli
from medtea.core.errors import ConfigError, DataError
from medtea.ingest.labels import Labels, LabelSettings, check_policies, in_words, label_of
from medtea.ingest.sources.source import Candidate, Refused

FINDINGS = ("No Finding", "Edema", "Pneumonia")


def radiograph(number: int, *, patient: str | None = None, study: str | None = None, hospital: str = "a") -> Candidate:
    return Candidate(
        file=f"{number:012x}",
        path=Path(f"{number}.png"),
        hospital=hospital,
        patient=patient,
        study=study,
        view="PA",
        device="unknown",
        finding="as the source says",
        mask=None,
        instance=f"i{number}",
    )


def table(folder: Path, text: str, name: str = "labels.csv") -> Path:
    folder.mkdir(exist_ok=True)
    opened = gzip.open if name.endswith(".gz") else open
    with opened(folder / name, "wt") as file:
        file.write(text)
    return folder / name


RADIOGRAPHS = [
    radiograph(1, patient="Doe", study="s1"),
    radiograph(2, patient="Doe", study="s2"),
    radiograph(3, patient="Roe", study="s3"),
    radiograph(4),
    Refused("f" * 12, "a", "Broken."),
]


@pytest.mark.parametrize(
    ("by", "numbers", "joined"),
    [
        ("patient", "Doe,Nobody", ["x", "x", None, None]),
        ("study", "s2,s9", [None, "x", None, None]),
        ("instance", "i4,i9", [None, None, None, "x"]),
    ],
)
@pytest.mark.parametrize("name", ["labels.csv", "labels.csv.gz"])
def test_a_row_is_about_a_patient_a_study_or_an_instance(
    tmp_path: Path, by: str, numbers: str, joined: list[str | None], name: str
) -> None:
    rows = "".join(f" {number} ,x\n" for number in numbers.split(","))
    labels = Labels(LabelSettings(path=table(tmp_path, f"{by},finding\n{rows}", name), by=by))
    found = list(labels.joined(RADIOGRAPHS))
    assert [one.finding for one in found if isinstance(one, Candidate)] == [
        label or "as the source says" for label in joined
    ]
    assert found[-1] == RADIOGRAPHS[-1]
    without = [one.file for one, label in zip(RADIOGRAPHS, joined, strict=False) if label is None]
    assert labels.unmatched == [
        {"side": "labels", "row": 3, "file": ""},
        *({"side": "radiographs", "row": "", "file": file} for file in without),
    ]
    assert (
        f"1 of 2 rows found a radiograph by {by}, 1 did not; {len(without)} radiographs have no row" in labels.summary
    )


def test_the_same_number_at_two_hospitals_may_be_two_patients(tmp_path: Path) -> None:
    path = table(tmp_path, "patient,where,finding\nDoe,a,x\nDoe,b,y\n")
    found = [radiograph(1, patient="Doe"), radiograph(2, patient="Doe", hospital="b")]
    labels = Labels(LabelSettings(path=path, hospital="where"))
    assert [one.finding for one in labels.joined(found) if isinstance(one, Candidate)] == ["x", "y"]
    with pytest.raises(DataError, match="lines 2 and 3 have the same patient and contradict"):
        Labels(LabelSettings(path=path))


def test_rows_that_agree_are_one_and_rows_that_contradict_are_told_by_their_lines_alone(tmp_path: Path) -> None:
    same = Labels(LabelSettings(path=table(tmp_path, "patient,finding\nDoe,x\nDoe,x\n")))
    assert len(same.rows) == 1
    with pytest.raises(DataError, match=r"lines 2 and 4 .*join by study or by instance") as caught:
        Labels(LabelSettings(path=table(tmp_path, "patient,finding\nDoe,x\nRoe,x\nDoe,y\n")))
    assert "Doe" not in str(caught.value)


def test_labels_of_which_none_fits_are_an_error(tmp_path: Path) -> None:
    labels = Labels(LabelSettings(path=table(tmp_path, "id,finding\nZoe,x\n"), key="id"))
    with pytest.raises(DataError, match=r"none of the 1 rows has the patient .*labels.key \(now 'id'\)"):
        list(labels.joined(RADIOGRAPHS))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "patient_id"}, "no column 'patient_id'. Allowed: finding, patient"),
        ({"finding": None}, "name a column"),
        ({"findings": ("patient",)}, "none of 1, 0, -1"),
        ({"findings": ("finding",), "uncertain": {"findin": "ones"}}, "no finding 'findin'. .*Did you mean 'finding'"),
    ],
)
def test_a_wrong_setting_names_its_mend(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = table(tmp_path, "patient,finding\nDoe,1\n")
    with pytest.raises(ConfigError, match=message) as caught:
        Labels(LabelSettings.model_validate({"path": path, **changes}))
    assert "Doe" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        Labels(LabelSettings(path=tmp_path / "absent.csv"))


def test_a_label_with_a_column_for_each_finding_is_put_in_words(tmp_path: Path) -> None:
    path = table(tmp_path, "study,Edema,Pneumonia\ns1,1.0,-1.0\ns2,0,\ns3,,\n")
    labels = Labels(LabelSettings(path=path, by="study", findings=("Edema", "Pneumonia")))
    told = [one.finding for one in labels.joined(RADIOGRAPHS) if isinstance(one, Candidate)]
    assert told == ["Edema|uncertain Pneumonia", "no Edema", None, "as the source says"]


def expected_label(value: str, uncertain: str, unmentioned: str) -> int | None:
    """The policies of the CheXpert paper as a table, worked out by hand for one finding."""
    if value == "1":
        return 1
    if value == "0":
        return 0
    if value == "-1":
        return {"ignore": None, "ones": 1, "zeros": 0}[uncertain]
    return {"ignore": None, "zeros": 0}[unmentioned]


@pytest.mark.parametrize(
    ("value", "uncertain", "unmentioned"),
    itertools.product(["1", "0", "-1", ""], ["ignore", "ones", "zeros"], ["ignore", "zeros"]),
)
def test_a_policy_does_what_its_name_says(value: str, uncertain: str, unmentioned: str) -> None:
    words = in_words({"Edema": value}, ["Edema"], uncertain=uncertain, unmentioned=unmentioned)  # type: ignore[arg-type]
    assert label_of(words, ["Edema"], ["no Edema"]) == expected_label(value, uncertain, unmentioned)


def test_a_policy_may_be_one_per_finding_and_the_others_are_ignored() -> None:
    row = {"No Finding": "", "Edema": "-1.0", "Pneumonia": "-1"}
    assert in_words(row, FINDINGS, uncertain={"Edema": "ones"}) == "Edema|uncertain Pneumonia"
    check_policies({"Edema": "ones"}, FINDINGS)


def test_what_is_uncertain_in_a_positive_finding_is_no_negative() -> None:
    words = in_words({"No Finding": "", "Edema": "1", "Pneumonia": "-1"}, FINDINGS)
    assert label_of(words, ["Pneumonia"], ["Edema"]) is None
    assert label_of(words, ["Effusion"], ["Edema"]) == 0
    assert label_of(words, ["Pneumonia", "Edema"], ["No Finding"]) == 1


def test_ingest_joins_labels_to_any_source_and_lists_what_found_no_partner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = made_table(tmp_path / "made", per_hospital=6)
    patients = [f"{hospital}/Doe{number}" for hospital in ("alpha", "beta") for number in (1, 2, 3, 4)]
    rows = [f"{patient},{number % 2}" for number, patient in enumerate([*patients, "Zimmermann"])]
    path = table(tmp_path, "patient,Edema\n" + "\n".join(rows) + "\n")
    content = tiny_config(source="table", options={"path": str(made)}, size=40)
    content["ingest"] |= {
        "labels": {"path": str(path), "findings": ["Edema"]},
        "positive": ["Edema"],
        "negative": ["no Edema"],
        "train": ["alpha"],
        "external": ["beta"],
    }
    config = write_config(tmp_path / "tiny.yaml", content)
    cli.walk(config, tmp_path / "run", [], no_tracking=True, until="ingest")
    index = pd.read_parquet(tmp_path / "run/ingest/index.parquet")
    assert index.groupby("hospital")["label"].apply(lambda labels: sorted(labels.dropna())).to_dict() == {
        "alpha": [0, 0, 0, 1, 1],  # the first patient has two images
        "beta": [0, 0, 0, 1, 1],
    }
    unmatched = pd.read_csv(tmp_path / "run/ingest/labels_unmatched.csv", keep_default_na=False, dtype=str)
    assert list(unmatched["side"]) == ["labels", "radiographs", "radiographs"]
    assert unmatched["row"].iloc[0] == "10"
    assert set(unmatched["file"].iloc[1:]) == set(index.loc[index["label"].isna(), "file"])
    assert "8 of 9 rows found a radiograph by patient, 1 did not; 2 radiographs have no row" in capsys.readouterr().err
    text = (tmp_path / "run/ingest/labels_unmatched.csv").read_text()
    assert "Doe" not in text
    assert "Zimmermann" not in text
    record = (tmp_path / "run/ingest/record.json").read_text()
    cli.walk(config, tmp_path / "run", [], no_tracking=True, until="ingest")
    assert (tmp_path / "run/ingest/record.json").read_text() == record
    path.write_text(path.read_text().replace("Doe1,0", "Doe1,1"))
    cli.walk(config, tmp_path / "run", [], no_tracking=True, until="ingest")
    assert (tmp_path / "run/ingest/record.json").read_text() != record
