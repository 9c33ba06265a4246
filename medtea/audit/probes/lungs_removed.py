"""What is left without lungs: the AUROC of a network that is shown the radiograph with its lungs blanked."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field as Bound
from scipy.stats import rankdata

from medtea.audit.changes import Fill, dilated, filled
from medtea.audit.learned import auroc_by_patient
from medtea.audit.probes.probe import Array, AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.settings import StrictSettings
from medtea.metrics.classification import NO_ANSWER
from medtea.metrics.estimates import Estimate, without_interval
from medtea.metrics.intervals import bootstrap_by_patient
from medtea.metrics.weighted import Floats, Statistic, auroc_of


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        margin: How far beyond the mask the blank reaches, in pixels, so that no rim of lung is left.
        fills: What the blank is made of, see `medtea.audit.changes.filled`; the first one gives the answer.
    """

    margin: int = Bound(2, ge=0)
    fills: tuple[Fill, ...] = Bound(("grey", "noise", "smooth"), min_length=1)


class Probe:
    """AUROC with every lung pixel replaced by the group's mean grey value outside; 0.5 is what no shortcut leaves.

    Far from 0.5 on either side says that the background alone decides: below it, that a shortcut points the other
    way here than in training. A policy judges |AUROC without lungs - 0.5| / |AUROC - 0.5|, the share of the network's
    discrimination that is left; a network that does not discriminate here has no answer. Control: the AUROC on the
    whole radiograph. Details: the other fills, and without any label how far the scores keep their rank (Spearman's
    correlation with the scores of the whole radiographs).

    The shape of the blank may itself tell the class, most of all where the fill is one grey value (mask_only says how
    far it does). Noise and the smooth fill show less of the shape, but carry the background's brightness into the
    lungs, where a network that reads lungs alone meets it: their AUROC is no less for want of a shortcut.

    Of all probes it tells networks that read a planted mark from clean ones best (docs/audit_validity.md). What it
    cannot tell is a shortcut from disease that shows outside the lungs.
    """

    question: ClassVar[str] = "Does the network still answer with the lungs removed?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LUNG_MASKS})

    def __init__(self, settings: Settings) -> None:
        """Take margin and fills."""
        self._settings = settings

    @property
    def cost(self) -> float:
        """One pass for each fill."""
        return float(len(self._settings.fills))

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """AUROC without lungs; its control is the AUROC on the whole radiograph."""
        whole = network.of(group)
        left: dict[str, Array] = {}
        for fill in self._settings.fills:
            blank = self.removed(group, fill, generator)
            # a network that is shown lungs only is shown nothing at all then, not the fill in the lungs' shape
            left[fill] = network.scores(blank * ~group.lungs if network.sees_lungs_only else blank, group.lung_masks)
        first = left[self._settings.fills[0]]
        estimate = auroc_by_patient(group.patients, group.labels, first)
        control = auroc_by_patient(group.patients, group.labels, whole)
        details = {
            f"AUROC, filled by {fill}": auroc_by_patient(group.patients, group.labels, scores)
            for fill, scores in list(left.items())[1:]
        }
        kept = bootstrap_by_patient(group.patients, _rank_correlation(first, whole), generator=generator)
        details["rank kept"] = kept
        said = f"AUROC at {group.name} {_verdict(estimate)}."
        reliance, share = without_interval(NO_ANSWER, n=0, n_patients=0), None
        if group.is_labelled:
            share = _share_left(group.labels, first, whole, control)
            reliance = bootstrap_by_patient(group.patients, share, generator=generator)
        elif kept.answered:
            said = f"scores at {group.name} keep their rank by {kept.value:.2f}; without labels no AUROC is known."
        return Outcome(
            estimate,
            reference=0.5,
            control=control,
            sentence=f"With the lungs removed, {network.name}'s {said}",
            void_when="The masks miss lung, so that disease is left to see; or the blank's shape tells the class.",
            reliance=reliance,
            of_rows=share,
            details=details,
        )

    def removed(self, group: AuditedGroup, fill: Fill, generator: np.random.Generator) -> Array:
        """The radiographs with lungs and a rim around them filled."""
        blanks = [dilated(lungs, self._settings.margin) for lungs in group.lungs]
        outside = group.radiographs[~np.stack(blanks)] if len(group) else np.zeros(0)
        grey = float(outside.mean()) if outside.size else 0.0
        pairs = zip(group.radiographs, blanks, strict=True)
        return np.stack([filled(picture, blank, fill, generator, grey=grey) for picture, blank in pairs])


def _share_left(labels: Array, first: Array, whole: Array, control: Estimate) -> Statistic:
    """|AUROC without lungs - 0.5| over |AUROC - 0.5|; no answer where the AUROC may be 0.5."""
    without, full = auroc_of(labels, first), auroc_of(labels, whole)
    knows_something = control.excludes(0.5)

    def compute(weights: Floats) -> Floats:
        # 0.01: a replicate whose AUROC is all but 0.5 would divide by next to nothing
        share = np.abs(without.compute(weights) - 0.5) / np.maximum(np.abs(full.compute(weights) - 0.5), 0.01)
        return np.asarray(share if knows_something else np.full(len(weights), np.nan))

    return Statistic(compute, len(labels), int(np.sum(labels)))


def _rank_correlation(first: Array, second: Array) -> Statistic:
    """Spearman's correlation; the ranks are those of all rows, whatever their weights. NaN if one does not vary."""
    a, b = rankdata(first), rankdata(second)

    def compute(weights: Floats) -> Floats:
        total = np.maximum(weights.sum(1), 1)
        mean_a, mean_b = weights @ a / total, weights @ b / total
        both = weights @ (a * b) / total - mean_a * mean_b
        spread = (weights @ a**2 / total - mean_a**2) * (weights @ b**2 / total - mean_b**2)
        found = np.full(len(weights), np.nan)
        np.divide(both, np.sqrt(np.maximum(spread, 0)), out=found, where=spread > 1e-9)
        return found

    return Statistic(compute, len(a))


def _verdict(estimate: Estimate) -> str:
    """In words, the AUROC and what its interval says."""
    if not estimate.answered:
        return "has no answer: one class is missing"
    if not estimate.has_interval and "the same" in estimate.interval:
        return f"is {estimate.value:.2f}: all scores are the same, no shortcut shows here"
    if not estimate.has_interval:
        return f"is {estimate.value:.2f}: too few patients for an interval"
    reliance = "the background alone tells the class to it" if estimate.excludes(0.5) else "no shortcut shows here"
    return f"is {estimate.value:.2f}: {reliance}"
