"""How probes change radiographs: what is taken out is filled, backgrounds are swapped. Inputs are never written to."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from medtea.audit.asked import AuditedGroup
from medtea.data.marks import Mark

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Fill = Literal["grey", "noise", "smooth"]

_NEIGHBOURS = [(0, 1, 1 / 6), (0, -1, 1 / 6), (1, 0, 1 / 6), (-1, 0, 1 / 6)]
_NEIGHBOURS += [(1, 1, 1 / 12), (1, -1, 1 / 12), (-1, 1, 1 / 12), (-1, -1, 1 / 12)]


def dilated(mask: Mask, pixels: float) -> Mask:
    """The mask and all within so many pixels of it (Euclidean)."""
    if pixels <= 0 or not mask.any():
        return mask.copy()
    return np.asarray(ndimage.distance_transform_edt(~mask) <= pixels)


def filled(
    picture: NDArray[Any], removed: Mask, how: Fill, generator: np.random.Generator, *, grey: float = 0.5
) -> Floats:
    """A copy in which `removed` shows nothing of what was there.

    Args:
        picture: (rows, columns) in [0, 1].
        removed: Same shape.
        how: "grey": one grey value, which is to be the same for all radiographs: the mean of what lies around would
            carry the background's brightness into the lungs. "noise": grey values drawn from the rest. "smooth": see
            `imputed`. Both are 0 where nothing else is left.
        generator: Of the noise.
        grey: That value.
    """
    if how == "smooth":
        return imputed(picture, removed, generator)
    copy = np.array(picture, dtype=np.float32)
    rest = copy[~removed]
    if how == "grey":
        copy[removed] = grey
    elif rest.size == 0:
        copy[:] = 0
    else:
        copy[removed] = generator.choice(rest, size=int(removed.sum()))
    return copy


def imputed(picture: NDArray[Any], removed: Mask, generator: np.random.Generator, *, noise: float = 0.01) -> Floats:
    """A copy in which each removed pixel is the weighted mean of its eight neighbours, and a little noise.

    Direct neighbours weigh 1/6, diagonal ones 1/12; at the border what is there weighs 1 together. A network cannot
    tell the shape of what was removed from such a filling as it can from one grey value.

    Args:
        picture: (rows, columns).
        removed: Same shape; if it is everything, the copy is 0.
        generator: Of the noise.
        noise: Its standard deviation.

    References:
        Noisy linear imputation: Rong et al., ICML 2022 (ROAD).
    """
    copy = np.array(picture, dtype=np.float32)
    count = int(removed.sum())
    if count == removed.size:
        copy[:] = 0
        return copy
    if count == 0:
        return copy
    number = np.full(removed.shape, -1)
    number[removed] = np.arange(count)
    rows, columns = np.nonzero(removed)
    known, total = np.zeros(count), np.zeros(count)
    entries: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for down, right, weight in _NEIGHBOURS:
        r, c = rows + down, columns + right
        inside = (r >= 0) & (r < removed.shape[0]) & (c >= 0) & (c < removed.shape[1])
        mine = np.flatnonzero(inside)
        total[mine] += weight
        theirs = number[r[mine], c[mine]]
        is_known = theirs < 0
        known[mine[is_known]] += weight * copy[r[mine[is_known]], c[mine[is_known]]]
        entries.append((mine[~is_known], theirs[~is_known], np.full(int((~is_known).sum()), -weight)))
    at, of, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    system = sparse.csc_matrix((values, (at, of)), shape=(count, count)) + sparse.diags(total, format="csc")
    copy[removed] = spsolve(system, known) + noise * generator.standard_normal(count)
    return copy


def partners(
    classes: NDArray[Any], patients: list[str], generator: np.random.Generator, *, alike: bool = True
) -> NDArray[np.int64]:
    """For each row a row of another patient and of the same class, or not `alike`, of another; -1 where none is."""
    patient = np.array(patients)
    chosen = np.full(len(patient), -1, dtype=np.int64)
    for row in range(len(patient)):
        able = np.flatnonzero(((classes == classes[row]) == alike) & (patient != patient[row]))
        if able.size:
            chosen[row] = generator.choice(able)
    return chosen


def stamped(group: AuditedGroup, mark: Mark, generator: np.random.Generator | None = None) -> Floats:
    """The radiographs with the mark on every pixel outside the lungs; with a generator, scattered there instead."""
    pictures = np.array(group.radiographs, dtype=np.float32)
    taken = mark.pixels(*pictures.shape[1:])
    for picture, lungs in zip(pictures, group.lungs, strict=True):
        pixels = np.flatnonzero(taken & ~lungs)
        if generator is not None:
            pixels = generator.choice(np.flatnonzero(~lungs), size=len(pixels), replace=False)
        picture.reshape(-1)[pixels] = mark.brightness
    return pictures
