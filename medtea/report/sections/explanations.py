"""What the networks looked at: radiographs with their signed heatmaps."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Gallery, Numbers, Text
from medtea.report.contents import Contents
from medtea.report.figures import montage, montage_svg

TITLE = "Explanations"
PLACE = 600


def blocks(contents: Contents) -> Sequence[Block]:
    """The radiographs that the audit kept, with every network's map."""
    rows = montage(contents.pictures)
    if not rows:
        return []
    return [
        Text(
            "Signed relevance of the network's logit over the radiograph: red speaks for the finding, blue against "
            "it. The line is the lung mask. Each map has its own colour scale, stated below it: logits of different "
            "networks have no common unit."
        ),
        Gallery(
            "montage",
            "Radiographs with heatmaps",
            rows,
            montage_svg(contents.pictures),
            Numbers(
                ("radiograph", "shown", "note"),
                tuple((row.title, panel.title, panel.note) for row in rows for panel in row.panels),
            ),
        ),
    ]
