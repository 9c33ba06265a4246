"""The report as one HTML file that needs nothing else: no script, no network, no font or picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medtea.report.blocks import Section
from medtea.report.contents import Contents
from medtea.report.drawing import inline
from medtea.report.sections.section import read_sections
from medtea.report.seeds_figure import order_of, seeds_plot
from medtea.report.seeds_tables import Record, seeds_tables
from medtea.report.words import seeds_findings

_TEMPLATES = Environment(
    loader=PackageLoader("medtea.report", package_path=""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["drawn"] = lambda svg: Markup(inline(svg))


def seeds_page(record: Record, title: str) -> str:
    """What a sweep found on a page of its own: in sentences, as a figure and as tables."""
    return _TEMPLATES.get_template("seeds.html").render(
        title=title,
        style=_style(),
        findings=seeds_findings(record),
        names=Markup(inline(seeds_plot(record, panels=False))),
        panels=Markup(inline(seeds_plot(record, names=False))),
        order=order_of(record),
        tables=seeds_tables(record),
        failed=record["failed"],
        interval=record["interval"],
        made_with=record["made_with"],
    )


def _style() -> Markup:
    return Markup(_TEMPLATES.loader.get_source(_TEMPLATES, "page.css")[0])  # type: ignore[union-attr]


def page(contents: Contents, sections: Sequence[Section] | None = None) -> str:
    """The whole page. Every name is shown as text, whatever it holds."""
    shown = read_sections(contents) if sections is None else sections
    return _TEMPLATES.get_template("page.html").render(
        title=contents.title, task=contents.task, sections=shown, style=_style()
    )
