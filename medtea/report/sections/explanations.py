"""What the networks looked at: mean maps per hospital and class, then typical and worst radiographs with every map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from medtea.report.blocks import Block, Fold, Gallery, Heading, Numbers, Text
from medtea.report.contents import Contents, Picture
from medtea.report.figures import montage, panels_svg

TITLE = "Explanations"
PLACE = 600


def blocks(contents: Contents) -> Sequence[Block]:
    """The radiographs that the audit kept, with every network's map; nothing where it kept none."""
    if not contents.pictures:
        return []
    order = list(contents.metrics.groups)
    pictures = sorted(contents.pictures, key=lambda one: order.index(one.group) if one.group in order else len(order))
    means = [one for one in pictures if one.case == "mean"]
    single = [one for one in pictures if one.case != "mean"]
    made: list[Block] = [
        Text(
            "Signed relevance of the network's logit over the radiograph: red speaks for the finding, blue against "
            "it. The line is the lung mask. Each map has its own colour scale, stated below it: logits of different "
            "networks have no common unit. A map shows what the output was computed from, not that it was right."
        )
    ]
    if means:
        about = "Each map was divided by its sum of |relevance| first, so that each radiograph counts the same."
        made += [Heading("Mean map per hospital and class"), Text(about, small=True)]
        made.append(_gallery("mean_maps", "Mean radiograph with mean maps", means))
    if single:
        chosen = "Typical: the networks' scores rank it in the middle of its class. Worst: they rank it last."
        made += [Heading("Single radiographs"), Text(chosen, small=True)]
        for place, (group, some) in enumerate(groupby(single, key=lambda one: one.group)):
            gallery = _gallery(f"montage_{place}" if place else "montage", f"Radiographs of {group}", list(some))
            made.append(gallery if not place else Fold(group, (gallery,)))
    return made


def _gallery(name: str, caption: str, pictures: Sequence[Picture]) -> Gallery:
    rows = montage(pictures)
    return Gallery(
        name,
        caption,
        rows,
        panels_svg(rows),
        Numbers(
            ("radiograph", "shown", "note"),
            tuple((row.title, panel.title, panel.note) for row in rows for panel in row.panels),
        ),
    )
