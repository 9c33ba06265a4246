"""What the teacher's card says of its training is what it was trained on; and the bank is the students'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.made_run import made_index, silent_work
from oracles.made_students import LOOP, card_of, distilled, learning_rows, taught

from medtea.core.errors import DataError
from medtea.data.loader import Batch
from medtea.teach.teachers import specialist


def card(folder: Path, teacher: str, **options: Any) -> dict[str, Any]:
    work = silent_work(folder)
    return card_of(taught(work, made_index(work, learning_rows(unbiased=8)), teacher=teacher, options=options))


def test_a_teacher_that_does_not_declare_the_unbiased_subset_is_trained_and_selected_without_it(tmp_path: Path) -> None:
    found = card(tmp_path, "masked_classifier")
    assert (found["trained_on"], found["selected_on"], found["before"]) == (12, 4, [])
    assert found["selection"].endswith("validation radiographs of the training hospitals")
    assert (found["network"], found["shape"]) == ("small_resnet", {"channels": 1, "logits": 1, "width": 128})


def test_a_specialist_is_trained_and_selected_on_the_unbiased_subset_alone(tmp_path: Path) -> None:
    found = card(tmp_path, "specialist")
    assert (found["trained_on"], found["selected_on"], found["before"]) == (6, 2, [])
    assert found["selection"].endswith("validation radiographs of the unbiased subset")
    assert (found["sees"], found["sees_at_inference"]) == (["label", "radiograph", "unbiased"], ["radiograph"])


def test_a_specialists_pretraining_on_biased_radiographs_is_on_its_card(tmp_path: Path) -> None:
    found = card(tmp_path, "specialist", pretrain="biased", pretrain_epochs=2)
    before = {"phase": "pretrain", "unbiased_only": False, "trained_on": 18, "selected_on": 4}
    assert (found["trained_on"], found["before"]) == (6, [before])
    assert found["options"] == {"pretrain": "biased", "pretrain_epochs": 2}
    epochs = [len(pd.read_csv(tmp_path / "teach" / place / "history.csv")) for place in ("pretrain", "")]
    assert epochs == [2, 1]


@pytest.mark.parametrize("pretrain", ["none", "biased"])
def test_which_radiographs_a_specialist_is_trained_on(
    tmp_path: Path, pretrain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[int]] = []
    plain = specialist.Teacher.loss

    def loss(self: specialist.Teacher, batch: Batch) -> Any:
        if self.network.training:
            seen.append(set(batch.rows.tolist()))
        return plain(self, batch)

    monkeypatch.setattr(specialist.Teacher, "loss", loss)
    card(tmp_path, "specialist", pretrain=pretrain, pretrain_epochs=1)
    roles = [row["role"] for row in learning_rows(unbiased=8)]
    *first, last = seen
    assert {roles[row] for row in last} == {"unbiased"}, "of fewer than a batch, all in one step"
    assert bool(first) is (pretrain == "biased")
    assert {roles[row] for rows in first for row in rows} == ({"train", "unbiased"} if first else set())


def test_the_bank_of_a_specialist_holds_the_biased_radiographs_for_its_students(tmp_path: Path) -> None:
    work = silent_work(tmp_path)
    rows = learning_rows(unbiased=8)
    index = made_index(work, rows)
    teacher = taught(work, index, teacher="specialist")
    held = np.load(teacher.bank / "rows.npy")
    assert held.tolist() == [number for number, row in enumerate(rows) if row["split"] != "test"]
    assert np.load(teacher.bank / "heatmap_input.npy").shape[0] == len(held)
    (student,) = distilled(work, index, teacher, ["tea"])
    assert card_of(student)["trained_on"] == 12, "its student has not seen the subset"


def test_without_an_unbiased_subset_or_with_one_class_of_it_a_specialist_is_refused(tmp_path: Path) -> None:
    work = silent_work(tmp_path)
    with pytest.raises(DataError, match="it needs a small unbiased subset, and the index has none"):
        taught(work, made_index(work, learning_rows()), teacher="specialist")
    rows = [row | {"label": 1} if row["role"] == "unbiased" else row for row in learning_rows(unbiased=8)]
    with pytest.raises(DataError, match="unbiased subset has radiographs of class 1 only"):
        taught(work, made_index(work, rows), teacher="specialist", loop=LOOP)
