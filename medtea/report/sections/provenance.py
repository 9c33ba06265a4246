"""Who made this, with what: versions, seed, digests, and all settings."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Code, Facts, Fold
from medtea.report.contents import Contents

TITLE = "Provenance"
PLACE = 990


def blocks(contents: Contents) -> Sequence[Block]:
    """A line per fact, and the filled-in settings."""
    made: list[Block] = [Facts(contents.provenance)] if contents.provenance else []
    if contents.settings:
        made.append(Fold("All settings, defaults filled in", (Code(contents.settings),)))
    return made
