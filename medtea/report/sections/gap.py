"""What is lost on the way from the hospitals seen in training to those not seen."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block
from medtea.report.contents import Contents
from medtea.report.tables import gap_table

TITLE = "From hospitals seen to hospitals not seen"
PLACE = 210


def blocks(contents: Contents) -> Sequence[Block]:
    """The fall per method; nothing where there is no hospital to fall to."""
    table = gap_table(contents.metrics)
    return [table] if table.rows else []
