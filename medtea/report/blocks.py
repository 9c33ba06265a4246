"""What a section of the report is made of; each is shown as HTML, as Markdown and as JSON.

Everything is plain text: names are escaped where they are shown. A number comes with what it rests on, and with its
record: the file of the run folder and the key in it, "evaluate/metrics.json#/scores/3/auroc".
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from medtea.report.figures import PanelRow
from medtea.report.tables import Table

Number = str | int | float | None


@dataclass(frozen=True)
class Text:
    """A paragraph; small for what explains a table or figure."""

    kind: ClassVar[str] = "text"
    text: str
    small: bool = False


@dataclass(frozen=True)
class Alert:
    """A sentence that nobody may overlook."""

    kind: ClassVar[str] = "alert"
    text: str


@dataclass(frozen=True)
class Points:
    """Sentences, one below the other."""

    kind: ClassVar[str] = "points"
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Facts:
    """Names and values, a line each."""

    kind: ClassVar[str] = "facts"
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Code:
    """Text that is shown letter by letter."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Numbers:
    """What a figure shows, as the CSV beside it; None is an empty cell: no answer."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Number, ...], ...]


def csv_of(numbers: Numbers) -> str:
    """The numbers as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([numbers.columns, *numbers.rows])
    return text.getvalue()


@dataclass(frozen=True)
class Plot:
    """A figure.

    Attributes:
        name: Of the files figures/NAME.svg and figures/NAME.csv; one in a report.
        caption: What it shows.
        svg: From drawing.to_svg with the same name, which gives it a title and a description for who cannot see it.
        numbers: What is drawn.
    """

    kind: ClassVar[str] = "plot"
    name: str
    caption: str
    svg: str
    numbers: Numbers


@dataclass(frozen=True)
class Gallery:
    """Radiographs with heatmaps; on the page from its rows, as a file of its own from the SVG.

    fades says that a row is one radiograph with its maps, so that a slider may fade from one to the next.
    """

    kind: ClassVar[str] = "gallery"
    name: str
    caption: str
    rows: tuple[PanelRow, ...]
    svg: str
    numbers: Numbers
    fades: bool = True


@dataclass(frozen=True)
class Beside:
    """Blocks side by side, where there is room."""

    kind: ClassVar[str] = "beside"
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Fold:
    """Blocks that are hidden until they are asked for; in print and in Markdown they are shown."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: tuple[Block, ...]


Block = Text | Alert | Points | Heading | Facts | Code | Table | Plot | Gallery | Beside | Fold


@dataclass(frozen=True)
class Section:
    """A section as it is shown: the anchor is its file's name, the title its heading."""

    anchor: str
    title: str
    blocks: tuple[Block, ...] = field(default_factory=tuple)


def flat(blocks: Sequence[Block]) -> list[Block]:
    """All blocks in the order of reading, those inside others too."""
    found: list[Block] = []
    for one in blocks:
        found.append(one)
        if isinstance(one, Beside | Fold):
            found += flat(one.blocks)
    return found


def figures_of(sections: Sequence[Section]) -> list[Plot | Gallery]:
    """Every figure of the report."""
    return [one for section in sections for one in flat(section.blocks) if isinstance(one, Plot | Gallery)]
