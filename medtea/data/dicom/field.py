"""Which part of a DICOM image was exposed and is meant to be seen: what shutter and collimator leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from medtea.data.dicom.header import side_number, side_numbers, side_values
from medtea.data.geometry import Box

Kind = Literal["Shutter", "Collimator"]
KINDS: tuple[Kind, ...] = ("Shutter", "Collimator")
# Of each side. Real headers hold edges that count something else than pixels; a chest fills more than this.
SMALLEST_SHARE = 0.25
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Field:
    """The part that is left.

    Attributes:
        box: Around it.
        inside: Which pixels of the box belong to it; None: all.
        said_by: "whole", "shutter", "collimator", "shutter and collimator", or "implausible", where the whole is kept.
    """

    box: Box
    inside: NDArray[np.bool_] | None = None
    said_by: str = "whole"


def field_of(dataset: Dataset) -> Field:
    """What lies inside every shape of the shutter (PS3.3 C.7.6.11) and of the collimator (C.8.7.3).

    Rows and columns count from 1 in both; an edge's own line belongs to the field. Edges may lie outside the image,
    which then limits the field.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    whole: Box = (0, rows, 0, columns)
    box, inside, said_by = whole, None, []
    for kind in KINDS:
        limits = _rectangle(dataset, kind)
        masks = _masks(dataset, kind, (rows, columns))
        if limits is None and not masks:
            continue
        said_by.append(kind.lower())
        box = _overlap(box, limits or whole)
        for mask in masks:
            inside = mask if inside is None else inside & mask
    if not said_by:
        return Field(whole)
    if inside is not None:
        box = _overlap(box, _around(inside))
    if not _is_plausible(box, rows, columns):
        return Field(whole, said_by="implausible")
    top, bottom, left, right = box
    part = None if inside is None else inside[top:bottom, left:right]
    return Field(box, None if part is None or part.all() else part, " and ".join(said_by))


def in_words(box: Box) -> str:
    """As the facts have it, counted from 1, the last line included."""
    top, bottom, left, right = box
    return f"rows {top + 1}-{bottom}, columns {left + 1}-{right}"


def _shapes(dataset: Dataset, kind: Kind) -> set[str]:
    return {str(shape).strip().upper() for shape in side_values(dataset, f"{kind}Shape")}


def _rectangle(dataset: Dataset, kind: Kind) -> Box | None:
    if "RECTANGULAR" not in _shapes(dataset, kind):
        return None
    names = ("UpperHorizontalEdge", "LowerHorizontalEdge", "LeftVerticalEdge", "RightVerticalEdge")
    edges = [side_number(dataset, f"{kind}{name}") for name in names]
    if any(edge is None for edge in edges):
        return None
    upper, lower, left, right = (int(edge or 0) for edge in edges)
    return upper - 1, lower, left - 1, right


def _masks(dataset: Dataset, kind: Kind, shape: tuple[int, int]) -> list[NDArray[np.bool_]]:
    shapes, masks = _shapes(dataset, kind), []
    centre = side_numbers(dataset, f"CenterOfCircular{kind}")
    radius = side_number(dataset, f"RadiusOfCircular{kind}")
    if "CIRCULAR" in shapes and len(centre) == 2 and radius and radius > 0:
        down, across = (
            np.arange(side, dtype=np.float64) + 1 - middle for side, middle in zip(shape, centre, strict=True)
        )
        masks.append(down[:, None] ** 2 + across[None, :] ** 2 <= radius**2)
    corners = side_numbers(dataset, f"VerticesOfThePolygonal{kind}")
    if "POLYGONAL" in shapes and len(corners) >= 6 and len(corners) % 2 == 0:
        drawing = Image.new("1", shape[::-1])
        points = [(column - 1, row - 1) for row, column in zip(corners[::2], corners[1::2], strict=True)]
        ImageDraw.Draw(drawing).polygon(points, fill=1, outline=1)
        masks.append(np.asarray(drawing, dtype=bool))
    return masks


def _overlap(one: Box, other: Box) -> Box:
    return max(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), min(one[3], other[3])


def _around(mask: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1) if len(rows) else (0, 0, 0, 0)


def _is_plausible(box: Box, rows: int, columns: int) -> bool:
    top, bottom, left, right = box
    return bottom - top >= max(SMALLEST_SIDE, SMALLEST_SHARE * rows) and right - left >= max(
        SMALLEST_SIDE, SMALLEST_SHARE * columns
    )
