"""The radiographs of a run as datasets that tracking may name: per hospital and use, with counts and a digest."""

from __future__ import annotations

import pandas as pd

from medtea.core.names import Role, Split
from medtea.core.tracking import DatasetFacts
from medtea.core.work import digest_of

USES = {Split.TRAIN: "training", Split.VALIDATION: "validation", Split.TEST: "test"}


def datasets_of(index: pd.DataFrame) -> list[DatasetFacts]:
    """One for each hospital and split, of its labelled radiographs; the digest changes with any picture or label."""
    wanted = index[index["label"].notna() & index["role"].ne(Role.EXTRA)]
    found = []
    for (hospital, split, role), part in wanted.groupby(["hospital", "split", "role"], sort=True):
        # A file of predictions has no pictures: there our own id stands for the picture.
        pictures = part["digest"].where(part["digest"].ne(""), part["radiograph"])
        rows = sorted(zip(pictures, part["label"].astype(int), strict=True))
        facts = DatasetFacts(
            hospital=str(hospital),
            use=USES[Split(str(split))],
            role=str(role),
            radiographs=len(part),
            patients=part["patient"].nunique(),
            positive=int(part["label"].eq(1).sum()),
            digest=digest_of(rows),
        )
        found.append(facts)
    return found
