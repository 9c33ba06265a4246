"""What becomes of radiographs that are nearly one picture, where one would be trained on and the other tested on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medtea.core.errors import DataError
from medtea.core.names import Role, Split
from medtea.ingest.duplicates import Pair

Policy = Literal["refuse", "drop", "flag"]

PAIR_COLUMNS = (
    *("radiograph", "other", "distance", "hospital", "other_hospital", "file", "other_file"),
    *("same_patient", "leak", "done"),
)


def learned_from(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows some training or selection step sees; the others are tested on."""
    return (table["role"].ne(Role.EXTERNAL) & table["split"].ne(Split.TEST)).to_numpy()


def leaks(table: pd.DataFrame, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs of which one is learned from and the other tested on."""
    learned = learned_from(table)
    return [pair for pair in pairs if learned[pair.first] != learned[pair.second]]


def pair_rows(table: pd.DataFrame, pairs: Sequence[Pair], policy: Policy) -> list[dict[str, Any]]:
    """One row for each pair; `done` is what the policy does about it: "kept", "refused", "left out"."""
    leaked = set(leaks(table, pairs))
    rows = []
    for pair in pairs:
        one, other = table.iloc[pair.first], table.iloc[pair.second]
        done = {"refuse": "refused", "drop": "left out", "flag": "kept"}[policy] if pair in leaked else "kept"
        rows.append(
            {
                **{"radiograph": one["radiograph"], "other": other["radiograph"], "distance": f"{pair.distance:.3f}"},
                **{"hospital": one["hospital"], "other_hospital": other["hospital"]},
                **{"file": one["file"], "other_file": other["file"]},
                **{"same_patient": one["patient"] == other["patient"], "leak": pair in leaked, "done": done},
            }
        )
    return rows


def refuse_leak(table: pd.DataFrame, pairs: Sequence[Pair]) -> None:
    """Returns when no picture is on both sides.

    Raises:
        DataError: with the ids, files and hospitals of the nearest pair, and the mend.
    """
    leaked = sorted(leaks(table, pairs), key=lambda pair: pair.distance)
    if not leaked:
        return
    pair = leaked[0]
    one, other = table.iloc[pair.first], table.iloc[pair.second]
    raise DataError(
        f"Radiographs {one['radiograph']} (file {one['file']}, {one['hospital']}) and {other['radiograph']} (file "
        f"{other['file']}, {other['hospital']}) are nearly one picture (distance {pair.distance:.3f}; 0 is the same), "
        f"and one would be trained on, the other tested on. Such pairs: {len(leaked)}, all in ingest/duplicates.csv. "
        "Set ingest.duplicates: drop to leave out the copies that would be trained on, or flag to keep both."
    )


def left_out(table: pd.DataFrame, pairs: Sequence[Pair]) -> dict[int, str]:
    """Rows to leave out, and why: of every leak the one that is learned from, so that no test set changes."""
    learned = learned_from(table)
    reasons = {}
    for pair in leaks(table, pairs):
        row, tested = (pair.first, pair.second) if learned[pair.first] else (pair.second, pair.first)
        reasons[row] = (
            f"Its picture is nearly that of file {table['file'].iloc[tested]}, which is tested on, and "
            "ingest.duplicates is drop."
        )
    return reasons
