"""The way of a set of scenes in small: several classes, a debiased twin, students of another architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.made_digits import made_digits
from oracles.made_run import write_config
from oracles.made_scenes import coco_arrays, made_waterbirds, write_coco

from medtea.cli import walk
from medtea.core.settings import read_yaml

LOOP = {"epochs": 12, "batch_size": 16, "learning_rate": 0.005}
TOLD: list[dict[str, Any]] = [
    {"method": "gals", "options": {"guide": "teacher_heatmap"}},
    {"method": "isnet", "options": {"tune_epochs": 1, "decay": 0.9}},
    {"method": "tea", "name": "tea_own_head", "options": {"copy_head": False}},
]
"""Students that see something else than by default, or are trained in phases."""


def config(digits: Path) -> dict[str, Any]:
    """Two students like the teacher, two of another architecture, and one that sees the unbiased subset."""
    tiny = {"network": "tiny_cnn", "loop": LOOP}
    return {
        "pipeline": "scenes",
        "scenes": {
            "set": "coloured_mnist",
            "options": {"path": str(digits), "train": 240, "validation": 60, "test": 60, "unbiased": 50},
        },
        "teach": {"teacher": "debiased_twin", "network": "tiny_cnn", "copies": 2, "loop": LOOP},
        "distil": [
            {"method": "tea", **tiny},
            {"method": "erm", **tiny},
            {"method": "tea", "name": "tea_small_resnet", "network": "small_resnet", "loop": LOOP | {"epochs": 1}},
            {"method": "feature_distil", "network": "small_resnet", "loop": LOOP | {"epochs": 1}},
            {"method": "group_dro", "network": "tiny_cnn", "loop": LOOP | {"epochs": 1}},
            *({**told, "network": "tiny_cnn", "loop": LOOP | {"epochs": 1}} for told in TOLD),
        ],
        "evaluate": {"replicates": 100},
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    written = write_config(folder / "scenes.yaml", config(made_digits(folder / "digits")))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        walk(written, folder / "run", [], no_tracking=True, until="evaluate")
    return folder / "run"


def accuracies(run: Path) -> dict[tuple[str, str], float]:
    written = json.loads((run / "evaluate" / "metrics.json").read_text())
    assert written["headline"] == "accuracy"
    return {(entry["method"], entry["group"]): entry["accuracy"]["value"] for entry in written["scores"]}


def test_the_teacher_does_not_see_the_colour_and_erm_sees_nothing_else(finished: Path) -> None:
    found = accuracies(finished)
    assert {found["teacher", group] for group in ("iid", "ood", "shift")} == {found["teacher", "iid"]}
    assert found["teacher", "iid"] > 0.7
    assert found["erm", "iid"] > 0.9
    assert found["erm", "shift"] < 0.5, found
    assert found["tea", "shift"] > found["erm", "shift"] + 0.2, found


def test_every_class_has_its_probability_and_its_auroc(finished: Path) -> None:
    scores = pd.read_csv(finished / "evaluate" / "scores.csv")
    found = scores[[f"probability_{one}" for one in range(10)]]
    assert found.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-10)
    assert (found.to_numpy().argmax(1) == scores["predicted"]).all()
    assert found.max(axis=1).to_numpy() == pytest.approx(scores["score"], abs=1e-11)
    entries = json.loads((finished / "evaluate" / "metrics.json").read_text())["scores"]
    by_place = {(entry["method"], entry["group"]): entry for entry in entries}
    assert by_place["erm", "iid"]["macro_auroc"]["value"] > by_place["erm", "shift"]["macro_auroc"]["value"] + 0.05
    assert len(by_place["erm", "shift"]["auroc_by_class"]) == 10


def test_the_bank_holds_twins_and_a_mix_of_logits_for_each_map(finished: Path) -> None:
    bank = finished / "teach" / "bank"
    assert np.load(bank / "radiograph.npy").shape == np.load(bank / "twin.npy").shape == (350, 1, 3, 28, 28)
    assert np.load(bank / "heatmap_input.npy").shape == (350, 2, 1, 28, 28)
    assert np.load(bank / "teacher_logit.npy").shape == (350, 1, 10)
    mix = np.load(bank / "cotangent.npy")
    assert mix.shape == (350, 2, 10)
    assert set(np.unique(mix)) == {-1.0, 1.0}


def test_only_who_declares_it_is_trained_on_the_unbiased_subset(finished: Path) -> None:
    cards = {path.parent.name: json.loads(path.read_text()) for path in finished.glob("distil/*/card.json")}
    assert {name: card["trained_on"] for name, card in cards.items()} == {
        "tea": 240, "erm": 240, "tea_small_resnet": 240, "feature_distil": 240, "group_dro": 280,
        "gals": 240, "isnet": 240, "tea_own_head": 240,
    }  # fmt: skip
    assert {card["selected_on"] for card in cards.values()} == {60}, "selection is on the same biased radiographs"


def test_a_student_is_handed_what_it_declares_for_its_settings(finished: Path) -> None:
    cards = {path.parent.name: json.loads(path.read_text()) for path in finished.glob("distil/*/card.json")}
    assert cards["gals"]["sees"] == ["label", "radiograph", "teacher_heatmap"]
    assert cards["tea_own_head"]["sees"] == ["radiograph", "teacher_heatmap"]
    assert cards["isnet"]["sees"] == ["label", "lung_mask", "radiograph"]


def test_isnet_is_trained_after_a_plain_training_of_its_own(finished: Path) -> None:
    plain = pd.read_csv(finished / "distil" / "isnet" / "plain" / "history.csv")
    assert len(plain) == 1


def test_a_student_of_another_architecture_takes_the_teachers_last_layer_behind_an_adapter(finished: Path) -> None:
    cards = {path.parent.name: json.loads(path.read_text()) for path in finished.glob("distil/*/card.json")}
    assert cards["feature_distil"]["shape"] == {"channels": 3, "logits": 10, "width": 64 * 9}
    assert cards["tea_small_resnet"]["shape"]["width"] == 64 * 9


def test_the_same_picture_in_three_groups_is_resampled_as_one(finished: Path) -> None:
    scores = pd.read_csv(finished / "evaluate" / "scores.csv")
    tested = scores[scores["split"].eq("test") & scores["method"].eq("erm")]
    assert tested.groupby("patient")["group"].nunique().eq(3).all()
    assert tested["predicted"].between(0, 9).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["waterbirds", "coco_on_places"])
def test_a_set_as_it_is_distributed_comes_to_its_table_by_the_config_that_comes_along(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    content = read_yaml(Path("configs") / f"{name}.yaml")
    if name == "waterbirds":
        made_waterbirds(data)
        content["scenes"]["options"]["size"] = 32
    else:
        write_coco(data, coco_arrays(each=6))
    monkeypatch.setenv(f"MEDTEA_{name.upper()}", str(data))
    # all methods of the config, in small
    for section in (content["teach"], *content["distil"]):
        section |= {"network": "tiny_cnn", "loop": {"epochs": 1, "batch_size": 8}}
    phases = {"dfr": {"last_layer_epochs": 1}, "jtt": {"identify_epochs": 1}, "isnet": {"tune_epochs": 1}}
    for student in content["distil"]:
        student["options"] = phases.get(student["method"], {})
    written = write_config(tmp_path / f"{name}.yaml", content | {"evaluate": {"replicates": 100}})
    walk(written, tmp_path / "run", [], no_tracking=True)
    record = json.loads((tmp_path / "run" / "table.json").read_text())
    assert [cell["method"] for cell in record["cells"] if cell["group"] == record["groups"][0]["group"]] == [
        "teacher",
        *(student["method"] for student in content["distil"]),
    ]
    assert all(cell["value"] is not None for cell in record["cells"])
