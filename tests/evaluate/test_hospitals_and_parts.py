"""Hospitals as a sample, the hospital as the answer, subgroups and distributions of made-up scores."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from oracles.made_scores import made_acquisition, made_index, made_scores
from scipy.special import expit, logit

from medtea.evaluate.distributions import score_distributions
from medtea.evaluate.heterogeneity import heterogeneity
from medtea.evaluate.sites import OWN, TRAINING, site_baseline
from medtea.evaluate.subgroups import parts_of, subgroups
from medtea.metrics.random_effects import random_effects

DRAWS = {"replicates": 100, "seed": 0}
SIX = {"a": ("train", 0.5), "b": ("train", 0.5)} | dict.fromkeys("cdef", ("external", 0.5))


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return made_scores()


def several(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.assign(predicted=1.0)


# --- heterogeneity


def over(found: dict, method: str, which: str) -> dict:
    (one,) = [one for one in found["entries"] if (one["method"], one["over"]) == (method, which)]
    return one


def test_hospitals_are_pooled_on_the_logit_scale_and_told_as_aurocs() -> None:
    found = heterogeneity(made_scores(SIX))
    unseen = over(found, "tea", "ood")
    assert [one["group"] for one in unseen["hospitals"]] == ["c", "d", "e", "f"]
    effects = [one["logit"] for one in unseen["hospitals"]]
    expected = random_effects(effects, [one["standard_error"] ** 2 for one in unseen["hospitals"]])
    assert effects == pytest.approx([logit(one["auroc"]) for one in unseen["hospitals"]])
    assert unseen["mean"] == pytest.approx(expit(expected.mean))
    assert unseen["tau"] == pytest.approx(expected.tau)
    assert unseen["new_low"] < unseen["low"] < unseen["mean"] < unseen["high"] < unseen["new_high"] < 1
    assert over(found, "tea", "all")["k"] == 6
    json.dumps(found, allow_nan=False)


def test_two_hospitals_have_a_mean_and_nothing_for_a_third(scores: pd.DataFrame) -> None:
    two = over(heterogeneity(scores), "tea", "ood")
    assert two["k"] == 2
    assert two["mean"] is not None
    assert (two["new_low"], two["new_high"]) == (None, None)
    assert "two hospitals say nothing about a third" in two["reason"]


def test_one_hospital_one_class_and_perfect_ranking_have_no_answer_and_say_why(scores: pd.DataFrame) -> None:
    one = scores[scores["group"].ne("south")]
    assert over(heterogeneity(one), "tea", "ood")["mean"] is None
    south = scores["group"].eq("south") & scores["split"].eq("test")
    of_one_class = over(heterogeneity(scores.assign(label=scores["label"].where(~south, 1))), "tea", "all")
    assert of_one_class["k"] == 3
    assert [one["reason"] for one in of_one_class["hospitals"] if one["group"] == "south"] == ["one class only"]
    perfect = over(heterogeneity(scores.assign(score=scores["score"].where(~south, scores["label"]))), "tea", "all")
    assert perfect["mean"] is None, "leaving out the best hospital would be no mean of the hospitals"
    assert "every pair alike" in perfect["reason"]


def test_groups_of_the_same_patients_are_no_sample_of_hospitals(scores: pd.DataFrame) -> None:
    same = scores.assign(patient=scores["patient"].str[2:])
    assert heterogeneity(same) is None
    assert site_baseline(same, made_index(same), **DRAWS) is None
    assert heterogeneity(several(scores)) is None


# --- the hospital as the answer


def test_the_hospital_alone_is_scored_by_its_training_prevalence_where_all_have_one(scores: pd.DataFrame) -> None:
    seen, everywhere = site_baseline(scores, made_index(scores), **DRAWS)["sets"]
    assert (seen["over"], seen["prevalence_is"]) == ("iid", TRAINING)
    # two of the three training radiographs of each are positive: they cannot be told apart
    assert [one["prevalence"] for one in seen["hospitals"]] == pytest.approx([2 / 3, 2 / 3])
    assert seen["hospital_only"]["value"] == 0.5
    assert (everywhere["over"], everywhere["prevalence_is"]) == ("all", OWN)
    assert everywhere["hospital_only"]["value"] > 0.5
    assert everywhere["hospital_only"]["n"] == 360


def test_a_score_that_is_the_hospital_is_pooled_well_and_worth_nothing_within() -> None:
    scores = made_scores({"rich": ("train", 0.9), "poor": ("external", 0.1)}, n=200)
    scores["score"] = np.where(scores["method"].eq("erm"), scores["group"].eq("rich") * 0.8 + 0.1, scores["score"])
    (found,) = site_baseline(scores, made_index(scores), **DRAWS)["sets"]
    by_method = {one["method"]: one for one in found["methods"]}
    assert by_method["erm"]["within"]["value"] == 0.5
    assert by_method["erm"]["pooled"]["value"] == pytest.approx(found["hospital_only"]["value"])
    assert by_method["erm"]["pooled_less_within"]["low"] > 0
    assert by_method["teacher"]["within"]["value"] > 0.6
    one = scores[scores["group"].eq("rich")]
    assert site_baseline(one, made_index(one), **DRAWS) == {"sets": []}, "one hospital cannot be told from another"
    assert site_baseline(several(scores), made_index(scores), **DRAWS) is None


# --- subgroups


def parts(scores: pd.DataFrame) -> pd.DataFrame:
    index = made_index(scores)
    return parts_of(index, made_acquisition(index))


def test_parts_are_what_the_acquisition_says_and_unknown_is_missing() -> None:
    index = pd.DataFrame({"radiograph": ["r1", "r2", "r3"], "view": ["PA", "unknown", "AP"]})
    taken = pd.DataFrame(
        {
            "sex": ["F", "unknown", "O"],
            "age_years": pd.array([17, 18, None], dtype="Int16"),
            "manufacturer": ["Maker One", "unknown", "unknown"],
            "portable": ["yes", "no", "unknown"],
            "year": pd.array([2020, None, 2021], dtype="Int16"),
        }
    )
    found = parts_of(index, taken)
    assert found["sex"].tolist() == ["F", None, "O"]
    assert found["age"].tolist()[:2] == ["under 18", "18 to 39"]
    assert found["age"].isna().tolist() == [False, False, True]
    assert found["year"].isna().tolist() == [False, True, False]
    assert found.loc["r1", "year"] == "2020"
    bare = parts_of(index, None)
    assert bare["view"].tolist() == ["PA", None, "AP"]
    assert bare.drop(columns="view").isna().all(axis=None)


def test_a_part_is_shown_from_20_radiographs_with_5_of_either_label(scores: pd.DataFrame) -> None:
    found = subgroups(scores, parts(scores), **DRAWS)
    for part in found["parts"]:
        assert part["n"] >= 20
        assert 5 <= part["n_positive"] <= part["n"] - 5
    # 5 in 100 are O: 4 or so of the 90 at each of four hospitals
    assert not [part for part in found["parts"] if part["part"] == "O"]
    sexes = sum(one["attribute"] == "sex" for one in found["parts"])
    assert sexes + sum(one["parts"] for one in found["hidden"] if one["attribute"] == "sex") in range(9, 13)
    # one view and one year: no parts to compare, and nothing hidden
    assert not [one for one in found["parts"] + found["hidden"] if one["attribute"] in ("view", "year")]
    unknown = {one["attribute"]: one["unknown"] for one in found["unknown"] if one["group"] == "south"}
    assert unknown["portable"] == 90
    assert 0 < unknown["manufacturer"] < 90
    assert unknown["sex"] == 0
    json.dumps(found, allow_nan=False)


def test_the_worst_part_and_a_prevalence_shift_are_found_where_they_are(scores: pd.DataFrame) -> None:
    of_parts = parts(scores)
    women = scores["radiograph"].map(of_parts["sex"]).eq("F") & scores["group"].eq("south")
    spoiled = scores.copy()
    spoiled.loc[women, "score"] = 1 - spoiled.loc[women, "score"]
    found = subgroups(spoiled, of_parts, **DRAWS)
    assert {(one["group"], one["attribute"], one["part"]) for one in found["worst"]} == {("south", "sex", "F")}
    (part,) = [one for one in found["parts"] if (one["group"], one["part"]) == ("south", "F")]
    assert all(one["auroc_less_others"]["high"] < 0 for one in part["methods"])
    shifted = scores.copy()
    shifted.loc[women & (np.arange(len(shifted)) % 8 > 0), "label"] = 1
    found = subgroups(shifted, of_parts, **DRAWS)
    (part,) = [one for one in found["parts"] if (one["group"], one["part"]) == ("south", "F")]
    assert part["prevalence_less_others"]["low"] > 0.2


def test_nothing_of_several_classes(scores: pd.DataFrame) -> None:
    assert subgroups(several(scores), parts(scores), **DRAWS) is None
    assert score_distributions(several(scores)) is None


# --- distributions


def test_every_test_score_is_in_one_bin_and_bins_are_alike_at_all_hospitals(scores: pd.DataFrame) -> None:
    found = score_distributions(scores)
    for one in found["entries"]:
        assert sum(one["positive"]["counts"]) == one["positive"]["n"]
        assert one["positive"]["n"] + one["negative"]["n"] == 90
        assert len(one["edges"]) == 21
    for method in ("teacher", "tea", "erm"):
        assert len({tuple(one["edges"]) for one in found["entries"] if one["method"] == method}) == 1
    teacher = next(one for one in found["entries"] if (one["method"], one["group"]) == ("teacher", "south"))
    rows = scores[scores["method"].eq("teacher") & scores["group"].eq("south") & scores["label"].eq(1)]
    assert teacher["positive"]["quantiles"][2] == pytest.approx(rows["score"].median())


def test_a_label_that_does_not_occur_has_no_quantiles(scores: pd.DataFrame) -> None:
    found = score_distributions(scores.assign(label=1))["entries"][0]
    assert found["negative"] == {"n": 0, "counts": [0] * 20, "quantiles": None}
