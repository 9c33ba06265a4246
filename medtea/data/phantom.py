"""Radiograph-like images made by code, with exact lung masks: no patient is in them.

Coordinates: x from -1 (left edge of the picture) to 1, y from -1 (top) to 1. Grey values: bright is dense.
What the disease adds is confined to the lung mask exactly, so that healthy and diseased phantoms of one seed are
equal outside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medtea.core.errors import UsageError
from medtea.data.marks import BOX, Mark

Field = NDArray[np.float32]

# Grey values that a nodule and a strand add at severity 1, chosen so that a small network that sees 300 phantoms at
# 64 pixels, lungs only, reaches an AUROC of about 0.97 on new ones: learnable, but harder than a mark.
NODULE, STRAND = np.float32(0.34), np.float32(0.11)


@dataclass(frozen=True)
class HospitalStyle:
    """How one hospital's pictures look.

    Attributes:
        gamma: Exponent of the grey curve; above 1 darkens.
        contrast: Spread of the grey values about their middle.
        brightness: Added to all grey values.
        noise: Standard deviation of the noise.
        blur: Standard deviation of the blur, share of the height.
        border: Width of the black rim, share of the height.
        mark_corner, mark_height, mark_brightness: See `medtea.data.marks.Mark`.
    """

    gamma: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    noise: float = 0.02
    blur: float = 0.004
    border: float = 0.0
    mark_corner: str = "top right"
    mark_height: float = 1 / 6
    mark_brightness: float = 0.95


STYLES = {
    "plain": HospitalStyle(),
    "hard": HospitalStyle(gamma=1.25, contrast=1.15, noise=0.015, blur=0.003, border=0.02),
    "soft": HospitalStyle(gamma=0.8, contrast=0.9, brightness=0.02, noise=0.025, blur=0.006),
    "portable": HospitalStyle(gamma=0.95, contrast=0.85, brightness=0.04, noise=0.035, blur=0.007, border=0.03),
}


@dataclass(frozen=True)
class Anatomy:
    """One patient's body: shifts and lengths in half image widths, tilt in radians, the rest without units."""

    shift_x: float
    shift_y: float
    scale: float
    tilt: float
    lung_width: float
    lung_height: float
    heart: float
    diaphragm: float
    ribs: float
    rib_phase: float
    lung_density: float
    build: float


@dataclass(frozen=True)
class Phantom:
    """A made radiograph in [0, 1], (size, size), its exact lung mask (without the heart) and the mark's pixels."""

    radiograph: NDArray[np.float32]
    lung_mask: NDArray[np.bool_]
    mark_pixels: NDArray[np.bool_]


def draw_anatomy(generator: np.random.Generator) -> Anatomy:
    """One patient, within limits that keep the lungs out of all four corners."""
    u = generator.uniform
    return Anatomy(
        shift_x=u(-0.05, 0.05),
        shift_y=u(-0.02, 0.06),
        scale=u(0.88, 1.02),
        tilt=u(-0.06, 0.06),
        lung_width=u(0.25, 0.31),
        lung_height=u(0.56, 0.66),
        heart=u(0.85, 1.2),
        diaphragm=u(-0.05, 0.06),
        ribs=u(6.5, 8.5),
        rib_phase=u(0, 2 * np.pi),
        lung_density=u(-0.06, 0.06),
        build=u(0.92, 1.08),
    )


def draw_mark(
    generator: np.random.Generator, *, diseased: bool, agreement: float, positive: str | None, negative: str | None
) -> str | None:
    """The sign that this hospital puts on a radiograph, None for no mark.

    Args:
        generator: One number is drawn from it whatever the setting, so that settings do not change other draws.
        diseased: The label.
        agreement: Probability that the sign is the label's own: 1 always, 0.5 says nothing, 0 reversed.
        positive: The sign that goes with diseased.
        negative: The sign that goes with healthy.

    Raises:
        UsageError: agreement is outside [0, 1].
    """
    if not 0 <= agreement <= 1:
        raise UsageError(f"A mark's agreement with the label is {agreement}; it is a share in [0, 1].")
    agrees = generator.random() < agreement
    return positive if agrees == diseased else negative


def draw_phantom(
    generator: np.random.Generator,
    *,
    size: int = 256,
    diseased: bool,
    style: HospitalStyle | None = None,
    mark: str | None = None,
    severity: tuple[float, float] = (0.5, 1.0),
    anatomy: Anatomy | None = None,
) -> Phantom:
    """One phantom radiograph.

    Args:
        generator: Where every random number comes from. Anatomy, texture, disease and noise have streams of their
            own, so that `diseased`, `style` and `mark` change nothing else about the patient.
        size: Rows and columns.
        diseased: Whether nodules and strands lie in the lungs.
        style: How the hospital's pictures look; "plain" when left out.
        mark: The letter, or "box", in the style's corner; None for no mark.
        severity: Smallest and largest amount of disease, 1 is plain to see.
        anatomy: The patient; a new one when left out.

    Raises:
        UsageError: size is below 32.
    """
    if size < 32:
        raise UsageError(f"A phantom of {size} pixels has no ribs; its size is at least 32.")
    style = style or STYLES["plain"]
    body, texture, disease, noise = generator.spawn(4)
    anatomy = anatomy or draw_anatomy(body)
    picture, aeration = _healthy(anatomy, texture, size)
    lung_mask = aeration > 0
    picture = ndimage.gaussian_filter(picture, style.blur * size, truncate=3)
    if diseased:
        picture += aeration * _lesions(disease, size, severity, style.blur)
    picture = _styled(picture, style, noise)
    taken = np.zeros_like(lung_mask)
    if mark is not None:
        picture, taken = mark_of(style, mark).stamp(picture)
    return Phantom(picture, lung_mask, taken)


def mark_of(style: HospitalStyle, sign: str) -> Mark:
    """The mark that a hospital of this style stamps; a box is half as high as a letter, and about as wide."""
    return Mark(
        sign,
        height=style.mark_height / 2 if sign == BOX else style.mark_height,
        corner=style.mark_corner,
        brightness=style.mark_brightness,
        margin=style.border + 0.015,
    )


def plain_anatomy() -> Anatomy:
    """The middle of every range: the same upright patient each time."""
    return replace(
        draw_anatomy(np.random.default_rng(0)),
        shift_x=0.0,
        shift_y=0.02,
        scale=0.95,
        tilt=0.0,
        lung_width=0.28,
        lung_height=0.61,
        heart=1.0,
        diaphragm=0.0,
        lung_density=0.0,
        build=1.0,
    )


def _grid(anatomy: Anatomy, size: int) -> tuple[Field, Field]:
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    y, x = axis[:, None] - np.float32(anatomy.shift_y), axis[None, :] - np.float32(anatomy.shift_x)
    c, s = np.float32(np.cos(anatomy.tilt) / anatomy.scale), np.float32(np.sin(anatomy.tilt) / anatomy.scale)
    return np.asarray(c * x + s * y, dtype=np.float32), np.asarray(c * y - s * x, dtype=np.float32)


def _soft(distance: Field, width: float) -> Field:
    """0 well outside, 1 well inside, a smooth step of this width where the distance is 0."""
    return np.asarray(np.clip(distance / np.float32(width) + np.float32(0.5), 0, 1), dtype=np.float32)


def _lung_distance(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Above 0 inside a lung, heart left out."""
    side = np.abs(x)
    # The lung narrows towards its apex and leans outwards below.
    centre = np.float32(0.36) + np.float32(0.07) * y
    half_width = np.float32(anatomy.lung_width) * (1 + np.float32(0.28) * np.clip(y, -1, 0.4))
    across = (side - centre) / half_width
    along = (y + np.float32(0.05)) / np.float32(anatomy.lung_height)
    lung = 1 - across**2 * np.sqrt(np.abs(across)) - along**2 * np.sqrt(np.abs(along))
    # Domes: the liver lifts the right one, which is on the left of the picture.
    dome = np.float32(0.40 + anatomy.diaphragm) - np.where(x < 0, np.float32(0.05), np.float32(0.0))
    floor = dome + np.float32(0.9) * (side - np.float32(0.36)) ** 2 - y
    return np.asarray(np.minimum(np.minimum(lung, 3 * floor), -2 * _heart_distance(anatomy, x, y)))


def _heart_distance(anatomy: Anatomy, x: Field, y: Field) -> Field:
    across = (x - np.float32(0.09)) / np.float32(0.27 * anatomy.heart)
    along = (y - np.float32(0.22)) / np.float32(0.26)
    return np.asarray(1 - (across + np.float32(0.25) * along) ** 2 - along**2)


def _rib_pattern(anatomy: Anatomy, x: Field, y: Field) -> Field:
    """Back ribs run down and outwards, front ribs down and inwards; both in [0, 1]."""
    side = np.abs(x)
    tau = np.float32(np.pi * anatomy.ribs)
    back = np.cos(tau * (y - np.float32(0.55) * side**2 + np.float32(0.1) * side) + np.float32(anatomy.rib_phase))
    front = np.cos(tau * (y + np.float32(0.75) * (side - np.float32(0.1))) + np.float32(anatomy.rib_phase + 1.3))
    both = np.maximum(back - np.float32(0.45), 0) + np.float32(0.6) * np.maximum(front - np.float32(0.55), 0)
    return np.asarray(both, dtype=np.float32)


def _healthy(anatomy: Anatomy, generator: np.random.Generator, size: int) -> tuple[Field, Field]:
    """The picture before the hospital's style, and how much of each pixel is lung: 0 outside, rising to 1 inside."""
    x, y = _grid(anatomy, size)
    side = np.abs(x)
    torso_width = np.float32(0.86 * anatomy.build) - np.float32(0.50) * np.clip(-0.62 - y, 0, None)
    neck = np.minimum(np.float32(0.2) - side, np.float32(-0.6) - y)
    shoulders = np.minimum(torso_width - side, y + np.float32(0.86) - np.float32(0.35) * side**2)
    torso = _soft(np.maximum(shoulders, neck), 0.06)
    lung_distance = _lung_distance(anatomy, x, y)
    lungs = _soft(lung_distance - np.float32(0.06), 0.12)
    heart = _soft(_heart_distance(anatomy, x, y), 0.3)
    spine = np.exp(-((x / np.float32(0.085)) ** 2))
    clavicle = np.exp(-(((y + np.float32(0.52) + np.float32(0.22) * side) / np.float32(0.03)) ** 2)) * (side < 0.62)
    hila = np.exp(-(((side - np.float32(0.2)) / np.float32(0.14)) ** 2) - ((y + 0.02) / np.float32(0.2)) ** 2)
    vessels = _cloud(generator, size, 0.018) * (np.float32(0.018) + np.float32(0.04) * hila)
    soft_tissue = _cloud(generator, size, 0.09) * np.float32(0.02)
    body = np.float32(0.62) + np.float32(0.08) * heart + np.float32(0.16) * spine + soft_tissue
    aerated = lungs * (np.float32(0.40 + anatomy.lung_density) - np.float32(0.12) * hila - vessels)
    bones = np.float32(0.13) * _rib_pattern(anatomy, x, y) + np.float32(0.08) * clavicle
    belly = np.float32(0.08) * _soft(y - np.float32(0.5), 0.4)
    picture = torso * (body - aerated + bones + belly) + np.float32(0.03)
    return picture.astype(np.float32), lungs


def _cloud(generator: np.random.Generator, size: int, scale: float) -> Field:
    """Smooth noise of unit variance; `scale` is its correlation length as a share of the height.

    Drawn on a coarse grid of one cell to a correlation length, smoothed, and enlarged.
    """
    coarse = max(8, min(size, round(1 / scale)))
    cells = ndimage.gaussian_filter(generator.standard_normal((coarse, coarse), dtype=np.float32), 1.0, mode="wrap")
    enlarge = _enlargement(size, coarse)
    return np.asarray(enlarge @ (cells / cells.std()) @ enlarge.T, dtype=np.float32)


@lru_cache(maxsize=32)
def _enlargement(size: int, coarse: int) -> Field:
    """(size, coarse) weights of linear interpolation with periodic ends."""
    place = (np.arange(size) + 0.5) * coarse / size - 0.5
    below = np.floor(place).astype(int)
    weights = np.zeros((size, coarse), dtype=np.float32)
    weights[np.arange(size), below % coarse] = 1 - (place - below)
    weights[np.arange(size), (below + 1) % coarse] += place - below
    return weights


def _lesions(generator: np.random.Generator, size: int, severity: tuple[float, float], blur: float) -> Field:
    """Nodules and strands over the whole picture; the caller confines them to the lungs."""
    amount = generator.uniform(*severity)
    centre = generator.uniform((-0.45, -0.5), (0.45, 0.35))
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    reach = ((axis[None, :] - np.float32(centre[0])) / 0.55) ** 2 + ((axis[:, None] - np.float32(centre[1])) / 0.6) ** 2
    zone = np.float32(0.5) + np.float32(0.5) * np.exp(-reach).astype(np.float32)
    nodules = _nodules(generator, size, count=generator.poisson(90), radius=float(np.hypot(0.018, blur)))
    strands = np.clip(np.float32(0.6) - np.abs(_cloud(generator, size, 0.022)), 0, None)
    return np.asarray(np.float32(amount) * zone * (NODULE * nodules + STRAND * strands), dtype=np.float32)


def _nodules(generator: np.random.Generator, size: int, *, count: int, radius: float) -> Field:
    impulses = np.zeros((size, size), dtype=np.float32)
    row, column = generator.integers(0, size, (2, count))
    np.add.at(impulses, (row, column), generator.uniform(0.5, 1.0, count).astype(np.float32))
    spread = radius * size
    # Scaled so that one impulse becomes a bump of its own height.
    return np.asarray(ndimage.gaussian_filter(impulses, spread, truncate=3) * np.float32(2 * np.pi * spread**2))


def _styled(picture: Field, style: HospitalStyle, generator: np.random.Generator) -> Field:
    size = len(picture)
    grey = np.clip((picture - np.float32(0.5)) * np.float32(style.contrast) + np.float32(0.5 + style.brightness), 0, 1)
    grey = grey ** np.float32(style.gamma)
    grey = grey + np.float32(style.noise) * generator.standard_normal((size, size), dtype=np.float32)
    rim = round(style.border * size)
    if rim:
        grey[:rim] = grey[-rim:] = 0
        grey[:, :rim] = grey[:, -rim:] = 0
    return np.asarray(np.clip(grey, 0, 1), dtype=np.float32)
