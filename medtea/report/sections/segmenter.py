"""How good the lung masks are that everything else looks through."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block
from medtea.report.contents import Contents
from medtea.report.tables import segmenter_table

TITLE = "Lung segmenter"
PLACE = 500


def blocks(contents: Contents) -> Sequence[Block]:
    """One row per hospital."""
    table = segmenter_table(contents.segmenter)
    return [table] if table.rows else []
