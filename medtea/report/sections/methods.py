"""Who was compared: what each method saw in training, what it needs at inference, and how it was chosen."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Text
from medtea.report.contents import Contents, is_audit_alone
from medtea.report.tables import method_table

TITLE = "Methods"
PLACE = 140
TRAINED = (
    "The loader hands over the fields named here and no others. Checkpoints and thresholds were chosen on the "
    "hospitals seen in training alone."
)
GIVEN = (
    "The predictions were made elsewhere: what the systems saw, at which hospitals they were trained and how they were "
    "selected is the word of whoever gave the file."
)


def blocks(contents: Contents) -> Sequence[Block]:
    """One row per method."""
    if is_audit_alone(contents):
        return []
    words = GIVEN if contents.metrics.are_given else TRAINED
    return [method_table(contents.metrics), Text(words, small=True)]
