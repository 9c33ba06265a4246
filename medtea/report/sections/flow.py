"""What became of every file, per hospital."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Text
from medtea.report.contents import Contents
from medtea.report.tables import flow_table, refused_table

TITLE = "Data: from files to radiographs"
PLACE = 100


def blocks(contents: Contents) -> Sequence[Block]:
    """Files found, accepted and refused, and the reasons; nothing where the run does not say."""
    flow, refused = flow_table(contents.flow), refused_table(contents.refused)
    if refused.rows:
        return [flow, refused] if flow.rows else [refused]
    return [flow, Text("No file was refused.", small=True)] if flow.rows else []
