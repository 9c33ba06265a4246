"""medtea pacs: hospitals' archives asked and received from."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from medtea.cli.configs import load, source_of
from medtea.cli.options import Config, From, Set
from medtea.cli.screen import out
from medtea.cli.walking import folder_of
from medtea.core.errors import DataError, UsageError
from medtea.ingest.pacs.cache import Shelf
from medtea.ingest.pacs.check import Answer, look
from medtea.ingest.sources import pacs
from medtea.ingest.stage import open_source


def pacs_check(config: Config, set_: Set = None, from_: From = None) -> None:
    """Ask each hospital whether it answers, and how much the query matches; nothing is received."""
    source = _archives(config, set_, from_)
    answers = [look(archive, source.cache) for archive in source.archives()]
    out.print(_answers(answers))
    wrong = [answer for answer in answers if answer.problem]
    for answer in wrong:
        out.print(f"{answer.hospital}: {answer.problem}", markup=False, highlight=False, soft_wrap=True)
    if wrong:
        raise DataError(f"{len(wrong)} of {len(answers)} hospitals would give nothing; see the reasons above.")


def pacs_fetch(config: Config, set_: Set = None, from_: From = None) -> None:
    """Ask anew what the query matches, and receive what is not here yet; ingest then reads it."""
    source = _archives(config, set_, from_)
    try:
        source.receive(again=True)
    finally:
        for archive in source.archives():
            shelf = Shelf(source.cache, archive.name, archive.digest)
            wanted, missing = shelf.wanted(), len(shelf.missing())
            lost = sum(bool(reason) for _, reason in wanted)
            here = len(wanted) - missing - lost
            text = f"{archive.name}: {len(wanted)} images wanted, {here} here, {missing} missing, {lost} not to be had"
            out.print(text, markup=False, highlight=False, soft_wrap=True)


def _archives(config: Path, set_: list[str] | None, from_: str | None) -> pacs.Source:
    _, settings = load(config, [*source_of(config, from_), *(set_ or [])])
    source = (
        open_source(settings.ingest, folder_of(config, None), settings.seed) if hasattr(settings, "ingest") else None
    )
    if not isinstance(source, pacs.Source):
        raise UsageError("The config's source is not 'pacs'. Add --from pacs, or give a config of that source.")
    return source


def _answers(answers: list[Answer]) -> Table:
    grid = Table("hospital", "asked by", "answers", "studies", "instances in them", "wanted of the first", "received")
    for one in answers:
        sizes = ["-" if size is None else f"{size:,}" for size in (one.studies, one.instances)]
        some = f"{one.wanted} of {one.looked_into} studies" if one.looked_into else "-"
        grid.add_row(one.hospital, one.protocol, "yes" if one.answers else "no", *sizes, some, f"{one.received:,}")
    return grid
