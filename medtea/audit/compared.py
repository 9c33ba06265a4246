"""Networks side by side: how much more one relies on what it should not than another, on the same radiographs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medtea.audit.asked import AuditedGroup
from medtea.audit.asking import Answer
from medtea.core.seeds import numpy_generator
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import paired_difference

REFERENCES = ("teacher", "erm")
"""What every network is compared with; where neither is there, with the first one."""


@dataclass(frozen=True)
class Comparison:
    """What a policy judges of `method`, less the same of `other`: above 0 it relies more on what it should not."""

    probe: str
    group: str
    method: str
    other: str
    difference: Estimate

    def to_json(self) -> dict[str, Any]:
        """As outcomes.json has it."""
        return vars(self) | {"difference": self.difference.to_json()}


def comparisons(answers: Sequence[Answer], groups: Sequence[AuditedGroup], seed: int) -> list[Comparison]:
    """All pairs with a reference, by probe and group, each with its interval by patient; void answers are left out."""
    patients = {group.name: group.patients for group in groups}
    names = list(dict.fromkeys(one.method for one in answers))
    found = []
    for first, second in _pairs(answers, names):
        one, other = first.outcome.of_rows, second.outcome.of_rows
        if one is None or other is None:
            continue
        generator = numpy_generator(seed, f"audit/compared/{first.probe}/{first.group}")
        difference = paired_difference(patients[first.group], one, other, generator=generator)
        found.append(Comparison(first.probe, first.group, first.method, second.method, difference))
    return found


def _pairs(answers: Sequence[Answer], names: Sequence[str]) -> Iterator[tuple[Answer, Answer]]:
    references = [name for name in REFERENCES if name in names] or names[:1]
    known = [one for one in answers if not one.outcome.is_void]
    for place, reference in enumerate(references):
        for one in known:
            if one.method in references[: place + 1]:
                continue
            key = (one.probe, one.group, reference)
            yield from ((one, other) for other in known if (other.probe, other.group, other.method) == key)
