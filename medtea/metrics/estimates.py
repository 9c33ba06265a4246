"""A number with its 95 % interval, what it rests on and how the interval was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

NAN = float("nan")
BOOTSTRAP = "bootstrap by patient"
"""The interval of a number that has no closed form; medtea.metrics.intervals says how it is drawn."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and what it rests on; NaN stands for "no answer".

    n counts radiographs, n_positive those with label 1 (None where there are no labels). replicates_without_answer
    were dropped from the interval; when they are more than half, or there is but one patient, low and high are NaN.
    interval says how low and high were found, or after "none: " why they were not.
    """

    value: float
    low: float
    high: float
    n: int
    n_patients: int
    n_positive: int | None
    replicates_without_answer: int
    interval: str = BOOTSTRAP

    @property
    def answered(self) -> bool:
        """Whether there is a value."""
        return not np.isnan(self.value)

    @property
    def has_interval(self) -> bool:
        """Whether there is a value with an interval."""
        return self.answered and not (np.isnan(self.low) or np.isnan(self.high))

    def excludes(self, value: float) -> bool:
        """Whether the interval is there and leaves the value out."""
        return self.has_interval and not self.low <= value <= self.high

    def text(self, *, signed: bool = False) -> str:
        """The number in words: "0.87 (0.81 to 0.92)", "0.87 (no interval)" or "no answer"."""
        if not self.answered:
            return "no answer"
        form = "{:+.2f}" if signed else "{:.2f}"
        value, low, high = (form.format(number) for number in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})" if self.has_interval else f"{value} (no interval)"

    def to_json(self) -> dict[str, float | int | str | None]:
        """Fields by name; a number without an answer is null."""
        numbers = {name: None if np.isnan(getattr(self, name)) else getattr(self, name) for name in _NUMBERS}
        return numbers | {name: getattr(self, name) for name in _COUNTS} | {"interval": self.interval}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Estimate:
        """The estimate that to_json wrote."""
        numbers: dict[str, Any] = {name: NAN if fields[name] is None else float(fields[name]) for name in _NUMBERS}
        counts = {name: fields[name] for name in _COUNTS}
        return cls(**numbers, **counts, interval=fields.get("interval", BOOTSTRAP))


_NUMBERS = ("value", "low", "high")
_COUNTS = ("n", "n_patients", "n_positive", "replicates_without_answer")


def without_interval(
    value: float, *, n: int, n_patients: int, n_positive: int | None = None, why: str = "none: not computed"
) -> Estimate:
    """A number for which no interval was computed, and why; one that has no answer has no interval either."""
    return Estimate(value, NAN, NAN, n, n_patients, n_positive, 0, "none: no answer" if np.isnan(value) else why)
