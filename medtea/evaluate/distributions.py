"""How each method's scores lie, positives and negatives apart, at each hospital."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from medtea.core.names import Split
from medtea.evaluate.by_hospital import compared, headline, role_of

BINS = 20
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def score_distributions(scores: pd.DataFrame) -> dict[str, Any] | None:
    """The key `score_distributions` of metrics.json; None for several classes.

    `edges` of each method are 21, from its lowest to its highest test score over all groups, so that hospitals can be
    compared; `negative` and `positive` count the scores in each bin, the last of which holds its upper edge.
    `quantiles` are those of QUANTILES, null where there is no such label.
    """
    if headline(scores) != "auroc":
        return None
    counted = compared(scores)
    tested = counted[counted["split"].eq(Split.TEST) & np.isfinite(counted["score"])]
    entries = []
    for method, of_method in tested.groupby("method", sort=False):
        edges = np.histogram_bin_edges(of_method["score"].to_numpy(), bins=BINS)
        for group, part in of_method.groupby("group", sort=True):
            entries.append(
                {
                    "method": method,
                    "group": group,
                    "role": role_of(part),
                    "edges": edges.tolist(),
                    "negative": _counts(part[part["label"].eq(0)], edges),
                    "positive": _counts(part[part["label"].eq(1)], edges),
                }
            )
    return {"quantiles": list(QUANTILES), "entries": entries}


def _counts(rows: pd.DataFrame, edges: np.ndarray[Any, Any]) -> dict[str, Any]:
    values = rows["score"].to_numpy()
    quantiles = np.quantile(values, QUANTILES).tolist() if values.size else None
    return {"n": len(rows), "counts": np.histogram(values, edges)[0].tolist(), "quantiles": quantiles}
