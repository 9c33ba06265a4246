from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medtea.core.errors import DataError
from medtea.evaluate.by_hospital import OperatingPoint, left_out, no_answers, scores_by_group
from medtea.evaluate.differences import between_hospitals, differences_to, gaps

DRAWS = {"replicates": 100, "seed": 0}
PLACES = {"home": ("train", "val"), "north": ("train", "test"), "south": ("external", "test")}


def scored(
    method: str, group: str, labels: Sequence[int], scores: Sequence[float], *, plausible: Sequence[bool] | None = None
) -> pd.DataFrame:
    """Rows as in scores.csv, a patient each; the group "home" is the validation split of the training hospital."""
    role, split = PLACES[group]
    return pd.DataFrame(
        {
            "radiograph": [f"{group}-{n}" for n in range(len(labels))],
            "hospital": "north" if group == "home" else group,
            "patient": [f"p-{group}-{n}" for n in range(len(labels))],
            "role": role,
            "split": split,
            "group": "north" if group == "home" else group,
            "label": labels,
            "plausible_mask": [True] * len(labels) if plausible is None else plausible,
            "method": method,
            "score": scores,
            "predicted": np.nan,
        }
    )


LABELS = [0, 0, 0, 1, 1, 1]
RIGHT = [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]
WRONG = RIGHT[::-1]


def run_of(method: str = "erm", south: Sequence[float] = WRONG, south_labels: Sequence[int] = LABELS) -> pd.DataFrame:
    return pd.concat(
        [
            scored(method, "home", LABELS, RIGHT),
            scored(method, "north", LABELS, RIGHT),
            scored(method, "south", south_labels, south),
        ],
        ignore_index=True,
    )


def entry(entries: list[dict[str, Any]], group: str, method: str = "erm") -> dict[str, Any]:
    (found,) = [one for one in entries if (one["group"], one["method"]) == (group, method)]
    return found


def test_one_entry_per_method_and_test_group() -> None:
    both = pd.concat([run_of("tea"), run_of("erm")])
    found = scores_by_group(both, **DRAWS)
    assert [(one["method"], one["group"], one["role"]) for one in found] == [
        ("tea", "north", "iid"),
        ("tea", "south", "ood"),
        ("erm", "north", "iid"),
        ("erm", "south", "ood"),
    ]
    # by hand: every positive above every negative; and below
    assert entry(found, "north")["auroc"]["value"] == 1
    assert entry(found, "south")["auroc"]["value"] == 0
    # three pairs of different patients, all ranked wrongly: 1 - 0.025^(1/3)
    assert entry(found, "south")["auroc"]["low"] == 0
    assert entry(found, "south")["auroc"]["high"] == pytest.approx(1 - 0.025 ** (1 / 3))
    assert entry(found, "south")["prevalence"] == 0.5


@pytest.mark.parametrize("label", [0, 1])
def test_a_hospital_of_one_class_has_no_answer(label: int) -> None:
    scores = run_of(south_labels=[label] * 6)
    found = scores_by_group(scores, **DRAWS)
    south = entry(found, "south")
    assert south["auroc"]["value"] is None, "neither 0 nor 0.5"
    assert (south["auroc"]["low"], south["auroc"]["high"]) == (None, None)
    assert south["auroc"]["n"] == 6
    assert south["auroc"]["n_positive"] == 6 * label
    assert south["prevalence"] == label
    assert no_answers(found) == 1
    assert '"value": null' in json.dumps(south["auroc"], allow_nan=False)


def test_what_has_no_answer_leaves_the_gap_and_the_difference_without_one() -> None:
    both = pd.concat([run_of("tea", south_labels=[1] * 6), run_of("erm", south_labels=[1] * 6)])
    assert all(one["difference"]["value"] is None for one in gaps(both))
    differences = {one["group"]: one["difference"]["value"] for one in differences_to("erm", both)}
    assert differences == {"north": 0, "south": None}


def test_a_gap_is_positive_where_the_method_falls() -> None:
    (fall,) = gaps(run_of(south=WRONG))
    assert (fall["iid"], fall["ood"]) == (["north"], ["south"])
    assert fall["difference"]["value"] == 1  # 1 at north less 0 at south
    (level,) = gaps(run_of(south=RIGHT))
    assert level["difference"]["value"] == 0


def test_a_difference_is_positive_where_the_method_beats_the_control() -> None:
    both = pd.concat([run_of("tea", south=RIGHT), run_of("erm", south=WRONG)])
    found = differences_to("erm", both)
    assert [(one["method"], one["group"], one["difference"]["value"]) for one in found] == [
        ("tea", "north", 0),
        ("tea", "south", 1),
    ]


def test_differences_pair_radiographs_in_whatever_order_they_stand() -> None:
    tea = run_of("tea", south=RIGHT)
    both = pd.concat([tea.sample(frac=1, random_state=3), run_of("erm", south=WRONG)])
    straight = pd.concat([tea, run_of("erm", south=WRONG)])
    assert differences_to("erm", both) == differences_to("erm", straight)


def test_without_the_control_there_is_no_difference() -> None:
    assert differences_to("erm", run_of("tea")) == []


def test_without_an_iid_group_there_is_no_gap() -> None:
    assert gaps(scored("erm", "south", LABELS, RIGHT)) == []


def test_implausible_masks_are_left_out_and_counted() -> None:
    # The fourth radiograph of south, a positive below all negatives, is the only one ranked wrongly.
    scores = [0.1, 0.2, 0.3, 0.0, 0.8, 0.9]
    plausible = [True, True, True, False, True, True]
    home = scored("erm", "home", LABELS, RIGHT)
    counted = pd.concat([home, scored("erm", "south", LABELS, scores, plausible=plausible)])
    south = entry(scores_by_group(counted, **DRAWS), "south")
    assert south["auroc"]["value"] == 1
    assert south["auroc"]["n"] == 5
    assert left_out(counted) == [{"group": "south", "n": 1, "reason": "implausible lung mask"}]
    all_in = pd.concat([home, scored("erm", "south", LABELS, scores)])
    # by hand: the wrong one loses 3 of 9 pairs
    assert entry(scores_by_group(all_in, **DRAWS), "south")["auroc"]["value"] == pytest.approx(6 / 9)
    assert left_out(all_in) == []


def test_left_out_radiographs_are_counted_once_whatever_the_number_of_methods() -> None:
    one = scored("erm", "south", LABELS, RIGHT, plausible=[False] * 6)
    assert left_out(pd.concat([one, one.assign(method="tea")]))[0]["n"] == 6


def test_implausible_masks_left_as_text_by_a_csv_are_left_out_too(tmp_path: Any) -> None:
    scores = pd.concat([run_of(), scored("erm", "south", LABELS, RIGHT, plausible=[False] * 6)])
    scores.to_csv(tmp_path / "scores.csv", index=False)
    assert left_out(pd.read_csv(tmp_path / "scores.csv"))[0]["n"] == 6


def test_the_threshold_is_chosen_on_iid_validation_alone() -> None:
    # by hand: on validation any threshold in (0.3, 0.7] separates; youden takes one that calls 0.7 positive, 0.3 not
    before = scores_by_group(run_of(), **DRAWS)
    threshold = entry(before, "north")["threshold"]
    assert 0.3 < threshold <= 0.7
    generator = np.random.default_rng(0)
    moved = scores_by_group(run_of(south=generator.random(6).tolist()), **DRAWS)
    assert entry(moved, "south")["threshold"] == entry(moved, "north")["threshold"] == threshold
    assert entry(moved, "north") == entry(before, "north"), "another hospital's scores change nothing here"
    shifted = run_of()
    shifted.loc[shifted["split"].eq("val"), "score"] += 0.05
    assert entry(scores_by_group(shifted, **DRAWS), "south")["threshold"] == pytest.approx(threshold + 0.05)


def test_the_operating_point_is_carried_over_unchanged() -> None:
    # South scores all above the threshold: every positive is called rightly, every negative wrongly.
    south = entry(scores_by_group(run_of(south=[0.91, 0.92, 0.93, 0.94, 0.95, 0.96]), **DRAWS), "south")
    assert (south["sensitivity"]["value"], south["specificity"]["value"]) == (1, 0)
    assert south["accuracy"]["value"] == 0.5
    assert south["auroc"]["value"] == 1


def test_a_validation_split_of_one_class_leaves_no_operating_point() -> None:
    scores = pd.concat([scored("erm", "home", [1, 1], [0.2, 0.8]), scored("erm", "south", LABELS, RIGHT)])
    south = entry(scores_by_group(scores, **DRAWS), "south")
    assert south["threshold"] is None
    assert south["accuracy"]["value"] is None
    assert south["auroc"]["value"] == 1


def test_the_same_seed_gives_the_same_intervals_and_another_one_others() -> None:
    scores = mixed()
    first = scores_by_group(scores, **DRAWS)
    assert first == scores_by_group(scores, **DRAWS)
    assert first != scores_by_group(scores, replicates=100, seed=1)


# --- the rates at one threshold


def mixed(method: str = "erm", *, patients: int = 40, seed: int = 0, each: int = 1) -> pd.DataFrame:
    """Validation, north and south with overlapping scores; `each` radiographs per patient."""
    generator = np.random.default_rng(seed)
    parts = []
    for group in PLACES:
        labels = np.repeat(np.arange(patients) % 2, each)
        part = scored(method, group, labels.tolist(), (labels + generator.normal(size=labels.size)).tolist())
        parts.append(part.assign(patient=[f"p-{group}-{n // each}" for n in range(len(part))]))
    return pd.concat(parts, ignore_index=True)


def test_the_rates_are_those_of_the_two_by_two_table() -> None:
    scores = mixed()
    south = entry(scores_by_group(scores, **DRAWS), "south")
    rows = scores[scores["group"].eq("south")]
    called, positive = rows["score"] >= south["threshold"], rows["label"] == 1
    tp, fp = int((called & positive).sum()), int((called & ~positive).sum())
    tn, fn = int((~called & ~positive).sum()), int((~called & positive).sum())
    expected = {
        "sensitivity": (tp / (tp + fn), tp + fn),
        "specificity": (tn / (tn + fp), tn + fp),
        "ppv": (tp / (tp + fp), tp + fp),
        "npv": (tn / (tn + fn), tn + fn),
        "accuracy": ((tp + tn) / 40, 40),
    }
    assert {name: (south[name]["value"], south[name]["n"]) for name in expected} == expected
    assert south["balanced_accuracy"]["value"] == pytest.approx((tp / (tp + fn) + tn / (tn + fp)) / 2)
    assert {south[name]["interval"] for name in expected} == {"Wilson"}
    assert south["auroc"]["interval"] == south["balanced_accuracy"]["interval"] == "DeLong, logit scale"
    assert south["average_precision"]["interval"] == "bootstrap by patient"


def test_several_radiographs_of_a_patient_are_told_by_the_interval() -> None:
    south = entry(scores_by_group(mixed(each=3, patients=24), **DRAWS), "south")
    assert south["auroc"]["interval"] == "Obuchowski, logit scale"
    assert south["sensitivity"]["interval"].endswith("independent radiographs by patient")
    assert (south["sensitivity"]["n"], south["sensitivity"]["n_patients"]) == (36, 12)


@pytest.mark.parametrize("by", ["sensitivity", "specificity"])
def test_an_operating_point_with_a_target_reaches_it_on_validation(by: Any) -> None:
    scores = mixed(patients=60)
    point = OperatingPoint(by, 0.8)
    threshold = entry(scores_by_group(scores, **DRAWS, point=point), "south")["threshold"]
    home = scores[scores["split"].eq("val")]
    kind = home[home["label"].eq(int(by == "sensitivity"))]["score"]
    right = (kind >= threshold) if by == "sensitivity" else (kind < threshold)
    # 30 of the class: 24 are enough
    assert right.sum() == 24
    assert point.words == f"{by} of at least 0.8 on IID validation radiographs, carried over"


def test_a_perfect_ranking_has_no_interval_without_width() -> None:
    north = entry(scores_by_group(run_of(), **DRAWS), "north")
    perfect = [name for name, one in north.items() if isinstance(one, dict) and one["value"] == 1]
    assert {"auroc", "average_precision", "sensitivity", "balanced_accuracy", "ppv"} <= set(perfect)
    assert all(north[name]["low"] is None or north[name]["low"] < 0.7 for name in perfect)
    assert north["average_precision"]["interval"] == "none: every draw is at the end of the scale"


# --- p-values


def test_p_values_are_adjusted_over_the_whole_table() -> None:
    both = pd.concat([mixed("erm"), mixed("tea", seed=1), mixed("isnet", seed=2)], ignore_index=True)
    for table in (differences_to("erm", both), between_hospitals(both), gaps(both)):
        p, adjusted = [one["p"] for one in table], [one["p_holm"] for one in table]
        assert len(table) > 2
        assert min(adjusted) == pytest.approx(min(1.0, len(table) * min(p)))
        assert all(a >= b for a, b in zip(adjusted, p, strict=True))


def test_hospitals_are_compared_in_pairs_per_method() -> None:
    both = pd.concat([run_of("tea"), run_of("erm")], ignore_index=True)
    found = between_hospitals(both)
    assert [(one["method"], one["groups"], one["difference"]["value"]) for one in found] == [
        ("tea", ["north", "south"], 1),
        ("erm", ["north", "south"], 1),
    ]
    assert all(one["p"] is None and one["difference"]["low"] is None for one in found), "nothing varies"


def test_a_paired_difference_counts_its_radiographs_once() -> None:
    both = pd.concat([mixed("erm"), mixed("tea", seed=1)], ignore_index=True)
    assert {(one["difference"]["n"], one["difference"]["n_positive"]) for one in differences_to("erm", both)} == {
        (40, 20)
    }


def test_methods_scored_on_other_radiographs_are_not_compared() -> None:
    both = pd.concat([mixed("erm"), mixed("tea").iloc[:-1]], ignore_index=True)
    with pytest.raises(DataError, match="'tea' and 'erm' have scores of different radiographs"):
        differences_to("erm", both)


# --- several classes


def test_of_several_classes_the_accuracy_is_the_headline() -> None:
    # in the north 4 of 6 images get their class, in the south 1 of 6: a fall of one half
    scores = run_of()
    for group, wrong in (("north", 2), ("south", 5)):
        where = scores["group"].eq(group) & scores["split"].eq("test")
        labels = np.arange(6) % 3
        scores.loc[where, "label"] = labels
        scores.loc[where, "predicted"] = np.where(np.arange(6) < wrong, (labels + 1) % 3, labels)
    scores.loc[scores["split"].eq("val"), "predicted"] = 0.0
    entries = scores_by_group(scores, **DRAWS)
    assert [one["accuracy"]["value"] for one in entries] == pytest.approx([4 / 6, 1 / 6])
    assert all("auroc" not in one and "threshold" not in one for one in entries)
    assert no_answers(entries) == 0
    assert gaps(scores)[0]["difference"]["value"] == pytest.approx(0.5)
    better = scores.assign(method="tea", predicted=scores["label"].astype(float))
    both = pd.concat([scores, better], ignore_index=True)
    differences = {one["group"]: one["difference"]["value"] for one in differences_to("erm", both)}
    assert differences == pytest.approx({"north": 2 / 6, "south": 5 / 6})
