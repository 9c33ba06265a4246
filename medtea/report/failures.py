"""Radiographs that a method was surest about, and wrong: what to look at first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medtea.core.names import Split
from medtea.report.blanking import Blank, blanked
from medtea.report.contents import Failure


def find_failures(
    scores: pd.DataFrame,
    table: pd.DataFrame,
    *,
    per_class: int,
    thresholds: Mapping[str, float],
    radiographs: NDArray[Any] | None = None,
    lung_masks: NDArray[Any] | None = None,
    blank: Blank = "border",
) -> tuple[Failure, ...]:
    """Per method and group the negatives with the highest scores and the positives with the lowest.

    Only errors are failures: a negative above its method's threshold, a positive below. The radiograph is shown for
    the first method that is not the teacher.

    Args:
        scores: scores.csv of evaluate.
        table: The index; row i is radiograph i of the arrays.
        per_class: So many of either class.
        thresholds: Of each method; of one that has none its median score in the group.
        radiographs: (radiographs, size, size) in [0, 1]; None: nothing is shown.
        lung_masks: Same shape.
        blank: What is not shown of a radiograph.
    """
    if scores.empty or not per_class or scores["predicted"].notna().any():
        return ()
    tested = scores[scores["split"].eq(Split.TEST) & scores["plausible_mask"].astype(bool)]
    shown_of = next((name for name in tested["method"].unique() if name != "teacher"), None)
    places = {name: row for row, name in enumerate(table["radiograph"])} if len(table) else {}
    found = []
    for (method, group), part in tested.groupby(["method", "group"], sort=False):
        threshold = thresholds.get(str(method), float(part["score"].median()))
        for label in (0, 1):
            of_class = part[part["label"].eq(label)]
            wrong = of_class[of_class["score"].ge(threshold) if label == 0 else of_class["score"].lt(threshold)]
            worst = wrong.sort_values(["score", "radiograph"], ascending=[label == 1, True]).head(per_class)
            for name, score in zip(worst["radiograph"], worst["score"], strict=True):
                image = None
                if method == shown_of and radiographs is not None and name in places:
                    image = _image(table, places[name], radiographs, lung_masks, blank)
                found.append(Failure(str(name), str(group), str(method), label, float(score), image))
    return tuple(found)


def _image(
    table: pd.DataFrame, row: int, radiographs: NDArray[Any], lung_masks: NDArray[Any] | None, blank: Blank
) -> NDArray[Any]:
    mask = None if lung_masks is None else np.asarray(lung_masks[row])
    has_text = bool(with_text(table).iloc[row])
    return blanked(np.asarray(radiographs[row], np.float32), mask, blank, has_text=has_text)


def with_text(table: pd.DataFrame) -> pd.Series[bool]:
    """On which radiographs ingest saw text, or a tag declared it."""
    if "text_on_border" not in table:
        return pd.Series(False, index=table.index)
    return table["text_on_border"].isin(["text", "declared"])
