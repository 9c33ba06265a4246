from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medtea.evaluate.by_hospital import (
    differences_to,
    gaps,
    left_out,
    no_answers,
    scores_by_group,
)

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
    assert entry(found, "south")["auroc"] | {"value": 0, "low": 0, "high": 0} == entry(found, "south")["auroc"]
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
    assert all(one["difference"]["value"] is None for one in gaps(both, **DRAWS))
    differences = {one["group"]: one["difference"]["value"] for one in differences_to("erm", both, **DRAWS)}
    assert differences == {"north": 0, "south": None}


def test_a_gap_is_positive_where_the_method_falls() -> None:
    (fall,) = gaps(run_of(south=WRONG), **DRAWS)
    assert (fall["iid"], fall["ood"]) == (["north"], ["south"])
    assert fall["difference"]["value"] == 1  # 1 at north less 0 at south
    (level,) = gaps(run_of(south=RIGHT), **DRAWS)
    assert level["difference"]["value"] == 0


def test_a_difference_is_positive_where_the_method_beats_the_control() -> None:
    both = pd.concat([run_of("tea", south=RIGHT), run_of("erm", south=WRONG)])
    found = differences_to("erm", both, **DRAWS)
    assert [(one["method"], one["group"], one["difference"]["value"]) for one in found] == [
        ("tea", "north", 0),
        ("tea", "south", 1),
    ]


def test_differences_pair_radiographs_in_whatever_order_they_stand() -> None:
    tea = run_of("tea", south=RIGHT)
    both = pd.concat([tea.sample(frac=1, random_state=3), run_of("erm", south=WRONG)])
    straight = pd.concat([tea, run_of("erm", south=WRONG)])
    assert differences_to("erm", both, **DRAWS) == differences_to("erm", straight, **DRAWS)


def test_without_the_control_there_is_no_difference() -> None:
    assert differences_to("erm", run_of("tea"), **DRAWS) == []


def test_without_an_iid_group_there_is_no_gap() -> None:
    assert gaps(scored("erm", "south", LABELS, RIGHT), **DRAWS) == []


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
    scores = run_of(south=[0.1, 0.6, 0.3, 0.2, 0.8, 0.9])
    first = scores_by_group(scores, **DRAWS)
    assert first == scores_by_group(scores, **DRAWS)
    assert first != scores_by_group(scores, replicates=100, seed=1)


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
    assert gaps(scores, **DRAWS)[0]["difference"]["value"] == pytest.approx(0.5)
    better = scores.assign(method="tea", predicted=scores["label"].astype(float))
    both = pd.concat([scores, better], ignore_index=True)
    differences = {one["group"]: one["difference"]["value"] for one in differences_to("erm", both, **DRAWS)}
    assert differences == pytest.approx({"north": 2 / 6, "south": 5 / 6})
