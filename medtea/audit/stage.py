"""Ask every probe of every network about every test group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, field_validator
from pydantic import Field as Bound

from medtea.audit import probes
from medtea.audit.asked import UNLABELLED, AuditedGroup, AuditedNetwork, Need
from medtea.audit.asking import Answer, ask_all
from medtea.audit.compared import comparisons
from medtea.audit.pictures import exhibits_of, pictures_of
from medtea.audit.policy import Policy, overall
from medtea.audit.probes.probe import Probe, ProbeOfSeveral
from medtea.core import bay
from medtea.core.errors import ConfigError
from medtea.core.names import (
    Field,
    IndexArtefact,
    LungsArtefact,
    OutcomesArtefact,
    Role,
    Split,
    StudentArtefact,
    TeacherArtefact,
)
from medtea.core.seeds import numpy_generator
from medtea.core.settings import StrictSettings, parse
from medtea.core.tracking import metric_name
from medtea.core.work import Work, read_array, read_json, write_atomically, write_csv, write_json
from medtea.data.acquisition import read_acquisition, read_grid_row_mm
from medtea.data.index import read_index, read_plausible
from medtea.training.given.model import Settings as GivenModel
from medtea.training.given_network import open_given
from medtea.training.networks import load_classifier
from medtea.training.score_given import digest_of_models


class Settings(StrictSettings):
    """What is asked.

    Attributes:
        probes: Files of medtea/audit/probes, each with its own settings.
        policy: The most that is let pass.
        radiographs: At most this many of each group are used.
        pictures: Radiographs per group whose heatmaps the report shows: of either class a typical one, then the worst.
        averaged: At most this many of each group have their heatmaps in the report's mean map; 0: there is none.
    """

    probes: dict[str, dict[str, Any]] = Bound(
        default={
            "map_gates": {},
            "background_relevance": {},
            "lungs_removed": {},
            "background_swap": {},
            "planted_mark": {},
            "score_site": {},
        },
        validate_default=True,
    )
    policy: Policy = Policy()
    radiographs: int = Bound(200, ge=1)
    pictures: int = Bound(4, ge=0)
    averaged: int = Bound(60, ge=0)

    @field_validator("probes", mode="before")
    @classmethod
    def _filled_probes(cls, content: Any) -> Any:
        """Check each probe's own settings, and write their defaults down."""
        if not isinstance(content, dict):
            return content
        return {name: _settings_of(name, given or {}).model_dump(mode="json") for name, given in content.items()}


def run(
    work: Work,
    settings: Settings,
    index: IndexArtefact,
    lungs: LungsArtefact | None,
    teacher: TeacherArtefact | None = None,
    students: Sequence[StudentArtefact] = (),
    models: Sequence[GivenModel] = (),
) -> OutcomesArtefact:
    """Leave outcomes.json, the same as a table in outcomes.csv, and the pictures for the report.

    Args:
        work: The run.
        settings: What is asked.
        index: Of which the test radiographs are looked at; those with a label, unless there is none at all.
        lungs: None: there are no masks, and what needs them is skipped.
        teacher: Asked as the students are, unless it looks at twins.
        students: Of this run.
        models: Networks that others trained.

    Raises:
        ConfigError: a given model cannot be opened or does not fit.
        UsageError: a score is not finite.
    """
    inputs = [one for one in (index, lungs, teacher, *students) if one is not None]
    stage = work.stage("audit", settings, inputs, source=digest_of_models(models) if models else "")
    artefact = OutcomesArtefact(stage.folder)
    if stage.is_finished:
        return artefact
    asked: list[AuditedNetwork] = []
    # a teacher that looks at twins cannot be asked about radiographs that a probe changes
    if teacher is not None and Field.TWIN not in read_json(teacher.card)["sees_at_inference"]:
        asked.append(_network(work, "teacher", teacher))
    asked += [_network(work, read_json(student.card)["name"], student) for student in students]
    size = read_array(index.radiographs).shape[-1]
    asked += [given_network(model, size=size, device=work.device) for model in models]
    groups = _groups(work, settings, index, lungs)
    if not groups:
        work.say(
            "audit: there is nothing to ask about, no test radiograph has a plausible lung mask (segment/masks.csv)"
        )
    loaded: dict[str, Probe | ProbeOfSeveral] = {}
    for name, given in settings.probes.items():
        loaded[name] = bay.load(probes, name, "audit.probes").Probe(_settings_of(name, given))
    answers, skipped = ask_all(loaded, asked, groups, settings.policy, work.seed)
    outcomes = [one.to_json() for one in answers]
    exhibits, arrays = exhibits_of(answers, groups)
    write_json(
        artefact.outcomes,
        {
            "outcomes": outcomes,
            "skipped": [vars(one) for one in skipped],
            "comparisons": [one.to_json() for one in comparisons(answers, groups, work.seed)],
            "exhibits": exhibits,
            "verdicts": _verdicts(asked, answers),
            "policy": settings.policy.model_dump(mode="json"),
            "questions": {name: probe.question for name, probe in loaded.items()},
        },
    )
    write_csv(artefact.folder / "outcomes.csv", [_as_row(outcome) for outcome in outcomes], TABLE)
    pictures = arrays | pictures_of(asked, groups, count=settings.pictures, averaged=settings.averaged)
    write_atomically(artefact.pictures, lambda file: np.savez(file, **pictures))
    work.tracker.artefact(artefact.outcomes)
    for network in asked:
        with work.tracker.child(network.name, {}) as tracked:
            tracked.metrics(
                {
                    metric_name(one["probe"], one["group"]): one["estimate"]["value"]
                    for one in outcomes
                    if one["method"] == network.name
                }
            )
    stage.finish(outcomes=len(outcomes))
    return artefact


def costs(settings: Settings) -> dict[str, tuple[float, list[Need]]]:
    """Of each probe: forward passes for each radiograph of a group, and what it needs."""
    found = {}
    for name, given in settings.probes.items():
        probe = bay.load(probes, name, "audit.probes").Probe(_settings_of(name, given))
        found[name] = (float(probe.cost), sorted(probe.needs))
    return found


def _settings_of(name: str, given: dict[str, Any]) -> BaseModel:
    """The filled-in settings of one probe."""
    settings: BaseModel = parse(bay.load(probes, name, "audit.probes").Settings, given, f"audit.probes.{name}")
    return settings


def _network(work: Work, name: str, artefact: TeacherArtefact | StudentArtefact) -> AuditedNetwork:
    sees_lungs_only = Field.LUNG_MASK in read_json(artefact.card)["sees_at_inference"]
    return AuditedNetwork(name, load_classifier(artefact, work.device), sees_lungs_only=sees_lungs_only)


def given_network(model: GivenModel, *, size: int, device: torch.device) -> AuditedNetwork:
    """A network that others trained, as probes ask it, for radiographs of so many rows and columns.

    Raises:
        ConfigError: it cannot be opened, does not fit, or looks at what a changed radiograph does not have.
    """
    network, opened = open_given(model, size=size, device=device)
    if Field.TWIN in opened.looks_at:
        raise ConfigError(
            f"{model.place} looks at twins, which radiographs that a probe changes do not have. Give another network."
        )
    return AuditedNetwork(model.name, network, sees_lungs_only=Field.LUNG_MASK in opened.looks_at)


STRATA = ("view", "manufacturer", "portable", "sex")
"""Columns with few values, none of them free text, by which probes may split a group."""


def _groups(work: Work, settings: Settings, index: IndexArtefact, lungs: LungsArtefact | None) -> list[AuditedGroup]:
    """The labelled test radiographs with a plausible mask, by group; without any label all of them."""
    table = read_index(index.index)
    # marks that were planted come without it; then only the view is known
    known = read_acquisition(index.acquisition) if index.acquisition.exists() else pd.DataFrame()
    columns = known.assign(view=table["view"])
    heights = read_grid_row_mm(index.reading) if index.reading.exists() else np.full(len(table), np.nan)
    radiographs = read_array(index.radiographs)
    masks = read_array(lungs.lung_masks) if lungs else np.zeros(radiographs.shape, dtype=np.uint8)
    tested = table["split"].eq(Split.TEST) & table["role"].ne(Role.EXTRA)
    if table.loc[tested, "label"].notna().any():
        tested &= table["label"].notna()
    if lungs:
        tested &= read_plausible(lungs)
    found = []
    for name, part in table[tested].groupby("group", sort=True):
        chosen = part.index.to_numpy()
        if len(chosen) > settings.radiographs:
            generator = numpy_generator(work.seed, f"audit/choice/{name}")
            chosen = np.sort(generator.choice(chosen, settings.radiographs, replace=False))
        of_group = table.loc[chosen]
        found.append(
            AuditedGroup(
                str(name),
                np.asarray(radiographs[chosen], dtype=np.float32),
                np.asarray(masks[chosen]),
                of_group["label"].to_numpy(dtype=int, na_value=UNLABELLED),
                of_group["patient"].tolist(),
                ids=of_group["radiograph"].tolist(),
                hospital=str(of_group["hospital"].iloc[0]),
                pixel_mm=None if np.isnan(heights[chosen]).all() else heights[chosen],
                is_seen=of_group["role"].iloc[0] != Role.EXTERNAL,
                columns={name: columns[name].to_numpy()[chosen] for name in STRATA if name in columns},
            )
        )
    return found


def _verdicts(asked: Sequence[AuditedNetwork], answers: Sequence[Answer]) -> dict[str, str]:
    """Of each network, by its name."""
    judged = {one.name: [a.verdict for a in answers if a.method == one.name and a.verdict is not None] for one in asked}
    return {name: overall(verdicts) for name, verdicts in judged.items()}


TABLE = (
    "probe",
    "method",
    "group",
    "verdict",
    "value",
    "low",
    "high",
    "n",
    "n_patients",
    "reference",
    "control",
    "void",
)


def _as_row(outcome: dict[str, Any]) -> dict[str, Any]:
    """An outcome on one line; empty where there is no answer."""
    control = outcome["control"] or {}
    row = outcome | outcome["estimate"] | {"control": control.get("value")}
    return {column: "" if row.get(column) is None else row[column] for column in TABLE}
