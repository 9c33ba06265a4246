"""Calibration and decision curves of made-up methods whose law is known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from oracles.made_scores import made_scores
from scipy.special import expit, logit

from medtea.evaluate.calibration import POINTS, probabilities

DRAWS = {"replicates": 100, "seed": 0, "thresholds": (0.1, 0.9)}


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return made_scores({"north": ("train", 0.5), "south": ("external", 0.5)}, n=300)


@pytest.fixture(scope="module")
def found(scores: pd.DataFrame) -> dict:
    return probabilities(scores, **DRAWS)


def entry(found: dict, method: str, group: str = "south", key: str = "calibration") -> dict:
    (one,) = [one for one in found[key]["entries"] if (one["method"], one["group"]) == (method, group)]
    return one


def test_each_method_and_test_group_has_its_numbers_and_their_n(found: dict) -> None:
    places = [(one["method"], one["group"], one["role"]) for one in found["calibration"]["entries"]]
    assert set(places) == {(m, *g) for m in ("teacher", "tea", "erm") for g in (("north", "iid"), ("south", "ood"))}
    for one in found["calibration"]["entries"]:
        assert (one["n"], one["n_patients"]) == (300, 150)
        for state in ("before", "after"):
            for name in ("intercept", "slope", "brier", "scaled_brier", "smooth_ece"):
                assert one[state][name]["low"] <= one[state][name]["value"] <= one[state][name]["high"]
            assert len(one[state]["curve"]["score"]) == len(one[state]["curve"]["low"]) == 41
    json.dumps(found, allow_nan=False)


def test_a_method_that_tells_the_true_logit_is_calibrated_and_one_that_stretches_it_is_not(found: dict) -> None:
    # the laws of oracles.made_scores: tea tells 0.5 + 2 · logit, erm -0.5 + 0.5 · logit
    for method, truth in (("teacher", 1.0), ("tea", 0.5), ("erm", 2.0)):
        assert entry(found, method)["before"]["slope"]["value"] == pytest.approx(truth, rel=0.25)
    assert entry(found, "teacher")["before"]["slope"]["low"] < 1 < entry(found, "teacher")["before"]["slope"]["high"]
    assert entry(found, "tea")["before"]["slope"]["high"] < 1 < entry(found, "erm")["before"]["slope"]["low"]


def test_recalibration_mends_what_was_wrong_everywhere_alike(found: dict) -> None:
    for method in ("tea", "erm"):
        before, after = entry(found, method)["before"], entry(found, method)["after"]
        assert after["slope"]["low"] < 1 < after["slope"]["high"]
        assert after["brier"]["value"] < before["brier"]["value"]
    briers = [entry(found, method)["after"]["brier"]["value"] for method in ("teacher", "tea", "erm")]
    assert np.ptp(briers) < 1e-6, "three ways to tell the same logit"


def test_no_test_radiograph_has_a_say_in_the_recalibration(scores: pd.DataFrame, found: dict) -> None:
    turned = scores.copy()
    tested = turned["split"].eq("test")
    turned.loc[tested, "label"] = 1 - turned.loc[tested, "label"]
    turned.loc[tested, "score"] = np.random.default_rng(0).random(tested.sum())
    assert probabilities(turned, **DRAWS)["calibration"]["recalibration"] == found["calibration"]["recalibration"]


def test_implausible_masks_count_nowhere(scores: pd.DataFrame) -> None:
    half = scores.copy()
    half.loc[half["radiograph"].str.endswith(("1", "3", "5", "7", "9")), "plausible_mask"] = False
    some = probabilities(half, **DRAWS)["calibration"]
    assert {one["n"] for one in some["entries"]} == {150}
    assert {one["n"] for one in some["recalibration"]} == {150}


def test_without_validation_rows_there_is_no_after_and_it_says_why(scores: pd.DataFrame) -> None:
    tested = scores[scores["split"].eq("test")]
    found = probabilities(tested, **DRAWS)
    assert entry(found, "tea")["after"] is None
    assert entry(found, "tea")["before"]["slope"]["value"] is not None
    decided = entry(found, "tea", key="decision_curves")
    assert decided["net_benefit"] is None
    assert "no validation radiographs" in decided["reason"]


def test_a_hospital_of_one_class_or_ranked_perfectly_has_no_slope_and_says_why(scores: pd.DataFrame) -> None:
    south = scores["group"].eq("south")
    one_class = scores.assign(label=scores["label"].where(~south, 0))
    lonely = entry(probabilities(one_class, **DRAWS), "tea")
    assert lonely["reason"] == "one class only"
    assert lonely["before"]["slope"]["value"] is None
    assert lonely["before"]["curve"] is None
    assert lonely["before"]["brier"]["value"] is not None
    perfect = scores.assign(score=scores["score"].where(~south, 0.1 + 0.8 * scores["label"]))
    ranked = entry(probabilities(perfect, **DRAWS), "tea")
    assert "do not overlap" in ranked["reason"]
    assert ranked["after"]["slope"]["value"] is None


def test_scores_that_are_no_probabilities_are_named_and_left_out(scores: pd.DataFrame) -> None:
    logits = scores.assign(score=np.where(scores["method"].eq("erm"), logit(scores["score"]), scores["score"]))
    found = probabilities(logits, **DRAWS)
    assert found["calibration"]["not_probabilities"] == ["erm"]
    assert {one["method"] for one in found["calibration"]["entries"]} == {"teacher", "tea"}


def test_of_several_classes_there_is_no_calibration(scores: pd.DataFrame) -> None:
    assert probabilities(scores.assign(predicted=1.0), **DRAWS) == {"calibration": None, "decision_curves": None}


def test_a_method_with_other_rows_is_judged_on_its_own(scores: pd.DataFrame) -> None:
    fewer = scores[~(scores["method"].eq("erm") & scores["radiograph"].str.endswith("7"))]
    found = probabilities(fewer, **DRAWS)
    assert entry(found, "erm")["n"] == 270
    assert entry(found, "tea")["n"] == 300


# --- decision curves


def test_curves_are_told_at_the_thresholds_asked_for_beside_acting_on_everyone(found: dict) -> None:
    curves = found["decision_curves"]
    assert len(curves["thresholds"]) == POINTS
    assert curves["thresholds"][0] == 0.1
    assert curves["thresholds"][-1] == pytest.approx(0.9)
    for everyone in curves["treat_all"]:
        share = everyone["n_positive"] / everyone["n"]
        # by hand at 0.1: prevalence - (1 - prevalence) / 9
        assert everyone["net_benefit"][0] == pytest.approx(share - (1 - share) / 9, abs=1e-6)


def test_net_benefit_is_that_of_the_recalibrated_score(scores: pd.DataFrame, found: dict) -> None:
    (move,) = [one for one in found["calibration"]["recalibration"] if one["method"] == "tea"]
    rows = scores[scores["method"].eq("tea") & scores["group"].eq("south")]
    score = expit(move["intercept"] + move["slope"] * logit(rows["score"]))
    acted, positive = score >= 0.5, rows["label"].eq(1)
    expected = ((acted & positive).sum() - (acted & ~positive).sum()) / len(rows)
    middle = found["decision_curves"]["thresholds"].index(0.5)
    assert entry(found, "tea", key="decision_curves")["net_benefit"][middle] == pytest.approx(expected, abs=1e-6)


def test_better_at_names_thresholds_where_a_useful_score_surely_helps_and_a_coin_never(scores: pd.DataFrame) -> None:
    coin = scores.copy()
    noise = np.random.default_rng(1).random(len(coin))
    coin["score"] = np.where(coin["method"].eq("erm"), noise, coin["score"])
    found = probabilities(coin, **DRAWS)
    assert 0.5 in entry(found, "tea", key="decision_curves")["better_at"]
    assert entry(found, "erm", key="decision_curves")["better_at"] == []
