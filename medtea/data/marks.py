"""Stamps a known mark on a radiograph, a letter, box, cable or device, and says which pixels it took."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medtea.core.errors import UsageError, nearest

CORNERS = ("top left", "top right", "bottom left", "bottom right")
BOX = "box"
CABLE, PACEMAKER = "cable", "pacemaker"
_DRAWN_AT = 96  # font size in pixels; letters are drawn once at this size and scaled down

Stamped = tuple[NDArray[np.float32], NDArray[np.bool_]]


@dataclass(frozen=True)
class Mark:
    """A mark as a radiographer leaves it: where, how large, how bright.

    Attributes:
        sign: One letter or more ("L"); "box" for a filled rectangle twice as wide as it is high; "cable" for a thin
            curve, as of an electrode; "pacemaker" for a rounded housing with a lead.
        height: Share of the radiograph's height.
        corner: One of `CORNERS`, as the radiograph is shown.
        brightness: The grey value, in [0, 1], that the mark's pixels take.
        margin: Distance to both edges, share of the radiograph's height.
    """

    sign: str
    height: float = 1 / 6
    corner: str = "top right"
    brightness: float = 1.0
    margin: float = 0.05

    def __post_init__(self) -> None:
        """Refuses a mark that cannot be drawn."""
        if self.corner not in CORNERS:
            raise UsageError(f"A mark's corner is {self.corner!r}. {nearest(self.corner, CORNERS)}")
        if not self.sign.strip():
            raise UsageError("A mark's sign is empty; give a letter or 'box'.")
        if not 0 < self.height <= 1 or not 0 <= self.brightness <= 1 or not 0 <= self.margin < 0.5:
            raise UsageError("A mark's height is in (0, 1], its brightness in [0, 1], its margin in [0, 0.5).")

    def stamp(self, radiograph: NDArray[np.float32]) -> Stamped:
        """A copy with the mark on it, and the pixels it took; all other pixels are unchanged.

        Args:
            radiograph: (rows, columns) in [0, 1].

        Returns:
            The stamped copy, and a Boolean mask of the same shape.

        Raises:
            UsageError: the mark is larger than the radiograph.
        """
        taken = self.pixels(*radiograph.shape)
        stamped = radiograph.copy()
        stamped[taken] = self.brightness
        return stamped, taken

    def shape(self, rows: int) -> NDArray[np.bool_]:
        """The mark itself, as large as it is on a radiograph of so many rows."""
        return _shape_of(self.sign, max(1, round(self.height * rows)))

    def pixels(self, rows: int, columns: int) -> NDArray[np.bool_]:
        """The pixels that the mark takes on a radiograph of this shape."""
        shape = self.shape(rows)
        margin = round(self.margin * rows)
        if shape.shape[0] + margin > rows or shape.shape[1] + margin > columns:
            raise UsageError(f"The mark does not fit on {rows} x {columns} pixels; make its height or margin smaller.")
        vertical, horizontal = self.corner.split()
        top = margin if vertical == "top" else rows - margin - shape.shape[0]
        left = margin if horizontal == "left" else columns - margin - shape.shape[1]
        taken = np.zeros((rows, columns), dtype=bool)
        taken[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
        return taken


@lru_cache(maxsize=256)
def _shape_of(sign: str, height: int) -> NDArray[np.bool_]:
    if sign == BOX:
        return np.ones((height, 2 * height), dtype=bool)
    drawn = _DRAWN[sign]() if sign in _DRAWN else _drawn(sign)
    width = max(1, round(drawn.width * height / drawn.height))
    return np.asarray(drawn.resize((width, height), Image.Resampling.BOX)) >= 128


def _drawn(sign: str) -> Image.Image:
    font = ImageFont.load_default(_DRAWN_AT)
    stroke = _DRAWN_AT // 20  # makes the font bold
    left, top, right, bottom = font.getbbox(sign, stroke_width=stroke)
    canvas = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(canvas).text((-left, -top), sign, fill=255, font=font, stroke_width=stroke)
    box = canvas.getbbox()
    if box is None:
        raise UsageError(f"The font has no shape for the sign {sign!r}; use a Latin letter or 'box'.")
    return canvas.crop(box)


def _cable() -> Image.Image:
    """An S of one stroke."""
    canvas = Image.new("L", (_DRAWN_AT, _DRAWN_AT))
    places = np.linspace(0, 1, 60)
    curve = [
        ((0.5 + 0.42 * np.sin(2 * np.pi * place)) * _DRAWN_AT, (0.04 + 0.92 * place) * _DRAWN_AT) for place in places
    ]
    ImageDraw.Draw(canvas).line(curve, fill=255, width=_DRAWN_AT // 10, joint="curve")
    return _cropped(canvas)


def _pacemaker() -> Image.Image:
    """A housing, and a lead that leaves it."""
    canvas = Image.new("L", (_DRAWN_AT, _DRAWN_AT))
    draw = ImageDraw.Draw(canvas)
    draw.rounded_rectangle((0, 0, _DRAWN_AT * 0.6, _DRAWN_AT * 0.5), radius=_DRAWN_AT // 6, fill=255)
    draw.arc(
        (0, -_DRAWN_AT * 0.2, _DRAWN_AT * 0.95, _DRAWN_AT * 0.98), start=-20, end=110, fill=255, width=_DRAWN_AT // 10
    )
    return _cropped(canvas)


def _cropped(canvas: Image.Image) -> Image.Image:
    return canvas.crop(canvas.getbbox())


_DRAWN = {CABLE: _cable, PACEMAKER: _pacemaker}


def stamp_letter(
    radiograph: NDArray[np.float32],
    letter: str,
    *,
    height: float = 1 / 6,
    corner: str = "top right",
    brightness: float = 1.0,
) -> Stamped:
    """A copy with a bold letter in a corner, and the pixels it took (see `Mark`)."""
    return Mark(letter, height=height, corner=corner, brightness=brightness).stamp(radiograph)


def stamp_box(
    radiograph: NDArray[np.float32], *, height: float = 1 / 12, corner: str = "top right", brightness: float = 1.0
) -> Stamped:
    """A copy with a filled box in a corner, and the pixels it took (see `Mark`)."""
    return Mark(BOX, height=height, corner=corner, brightness=brightness).stamp(radiograph)
