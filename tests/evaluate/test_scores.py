"""Each network is scored on what its card says that it looks at: teachers and students alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from oracles.made_run import made_index, silent_work
from oracles.made_students import card_of, distilled, learning_rows, taught

from medtea.audit.stage import _network
from medtea.core.names import IndexArtefact, StudentArtefact, TeacherArtefact
from medtea.core.work import Work, read_array, write_array
from medtea.evaluate.scores import score_all

Trained = tuple[Work, IndexArtefact, TeacherArtefact, list[StudentArtefact]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A masked teacher, and two students: of the whole radiograph, and of the lungs alone."""
    work = silent_work(tmp_path_factory.mktemp("scores"))
    index = made_index(work, learning_rows())
    teacher = taught(work, index)
    return work, index, teacher, distilled(work, index, teacher, ["erm", "segment_then_classify"])


def scores_of(trained: Trained) -> pd.DataFrame:
    _, index, teacher, students = trained
    table = score_all(index, None, teacher, students, torch.device("cpu"))
    return table.pivot_table(index="radiograph", columns="method", values="score")


def test_the_card_says_who_needs_the_segmenter_at_inference(trained: Trained) -> None:
    *_, teacher, students = trained
    assert card_of(teacher)["sees_at_inference"] == ["lung_mask", "radiograph"]
    assert {card_of(one)["name"]: card_of(one)["sees_at_inference"] for one in students} == {
        "erm": ["radiograph"],
        "segment_then_classify": ["lung_mask", "radiograph"],
    }


def test_what_lies_outside_the_lungs_moves_no_score_of_who_is_shown_lungs_alone(trained: Trained) -> None:
    _, index, *_ = trained
    before = scores_of(trained)
    assert set(before) == {"teacher", "erm", "segment_then_classify"}
    radiographs, masks = np.array(read_array(index.radiographs)), read_array(index.given_masks)
    try:
        write_array(index.radiographs, np.where(masks > 0, radiographs, 1 - radiographs).astype(radiographs.dtype))
        after = scores_of(trained)
    finally:
        write_array(index.radiographs, radiographs)
    for method in ("teacher", "segment_then_classify"):
        assert (before[method] == after[method]).all(), method
        assert before[method].nunique() > 1
    assert (before["erm"] != after["erm"]).all()


def test_the_audit_shows_a_student_of_lungs_alone_no_more_than_these(trained: Trained) -> None:
    work, index, _, students = trained
    for student, lungs_alone in zip(students, (False, True), strict=True):
        network = _network(work, "student", student)
        assert network.sees_lungs_only is lungs_alone
        radiographs = np.asarray(read_array(index.radiographs)[:4], dtype=np.float32)
        masks = read_array(index.given_masks)[:4]
        outside = network.heatmaps(radiographs, masks)[masks == 0]
        assert bool((outside == 0).all()) is lungs_alone


def test_the_watch_looks_at_what_the_student_looks_at(trained: Trained) -> None:
    *_, students = trained
    watched = {one.folder.name: pd.read_csv(one.folder / "history.csv")["relevance_outside"] for one in students}
    assert (watched["segment_then_classify"] == 0).all()
    assert (watched["erm"] > 0).all()
