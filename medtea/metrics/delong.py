"""AUROCs with the part that each patient has in their error: intervals and p-values without resampling.

The variance is DeLong's where each patient has one radiograph and Obuchowski's otherwise; the two are one formula,
which sums over patients and not over radiographs. The letters are the papers': a positive's V10 is the share of
negatives that score below it (ties count half), a negative's V01 the share of positives above it, and both average to
the AUROC θ. Found by sorting, in O(n log n) as Sun and Xu do.

Student's t takes the normal's place, with the degrees of freedom of Brunner and Munzel, who test the same number: with
few positives a variance is itself uncertain. docs/statistics.md shows what the intervals hold in simulated studies.

References:
    DeLong, DeLong, Clarke-Pearson, Biometrics 44, 1988. Obuchowski, Biometrics 53, 1997. Sun, Xu, IEEE Signal
    Processing Letters 21, 2014. Brunner, Munzel, Biometrical Journal 42, 2000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, stdtr, stdtrit

from medtea.core.errors import DataError
from medtea.metrics.classification import checked
from medtea.metrics.estimates import NAN, Estimate, without_interval

Floats = NDArray[np.float64]
ALPHA = 0.05
FEW = 10
"""With fewer patients of a class, and an AUROC near 1, intervals hold the truth too seldom (docs/statistics.md)."""
# A sum of squares of fractions that is 0 but for rounding.
NOTHING = 1e-24


@dataclass(frozen=True)
class Placed:
    """A mean of rows of two kinds, and what each patient adds to its error.

    Of an AUROC the kinds are positives and negatives; of a plain mean all rows are of the first kind.

    Attributes:
        value: The number itself, θ; NaN where it has no answer.
        n: Radiographs.
        n_positive: Of label 1; None of a plain mean.
        patients: Their names, each once, sorted.
        first: Per patient, Σ (V10 - θ) over their positives, divided by the number of positives.
        second: Per patient, Σ (V01 - θ) over their negatives, divided by the number of negatives.
        of_first: Which patients have a positive.
        of_second: Which patients have a negative.
    """

    value: float
    n: int
    n_positive: int | None
    patients: NDArray[np.str_]
    first: Floats
    second: Floats
    of_first: NDArray[np.bool_]
    of_second: NDArray[np.bool_]

    @property
    def is_clustered(self) -> bool:
        """Whether a patient has more than one radiograph."""
        return self.n > self.patients.size

    @property
    def independent_pairs(self) -> int:
        """How many pairs of a positive and a negative can be made of different patients, each patient used once."""
        return int(min(self.of_first.sum(), self.of_second.sum(), self.patients.size // 2))


@dataclass(frozen=True)
class Comparison:
    """A difference with its interval; statistic is difference / standard error, p two-sided; NaN: no answer."""

    estimate: Estimate
    statistic: float
    p: float


def placed(patients: Sequence[str], labels: ArrayLike, scores: ArrayLike) -> Placed:
    """The AUROC of some radiographs; no answer with one class only.

    Args:
        patients: Of each radiograph. A name must mean one person, within all that will be compared.
        labels: 0 or 1.
        scores: Higher means class 1; infinite ones are allowed.

    Raises:
        DataError: lengths differ, a label is neither 0 nor 1, a score is NaN.
    """
    label, score = checked(labels, scores)
    names, place = _patients(patients, label.size)
    positive = label == 1
    m, n = int(positive.sum()), int((~positive).sum())
    values = np.zeros(label.size)
    if m and n:
        values[positive] = _below(score[positive], score[~positive])
        values[~positive] = 1 - _below(score[~positive], score[positive])
    theta = float(values[positive].mean()) if m and n else NAN
    error = np.where(positive, (values - theta) / max(m, 1), (values - theta) / max(n, 1))
    first, second = (_by_patient(place[kind], error[kind], names.size) for kind in (positive, ~positive))
    of_first, of_second = (np.bincount(place[kind], minlength=names.size) > 0 for kind in (positive, ~positive))
    return Placed(theta, label.size, m, names, first, second, of_first, of_second)


def placed_mean(patients: Sequence[str], values: ArrayLike) -> Placed:
    """The mean of finite values, one per radiograph, such as "called rightly"; no answer without rows."""
    value = np.asarray(values, dtype=np.float64)
    if value.ndim != 1 or not np.isfinite(value).all():
        raise DataError("placed_mean takes one finite value per row; leave rows without an answer out and count them.")
    names, place = _patients(patients, value.size)
    mean = float(value.mean()) if value.size else NAN
    part = _by_patient(place, (value - mean) / max(value.size, 1), names.size)
    everyone, nobody = np.ones(names.size, dtype=bool), np.zeros(names.size, dtype=bool)
    return Placed(mean, value.size, None, names, part, np.zeros(names.size), everyone, nobody)


def standard_error(one: Placed) -> float:
    """The standard error of the number; NaN with fewer than two patients of a class, 0 where nothing varies."""
    return float(np.sqrt(variance_of([one], [1.0])[0])) if np.isfinite(one.value) else NAN


def auroc_interval(*seeds: Placed) -> Estimate:
    """The AUROC with its 95 % interval, on the logit scale: it never leaves [0, 1].

    Where every pair is ranked rightly (or every pair wrongly) the variance is 0 and says nothing. Then the interval is
    an exact bound: k pairs of different patients, each patient used once, are all ranked rightly with probability θ^k,
    so that an AUROC below 0.025^(1/k) would show this in fewer than 2.5 % of studies. The other end is 1.

    Args:
        *seeds: One, or the same hospital under several networks, the seeds of one experiment: then it is their mean,
            each counting the same, and the interval says what other patients would give these very networks.

    Returns:
        An estimate whose `interval` says how it was made, or why there is none: fewer than two patients of a class, or
        scores that are all the same.
    """
    value = float(np.mean([one.value for one in seeds]))
    found = once(_counted(seeds, value), seeds)
    if not found.answered:
        return found
    if value in (0.0, 1.0):
        pairs = min(one.independent_pairs for one in seeds)
        bound = (ALPHA / 2) ** (1 / pairs) if pairs else NAN
        if np.isnan(bound):
            return replace(found, interval="none: one patient")
        low, high = (bound, 1.0) if value == 1 else (0.0, 1 - bound)
        return replace(found, low=low, high=high, interval="exact bound, every pair ranked alike")
    variance, freedom = variance_of(seeds, [1 / len(seeds)] * len(seeds))
    if np.isnan(variance):
        return replace(found, interval="none: fewer than two patients of a class")
    if variance < NOTHING:
        return replace(found, interval="none: the scores are all the same")
    low, high = _on_the_logit_scale(value, variance, freedom)
    method = "Obuchowski" if any(one.is_clustered for one in seeds) else "DeLong"
    return replace(found, low=low, high=high, interval=f"{method}, logit scale{_few(seeds)}")


def with_other_seeds(seeds: Sequence[Placed], less: Sequence[Placed] = ()) -> Estimate:
    """The mean over seeds, or of paired differences to the same seeds of `less`, with an interval for other seeds too.

    The variance by patient and that of the mean over seeds, s² / k, add up; Student's t with Satterthwaite's degrees
    of freedom. A mean is on the logit scale, a difference as it is. Seeds differ by their patients too, so that a
    little is counted twice. With three seeds it is wide where seeds differ: little is known of their spread.

    Returns:
        No interval with one seed, or without a variance by patient.
    """
    values = np.array([one.value for one in seeds]) - (np.array([one.value for one in less]) if less else 0.0)
    value, k = float(values.mean()), values.size
    found = once(_counted([*seeds, *less], value), seeds)
    if not found.answered:
        return found
    if k < 2:
        return replace(found, interval="none: one seed")
    of_patients, freedom = variance_of([*seeds, *less], [1 / k] * k + [-1 / k] * len(less))
    of_seeds = float(values.var(ddof=1)) / k
    variance = of_patients + of_seeds
    if np.isnan(variance) or variance < NOTHING:
        return replace(found, interval="none: nothing is known of the spread")
    freedom = variance**2 / (of_patients**2 / freedom + of_seeds**2 / (k - 1))
    if less:
        width = float(stdtrit(freedom, 1 - ALPHA / 2)) * np.sqrt(variance)
        return replace(found, low=value - width, high=value + width, interval="by patient and seed, paired")
    if not 0 < value < 1:
        return replace(found, interval="none: every pair is ranked alike")
    low, high = _on_the_logit_scale(value, variance, freedom)
    return replace(found, low=low, high=high, interval="by patient and seed, logit scale")


def once(found: Estimate, seeds: Sequence[Placed]) -> Estimate:
    """The estimate with its radiographs counted once where the seeds of an experiment share them all."""
    first = seeds[0]
    if all(one.n == first.n and np.array_equal(one.patients, first.patients) for one in seeds):
        return replace(found, n=first.n, n_positive=first.n_positive)
    return found


def difference(first: Sequence[Placed], second: Sequence[Placed]) -> Comparison:
    """Mean over the first less mean over the second, each counting the same: two methods, or two sets of hospitals.

    Patients on both sides are paired, whatever the radiographs: their errors enter with their covariance. Two methods
    on the same radiographs are DeLong's paired comparison, two hospitals the unpaired one.

    Returns:
        NaN as statistic and p, and no interval, where one side has no answer, a class has fewer than two patients, or
        nothing varies (two methods that both rank every pair rightly).
    """
    parts = [*first, *second]
    weights = [1 / len(first)] * len(first) + [-1 / len(second)] * len(second)
    value = float(sum(weight * part.value for weight, part in zip(weights, parts, strict=True)))
    found = _counted(parts, value)
    if not found.answered:
        return Comparison(found, NAN, NAN)
    variance, freedom = variance_of(parts, weights)
    if np.isnan(variance):
        return Comparison(replace(found, interval="none: fewer than two patients of a class"), NAN, NAN)
    if variance < NOTHING:
        return Comparison(replace(found, interval="none: nothing varies between patients"), NAN, NAN)
    error = float(np.sqrt(variance))
    width = float(stdtrit(freedom, 1 - ALPHA / 2)) * error
    clustered = any(part.is_clustered for part in parts)
    name = "by patient" if parts[0].n_positive is None else "Obuchowski" if clustered else "DeLong"
    estimate = replace(
        found, low=value - width, high=value + width, interval=f"{name}, {_design(first, second)}{_few(parts)}"
    )
    return Comparison(estimate, value / error, float(2 * stdtr(freedom, -abs(value) / error)))


def _on_the_logit_scale(value: float, variance: float, freedom: float) -> tuple[float, float]:
    width = stdtrit(freedom, 1 - ALPHA / 2) * np.sqrt(variance) / (value * (1 - value))
    return float(expit(logit(value) - width)), float(expit(logit(value) + width))


def _few(parts: Sequence[Placed]) -> str:
    fewest = min(int(kind.sum()) for part in parts for kind in (part.of_first, part.of_second) if kind.any())
    return f"; only {fewest} patients of a class" if fewest < FEW else ""


def _design(first: Sequence[Placed], second: Sequence[Placed]) -> str:
    here, there = (np.concatenate([part.patients for part in side]) for side in (first, second))
    return "paired" if np.isin(here, there).any() else "unpaired"


def _below(scores: Floats, others: Floats) -> Floats:
    # The share of `others` below each score; ties count half.
    rising = np.sort(others)
    places = rising.searchsorted(scores, "left") + rising.searchsorted(scores, "right")
    return np.asarray(places / (2 * others.size), dtype=np.float64)


def _by_patient(place: NDArray[np.intp], errors: Floats, patients: int) -> Floats:
    return np.bincount(place, errors, patients).astype(np.float64)


def _patients(patients: Sequence[str], rows: int) -> tuple[NDArray[np.str_], NDArray[np.intp]]:
    if len(patients) != rows:
        raise DataError(f"There are {len(patients)} patients for {rows} rows; give one per row.")
    names, place = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    return names, place


def _counted(parts: Sequence[Placed], value: float) -> Estimate:
    positives = [part.n_positive for part in parts]
    return without_interval(
        value,
        n=sum(part.n for part in parts),
        n_patients=_together(parts)[0],
        n_positive=None if None in positives else sum(count or 0 for count in positives),
    )


def _together(parts: Sequence[Placed]) -> tuple[int, list[NDArray[np.intp]]]:
    # How many different patients there are, and for each part the number of each of its own.
    names = parts[0].patients
    if all(part.patients is names or np.array_equal(part.patients, names) for part in parts):
        return names.size, [np.arange(names.size)] * len(parts)
    everyone, places = np.unique(np.concatenate([part.patients for part in parts]), return_inverse=True)
    return everyone.size, np.split(places, np.cumsum([part.patients.size for part in parts])[:-1])


def variance_of(parts: Sequence[Placed], weights: Sequence[float]) -> tuple[float, float]:
    """Variance of Σ weight · θ, and its degrees of freedom; NaN where a class has fewer than two patients.

    Per patient the weighted parts are added up, squared and summed: Obuchowski's S10, S01 and S11, with her factors
    I / (I - 1) for the numbers of patients that have a positive, a negative, any radiograph.
    """
    if any(not _is_estimable(part) for part in parts):
        return NAN, NAN
    everyone, places = _together(parts)
    first, second, first_both, second_both = (np.zeros(everyone) for _ in range(4))
    has_first, has_second = np.zeros(everyone, dtype=bool), np.zeros(everyone, dtype=bool)
    member = np.zeros(everyone)
    for number, (part, weight, rows) in enumerate(zip(parts, weights, places, strict=True)):
        both = weight * _factor(part.patients.size)
        first[rows] += weight * _factor(int(part.of_first.sum())) * part.first
        second[rows] += weight * _factor(int(part.of_second.sum())) * part.second
        first_both[rows] += both * part.first
        second_both[rows] += both * part.second
        has_first[rows] |= part.of_first
        has_second[rows] |= part.of_second
        member[rows] += 2.0**number
    # The cross term can outweigh the others only by its larger factor.
    variance = max(float((first**2).sum() + (second**2).sum() + 2 * (first_both * second_both).sum()), 0.0)
    own, uncertain = 0.0, 0.0
    stratum = np.unique(member, return_inverse=True)[1] if len(parts) > 1 else np.zeros(everyone, dtype=int)
    for errors, has in ((first, has_first), (second, has_second)):
        squares, counts = np.bincount(stratum, errors**2), np.bincount(stratum, has)
        own += float(squares.sum())
        uncertain += float((squares**2 / np.maximum(counts - 1, 1)).sum())
    return variance, own**2 / uncertain if uncertain > 0 else float(everyone - 1)


def _is_estimable(part: Placed) -> bool:
    # A plain mean has no second kind.
    return part.of_first.sum() >= 2 and (part.n_positive is None or part.of_second.sum() >= 2)


def _factor(count: int) -> float:
    return float(np.sqrt(count / (count - 1))) if count > 1 else 0.0
