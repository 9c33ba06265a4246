"""Write the tables of docs/ingest.md: settings and facts from their docstrings, the truth table from the tests' own.

    python docs/write_ingest.py    # after a choice, a fact or a row of the truth table was added or changed

Of the page only what stands between `<!-- NAME -->` and `<!-- end of NAME -->` is written. tests/test_docs_ingest.py
compares.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from medtea.data.choices import Accept, Choices
from medtea.data.facts import Facts

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "ingest.md"
sys.path.append(str(REPOSITORY / "tests"))

from oracles.slow_pixels import Table  # noqa: E402 (the tests' folder had to be named first)
from oracles.truth_table import ROWS, Row  # noqa: E402

ATTRIBUTE = re.compile(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", re.DOTALL | re.MULTILINE)


def attributes(described: type) -> dict[str, str]:
    """What a class's docstring says of each attribute, on one line."""
    part = (inspect.getdoc(described) or "").partition("Attributes:\n")[2]
    return {name: " ".join(text.split()) for name, text in ATTRIBUTE.findall(part)}


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A Markdown table."""
    columns = list(columns)
    for row in (columns, ["---"] * len(columns), *rows):
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"


def settings_table(settings: type[BaseModel]) -> list[str]:
    """Each setting, its default and what it means."""
    told = attributes(settings)
    rows = []
    for name, field in settings.model_fields.items():
        default = "below" if isinstance(field.default, BaseModel) else _plain(field.default)
        rows.append([f"`{name}`", default, told[name]])
    return list(table(("setting", "default", "what"), rows))


def _plain(value: object) -> str:
    return f"`{list(value)}`".replace("'", "") if isinstance(value, tuple) else f"`{value}`"


def facts_table() -> list[str]:
    """Each fact and what it says."""
    return list(table(("fact", "says"), ([f"`{name}`", text] for name, text in attributes(Facts).items())))


def truth_table() -> list[str]:
    """Every row: what the header says, the words of PixelData, and what they are shown as."""
    columns = ("", "bits", "sign", "PhotometricInterpretation", "LUT shape", "modality", "VOI", "words", "shown")
    return list(table(columns, (_row(number, row) for number, row in enumerate(ROWS, start=1))))


def _row(number: int, row: Row) -> list[str]:
    image = row.image
    bits = f"{image.bits} of {image.allocated}" + ("" if image.high_bit is None else f", high bit {image.high_bit}")
    shown = ", ".join(f"{grey:.4f}".rstrip("0").rstrip(".") for grey in row.expected())
    words = ", ".join(map(str, row.words))
    shape = f"{row.shape}, conflict" if row.conflict else row.shape
    sign = "signed" if image.signed else ""
    return [str(number), bits, sign, image.photometric, shape, _modality(image.modality), _voi(row), words, shown]


def _modality(modality: Any) -> str:
    if isinstance(modality, Table):
        return _table(modality)
    return "" if modality is None else f"x {modality[0]:g} + {modality[1]:g}"


def _voi(row: Row) -> str:
    image = row.image
    padding = "" if image.padding is None else f"; padding {' to '.join(map(str, dict.fromkeys(image.padding)))}"
    if isinstance(image.voi, Table):
        return _table(image.voi) + padding
    if row.windows:
        choice = f"`voi: {row.choice}`"
        of_several = "of three windows " if image.voi else "three windows, "
        return f"{of_several}{choice}{': ' + _window(image.voi) if image.voi else ': whole range'}{padding}"
    if image.voi:
        return _window(image.voi) + padding
    none = "whole range" if image.percentiles is None else "percentiles {:g}-{:g}".format(*image.percentiles)
    return none + padding


def _window(voi: Any) -> str:
    return "{2} c={0:g} w={1:g}".format(*voi)


def _table(lut: Table) -> str:
    return f"table of {len(lut.entries)} from {lut.first}, {lut.bits} bits: {lut.entries[0]} to {lut.entries[-1]}"


def page() -> str:
    """docs/ingest.md with its tables made anew.

    Raises:
        SystemExit: it has no place for one, or several.
    """
    text = PAGE.read_text(encoding="utf-8")
    tables = {
        "accept": settings_table(Accept),
        "choices": settings_table(Choices),
        "facts": facts_table(),
        "truth table": truth_table(),
    }
    for name, lines in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        filled = "\n" + "\n".join(lines) + "\n\n"
        pattern = re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)
        text, written = pattern.subn(lambda _, filled=filled: filled, text)
        if written != 1:
            raise SystemExit(f"docs/ingest.md has {written} places for the table '{name}'; it must have one.")
    return text


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(REPOSITORY))


if __name__ == "__main__":
    main()
