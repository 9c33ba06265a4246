"""Whether the networks rely on what is outside the lungs: every probe's answer."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Fold, Heading, Points, Text
from medtea.report.contents import Contents
from medtea.report.tables import outcome_table
from medtea.report.words import void

TITLE = "Audit: does it take shortcuts?"
PLACE = 700


def blocks(contents: Contents) -> Sequence[Block]:
    """For each probe its question, its table, what would void it, and its sentences."""
    made: list[Block] = []
    for probe in dict.fromkeys(outcome.probe for outcome in contents.outcomes):
        table = outcome_table(probe, contents.outcomes)
        made += [Heading(contents.questions.get(probe) or table.caption), table]
        made += [Text(f"Worthless if: {condition}", small=True) for condition in void(contents.outcomes, probe)]
        sentences = tuple(o.sentence for o in contents.outcomes if o.probe == probe and o.sentence)
        if sentences:
            made.append(Fold("In sentences", (Points(sentences),)))
    return made
