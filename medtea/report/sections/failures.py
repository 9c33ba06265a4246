"""The surest errors: highest scores among negatives, lowest among positives, per hospital and method."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Fold, Gallery, Heading, Numbers, Text
from medtea.report.contents import Contents, Failure, Picture
from medtea.report.figures import panels_svg, strip
from medtea.report.tables import Cell, Column, Table

TITLE = "Failures: sure and wrong"
PLACE = 800
WORDS = ("negative, scored high", "positive, scored low")


def blocks(contents: Contents) -> Sequence[Block]:
    """The radiographs of one method as pictures, and all methods' in a table; nothing where there is none."""
    failures = contents.failures
    if not failures:
        return []
    wrong_for: dict[str, set[str]] = {}
    for one in failures:
        wrong_for.setdefault(one.radiograph, set()).add(one.method)
    made: list[Block] = [
        Text(
            "Look at these before anything else: at the label as well as at the network. A radiograph that many "
            "methods get wrong may carry a wrong label. The ids are medtea's own; your index leads from them to the "
            "files."
        )
    ]
    shown = [one for one in failures if one.image is not None]
    if shown:
        made += [Heading(f"The surest errors of {shown[0].method}"), _pictures(shown)]
    rows = tuple(
        (
            Cell(one.radiograph),
            Cell(one.group),
            Cell(one.method),
            Cell(WORDS[one.label]),
            Cell(f"{one.score:.3f}", record=f"evaluate/scores.csv#/{one.radiograph}/{one.method}/score"),
            Cell(f"{len(wrong_for[one.radiograph])}"),
        )
        for one in failures
    )
    heads = (Column("radiograph"), Column("hospital"), Column("method"), Column("error"))
    columns = (*heads, Column("score", numeric=True), Column("methods that list it", numeric=True))
    made.append(Fold("All methods, as a table", (Table("The surest errors", columns, rows),)))
    return made


def _pictures(failures: Sequence[Failure]) -> Gallery:
    pictures = [
        Picture(one.group, f"{WORDS[one.label]}: {one.score:.3f}", one.image, {}, radiograph=one.radiograph)
        for one in failures
        if one.image is not None
    ]
    of_groups = {one.group: [other for other in pictures if other.group == one.group] for one in pictures}
    rows = tuple(strip(group, of_group) for group, of_group in of_groups.items())
    return Gallery(
        "failures",
        f"The surest errors of {failures[0].method}",
        rows,
        panels_svg(rows),
        Numbers(
            ("radiograph", "hospital", "method", "label", "score"),
            tuple((one.radiograph, one.group, one.method, one.label, one.score) for one in failures),
        ),
        fades=False,
    )
