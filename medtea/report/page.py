"""The report as one HTML file that needs nothing else: no script, no network, no font or picture from elsewhere."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medtea.report.contents import Contents
from medtea.report.drawing import inline
from medtea.report.figures import forest_plot, montage, slope_plot
from medtea.report.seeds_figure import order_of, seeds_plot
from medtea.report.seeds_tables import Record, seeds_tables
from medtea.report.tables import (
    difference_table,
    flow_table,
    gap_table,
    main_table,
    method_table,
    operating_table,
    outcome_table,
    refused_table,
    segmenter_table,
)
from medtea.report.words import findings, limits, seeds_findings, void

_TEMPLATES = Environment(
    loader=PackageLoader("medtea.report", package_path=""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


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


def page(contents: Contents) -> str:
    """The whole page. Every name is shown as text, whatever it holds."""
    metrics = contents.metrics
    probes = dict.fromkeys(outcome.probe for outcome in contents.outcomes)
    return _TEMPLATES.get_template("page.html").render(
        contents=contents,
        style=_style(),
        main=main_table(metrics, contents.outcomes),
        findings=findings(metrics),
        forest=Markup(inline(forest_plot(metrics))),
        slope=Markup(inline(slope_plot(metrics))),
        differences=[table for table in (gap_table(metrics), difference_table(metrics)) if table.rows],
        operating=operating_table(metrics),
        thresholds={s.method: s.threshold for s in metrics.scores if s.threshold == s.threshold},
        montage=montage(contents.pictures),
        segmenter=segmenter_table(contents.segmenter),
        flow=flow_table(contents.flow),
        refused=refused_table(contents.refused),
        probes=[
            {
                "table": outcome_table(probe, contents.outcomes),
                "question": contents.questions.get(probe, ""),
                "sentences": [o.sentence for o in contents.outcomes if o.probe == probe and o.sentence],
                "void": void(contents.outcomes, probe),
            }
            for probe in probes
        ],
        methods=method_table(metrics),
        limits=limits(contents),
    )
