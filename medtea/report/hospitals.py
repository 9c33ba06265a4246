"""The hospitals of a run in the order in which they are shown, and what each is for in words."""

from __future__ import annotations

import pandas as pd

from medtea.core.names import Role, Split
from medtea.report.tables import Column

ORDER = {Role.TRAIN: 0, Role.UNBIASED: 1, Role.EXTERNAL: 2, Role.EXTRA: 3}
TAGS = {Role.TRAIN: "IID", Role.UNBIASED: "unbiased", Role.EXTERNAL: "OOD", Role.EXTRA: "extra"}
FOR_WHAT = {
    Role.TRAIN: "learnt from and selected on; the patients of its test split, whom neither saw, are IID",
    Role.UNBIASED: "a small set in which the shortcut says nothing; learnt from by methods that declare it",
    Role.EXTERNAL: "seen by no training and no selection step; all of it is the OOD test",
    Role.EXTRA: "in no list; serves the lung segmenter alone",
}


def roles_of(table: pd.DataFrame) -> dict[str, str]:
    """Hospital to role, those trained at first; empty where there is no index."""
    if table.empty:
        return {}
    roles = {str(name): str(role) for name, role in table.groupby("hospital")["role"].first().items()}
    return dict(sorted(roles.items(), key=lambda item: (ORDER.get(Role(item[1]), 9), item[0])))


def hospital_columns(roles: dict[str, str]) -> list[Column]:
    """A column of numbers for each hospital, with its role beside it."""
    return [Column(name, TAGS.get(Role(role), ""), numeric=True) for name, role in roles.items()]


def learned_from(table: pd.DataFrame) -> pd.Series[bool]:
    """Radiographs that some training or selection step may see; all others are tested on or serve the segmenter."""
    return table["role"].isin([Role.TRAIN, Role.UNBIASED]) & table["split"].ne(Split.TEST) & table["label"].notna()


def tested_on(table: pd.DataFrame) -> pd.Series[bool]:
    """Radiographs that the results count: labelled, of a test split, with a plausible mask."""
    usable = table["plausible"] if "plausible" in table else pd.Series(True, index=table.index)
    of_test = table["split"].eq(Split.TEST) & table["role"].isin([Role.TRAIN, Role.EXTERNAL])
    return of_test & table["label"].notna() & usable
