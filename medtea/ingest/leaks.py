"""What becomes of radiographs that are nearly one picture, where one would be trained on and the other tested on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medtea.core.errors import DataError
from medtea.core.names import Role, Split
from medtea.ingest.duplicates import Pair, groups_of

Policy = Literal["refuse", "drop", "flag"]

PAIR_COLUMNS = (
    *("radiograph", "other", "distance", "group", "hospital", "other_hospital", "file", "other_file"),
    *("same_patient", "leak", "done"),
)


def learned_from(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows some training or selection step sees; the others are tested on."""
    return (table["role"].ne(Role.EXTERNAL) & table["split"].ne(Split.TEST)).to_numpy()


def leaking(table: pd.DataFrame, pairs: Sequence[Pair]) -> NDArray[np.bool_]:
    """Which rows are in a group of copies of which one is learned from and another tested on.

    The pairs only connect the groups: two of a group need be no pair of them.
    """
    groups, learned = groups_of(pairs, len(table)), learned_from(table)
    return np.isin(groups, np.intersect1d(groups[learned], groups[~learned]))


def pair_rows(table: pd.DataFrame, pairs: Sequence[Pair], policy: Policy) -> list[dict[str, Any]]:
    """One row for each pair; `done` is what the policy does about it: "kept", "refused", "left out"."""
    leak, groups, lost = leaking(table, pairs), groups_of(pairs, len(table)), left_out(table, pairs)
    rows = []
    for pair in pairs:
        one, other = table.iloc[pair.first], table.iloc[pair.second]
        dropped = policy == "drop" and (pair.first in lost or pair.second in lost)
        refused = policy == "refuse" and leak[pair.first]
        rows.append(
            {
                **{"radiograph": one["radiograph"], "other": other["radiograph"], "distance": f"{pair.distance:.3f}"},
                **{"group": table["radiograph"].iloc[groups[pair.first]]},
                **{"hospital": one["hospital"], "other_hospital": other["hospital"]},
                **{"file": one["file"], "other_file": other["file"]},
                **{"same_patient": one["patient"] == other["patient"], "leak": bool(leak[pair.first])},
                **{"done": "refused" if refused else "left out" if dropped else "kept"},
            }
        )
    return rows


def refuse_leak(table: pd.DataFrame, pairs: Sequence[Pair]) -> None:
    """Returns when no picture is on both sides.

    Raises:
        DataError: with the ids, files and hospitals of the nearest pair, and the mend.
    """
    learned = learned_from(table)
    # A group on both sides is connected by its pairs, so that one of them goes from one side to the other.
    across = [pair for pair in pairs if learned[pair.first] != learned[pair.second]]
    if not across:
        return
    pair = min(across, key=lambda pair: pair.distance)
    one, other = table.iloc[pair.first], table.iloc[pair.second]
    groups = np.unique(groups_of(pairs, len(table))[leaking(table, pairs)])
    raise DataError(
        f"Radiographs {one['radiograph']} (file {one['file']}, {one['hospital']}) and {other['radiograph']} (file "
        f"{other['file']}, {other['hospital']}) are nearly one picture (distance {pair.distance:.3f}; 0 is the same), "
        f"and one would be trained on, the other tested on. Groups of copies on both sides: {len(groups)}, all "
        "in ingest/duplicates.csv. Set ingest.duplicates: drop to leave out the copies that "
        "would be trained on, or flag to keep them."
    )


def left_out(table: pd.DataFrame, pairs: Sequence[Pair]) -> dict[int, str]:
    """Rows to leave out, and why: of every leak those that are learned from, so that no test set changes."""
    learned, groups = learned_from(table), groups_of(pairs, len(table))
    tested: dict[int, int] = {}
    for row in np.flatnonzero(~learned):
        tested.setdefault(int(groups[row]), int(row))
    return {
        int(row): f"Its picture is nearly that of file {table['file'].iloc[tested[int(groups[row])]]}, which is tested "
        "on, and ingest.duplicates is drop."
        for row in np.flatnonzero(learned & leaking(table, pairs))
    }
