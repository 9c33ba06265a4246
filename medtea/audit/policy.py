"""From numbers to pass, fail or no answer: thresholds that the user declares, and defaults with their reasons.

There is no published threshold for any of these probes; whoever sets one defends it. The defaults were chosen on
networks whose reliance is known (docs/audit_validity.md). An answer fails when its whole interval lies above the
threshold, passes when its whole interval lies at or below it, and is no answer otherwise: more radiographs may decide
it. Of fewer than FEWEST patients nothing is decided: an interval that is drawn from so few is too short. A network
fails when one answer fails, passes when all that are judged pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field as Bound

from medtea.audit.probes.probe import Outcome
from medtea.core.settings import StrictSettings

FEWEST = 20  # patients


class Verdict(StrEnum):
    """What becomes of an answer, or of a network."""

    PASS = "pass"
    FAIL = "fail"
    NO_ANSWER = "no answer"


class Policy(StrictSettings):
    """The most of each probe's reliance that is let pass; a probe that is not named here is not judged.

    Attributes:
        background_relevance: Relevance outside the lungs over the outside's share of area. 1: as much as a network has
            that looks everywhere alike. Not judged by default: clean networks of one kind of data lie above reliant
            ones of another.
        lungs_removed: Share of the discrimination that is left without lungs. Some is left for good reason, by the
            heart's size or the blank's outline. 0.5: in the middle of where clean networks and those that read a
            planted mark are told apart best.
        background_swap: The background's share of what backgrounds and lungs change. 0.5: as much as the lungs. Not
            judged by default: it is high for a network that knows little.
        planted_mark: Mean change of the log odds by a letter, beyond that of scattered pixels, in standard deviations
            of the network's log odds. 0.25: a letter moves a radiograph in the middle past a tenth of the others. Not
            judged by default: anything moves a network that tells nothing by as much of its small spread.
        score_site: Pooled AUROC less the AUROC within hospitals, either way.
    """

    background_relevance: float | None = Bound(None, ge=0)
    lungs_removed: float | None = Bound(0.5, ge=0, le=1)
    background_swap: float | None = Bound(None, ge=0, le=1)
    planted_mark: float | None = Bound(None, ge=0)
    score_site: float | None = Bound(0.1, ge=0, le=1)

    def threshold(self, probe: str) -> float | None:
        """The probe's threshold; None if it is not judged."""
        value: float | None = getattr(self, probe, None) if probe in type(self).model_fields else None
        return value


def verdict(outcome: Outcome, threshold: float) -> Verdict:
    """Whether the answer passes."""
    judged = outcome.judged
    if outcome.is_void or not judged.has_interval or judged.n_patients < FEWEST:
        return Verdict.NO_ANSWER
    if judged.low > threshold:
        return Verdict.FAIL
    return Verdict.PASS if judged.high <= threshold else Verdict.NO_ANSWER


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Of one network: one failure fails it, one open answer leaves it open; nothing judged is no answer."""
    found = set(verdicts)
    if Verdict.FAIL in found:
        return Verdict.FAIL
    return Verdict.PASS if found == {Verdict.PASS} else Verdict.NO_ANSWER
