"""Pairs of radiographs that are nearly one picture, whatever window, gamma, JPEG or crop of some per cent lies between.

A radiograph becomes the low frequencies (discrete cosine transform) of its ranked grey values: ranks do not change with
window or gamma, low frequencies hardly with compression and size. Common perceptual hashes of 64 bits do not serve:
radiographs of the chest are all so alike that different patients collide.

1. Nearest: for each radiograph its NEIGHBOURS nearest ones, by one matrix product over all pairs.
2. Cropped: these compared with 81 crops of it, which are two small products away, since crop and cosine transform are
   both linear on rows and on columns.
3. Registered: the edges of what is left are moved against each other until finer details fit best; the distance is
   1 - correlation of these details.

Copies make a group. Two that are in one group already, by way of others, are not registered with each other: n copies
cost n - 1 registrations, not n (n - 1) / 2, and the pairs that are listed connect each group.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata

Floats = NDArray[np.float32]
Edges = tuple[float, float, float, float]
"""Shares cut off at top, bottom, left, right; below 0: cut off the other radiograph."""

WHOLE: Edges = (0.0, 0.0, 0.0, 0.0)
SIDE = 64  # pixels on which all this happens
NEIGHBOURS = 256
BLOCK = 64  # rows of the matrix product at a time
CUTS = tuple(itertools.product((0.0, 0.025, 0.05), repeat=2))  # of an axis, at its beginning and its end
CROPS: tuple[Edges, ...] = tuple((top, bottom, left, right) for top, bottom in CUTS for left, right in CUTS)
FURTHEST_CUT = 0.12
# Measured on 2,647 real radiographs of six hospitals (benchmarks/ingest/duplicates.py): one pair of different patients
# is 0.13 apart and no other within 0.15; of planted copies (JPEG, gamma, window, crop by 5 %) 95 to 100 % are nearer
# than this.
NEAR = 0.08
WORTH_REGISTERING = 0.12
TRIES = 8
"""Members of one group that a radiograph is registered with in vain, the likeliest first, before the rest are left."""


@dataclass(frozen=True)
class Band:
    """Which cosine coefficients count, and how much: the `size` lowest of both axes but for the very lowest.

    A radiograph's amplitudes fall with the frequency; `power` makes up for it.
    """

    size: int
    lowest: int
    power: float

    @property
    def weights(self) -> Floats:
        """(size, size), 0 where a coefficient does not count."""
        rows, columns = np.indices((self.size, self.size))
        weights = np.maximum(np.hypot(rows, columns), 1) ** self.power
        return np.where(rows + columns >= self.lowest, weights, 0).astype(np.float32)

    @property
    def length(self) -> int:
        """Coefficients of a description."""
        return self.size**2


COARSE = Band(20, 4, 1.0)
FINE = Band(32, 5, 1.5)


@dataclass(frozen=True, order=True)
class Pair:
    """Two rows of the array whose pictures are nearly one, the first above the second, and their distance."""

    first: int
    second: int
    distance: float


Pictures = NDArray[Any] | Sequence[NDArray[Any]]
Progress = Callable[[Iterable[int], str], Iterator[int]]


def near_pairs(pictures: Pictures, progress: Progress = lambda items, _: iter(items)) -> list[Pair]:
    """Pairs nearer than NEAR that connect every group of copies, sorted; `groups_of` tells the groups.

    Of a group of n copies n - 1 pairs, mostly of its first with each other one: so many say who belongs together, and
    if a group is on both sides of a split, then one of its pairs is as well.

    Memory grows by 1.5 kB for each radiograph; time in the end with the square of their number.

    Args:
        pictures: (rows, rows) each, cropped and scaled as `prepare` does; may be a memory map.
        progress: How a waiting person is told.
    """
    count = len(pictures)
    prints = np.empty((count, COARSE.length), dtype=np.float32)
    for row in progress(range(count), "comparing radiographs"):
        prints[row] = described(equalised(pictures[row]), COARSE)
    pairs, group = [], np.arange(count)
    for start in progress(range(0, count if count > 1 else 0, BLOCK), "looking for copies"):
        far = 1 - prints[start : start + BLOCK] @ prints.T
        for row, distances in enumerate(far, start):
            distances[group == group[row]] = np.inf  # whoever is of its group takes no other one's place
            ranked = equalised(pictures[row])
            in_vain: Counter[int] = Counter()
            for other, edges in _worth_registering(ranked, prints, distances):
                its = int(group[other])
                if its == group[row] or in_vain[its] == TRIES:
                    continue
                found = distance(ranked, equalised(pictures[other]), edges)
                if found < NEAR:
                    pairs.append(Pair(min(row, other), max(row, other), found))
                    group[group == its] = group[row]
                else:
                    in_vain[its] += 1
    return sorted(pairs)


def groups_of(pairs: Sequence[Pair], count: int) -> NDArray[np.int64]:
    """The group of each of `count` rows, as the number of its first row; a row without a copy is its own group."""
    ends = np.array([(pair.first, pair.second) for pair in pairs], dtype=int).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    _, firsts = np.unique(labels, return_index=True)
    return np.asarray(firsts[labels], dtype=np.int64)


def distance(one: Floats, other: Floats, edges: Edges = WHOLE) -> float:
    """1 - correlation of the details of two equalised pictures, registered: 0 for copies, about 1 for strangers.

    Edges are moved in ever smaller steps, each alone and both of an axis together, as long as it helps; it is given up
    where the first steps lead nowhere near.

    Args:
        one: (SIDE, SIDE).
        other: The same.
        edges: Where to begin.
    """
    best = _agreement(one, other, edges)
    for step, hopeless in ((0.01, 2.5 * NEAR), (0.005, 1.0)):
        moved = True
        while moved:
            moved = False
            for move in _moves(edges, step):
                found = _agreement(one, other, move)
                if found > best + 1e-6:
                    best, edges, moved = found, move, True
        if 1 - best > hopeless:
            break
    return max(1 - best, 0.0)


def equalised(picture: NDArray[Any]) -> Floats:
    """The picture on SIDE x SIDE pixels with ranks, from -0.5 to 0.5, in the place of grey values."""
    image = Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32))
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    # Equal grey values (a clipped window, padding) have one rank: else their order would draw a ramp into a picture.
    ranks = (rankdata(small) - 0.5) / small.size - 0.5
    return np.asarray(ranks.reshape(SIDE, SIDE), dtype=np.float32)


def described(ranked: Floats, band: Band, edges: Edges = WHOLE) -> Floats:
    """The band's coefficients of what is left between the edges, as one vector of length 1."""
    top, bottom, left, right = edges
    rows, columns = _operator(band.size, top, bottom), _operator(band.size, left, right)
    return _normed((rows @ ranked @ columns.T * band.weights).ravel())


def _worth_registering(ranked: Floats, prints: Floats, far: Floats) -> list[tuple[int, Edges]]:
    """Other rows, and which crop of this one is most like each, the likeliest first; none that is infinitely far."""
    count = min(NEIGHBOURS, len(far) - 1)
    nearest = np.argpartition(far, count - 1)[:count]
    nearest = nearest[np.isfinite(far[nearest])]
    agreement = prints[nearest] @ _crops(ranked).T
    best = agreement.max(axis=1)
    order = [place for place in np.argsort(-best, kind="stable") if best[place] > 1 - WORTH_REGISTERING]
    return [(int(nearest[place]), CROPS[agreement[place].argmax()]) for place in order]


def _crops(ranked: Floats) -> Floats:
    """The coarse descriptions of all crops, (81, coefficients)."""
    every = np.concatenate([_operator(COARSE.size, *cut) for cut in CUTS])
    kinds = len(CUTS)
    parts = (every @ ranked @ every.T).reshape(kinds, COARSE.size, kinds, COARSE.size).transpose(0, 2, 1, 3)
    return _normed((parts * COARSE.weights).reshape(kinds**2, -1))


def _agreement(one: Floats, other: Floats, edges: Edges) -> float:
    mine, its = np.maximum(edges, 0), np.maximum(np.negative(edges), 0)
    return float(described(one, FINE, tuple(mine)) @ described(other, FINE, tuple(its)))


def _moves(edges: Edges, step: float) -> Iterator[Edges]:
    directions = np.concatenate([np.eye(4), [[1, -1, 0, 0], [0, 0, 1, -1], [1, 1, 0, 0], [0, 0, 1, 1]]])
    for direction in (*directions, *-directions):
        moved = np.round(edges + step * direction, 4)
        if np.abs(moved).max() <= FURTHEST_CUT:
            top, bottom, left, right = (float(edge) for edge in moved)
            yield top, bottom, left, right


@lru_cache(maxsize=4096)
def _operator(size: int, first: float, last: float) -> Floats:
    """(size, SIDE): what is left when these shares are cut off, brought to SIDE again, as its lowest cosines."""
    centres = (np.arange(SIDE) + 0.5) / SIDE
    places = np.clip((centres * (1 - first - last) + first) * SIDE - 0.5, 0, SIDE - 1)
    below = np.minimum(places.astype(int), SIDE - 2)
    resampled = np.zeros((SIDE, SIDE))
    resampled[np.arange(SIDE), below] = 1 - (places - below)
    resampled[np.arange(SIDE), below + 1] = places - below
    cosines = np.cos(np.pi * np.outer(np.arange(size), centres))
    return np.asarray(cosines @ resampled, dtype=np.float32)


def _normed(vectors: NDArray[np.floating]) -> Floats:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
