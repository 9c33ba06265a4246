"""What the audit keeps for the report to show: some radiographs with every network's map, and mean maps per class."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from medtea.audit.asked import UNLABELLED, Array, AuditedGroup, AuditedNetwork, Need
from medtea.audit.asking import Answer

TEACHER = "teacher"


def pictures_of(
    asked: Sequence[AuditedNetwork], groups: Sequence[AuditedGroup], *, count: int, averaged: int
) -> dict[str, Any]:
    """Arrays by "group number/what"; maps of those networks that heatmaps can be had of.

    Of the radiographs shown: name (the group's), radiograph, lung_mask, label, id, case ("typical", "worst", "") and
    heatmap/<network>. Of the averaged ones: mean_n (2,), how many of label 0 and 1, mean_radiograph,
    mean_lung_mask (where more than half of the masks are) and mean_heatmap/<network>, (2, size, size), each map first
    divided by its sum of |R|: there is no common unit.
    """
    arrays: dict[str, Any] = {}
    for number, group in enumerate(groups):
        chosen, cases = _chosen(asked, group, count)
        if len(chosen) == 0:
            continue
        pictures, masks = group.radiographs[chosen], group.lung_masks[chosen]
        arrays |= {
            f"{number}/name": np.array(group.name),
            f"{number}/radiograph": pictures,
            f"{number}/lung_mask": masks,
            f"{number}/label": group.labels[chosen],
            f"{number}/case": np.array(cases),
            f"{number}/id": np.array([group.ids[row] if group.ids else "" for row in chosen]),
        }
        mapped = [network for network in asked if network.lacks(frozenset({Need.HEATMAPS}), group) is None]
        arrays |= {f"{number}/heatmap/{network.name}": network.heatmaps(pictures, masks) for network in mapped}
        if averaged:
            arrays |= {f"{number}/{name}": array for name, array in _means(mapped, group, averaged).items()}
    return arrays


def exhibits_of(
    answers: Sequence[Answer], groups: Sequence[AuditedGroup]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the answers show: a list for outcomes.json, and arrays by "exhibit/place in that list/what".

    What: image, lung_mask, and as far as there is one changed, heatmap, marked; (size, size) each.
    """
    by_name = {group.name: group for group in groups}
    listed: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    for answer in answers:
        for shown in answer.outcome.exhibits:
            group = by_name[answer.group]
            key = f"exhibit/{len(listed)}"
            ids = [group.ids[row] if group.ids else "" for row in (shown.row, shown.partner) if row is not None]
            listed.append(
                {
                    "probe": answer.probe,
                    "method": answer.method,
                    "group": group.name,
                    "radiographs": ids,
                    "label": int(group.labels[shown.row]),
                    "note": shown.note,
                }
            )
            parts = {
                "image": group.radiographs[shown.row],
                "lung_mask": group.lung_masks[shown.row],
                "changed": shown.changed,
                "heatmap": shown.heatmap,
                "marked": shown.marked,
            }
            arrays |= {f"{key}/{name}": part for name, part in parts.items() if part is not None}
    return listed, arrays


def _chosen(asked: Sequence[AuditedNetwork], group: AuditedGroup, count: int) -> tuple[Array, list[str]]:
    """Rows in the order of showing: of either class the one ranked in the middle, the worst ranked, then the first."""
    students = [network for network in asked if network.name != TEACHER] or list(asked)
    if not count or not students:
        return np.array([], dtype=int), []
    # ranks, since the scores of different networks are not on one scale
    ranks = np.mean([rankdata(one.scores(group.radiographs, group.lung_masks)) for one in students], axis=0)
    cases: dict[int, str] = {}
    classes = (1, 0) if group.is_labelled else (UNLABELLED,)
    of_class = [np.flatnonzero(group.labels == label) for label in classes]
    in_order = [rows[np.argsort(ranks[rows], kind="stable")] for rows in of_class]
    for rows in in_order:
        if len(rows):
            cases.setdefault(int(rows[len(rows) // 2]), "typical")
    for rows, label, place in zip(in_order, classes, (0, -1), strict=False):
        if len(rows) and label != UNLABELLED:
            cases.setdefault(int(rows[place]), "worst")
    for pair in itertools.zip_longest(*(rows.tolist() for rows in of_class)):
        for row in pair:
            if row is not None:
                cases.setdefault(row, "")
    chosen = list(cases)[:count]
    return np.array(chosen, dtype=int), [cases[row] for row in chosen]


def _means(asked: Sequence[AuditedNetwork], group: AuditedGroup, averaged: int) -> dict[str, Array]:
    """Mean radiograph and mean map of either class, over the first ones, half of them of each class."""
    rows = [np.flatnonzero(group.labels == label)[: max(1, averaged // 2)] for label in (0, 1)]
    arrays = {
        "mean_n": np.array([len(one) for one in rows]),
        "mean_radiograph": np.stack([_mean(group.radiographs[one]) for one in rows]),
        "mean_lung_mask": np.stack([_mean(group.lung_masks[one] > 0) > 0.5 for one in rows]),
    }
    for network in asked:
        maps = []
        for one in rows:
            found = np.asarray(network.heatmaps(group.radiographs[one], group.lung_masks[one]), dtype=np.float64)
            sums = np.abs(found).sum((1, 2), keepdims=True)
            maps.append(_mean(found[sums[:, 0, 0] > 0] / sums[sums[:, 0, 0] > 0]))
        arrays[f"mean_heatmap/{network.name}"] = np.stack(maps).astype(np.float32)
    return arrays


def _mean(pictures: Array) -> Array:
    """0 everywhere where there is no picture."""
    return pictures.mean(0) if len(pictures) else np.zeros(pictures.shape[1:], dtype=np.float64)
