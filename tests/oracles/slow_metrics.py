"""Plain slow twins of medtea.metrics: loops, one pair and one draw at a time."""

from __future__ import annotations

import math

import numpy as np


def auroc_by_pairs(labels, scores):
    """Count every pair of a positive and a negative; a tie is half a point."""
    points, pairs = 0.0, 0
    for label, score in zip(labels, scores, strict=True):
        for other_label, other in zip(labels, scores, strict=True):
            if label == 1 and other_label == 0:
                pairs += 1
                points += 1.0 if score > other else 0.5 if score == other else 0.0
    return points / pairs if pairs else math.nan


def average_precision_by_thresholds(labels, scores):
    """Walk down the distinct scores and add recall gained times precision."""
    positives = sum(labels)
    if positives in (0, len(labels)):
        return math.nan
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        new = sum(called) / positives
        total += (new - recall) * sum(called) / len(called)
        recall = new
    return total


def rows_of_draw(patients, drawn):
    """The rows of the drawn patients, as often as they were drawn."""
    return [row for name in drawn for row, patient in enumerate(patients) if patient == name]


def bootstrap_by_loops(patients, statistic_of_rows, replicates, generator):
    """(low, high, replicates without an answer) of one group, drawing as bootstrap_by_patient draws."""
    names = sorted(set(patients))
    numbers = []
    for _ in range(replicates):
        drawn = [names[i] for i in generator.integers(0, len(names), len(names))]
        numbers.append(statistic_of_rows(rows_of_draw(patients, drawn)))
    answered = [number for number in numbers if not math.isnan(number)]
    low, high = np.quantile(answered, [0.025, 0.975]) if 2 * len(answered) >= replicates else (math.nan, math.nan)
    return low, high, replicates - len(answered)


def surface_distance_by_pairs(predicted, given):
    """Mean over both borders of the distance to the nearest pixel of the other border."""
    borders = [_border(predicted), _border(given)]
    if not all(borders):
        return math.nan
    distances = [
        min(math.dist(pixel, other) for other in there) for here, there in (borders, borders[::-1]) for pixel in here
    ]
    return sum(distances) / len(distances)


def outline_distances(predicted, given):
    """Of every border pixel the distance to the nearest one of the other border: there, and back."""
    borders = [_border(predicted), _border(given)]
    return [
        np.array([min(math.dist(pixel, other) for other in there) for pixel in here])
        for here, there in (borders, borders[::-1])
    ]


def _border(mask):
    height, width = mask.shape
    inside = {(y, x) for y in range(height) for x in range(width) if mask[y, x]}
    return [
        (y, x)
        for y, x in sorted(inside)
        if any(n not in inside for n in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)))
    ]


def obuchowski_by_pairs(patients, labels, scores, others=None):
    """Obuchowski's variance of an AUROC, or of the difference of two on the same rows, as her paper writes it.

    Biometrics 53, 1997, equations 3 to 5: kernel per pair, V10 and V01 by row, sums per cluster. With one row per
    patient S11 vanishes and it is DeLong's.
    """
    columns = [scores] if others is None else [scores, others]
    names = sorted(set(patients))
    positives = [i for i, label in enumerate(labels) if label == 1]
    negatives = [i for i, label in enumerate(labels) if label == 0]
    clusters_10 = [name for name in names if any(patients[i] == name for i in positives)]
    clusters_01 = [name for name in names if any(patients[i] == name for i in negatives)]
    sums_10, sums_01 = [], []
    for column in columns:
        kernel = {
            (i, j): (column[i] > column[j]) + 0.5 * (column[i] == column[j]) for i in positives for j in negatives
        }
        theta = sum(kernel.values()) / len(kernel)
        v10 = {i: sum(kernel[i, j] for j in negatives) / len(negatives) for i in positives}
        v01 = {j: sum(kernel[i, j] for i in positives) / len(positives) for j in negatives}
        sums_10.append({name: sum(v10[i] - theta for i in positives if patients[i] == name) for name in names})
        sums_01.append({name: sum(v01[j] - theta for j in negatives if patients[j] == name) for name in names})
    m, n = len(positives), len(negatives)

    def covariance(r, s):
        i10, i01, i = len(clusters_10), len(clusters_01), len(names)
        s10 = i10 / ((i10 - 1) * m) * sum(sums_10[r][name] * sums_10[s][name] for name in names)
        s01 = i01 / ((i01 - 1) * n) * sum(sums_01[r][name] * sums_01[s][name] for name in names)
        s11 = i / (i - 1) * sum(sums_10[r][name] * sums_01[s][name] for name in names)
        s11_turned = i / (i - 1) * sum(sums_10[s][name] * sums_01[r][name] for name in names)
        return s10 / m + s01 / n + (s11 + s11_turned) / (m * n)

    if others is None:
        return covariance(0, 0)
    return covariance(0, 0) + covariance(1, 1) - 2 * covariance(0, 1)
