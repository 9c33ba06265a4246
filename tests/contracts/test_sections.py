"""One contract for every section of the report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from xml.etree import ElementTree

import pytest
from oracles.made_report import GROUPS, contents
from oracles.page_reader import Reader

from medtea.core import bay
from medtea.report import sections
from medtea.report.as_json import json_of
from medtea.report.blocks import Block, Gallery, Heading, Plot, Section, figures_of, flat
from medtea.report.contents import Contents
from medtea.report.markdown import markdown_of
from medtea.report.page import page
from medtea.report.sections.section import read_sections
from medtea.report.tables import Table

EVERY = bay.names(sections)
EVIL = "<script>alert(1)</script>"
SVG = "{http://www.w3.org/2000/svg}"


def made(name: str, of: Contents) -> Section:
    module = bay.load(sections, name, "section")
    return Section(name, module.TITLE, tuple(module.blocks(of)))


@cache
def full(name: str) -> Section:
    """The section of a run that has everything, drawn once."""
    return made(name, full_run())


@cache
def full_run() -> Contents:
    return contents(one_class="south")


@cache
def odd_run() -> Contents:
    """A run with names that look like markup."""
    groups = dict(zip([EVIL, 'x" onload="alert(1)', "{{ 7 * 7 }}"], GROUPS.values(), strict=True))
    return replace(contents(groups), provenance={EVIL: EVIL}, settings=EVIL, notes=(EVIL,), intended_use=EVIL)


@cache
def whole() -> tuple[Section, ...]:
    return read_sections(full_run())


def tables(blocks: Sequence[Block]) -> list[Table]:
    return [one for one in flat(blocks) if isinstance(one, Table)]


@pytest.mark.parametrize("name", EVERY)
def test_a_section_has_a_heading_a_place_and_says_something_of_a_full_run(name: str) -> None:
    module = bay.load(sections, name, "section")
    assert module.TITLE.strip()
    assert 0 < module.PLACE < 1000
    section = full(name)
    assert section.blocks, "tests/oracles/made_report.py writes nothing that this section reads"
    assert not any(isinstance(one, Heading) and not one.text.strip() for one in flat(section.blocks))


def test_no_two_sections_stand_at_one_place() -> None:
    places = [bay.load(sections, name, "section").PLACE for name in EVERY]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("name", EVERY)
def test_a_section_does_without_what_a_run_may_lack(name: str) -> None:
    bare = Contents(title="bare", task="", metrics=contents().metrics)
    assert isinstance(made(name, bare).blocks, tuple)


@pytest.mark.parametrize("name", EVERY)
def test_its_tables_have_a_caption_headers_and_as_many_cells_as_columns(name: str) -> None:
    for table in tables(full(name).blocks):
        assert table.caption.strip()
        assert all(column.text.strip() for column in table.columns)
        assert {len(row) for row in table.rows} == {len(table.columns)}


@pytest.mark.parametrize("name", EVERY)
def test_a_table_with_intervals_says_what_they_rest_on(name: str) -> None:
    for table in tables(full(name).blocks):
        of_estimates = [cell for row in table.rows for cell in row if cell.rests_on]
        heads = " ".join(f"{column.text} {column.note}" for column in table.columns)
        assert not of_estimates or re.search(r"\bn\b", heads), table.caption
        assert all(" n " not in cell.text and "nan" not in cell.text.split() for row in table.rows for cell in row)


@pytest.mark.parametrize("name", EVERY)
def test_every_estimate_names_its_record(name: str) -> None:
    for table in tables(full(name).blocks):
        for cell in (cell for row in table.rows for cell in row if cell.rests_on):
            assert re.fullmatch(r"[\w/.]+\.(json|csv)#(/[^/]+)+", cell.record), (table.caption, cell)


@pytest.mark.parametrize("name", EVERY)
def test_its_figures_have_a_title_a_description_and_numbers(name: str) -> None:
    for figure in figures_of([full(name)]):
        tree = ElementTree.fromstring(figure.svg)
        told = {node.tag: node.text for node in tree}
        assert told[f"{SVG}title"]
        assert told[f"{SVG}desc"]
        assert figure.numbers.rows
        assert {len(row) for row in figure.numbers.rows} == {len(figure.numbers.columns)}
        assert isinstance(figure, Plot | Gallery)
        assert re.fullmatch(r"\w+", figure.name)


@pytest.mark.parametrize("name", EVERY)
def test_names_are_shown_as_text_on_the_page_and_in_markdown(name: str) -> None:
    shown = [made(name, odd_run())]
    text = page(EVIL, EVIL, shown)
    assert EVIL not in text
    assert not [name for name, _ in Reader(text).attributes if name.startswith("on")]
    # four spaces make a line code, which is shown letter by letter
    lines = markdown_of("x", "", shown).splitlines()
    assert not [line for line in lines if "<script" in line and not line.startswith("    ")]


def test_every_figure_has_a_name_of_its_own() -> None:
    names = [figure.name for figure in figures_of(whole())]
    assert len(names) == len(set(names))


def test_page_markdown_and_json_have_the_same_sections_in_the_same_order() -> None:
    shown = whole()
    titles = [section.title for section in shown]
    assert re.findall(r"<h2>(.*?)</h2>", page("x", "", shown)) == titles
    assert re.findall(r"^## (.*)$", markdown_of("x", "", shown), re.MULTILINE) == titles
    assert [section["title"] for section in json_of("x", "", shown)["sections"]] == titles


def test_the_json_holds_every_cell_and_no_picture() -> None:
    written = json_of("x", "", whole())
    text = str(written)
    assert "evaluate/metrics.json#/scores/0/auroc" in text
    assert "base64" not in text
    assert "<svg" not in text
