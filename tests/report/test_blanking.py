from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.made_report import scores_frame, table_frame

from medtea.report.blanking import Blank, blanked
from medtea.report.failures import find_failures

IMAGE = np.ones((40, 40), dtype=np.float32)
LUNGS = np.zeros((40, 40), dtype=np.uint8)
LUNGS[10:30, 2:20] = 1


def test_the_border_is_blanked_and_the_lungs_never_are() -> None:
    shown = blanked(IMAGE, LUNGS, "border")
    assert shown[:4].sum() == shown[-4:].sum() == shown[:, -4:].sum() == 0
    assert shown[LUNGS > 0].all(), "also where they lie on the border"
    assert shown[4:-4, 4:-4].all()
    assert IMAGE.all(), "the radiograph itself is not changed"


@pytest.mark.parametrize(("how", "has_text"), [("border", True), ("outside_chest", False)])
def test_where_text_was_seen_nothing_outside_the_chest_is_shown(how: Blank, has_text: bool) -> None:
    shown = blanked(IMAGE, LUNGS, how, has_text=has_text)
    # the lungs' box, 2 pixels (6 % of 40) larger on each side
    assert shown[8:32, 0:22].all()
    assert shown.sum() == 24 * 22


def test_without_a_mask_a_radiograph_with_text_is_not_shown_at_all() -> None:
    assert blanked(IMAGE, None, "border", has_text=True).sum() == 0
    assert blanked(IMAGE, None, "border").sum() == 32 * 32


def test_nothing_is_blanked_where_the_settings_say_so() -> None:
    assert blanked(IMAGE, LUNGS, "nothing", has_text=True).all()


def failures(per_class: int = 2, thresholds: dict[str, float] | None = None) -> list[tuple[str, int, float]]:
    found = find_failures(scores_frame(), table_frame(), per_class=per_class, thresholds=thresholds or {})
    return [(one.method, one.label, one.score) for one in found if one.group == "east"]


def test_the_surest_errors_are_the_ends_of_each_class_and_only_errors() -> None:
    scores = scores_frame()
    part = scores[scores["method"].eq("erm") & scores["group"].eq("east") & scores["plausible_mask"]]
    found = failures(thresholds={"erm": 0.5})
    negatives = [score for method, label, score in found if (method, label) == ("erm", 0)]
    assert negatives == sorted(part.loc[part["label"].eq(0), "score"], reverse=True)[:2]
    positives = [score for method, label, score in found if (method, label) == ("erm", 1)]
    assert positives == sorted(part.loc[part["label"].eq(1), "score"])[:2]
    assert not [one for one in failures(thresholds=dict.fromkeys(scores["method"], 2.0)) if one[1] == 0]
    assert not failures(per_class=0)


def test_a_radiograph_is_shown_for_the_first_student_alone_and_without_what_is_written_on_it() -> None:
    table = table_frame().assign(text_on_border="text")
    arrays: dict[str, Any] = {"radiographs": np.ones((len(table), 40, 40), dtype=np.float16)}
    arrays["lung_masks"] = np.repeat(LUNGS[None], len(table), axis=0)
    found = find_failures(scores_frame(), table, per_class=1, thresholds={}, blank="border", **arrays)
    assert {one.method for one in found if one.image is not None} == {"tea"}
    assert {one.image.sum() for one in found if one.image is not None} == {24 * 22}


def test_several_classes_have_no_failures_here() -> None:
    scores = scores_frame().assign(predicted=1.0)
    assert find_failures(scores, pd.DataFrame(), per_class=2, thresholds={}) == ()
