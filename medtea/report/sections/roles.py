"""What each hospital is for, and by what anything was selected."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.core.names import Role
from medtea.report.blocks import Block, Points
from medtea.report.contents import Contents, is_audit_alone
from medtea.report.hospitals import FOR_WHAT, TAGS, roles_of
from medtea.report.tables import Cell, Column, Table, listed

TITLE = "Roles of the hospitals, and the rule of selection"
PLACE = 130


def blocks(contents: Contents) -> Sequence[Block]:
    """A row per hospital; how epochs and thresholds were chosen."""
    if is_audit_alone(contents):
        return []
    groups = contents.metrics.groups
    known = roles_of(contents.table)
    roles = known or {name: {"iid": Role.TRAIN, "ood": Role.EXTERNAL}.get(role, "") for name, role in groups.items()}
    rows = tuple(
        (Cell(name), Cell(TAGS.get(Role(role), "") if role else "not said"), Cell(FOR_WHAT.get(Role(role), "")))
        for name, role in roles.items()
        if role
    )
    by_rule: dict[str, list[str]] = {}
    for method in contents.metrics.methods:
        by_rule.setdefault(method.selection or "not stated", []).append(method.name)
    rules = [f"Epoch of {listed(names)}: {rule}." for rule, names in by_rule.items()]
    if contents.metrics.operating_point:
        rules.append(f"Threshold: {contents.metrics.operating_point}.")
    table = Table("What each hospital is for", (Column("hospital"), Column("role"), Column("what for")), rows)
    return [*([table] if rows else []), *([Points(tuple(rules))] if rules else [])]
