"""What the numbers say, in sentences made from them alone."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Points, Text
from medtea.report.contents import Contents, is_audit_alone
from medtea.report.words import findings

TITLE = "In words"
PLACE = 30


def blocks(contents: Contents) -> Sequence[Block]:
    """A sentence per finding."""
    if is_audit_alone(contents):
        return []
    sentences = findings(contents.metrics)
    if not sentences:
        return [Text("Nothing to compare: there is one group or one method only.")]
    return [Points(tuple(sentences))]
