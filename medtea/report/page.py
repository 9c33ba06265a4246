"""The report as one HTML file that needs nothing else: no network, no font, picture or script from elsewhere.

One small script stands in it, to sort tables and to fade from one map to the next; the page's policy names it by its
digest, so that a browser runs this one and no other. Without it everything is there to read.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medtea.report.blocks import Section, csv_of
from medtea.report.drawing import inline
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
_TEMPLATES.filters["csv"] = lambda numbers: (
    "data:text/csv;base64," + base64.b64encode(csv_of(numbers).encode()).decode()
)


def seeds_page(record: Record, title: str) -> str:
    """What a sweep found on a page of its own: in sentences, as a figure and as tables."""
    return _TEMPLATES.get_template("seeds.html").render(
        title=title,
        style=_style(),
        script=_script(),
        findings=seeds_findings(record),
        names=Markup(inline(seeds_plot(record, panels=False))),
        panels=Markup(inline(seeds_plot(record, names=False))),
        order=order_of(record),
        tables=seeds_tables(record),
        failed=record["failed"],
        interval=record["interval"],
        made_with=record["made_with"],
    )


@dataclass(frozen=True)
class Script:
    """The page's own script, and its digest as a content security policy has it."""

    text: Markup
    digest: str


def _style() -> Markup:
    return Markup(_source("page.css"))


def _script() -> Script:
    text = _source("page.js")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), f"sha256-{digest}")


def _source(name: str) -> str:
    return str(_TEMPLATES.loader.get_source(_TEMPLATES, name)[0])  # type: ignore[union-attr]


def page(title: str, task: str, sections: Sequence[Section]) -> str:
    """The whole page. Every name is shown as text, whatever it holds."""
    return _TEMPLATES.get_template("page.html").render(
        title=title, task=task, sections=sections, style=_style(), script=_script()
    )
