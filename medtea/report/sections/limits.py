"""What the numbers cannot say, written from what is true of this run."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Points
from medtea.report.contents import Contents
from medtea.report.words import limits

TITLE = "Limits"
PLACE = 900


def blocks(contents: Contents) -> Sequence[Block]:
    """A sentence per limit."""
    return [Points(tuple(limits(contents)))]
