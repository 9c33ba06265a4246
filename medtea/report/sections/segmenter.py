"""How good the lung masks are that everything else looks through."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Text
from medtea.report.contents import Contents
from medtea.report.tables import segmenter_table

TITLE = "Lung segmenter"
PLACE = 500
HOW = (
    "Means with a 95 % interval by patient, on radiographs with a given mask that the segmenter did not learn from. "
    "Where no lung was found Dice and the normalised surface distance are 0 and count; distances have no answer there. "
    "Normalised surface distance: the share of both outlines that lies within the tolerance of the other one (setting "
    "segment.tolerance_px). Distances are in pixels of the run's grid and not in millimetres: the "
    "field is stretched to it."
)


def blocks(contents: Contents) -> Sequence[Block]:
    """One row per hospital."""
    table = segmenter_table(contents.segmenter)
    return [table, Text(HOW, small=True)] if table.rows else []
