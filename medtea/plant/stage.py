"""Plant a mark on the training hospitals' radiographs: linked to the label in training, varied in the tests."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field as Bound
from pydantic import model_validator
from scipy.ndimage import distance_transform_edt, gaussian_filter

from medtea.core.errors import DataError
from medtea.core.names import IndexArtefact, Role, Split
from medtea.core.progress import track
from medtea.core.seeds import numpy_generator
from medtea.core.settings import StrictSettings
from medtea.core.work import Work, read_array, write_array, write_atomically
from medtea.data.index import read_index, rows, write_index
from medtea.data.marks import Mark

Array = np.ndarray[Any, Any]
VARIANTS = ("absent", "random", "reversed")
COARSE_PIXELS = 2.0
"""Standard deviation of the smoothing that makes white noise coarse."""


class Settings(StrictSettings):
    """What is planted.

    Attributes:
        kind: "localised": a letter in a corner, never on lung. "foreground": a letter in the middle of the lungs, which
            a teacher that sees lungs only sees as well. "diffuse": noise over the whole radiograph, white where the
            label is 1 and coarse where it is 0 (the two kinds of Boland et al., arXiv 2511.17421, and one between).
        positive: The letter on radiographs of label 1.
        negative: The letter on radiographs of label 0.
        corner: Where a localised letter stands, as the radiograph is shown.
        height: Of the letter, as a share of the radiograph's height.
        brightness: The letter's grey value, in [0, 1].
        noise: Standard deviation of diffuse noise (grey values are in [0, 1]).
        agreement: How often the mark names the radiograph's own label, in training, validation and the IID test: 1
            always, 0.5 by chance, so that it is there and says nothing. Drawn radiograph by radiograph.
        unbiased: Share of the patients of training and validation who are set apart as the small unbiased subset, in
            which the mark is drawn at random; only methods and teachers that declare to see it are trained on it.
    """

    kind: Literal["localised", "foreground", "diffuse"] = "localised"
    positive: str = "R"
    negative: str = "L"
    corner: str = "top right"
    height: float = Bound(1 / 6, gt=0, le=0.5)
    brightness: float = Bound(1.0, ge=0, le=1)
    noise: float = Bound(0.05, gt=0, le=0.5)
    agreement: float = Bound(1.0, ge=0, le=1)
    unbiased: float = Bound(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _two_marks(self) -> Settings:
        """Refuse at once what could only be drawn after ingest."""
        if self.mark(1) == self.mark(0):
            raise ValueError("positive and negative are one mark, so that it says nothing about the label")
        return self

    def mark(self, label: int) -> Mark:
        """The letter that says `label`."""
        sign = self.positive if label else self.negative
        return Mark(sign, height=self.height, corner=self.corner, brightness=self.brightness)


def run(work: Work, settings: Settings, index: IndexArtefact) -> IndexArtefact:
    """Leave a new index: training and validation radiographs carry the mark of their label, as often as is asked.

    Each test radiograph of the training hospitals comes four times, as four groups: the mark follows the label as it
    does in training (IID), is absent, is drawn at random, or is the other label's (three kinds of OOD). Unlabelled
    radiographs and other hospitals stay as they are. Every radiograph's twin is itself before anything was planted.

    Raises:
        DataError: the training hospitals have no labelled test radiograph.
    """
    stage = work.stage("plant", settings, [index])
    planted = IndexArtefact(stage.folder)
    if stage.is_finished:
        return planted
    table = read_index(index.index)
    radiographs = read_array(index.radiographs)
    given = read_array(index.given_masks)
    marked = table["role"].eq(Role.TRAIN) & table["label"].notna()
    tested = rows(marked & table["split"].eq(Split.TEST))
    if len(tested) == 0:
        raise DataError("plant: the training hospitals have no labelled test radiograph; raise ingest.test_share.")
    generator = numpy_generator(work.seed, "plant")
    sign = _linked(table, marked, settings.agreement, numpy_generator(work.seed, "plant/agreement"))
    apart = _set_apart(settings, table, marked, numpy_generator(work.seed, "plant/unbiased"))
    sign[apart] = numpy_generator(work.seed, "plant/unbiased/marks").integers(2, size=len(apart))
    table.loc[marked & table["split"].eq(Split.TEST), "group"] += ", mark follows"
    parts, sources, signs = [table], [np.arange(len(table))], [sign]
    for variant in VARIANTS:
        part = table.iloc[tested].copy()
        part["radiograph"] += f"-{variant}"
        part["group"] = part["hospital"] + f", mark {variant}"
        part["role"] = Role.EXTERNAL.value
        parts.append(part)
        sources.append(tested)
        signs.append(_signs(variant, part["label"].to_numpy(dtype=int), generator))
    table.loc[apart, "role"] = Role.UNBIASED.value
    table.loc[apart, "hospital"] += UNBIASED
    table.loc[apart, "group"] += UNBIASED
    source, sign = np.concatenate(sources), np.concatenate(signs)
    pictures = np.empty((len(source), *radiographs.shape[1:]), dtype=radiographs.dtype)
    for row in track(range(len(source)), "planting marks"):
        drawn = numpy_generator(work.seed, f"plant/noise/{row}")
        pictures[row] = _marked(settings, radiographs[source[row]], given[source[row]], int(sign[row]), drawn)
    write_array(planted.radiographs, pictures)
    write_array(planted.given_masks, np.asarray(given[source]))
    write_array(planted.twins, np.asarray(radiographs[source]))
    write_index(planted.index, pd.concat(parts, ignore_index=True))
    for name in ("refused", "flow"):
        content = getattr(index, name).read_bytes()
        write_atomically(getattr(planted, name), lambda file, content=content: file.write(content))  # type: ignore[misc]
    stage.finish(marked=int(marked.sum()), unbiased=len(apart), tested=len(tested), variants=list(VARIANTS))
    return planted


UNBIASED = ", unbiased"
"""What a hospital's name ends with where its unbiased subset is meant: an environment of its own."""

NO_MARK = -1


def _linked(table: pd.DataFrame, marked: pd.Series[bool], agreement: float, generator: np.random.Generator) -> Array:
    """Each radiograph's own label where it is marked, and the other one where the mark is not to agree."""
    labels = table["label"].to_numpy(dtype=int, na_value=NO_MARK)
    agrees = generator.random(len(table)) < agreement
    return np.where(marked.to_numpy(), np.where(agrees, labels, 1 - labels), NO_MARK)


def _signs(variant: str, labels: Array, generator: np.random.Generator) -> Array:
    """Which label's letter each test radiograph carries."""
    if variant == "absent":
        return np.full(len(labels), NO_MARK)
    if variant == "random":
        return generator.integers(2, size=len(labels))
    return 1 - labels


def _set_apart(
    settings: Settings, table: pd.DataFrame, marked: pd.Series[bool], generator: np.random.Generator
) -> Array:
    """Rows of the unbiased subset: a share of each split's patients."""
    chosen: list[str] = []
    for split in (Split.TRAIN, Split.VALIDATION):
        patients = np.unique(table.loc[marked & table["split"].eq(split), "patient"].to_numpy(dtype=str))
        chosen += generator.permutation(patients)[: round(settings.unbiased * len(patients))].tolist()
    return rows(marked & table["patient"].isin(chosen))


def _marked(
    settings: Settings, radiograph: Array, lung_mask: Array, sign: int, generator: np.random.Generator
) -> Array:
    if sign == NO_MARK:
        return radiograph
    image = radiograph.astype(np.float32)
    if settings.kind == "diffuse":
        changed = (image + _noise(settings, image.shape, sign, generator)).clip(0, 1)
    elif settings.kind == "foreground":
        changed = _in_the_lungs(settings.mark(sign), image, lung_mask)
    else:
        changed, taken = settings.mark(sign).stamp(image)
        on_lung = taken & (lung_mask > 0)
        changed[on_lung] = image[on_lung]
    return changed.astype(radiograph.dtype)


def _noise(settings: Settings, shape: tuple[int, ...], sign: int, generator: np.random.Generator) -> Array:
    """White noise for label 1, coarse noise of the same standard deviation for label 0."""
    white = generator.standard_normal(shape)
    drawn = white if sign else gaussian_filter(white, COARSE_PIXELS)
    return np.asarray(settings.noise * drawn / drawn.std())


def _in_the_lungs(mark: Mark, image: Array, lung_mask: Array) -> Array:
    """The letter where the lung mask is thickest; without a mask, left of the middle of the radiograph."""
    letter = mark.shape(image.shape[0])
    height, width = image.shape
    row, column = _thickest(lung_mask) if lung_mask.any() else (height // 2, width // 4)
    top = int(np.clip(row - letter.shape[0] // 2, 0, height - letter.shape[0]))
    left = int(np.clip(column - letter.shape[1] // 2, 0, width - letter.shape[1]))
    changed = image.copy()
    changed[top : top + letter.shape[0], left : left + letter.shape[1]][letter] = mark.brightness
    return changed


def _thickest(lung_mask: Array) -> tuple[int, int]:
    """The pixel farthest from whatever is not lung."""
    row, column = np.unravel_index(distance_transform_edt(lung_mask > 0).argmax(), lung_mask.shape)
    return int(row), int(column)
