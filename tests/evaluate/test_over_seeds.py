"""A table over seeds says of one seed what that run says itself, and of several what their errors have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.made_scores import made_scores
from sklearn.metrics import roc_auc_score

from medtea.core.names import ScoresArtefact
from medtea.core.work import write_json
from medtea.evaluate.by_hospital import PROBABILITY, scores_by_group
from medtea.evaluate.differences import differences_to
from medtea.evaluate.heterogeneity import heterogeneity
from medtea.evaluate.over_seeds import over_seeds
from medtea.report.seeds_tables import seeds_tables


def several(scores: pd.DataFrame) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    return scores.assign(predicted=np.where(draw.random(len(scores)) < 0.8, scores["label"], 1 - scores["label"]))


def with_probabilities(scores: pd.DataFrame) -> pd.DataFrame:
    """Three classes, a probability of each, and the most probable one."""
    draw = np.random.default_rng(2)
    raw = draw.normal(size=(len(scores), 3))
    labels = np.resize([0, 1, 2], len(scores))
    raw[np.arange(len(scores)), labels] += 1
    found = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    columns = {PROBABILITY.format(one): found[:, one] for one in range(3)}
    return scores.assign(label=labels, predicted=found.argmax(1), score=found.max(1), **columns)


def left(folder: Path, scores: pd.DataFrame) -> Path:
    artefact = ScoresArtefact(folder / "evaluate")
    artefact.folder.mkdir(parents=True)
    scores.to_csv(artefact.scores, index=False)
    write_json(artefact.metrics, {"methods": {}})
    return folder


def by_place(rows: list[dict[str, Any]], *keys: str) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(row[key] for key in keys): row for row in rows}


@pytest.mark.parametrize("per_patient", [1, 2])
def test_an_auroc_has_one_interval_in_the_table_the_forest_and_over_seeds(tmp_path: Path, per_patient: int) -> None:
    scores = made_scores(per_patient=per_patient)
    table = by_place(scores_by_group(scores, replicates=10, seed=0), "method", "group")
    seeds = by_place(
        over_seeds([left(tmp_path / "seed_0", scores)], methods=["tea", "erm"])["cells"], "method", "group"
    )
    forest = heterogeneity(scores)
    assert forest is not None
    shown = 0
    for entry in forest["entries"]:
        for one in entry["hospitals"]:
            place = entry["method"], one["group"]
            expected = table[place]["auroc"]
            assert (one["auroc"], one["low"], one["high"]) == tuple(expected[key] for key in ("value", "low", "high"))
            assert seeds[place]["patients"] == pytest.approx(expected), "but for what a CSV rounds"
            shown += 1
    assert shown == 3 * (2 + 4), "three methods at the two hospitals not seen, and at all four"


def test_a_difference_has_one_interval_in_the_table_and_over_seeds(tmp_path: Path) -> None:
    scores = made_scores()
    table = by_place(differences_to("erm", scores), "method", "group")
    seeds = over_seeds([left(tmp_path / "seed_0", scores)], methods=["tea", "erm"])["differences"]
    found = [row for row in seeds if row["control"] == "erm"]
    assert len(found) == len(table) == 8
    for row in found:
        assert row["patients"] == pytest.approx(table[row["method"], row["group"]]["difference"])
        assert row["seeds_and_patients"]["interval"] == "none: one seed"


def test_an_accuracy_has_one_interval_in_the_table_and_over_seeds(tmp_path: Path) -> None:
    scores = several(made_scores())
    table = by_place(scores_by_group(scores, replicates=10, seed=0), "method", "group")
    record = over_seeds([left(tmp_path / "seed_0", scores)], methods=["tea"])
    assert record["headline"] == "accuracy"
    for cell in record["cells"]:
        assert cell["patients"] == pytest.approx(table[cell["method"], cell["group"]]["accuracy"])


def test_several_classes_have_aurocs_against_the_rest_in_the_numbers_and_over_seeds(tmp_path: Path) -> None:
    scores = with_probabilities(made_scores())
    table = by_place(scores_by_group(scores, replicates=10, seed=0), "method", "group")
    rows = scores[scores["method"].eq("tea") & scores["group"].eq("south")]
    expected = roc_auc_score(rows["label"], rows.filter(like="probability_"), multi_class="ovr")
    assert table["tea", "south"]["macro_auroc"]["value"] == pytest.approx(expected)
    assert list(table["tea", "south"]["auroc_by_class"]) == ["0", "1", "2"]
    record = over_seeds([left(tmp_path / "seed_0", scores), left(tmp_path / "seed_1", scores)], methods=["tea"])
    cell = by_place(record["cells"], "method", "group")["tea", "south"]
    # two seeds that say the same are one
    for name in ("value", "low", "high", "n"):
        assert cell["macro_auroc"][name] == pytest.approx(table["tea", "south"]["macro_auroc"][name])
        assert cell["auroc_by_class"]["1"][name] == pytest.approx(table["tea", "south"]["auroc_by_class"]["1"][name])
    shown = next(one for one in seeds_tables(record) if one.caption.startswith("AUROC against the rest"))
    assert shown.rows[1][0].text == "tea"
    assert f"{expected:.3f}" in {one.text for one in shown.rows[1]}
    lowest = min(cell["auroc_by_class"], key=lambda name: cell["auroc_by_class"][name]["value"])
    assert any(f"lowest: class {lowest}" in one.detail for one in shown.rows[1])


def test_seeds_share_their_patients_and_a_missing_one_is_left_out(tmp_path: Path) -> None:
    first, second = made_scores(), made_scores()
    draw = np.random.default_rng(1)
    second["score"] = 1 / (1 + np.exp(-np.log(second["score"] / (1 - second["score"])) - draw.normal(size=len(second))))
    second = second[second["method"].ne("erm")]
    runs = [left(tmp_path / f"seed_{seed}", scores) for seed, scores in enumerate((first, second))]
    record = over_seeds(runs, methods=["tea", "erm"])
    cells = by_place(record["cells"], "method", "group")
    tea, erm = cells["tea", "south"], cells["erm", "south"]
    assert tea["value"] == pytest.approx(np.mean(tea["by_seed"])) == pytest.approx(tea["patients"]["value"])
    assert tea["patients"]["n"] == 90, "radiographs of two seeds are the same"
    assert erm["by_seed"][1] is None
    assert erm["sd"] is None
    width = {name: tea[name]["high"] - tea[name]["low"] for name in ("patients", "seeds_and_patients")}
    assert width["patients"] < width["seeds_and_patients"]
