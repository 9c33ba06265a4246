"""A teacher and its students trained for a moment on a made index, as their stages leave them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from oracles.made_run import index_row

from medtea.core.names import IndexArtefact, StudentArtefact, TeacherArtefact
from medtea.core.settings import parse
from medtea.core.work import Work
from medtea.distil import stage as distil
from medtea.teach import stage as teach

LOOP = {"epochs": 1, "batch_size": 8}


def learning_rows(*, unbiased: int = 0, test: int = 4) -> list[dict[str, Any]]:
    """Twelve training and four validation radiographs, tests, and `unbiased` set apart, a quarter to validate."""
    splits = ["train"] * 12 + ["val"] * 4
    rows = [index_row(number, split=split) for number, split in enumerate(splits)]
    for number in range(unbiased):
        split = "val" if number < unbiased // 4 else "train"
        rows.append(index_row(100 + number, hospital="apart", role="unbiased", split=split))
    rows += [index_row(200 + n, split="test") for n in range(test)]
    return rows + [index_row(300 + n, hospital="south", role="external", split="test") for n in range(test)]


def taught(work: Work, index: IndexArtefact, **settings: Any) -> TeacherArtefact:
    """The teacher."""
    given = {"copies": 1, "loop": LOOP} | settings
    return teach.run(work, parse(teach.Settings, given, "teach"), index)


def distilled(
    work: Work, index: IndexArtefact, teacher: TeacherArtefact, methods: Sequence[str], **settings: Any
) -> list[StudentArtefact]:
    """A student of each method."""
    found = []
    for method in methods:
        given = {"method": method, "loop": LOOP} | settings
        found.append(distil.run(work, parse(distil.Settings, given, "distil"), index, teacher))
    return found


def card_of(artefact: TeacherArtefact | StudentArtefact) -> dict[str, Any]:
    """What its card says."""
    card: dict[str, Any] = json.loads(artefact.card.read_text())
    return card
