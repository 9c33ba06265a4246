"""The result on one table: AUROC per method and hospital."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Text
from medtea.report.contents import Contents, is_audit_alone
from medtea.report.tables import main_table

TITLE = "Result"
PLACE = 20


def blocks(contents: Contents) -> Sequence[Block]:
    """The main table, and how to read it."""
    if is_audit_alone(contents):
        return []
    relevance = (
        " Compare the relevance outside the lungs with the area share, which it would equal if relevance lay evenly "
        "over the radiograph."
    )
    return [
        main_table(contents.metrics, contents.outcomes),
        Text(
            "IID: other patients of the hospitals seen in training. OOD: hospitals, or variants of one, that no "
            f"training or selection step saw. Below each number stands its interval ({contents.metrics.interval}). "
            "“No answer” means that the number cannot be computed, for instance because a hospital has one class only."
            + (relevance if contents.outcomes else ""),
            small=True,
        ),
    ]
