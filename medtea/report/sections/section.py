"""The contract of a section: a heading, its place in the report, and blocks made from what the run left.

The file's name is the section's anchor. Neighbours' places are some numbers apart, so that another fits between them:
1 to 99 what this is and what came out, 100 data, 200 discrimination, 300 calibration and use, 400 subgroups,
500 segmenter, 600 explanations, 700 audit, 800 failures, 900 limits and records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, cast

from medtea.core import bay
from medtea.report import sections
from medtea.report.blocks import Block, Section
from medtea.report.contents import Contents

LAST = "checklist"
"""Made after all others, since it says which of them there are."""


class SectionModule(Protocol):
    """What a file of the bay holds."""

    TITLE: str
    PLACE: int

    def blocks(self, contents: Contents) -> Sequence[Block]:
        """The section; empty where the run has nothing to say of it.

        contents.metrics is evaluate's metrics.json as typed rows; contents.written the same file as it was written,
        with every key that a wing put there.
        """


def read_sections(contents: Contents) -> tuple[Section, ...]:
    """All sections that have something to say, in their places."""
    modules = {name: cast(SectionModule, bay.load(sections, name, "report section")) for name in bay.names(sections)}
    in_order = sorted(modules, key=lambda name: (modules[name].PLACE, name))
    made: dict[str, Section] = {}
    for name in [*(name for name in in_order if name != LAST), *(name for name in in_order if name == LAST)]:
        known = replace(contents, anchors={section.anchor: section.title for section in made.values()})
        section = Section(name, modules[name].TITLE, tuple(modules[name].blocks(known)))
        if section.blocks:
            made[name] = section
    return tuple(made[name] for name in in_order if name in made)
