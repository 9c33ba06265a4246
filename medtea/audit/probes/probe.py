"""The contract of a probe: one question to one network about radiographs, answered with an interval and a control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from pydantic import BaseModel

from medtea.audit.asked import Array, AuditedGroup, AuditedNetwork, Need
from medtea.metrics.estimates import Estimate
from medtea.metrics.weighted import Statistic

__all__ = ["Array", "AuditedGroup", "AuditedNetwork", "Exhibit", "Need", "Outcome", "Probe", "ProbeOfSeveral"]


SHOWN = 3
"""Radiographs that an answer shows, at most."""


@dataclass(frozen=True)
class Exhibit:
    """A radiograph on which an answer shows most, for the page.

    Attributes:
        row: Of the group.
        note: What came of it, with its number.
        changed: As the network was shown it, (height, width); None: as it is.
        heatmap: Signed relevance, same shape, if it is about that.
        marked: Pixels to point at, Boolean, same shape.
        partner: Another row of which something is in `changed`.
    """

    row: int
    note: str
    changed: Array | None = None
    heatmap: Array | None = None
    marked: Array | None = None
    partner: int | None = None


def largest(values: Array, count: int = SHOWN) -> list[int]:
    """The rows of the largest values, in falling order; rows without an answer are none of them."""
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:count]
    return [int(row) for row in order if np.isfinite(values[row])]


@dataclass(frozen=True)
class Outcome:
    """A probe's answer.

    Attributes:
        estimate: The number, with its interval by patient.
        reference: What a network indifferent to the background would give; None where there is no such value.
        control: The same number under the probe's control.
        sentence: The answer in plain words.
        void_when: What would make it worthless.
        reliance: What a policy sets its threshold on: the more, the more the network relies on what it should not.
            None: the probe's number itself; a probe that only describes has no threshold in any policy.
        of_rows: What `judged` is computed from on the group's rows, values or a statistic, by which networks are
            compared on the same radiographs; None: this answer is not compared.
        exhibits: Radiographs on which it shows most, at most SHOWN.
        details: Further numbers by name: a dose, a fill, a dilation.
        is_void: Why this very answer is worthless; empty if it is not.
    """

    estimate: Estimate
    reference: float | None
    control: Estimate | None
    sentence: str
    void_when: str
    reliance: Estimate | None = None
    of_rows: Statistic | Array | None = field(default=None, repr=False)
    exhibits: tuple[Exhibit, ...] = ()
    details: Mapping[str, Estimate] = field(default_factory=dict)
    is_void: str = ""

    @property
    def judged(self) -> Estimate:
        """The number that a policy judges."""
        return self.estimate if self.reliance is None else self.reliance


class Probe(Protocol):
    """Every file of this bay has a `Settings` and a class `Probe` of this form, or of that of `ProbeOfSeveral`.

    Attributes:
        question: What it asks, in a few words.
        needs: What it cannot do without; a network or group that lacks it is skipped, with the reason.
    """

    question: ClassVar[str]
    needs: ClassVar[frozenset[Need]]

    def __init__(self, settings: BaseModel) -> None:
        """Take the probe's settings."""

    @property
    def cost(self) -> float:
        """What it costs for each radiograph, in forward passes of the network; a heatmap counts as three."""

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """Ask one network about one group."""


class ProbeOfSeveral(Protocol):
    """A probe that sets several groups side by side: it needs SEVERAL_HOSPITALS, and is asked once for all of them."""

    question: ClassVar[str]
    needs: ClassVar[frozenset[Need]]

    def __init__(self, settings: BaseModel) -> None:
        """Take the probe's settings."""

    @property
    def cost(self) -> float:
        """As of a `Probe`."""

    def ask(self, network: AuditedNetwork, group: Sequence[AuditedGroup], generator: np.random.Generator) -> Outcome:
        """Ask one network about all groups."""


HEATMAP_COST = 3.0
"""A heatmap in forward passes: there, and back at twice the price."""
