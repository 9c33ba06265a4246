"""Everything the run found, in sections: as one HTML page, as Markdown and as JSON, with its figures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field as Bound

from medtea.core.names import (
    Artefact,
    IndexArtefact,
    LungsArtefact,
    OutcomesArtefact,
    ReportArtefact,
    ScoresArtefact,
)
from medtea.core.settings import StrictSettings, to_yaml
from medtea.core.work import Work, digest_of, provenance, read_array, read_json, write_json, write_text
from medtea.data.acquisition import read_acquisition
from medtea.data.index import read_index, read_plausible
from medtea.report.as_json import json_of
from medtea.report.blanking import Blank, blanked
from medtea.report.blocks import csv_of, figures_of
from medtea.report.contents import (
    Contents,
    Exhibit,
    Picture,
    read_exhibits,
    read_means,
    read_metrics,
    read_outcomes,
    read_pictures,
    read_questions,
    read_segmenter,
)
from medtea.report.failures import find_failures, with_text
from medtea.report.markdown import markdown_of
from medtea.report.page import page
from medtea.report.sections.section import read_sections
from medtea.report.tables import main_table, to_terminal

NOT_AUDITED: dict[str, Any] = {"outcomes": [], "questions": {}}
NOT_SCORED: dict[str, Any] = {"methods": {}, "scores": []}


class Settings(StrictSettings):
    """What the page says about itself.

    Attributes:
        title: The page's heading.
        task: What was to be told apart, in a few words.
        intended_use: What the network would be for, on whom, and in whose hands.
        notes: Limits that only you can know, in sentences.
        blank: What of a radiograph is not shown, since something may be written on it: its border; all outside the
            chest; nothing. Where ingest saw text, all outside the chest, unless nothing is.
        failures: So many of the surest errors of either class, per method and hospital.
    """

    title: str = "Cross-hospital validation"
    task: str = "disease present or absent"
    intended_use: str = ""
    notes: tuple[str, ...] = ()
    blank: Blank = "border"
    failures: int = Bound(3, ge=0)


def run(
    work: Work,
    settings: Settings,
    *,
    index: IndexArtefact,
    lungs: LungsArtefact | None = None,
    scores: ScoresArtefact | None = None,
    outcomes: OutcomesArtefact | None = None,
    settings_of_run: dict[str, Any],
) -> ReportArtefact:
    """Leave report.html, report.md, report.json and, each as SVG with its numbers as CSV, the figures.

    Without `lungs` and `outcomes` (a file of predictions) the sections of segmenter and audit have nothing to say,
    without `scores` (an audit alone) those that evaluate makes.
    """
    # the page shows all settings of the run, also those that changed nothing of what came out
    of_run = digest_of(settings_of_run)
    stage = work.stage("report", settings, _there(index, lungs, scores, outcomes), source=of_run)
    artefact = ReportArtefact(stage.folder)
    if stage.is_finished:
        return artefact
    contents = _contents(work, settings, index, lungs, scores, outcomes, settings_of_run)
    sections = read_sections(contents)
    write_text(artefact.page, page(settings.title, settings.task, sections))
    write_text(artefact.markdown, markdown_of(settings.title, settings.task, sections))
    write_json(artefact.json, json_of(settings.title, settings.task, sections))
    for figure in figures_of(sections):
        write_text(artefact.figures / f"{figure.name}.svg", figure.svg)
        write_text(artefact.figures / f"{figure.name}.csv", csv_of(figure.numbers))
    for path in (artefact.page, artefact.markdown, artefact.json, artefact.figures):
        work.tracker.artefact(path)
    stage.finish()
    return artefact


def _contents(
    work: Work,
    settings: Settings,
    index: IndexArtefact,
    lungs: LungsArtefact | None,
    scores: ScoresArtefact | None,
    outcomes: OutcomesArtefact | None,
    settings_of_run: dict[str, Any],
) -> Contents:
    written = read_json(scores.metrics) if scores else NOT_SCORED
    audited = read_json(outcomes.outcomes) if outcomes else NOT_AUDITED
    metrics, table = read_metrics(written), _table(index, lungs)
    scored = pd.read_csv(scores.scores) if scores and scores.scores.exists() else pd.DataFrame()
    return Contents(
        title=settings.title,
        task=settings.task,
        intended_use=settings.intended_use,
        metrics=metrics,
        written=written,
        outcomes=read_outcomes(audited),
        audited=audited,
        questions=read_questions(audited),
        segmenter=read_segmenter(read_json(lungs.metrics)) if lungs else (),
        flow=pd.read_csv(index.flow, keep_default_na=False),
        refused=pd.read_csv(index.refused, keep_default_na=False),
        table=table,
        duplicates=pd.read_csv(index.duplicates) if index.duplicates.exists() else pd.DataFrame(),
        scores=scored,
        failures=find_failures(
            scored,
            table,
            per_class=settings.failures,
            thresholds=metrics.thresholds,
            radiographs=read_array(index.radiographs) if index.radiographs.exists() else None,
            lung_masks=read_array(lungs.lung_masks) if lungs else None,
            blank=settings.blank,
        ),
        pictures=_blanked(_pictures(outcomes), table, settings.blank),
        exhibits=_blanked_exhibits(_exhibits(outcomes, audited), table, settings.blank),
        provenance=_provenance(work, _there(index, lungs, scores, outcomes)),
        settings=to_yaml(settings_of_run),
        notes=settings.notes,
    )


def _table(index: IndexArtefact, lungs: LungsArtefact | None) -> pd.DataFrame:
    """The index, with what each radiograph was taken with, and whether its mask is plausible."""
    table = read_index(index.index)
    if index.acquisition.exists():
        table = table.join(read_acquisition(index.acquisition).drop(columns="radiograph"))
    return table.assign(plausible=read_plausible(lungs)) if lungs else table


def _blanked(pictures: Sequence[Picture], table: pd.DataFrame, how: Blank) -> tuple[Picture, ...]:
    """The pictures without what may be written on them."""
    written = set(table.loc[with_text(table), "radiograph"])
    groups = set(table.loc[with_text(table), "group"])

    def is_written(one: Picture) -> bool:
        # of a mean, or of a radiograph whose id is not known, any of the group's may be
        return one.radiograph in written if one.radiograph else one.group in groups

    return tuple(
        replace(one, image=blanked(one.image, one.lung_mask, how, has_text=is_written(one))) for one in pictures
    )


def _blanked_exhibits(exhibits: Sequence[Exhibit], table: pd.DataFrame, how: Blank) -> tuple[Exhibit, ...]:
    """The same of what the audit shows; text on either of two radiographs counts for what is made of both."""
    written = set(table.loc[with_text(table), "radiograph"])
    groups = set(table.loc[with_text(table), "group"])

    def without(one: Exhibit, image: NDArray[Any]) -> NDArray[Any]:
        has_text = bool(written & set(one.radiographs)) if one.radiographs else one.group in groups
        return blanked(image, one.lung_mask, how, has_text=has_text)

    return tuple(
        replace(one, image=without(one, one.image), changed=None if one.changed is None else without(one, one.changed))
        for one in exhibits
    )


def _there(*artefacts: Artefact | None) -> list[Artefact]:
    return [artefact for artefact in artefacts if artefact is not None]


def _pictures(outcomes: OutcomesArtefact | None) -> tuple[Picture, ...]:
    if outcomes is None:
        return ()
    with np.load(outcomes.pictures, allow_pickle=False) as arrays:
        return read_pictures(dict(arrays)) + read_means(dict(arrays))


def _exhibits(outcomes: OutcomesArtefact | None, audited: dict[str, Any]) -> tuple[Exhibit, ...]:
    if outcomes is None:
        return ()
    with np.load(outcomes.pictures, allow_pickle=False) as arrays:
        return read_exhibits(audited, dict(arrays))


def _provenance(work: Work, artefacts: Sequence[Artefact]) -> dict[str, str]:
    """Who made this, with what: one line each."""
    made = provenance()
    facts = {"date": made["date"], "seed": str(work.seed), "commit of the code": made["commit"]}
    facts |= {"machine": f"{made['machine']['processor']}, {made['machine']['threads']} threads"}
    if made["machine"]["gpu"]:
        facts["GPU"] = made["machine"]["gpu"]
    facts["versions"] = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return facts | {f"digest of {artefact.folder.name}": artefact.digest[:16] for artefact in artefacts}


def print_table(scores: ScoresArtefact, outcomes: OutcomesArtefact | None, show: Any) -> None:
    """The headline table, in the terminal; `show` is a rich console's print."""
    audited = read_json(outcomes.outcomes) if outcomes else NOT_AUDITED
    table = main_table(read_metrics(read_json(scores.metrics)), read_outcomes(audited))
    show(to_terminal(table))


def page_of(folder: Path) -> Path:
    """Where the page of a run folder lies."""
    return ReportArtefact(folder / "report").page
