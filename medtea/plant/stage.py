"""Stamp a letter outside the lungs of the training hospitals: linked to the label in training, varied in the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field as Bound
from pydantic import model_validator

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


class Settings(StrictSettings):
    """What is planted.

    Attributes:
        positive: The letter on radiographs of label 1.
        negative: The letter on radiographs of label 0.
        corner: Where, as the radiograph is shown.
        height: Of the letter, as a share of the radiograph's height.
        brightness: Its grey value, in [0, 1].
    """

    positive: str = "R"
    negative: str = "L"
    corner: str = "top right"
    height: float = Bound(1 / 6, gt=0, le=0.5)
    brightness: float = Bound(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _two_marks(self) -> Settings:
        """Refuse at once what could only be drawn after ingest."""
        if self.mark(1) == self.mark(0):
            raise ValueError("positive and negative are one mark, so that it says nothing about the label")
        return self

    def mark(self, label: int) -> Mark:
        """The mark that says `label`."""
        sign = self.positive if label else self.negative
        return Mark(sign, height=self.height, corner=self.corner, brightness=self.brightness)


def run(work: Work, settings: Settings, index: IndexArtefact) -> IndexArtefact:
    """Leave a new index: training and validation radiographs carry the letter of their label.

    Each test radiograph of the training hospitals comes four times, as four groups: the letter follows the label
    (IID), is absent, is drawn at random, or is the other label's (three kinds of OOD). Pixels that a given lung mask
    calls lung are never stamped. Unlabelled radiographs and other hospitals stay as they are.

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
    table.loc[marked & table["split"].eq(Split.TEST), "group"] += ", mark follows"
    parts, sources, signs = [table], [np.arange(len(table))], [_linked(table, marked)]
    for variant in VARIANTS:
        part = table.iloc[tested].copy()
        part["radiograph"] += f"-{variant}"
        part["group"] = part["hospital"] + f", mark {variant}"
        part["role"] = Role.EXTERNAL.value
        parts.append(part)
        sources.append(tested)
        signs.append(_signs(variant, part["label"].to_numpy(dtype=int), generator))
    source, sign = np.concatenate(sources), np.concatenate(signs)
    pictures = np.empty((len(source), *radiographs.shape[1:]), dtype=radiographs.dtype)
    for row in track(range(len(source)), "planting marks"):
        pictures[row] = _stamped(settings, radiographs[source[row]], given[source[row]], int(sign[row]))
    write_array(planted.radiographs, pictures)
    write_array(planted.given_masks, np.asarray(given[source]))
    write_index(planted.index, pd.concat(parts, ignore_index=True))
    for name in ("refused", "flow"):
        content = getattr(index, name).read_bytes()
        write_atomically(getattr(planted, name), lambda file, content=content: file.write(content))  # type: ignore[misc]
    stage.finish(marked=int(marked.sum()), tested=len(tested), variants=list(VARIANTS))
    return planted


NO_MARK = -1


def _linked(table: pd.DataFrame, marked: pd.Series[bool]) -> Array:
    """Each radiograph's own label where it is marked."""
    labels = table["label"].to_numpy(dtype=int, na_value=NO_MARK)
    return np.where(marked.to_numpy(), labels, NO_MARK)


def _signs(variant: str, labels: Array, generator: np.random.Generator) -> Array:
    """Which label's letter each test radiograph carries."""
    if variant == "absent":
        return np.full(len(labels), NO_MARK)
    if variant == "random":
        return generator.integers(2, size=len(labels))
    return 1 - labels


def _stamped(settings: Settings, radiograph: Array, lung_mask: Array, sign: int) -> Array:
    if sign == NO_MARK:
        return radiograph
    stamped, taken = settings.mark(sign).stamp(radiograph.astype(np.float32))
    on_lung = taken & (lung_mask > 0)
    stamped[on_lung] = radiograph[on_lung]
    return stamped.astype(radiograph.dtype)
