"""Ask every probe of every network about every test group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, field_validator
from pydantic import Field as Bound

from medtea.audit import probes
from medtea.audit.pictures import pictures_of
from medtea.audit.probes.probe import AuditedGroup, AuditedNetwork, Outcome, Probe
from medtea.core import bay
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
from medtea.core.progress import track
from medtea.core.seeds import numpy_generator
from medtea.core.settings import StrictSettings, parse
from medtea.core.tracking import metric_name
from medtea.core.work import Work, read_array, read_json, write_atomically, write_csv, write_json
from medtea.data.index import read_index, read_plausible
from medtea.training.networks import load_classifier


class Settings(StrictSettings):
    """What is asked.

    Attributes:
        probes: Files of medtea/audit/probes, each with its own settings.
        radiographs: At most this many of each group are used.
        pictures: Radiographs per group whose heatmaps the report shows: of either class a typical one, then the worst.
        averaged: At most this many of each group have their heatmaps in the report's mean map; 0: there is none.
    """

    probes: dict[str, dict[str, Any]] = Bound(
        default={"background_relevance": {}, "lungs_removed": {}, "planted_mark": {}}, validate_default=True
    )
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
    lungs: LungsArtefact,
    teacher: TeacherArtefact,
    students: Sequence[StudentArtefact],
) -> OutcomesArtefact:
    """Leave outcomes.json, the same as a table in outcomes.csv, and the pictures for the report."""
    stage = work.stage("audit", settings, [index, lungs, teacher, *students])
    artefact = OutcomesArtefact(stage.folder)
    if stage.is_finished:
        return artefact
    # a teacher that looks at twins cannot be asked about radiographs that a probe changes
    asked = [] if Field.TWIN in read_json(teacher.card)["sees_at_inference"] else [_network(work, "teacher", teacher)]
    asked += [_network(work, read_json(student.card)["name"], student) for student in students]
    groups = _groups(work, settings, index, lungs)
    loaded: dict[str, Probe] = {}
    for name, given in settings.probes.items():
        loaded[name] = bay.load(probes, name, "audit.probes").Probe(_settings_of(name, given))
    questions = [(name, network, group) for name in loaded for network in asked for group in groups]
    outcomes = []
    for name, network, group in track(questions, "audit"):
        generator = numpy_generator(work.seed, f"audit/{name}/{group.name}")
        outcome = loaded[name].ask(network, group, generator)
        outcomes.append({"probe": name, "method": network.name, "group": group.name} | _as_json(outcome))
    write_json(
        artefact.outcomes,
        {"outcomes": outcomes, "questions": {name: probe.question for name, probe in loaded.items()}},
    )
    write_csv(artefact.folder / "outcomes.csv", [_as_row(outcome) for outcome in outcomes], TABLE)
    pictures = pictures_of(asked, groups, count=settings.pictures, averaged=settings.averaged)
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


def _settings_of(name: str, given: dict[str, Any]) -> BaseModel:
    """The filled-in settings of one probe."""
    settings: BaseModel = parse(bay.load(probes, name, "audit.probes").Settings, given, f"audit.probes.{name}")
    return settings


def _network(work: Work, name: str, artefact: TeacherArtefact | StudentArtefact) -> AuditedNetwork:
    sees_lungs_only = Field.LUNG_MASK in read_json(artefact.card)["sees_at_inference"]
    return AuditedNetwork(name, load_classifier(artefact, work.device), sees_lungs_only=sees_lungs_only)


def _groups(work: Work, settings: Settings, index: IndexArtefact, lungs: LungsArtefact) -> list[AuditedGroup]:
    """The labelled test radiographs with a plausible mask, by group."""
    table = read_index(index.index)
    radiographs = read_array(index.radiographs)
    masks = read_array(lungs.lung_masks)
    tested = table["split"].eq(Split.TEST) & table["label"].notna() & table["role"].ne(Role.EXTRA)
    found = []
    for name, part in table[tested & read_plausible(lungs)].groupby("group", sort=True):
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
                of_group["label"].to_numpy(dtype=int),
                of_group["patient"].tolist(),
                of_group["radiograph"].tolist(),
            )
        )
    return found


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "estimate": outcome.estimate.to_json(),
        "reference": outcome.reference,
        "control": None if outcome.control is None else outcome.control.to_json(),
        "sentence": outcome.sentence,
        "void_when": outcome.void_when,
    }


TABLE = ("probe", "method", "group", "value", "low", "high", "n", "n_patients", "reference", "control")


def _as_row(outcome: dict[str, Any]) -> dict[str, Any]:
    """An outcome on one line; empty where there is no answer."""
    control = outcome["control"] or {}
    row = outcome | outcome["estimate"] | {"control": control.get("value")}
    return {column: "" if row.get(column) is None else row[column] for column in TABLE}
