"""Every probe of every network about every group; what cannot be asked is skipped with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from medtea.audit.asked import AuditedGroup, AuditedNetwork, Need
from medtea.audit.policy import Policy, Verdict, verdict
from medtea.audit.probes.probe import Outcome, Probe, ProbeOfSeveral
from medtea.core.progress import track
from medtea.core.seeds import numpy_generator

ALL = "all hospitals"
"""What the group of an answer about several hospitals is called."""


@dataclass(frozen=True)
class Answer:
    """An outcome and what it is of; `verdict` is None where the policy has no threshold for the probe."""

    probe: str
    method: str
    group: str
    outcome: Outcome
    verdict: Verdict | None

    def to_json(self) -> dict[str, Any]:
        """As outcomes.json has it."""
        outcome = self.outcome
        return {
            "probe": self.probe,
            "method": self.method,
            "group": self.group,
            "verdict": self.verdict,
            "estimate": outcome.estimate.to_json(),
            "reference": outcome.reference,
            "control": None if outcome.control is None else outcome.control.to_json(),
            "reliance": None if outcome.reliance is None else outcome.reliance.to_json(),
            "details": {name: estimate.to_json() for name, estimate in outcome.details.items()},
            "sentence": outcome.sentence,
            "void_when": outcome.void_when,
            "void": outcome.is_void,
        }


@dataclass(frozen=True)
class Skipped:
    """A question that could not be asked."""

    probe: str
    method: str
    group: str
    reason: str


@dataclass(frozen=True)
class _Question:
    probe: str
    network: AuditedNetwork
    groups: tuple[AuditedGroup, ...]

    @property
    def group(self) -> str:
        return self.groups[0].name if len(self.groups) == 1 else ALL


def ask_all(
    probes: Mapping[str, Probe | ProbeOfSeveral],
    networks: Sequence[AuditedNetwork],
    groups: Sequence[AuditedGroup],
    policy: Policy,
    seed: int,
) -> tuple[list[Answer], list[Skipped]]:
    """All answers, in the order of probes, networks and groups, and what was skipped.

    Where a gate says that a network's heatmaps at a group are worthless, the answers of all probes that read heatmaps
    there are void.
    """
    outcomes: list[tuple[_Question, Outcome]] = []
    skipped = []
    for question in track(list(_questions(probes, networks, groups)), "audit"):
        reason = _why_not(question, probes[question.probe].needs)
        if reason is not None:
            skipped.append(Skipped(question.probe, question.network.name, question.group, reason))
            continue
        generator = numpy_generator(seed, f"audit/{question.probe}/{question.group}")
        asked: Any = list(question.groups) if _is_of_several(probes[question.probe]) else question.groups[0]
        outcomes.append((question, cast(Any, probes[question.probe]).ask(question.network, asked, generator)))
    voids = {
        (question.network.name, question.group): outcome.is_void
        for question, outcome in outcomes
        if outcome.is_void and Need.HEATMAPS in probes[question.probe].needs
    }
    answers = []
    for question, outcome in outcomes:
        if Need.HEATMAPS in probes[question.probe].needs and not outcome.is_void:
            places = [one.name for one in question.groups] + [question.group]
            reasons = [voids[key] for key in ((question.network.name, place) for place in places) if key in voids]
            outcome = replace(outcome, is_void=reasons[0]) if reasons else outcome
        threshold = policy.threshold(question.probe)
        judged = None if threshold is None else verdict(outcome, threshold)
        answers.append(Answer(question.probe, question.network.name, question.group, outcome, judged))
    return answers, skipped


def _questions(
    probes: Mapping[str, Probe | ProbeOfSeveral], networks: Sequence[AuditedNetwork], groups: Sequence[AuditedGroup]
) -> Iterator[_Question]:
    for name, probe in probes.items():
        for network in networks:
            if _is_of_several(probe):
                yield _Question(name, network, tuple(groups))
            else:
                yield from (_Question(name, network, (group,)) for group in groups)


def _is_of_several(probe: Probe | ProbeOfSeveral) -> bool:
    return Need.SEVERAL_HOSPITALS in probe.needs


def _why_not(question: _Question, needs: frozenset[Need]) -> str | None:
    """Why a question cannot be asked."""
    if not question.groups:
        return "There are no radiographs to ask about."
    if Need.SEVERAL_HOSPITALS in needs and len({group.hospital for group in question.groups}) < 2:
        return f"It needs {Need.SEVERAL_HOSPITALS}."
    for group in question.groups:
        reason = group.lacks(needs)
        if reason is not None:
            return reason if len(question.groups) == 1 else f"{group.name}: {reason}"
    return question.network.lacks(needs, question.groups[0])
