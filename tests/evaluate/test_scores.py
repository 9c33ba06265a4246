"""Each network is scored on what its card says that it looks at: teachers and students alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from oracles.made_given import Tiny, onnx_file
from oracles.made_run import made_index, silent_work
from oracles.made_students import card_of, distilled, learning_rows, taught

from medtea.audit.stage import _network
from medtea.core.errors import ConfigError
from medtea.core.names import IndexArtefact, StudentArtefact, TeacherArtefact
from medtea.core.settings import parse
from medtea.core.work import Work, read_array, read_json, write_array
from medtea.evaluate import stage as evaluate
from medtea.evaluate.scores import score_all
from medtea.evaluate.stage import Settings as EvaluateSettings
from medtea.training.given.model import Settings as GivenModel

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


def given(path: object, name: str, **content: object) -> GivenModel:
    return parse(GivenModel, {"path": str(path), "name": name} | content, "evaluate.models.0")


def test_given_models_are_scored_beside_ours_on_the_same_rows(trained: Trained, tmp_path: Path) -> None:
    _, index, teacher, students = trained
    models = (
        given(students[0].folder, "same_student"),
        given(teacher.folder, "same_teacher"),
        given(onnx_file(tmp_path / "rival.onnx", Tiny()), "rival"),
    )
    table = score_all(index, None, teacher, students, torch.device("cpu"), models)
    scores = table.pivot_table(index="radiograph", columns="method", values="score")
    np.testing.assert_allclose(scores["same_student"], scores["erm"], rtol=1e-5)
    np.testing.assert_allclose(scores["same_teacher"], scores["teacher"], rtol=1e-5)
    assert scores["rival"].nunique() > 1
    facts = ["radiograph", "patient", "label", "split", "group", "plausible_mask"]
    rows = {method: part[facts].to_numpy().tolist() for method, part in table.groupby("method")}
    assert all(one == rows["erm"] for one in rows.values())


def test_a_run_folder_is_asked_which_of_its_networks_is_meant(trained: Trained) -> None:
    work, index, teacher, students = trained
    with pytest.raises(ConfigError, match=r"Name one: teach, distil/erm, distil/segment_then_classify\."):
        score_all(index, None, teacher, students, torch.device("cpu"), [given(work.folder, "theirs")])


def test_a_given_model_is_in_the_numbers_and_its_path_in_no_record(trained: Trained, tmp_path: Path) -> None:
    work, index, teacher, students = trained
    path = onnx_file(tmp_path / "rival.onnx", Tiny())

    def ran(name: str = "rival") -> list[str]:
        settings = EvaluateSettings(replicates=100, models=(given(path, name),))
        work.ran.clear()
        evaluate.run(work, settings, index, None, teacher, students)
        return list(work.ran)

    assert ran() == ["evaluate"]
    folder = work.folder / "evaluate"
    metrics = read_json(folder / "metrics.json")
    assert metrics["methods"]["rival"]["selection"] == "given, not trained here"
    assert {one["method"] for one in metrics["scores"]} == {"teacher", "erm", "segment_then_classify", "rival"}
    assert str(tmp_path) not in "".join(file.read_text() for file in folder.iterdir())
    assert ran() == [], "the same model"
    path.write_bytes(path.read_bytes() + b"\x92\x03\x00")  # an empty field that ONNX does not know
    assert ran() == ["evaluate"], "another model"
    with pytest.raises(ConfigError, match="'erm' is the name of a network of this run"):
        ran("erm")
    with pytest.raises(ConfigError, match="two models have one name"):
        parse(EvaluateSettings, {"models": [{"path": "a.onnx"}, {"path": "b/a.onnx"}]}, "evaluate")


def test_the_watch_looks_at_what_the_student_looks_at(trained: Trained) -> None:
    *_, students = trained
    watched = {one.folder.name: pd.read_csv(one.folder / "history.csv")["relevance_outside"] for one in students}
    assert (watched["segment_then_classify"] == 0).all()
    assert (watched["erm"] > 0).all()
