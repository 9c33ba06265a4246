"""Maximum-likelihood logistic regression of many weighted samples at once, and the restricted cubic spline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ITERATIONS = 40
FARTHEST = 20.0  # that one step moves a logit
# Of the log-likelihood, relative: at 1e-10 a coefficient of order 1 is right to about 1e-5 of its standard error.
TOLERANCE = 1e-10
# Where Harrell places the knots, as quantiles of the predictor, by their number.
QUANTILES = {3: (0.10, 0.50, 0.90), 4: (0.05, 0.35, 0.65, 0.95)}


def fit_logistic(design: Floats, positives: Floats, negatives: Floats, offset: Floats | None = None) -> Floats:
    """Coefficients b that maximise sum pos · log p + neg · log(1 - p), logit p = offset + design · b, sample by sample.

    Newton's method; a step that lowers the likelihood is halved, so that a far start does no harm. The first sample is
    solved from 0 and the others from its answer: give the sample itself first, then its resamples.

    Args:
        design: (cells, p).
        positives: (samples, cells) how often label 1 occurs in each cell.
        negatives: (samples, cells) how often label 0.
        offset: (cells,) what is added with the coefficient 1; nothing by default.

    Returns:
        (samples, p). NaN where the likelihood has not settled, or a sample has one label only. Separated samples
        (some combination of the columns ranks perfectly) have no maximum: the caller tells them apart.

    References:
        McCullagh & Nelder, Generalized Linear Models, 1989, 4.4.
    """
    start = np.zeros((1, design.shape[1]))
    shift = np.zeros(len(design)) if offset is None else offset
    first = _newton(design, positives[:1], negatives[:1], shift, start)
    if len(positives) == 1:
        return first
    begin = np.where(np.isnan(first), 0.0, first)
    rest = _newton(design, positives[1:], negatives[1:], shift, np.repeat(begin, len(positives) - 1, axis=0))
    return np.concatenate([first, rest])


def _newton(design: Floats, positives: Floats, negatives: Floats, offset: Floats, start: Floats) -> Floats:
    found = np.full(start.shape, np.nan)
    both = (positives.sum(axis=1) > 0) & (negatives.sum(axis=1) > 0)
    active = np.flatnonzero(both)
    best, tried, step = start[active], start[active], np.zeros_like(start[active])
    pos, total = positives[active], positives[active] + negatives[active]
    reached = np.full(active.size, -np.inf)
    squares = np.einsum("ni,nj->nij", design, design).reshape(len(design), -1)
    size, widest = design.shape[1], np.abs(design).max(axis=0)
    for _ in range(ITERATIONS):
        if not active.size:
            break
        linear = tried @ design.T + offset
        small = np.exp(-np.abs(linear))
        share = np.where(linear >= 0, 1.0, small) / (1 + small)
        # log p = linear - softplus, log(1 - p) = -softplus, softplus = log(1 + exp(linear))
        likelihood = (pos * linear - total * (np.maximum(linear, 0) + np.log1p(small))).sum(axis=1)
        gained = likelihood - reached
        limit = TOLERANCE * (1 + np.abs(likelihood))
        up = gained >= -limit
        done = up & (np.abs(gained) <= limit)
        found[active[done]] = tried[done]
        best, reached = np.where(up[:, None], tried, best), np.where(up, likelihood, reached)
        expected = total * share
        slope = (pos - expected) @ design
        bend = ((expected * (1 - share)) @ squares).reshape(-1, size, size)
        # A bend of 0 (all probabilities at 0 or 1) has no inverse: the tiny ridge only shortens such a step.
        bend += 1e-12 * (1 + np.trace(bend, axis1=1, axis2=2))[:, None, None] * np.eye(size)
        newton = np.linalg.solve(bend, slope[:, :, None])[:, :, 0]
        # Where all probabilities are near 0 or 1 the parabola says nothing about far away.
        newton *= np.minimum(1, FARTHEST / np.maximum(np.abs(newton) @ widest, FARTHEST))[:, None]
        step = np.where(up[:, None], newton, step / 2)
        keep = ~done
        active, best, step, reached = active[keep], best[keep], step[keep], reached[keep]
        pos, total = pos[keep], total[keep]
        tried = best + step
    return found


def knots_of(values: Floats, number: int) -> Floats:
    """Knots of a restricted cubic spline at Harrell's quantiles; empty where they do not all differ."""
    knots = np.quantile(values, QUANTILES[number])
    # 1e-9: knots that coincide but for rounding
    return knots if (np.diff(knots) > 1e-9 * (1 + np.abs(knots[-1] - knots[0]))).all() else np.empty(0)


def spline_design(values: Floats, knots: Floats) -> Floats:
    """Columns 1, x and the restricted cubic spline's own: linear beyond the outer knots.

    With knots t_1 < ... < t_k and (x)+ = max(x, 0), column j of the k - 2 is
    [(x - t_j)+³ - (x - t_{k-1})+³ (t_k - t_j) / (t_k - t_{k-1}) + (x - t_k)+³ (t_{k-1} - t_j) / (t_k - t_{k-1})] /
    (t_k - t_1)². Without knots the columns are 1 and x alone: a straight line.

    Returns:
        (values, 2 + k - 2), or (values, 2).

    References:
        Harrell, Regression Modeling Strategies, 2015, section 2.4.5.
    """
    columns = [np.ones_like(values), values]
    if knots.size:
        last, before = knots[-1], knots[-2]
        for knot in knots[:-2]:
            own = np.maximum(values - knot, 0) ** 3
            own = own - np.maximum(values - before, 0) ** 3 * (last - knot) / (last - before)
            own = own + np.maximum(values - last, 0) ** 3 * (before - knot) / (last - before)
            columns.append(own / (last - knots[0]) ** 2)
    return np.stack(columns, axis=1)
