"""What a stored value is shown as: the specification of medtea's grey scale, one row a case.

Each row is an image made of five words of PixelData, as often as it has room for them. What the pixels must be, the
plain twin in slow_pixels works out; docs/write_ingest.py prints the table, tests/data/test_truth_table.py holds the
reader to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from oracles.made_dicom import made_dataset, made_table
from oracles.slow_pixels import Image, Table, shown
from pydicom.dataset import FileDataset
from pydicom.sequence import Sequence

MONOCHROMES = ("MONOCHROME1", "MONOCHROME2")
SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
SIDE = 20  # 400 pixels: each of the five words 80 times
RISING = Table(0, 8, tuple(range(256)))
FALLING = Table(0, 8, tuple(range(255, -1, -1)))
SQUARED = Table(0, 16, tuple(x * x // 256 for x in range(0, 4096)))
SHORT = Table(1000, 10, (0, 256, 512, 1023))
BELOW = Table(-2, 10, (0, 256, 512, 1023))


@dataclass(frozen=True)
class Row:
    """One case.

    Attributes:
        image: What decides the grey values, as the twin is told.
        words: The words of PixelData.
        shape: PresentationLUTShape; "" leaves it out.
        windows: Further windows that the file has, and the number from 1 of the one that counts.
        choice: `Choices.voi`.
        says: What the facts' `voi` must be.
        conflict: Whether the two tags on polarity contradict each other.
    """

    image: Image
    words: tuple[int, ...]
    shape: str = ""
    windows: tuple[tuple[float, float, str], ...] = ()
    choice: int | str = "first"
    says: str = ""
    conflict: bool = False

    def expected(self) -> list[float]:
        """What the five words are shown as."""
        return shown([*self.words] * (SIDE * SIDE // len(self.words)), self.image)[: len(self.words)]

    def dataset(self) -> FileDataset:
        """The data set that has it all in its header."""
        image = self.image
        words = np.array([*self.words] * (SIDE * SIDE // len(self.words))).reshape(SIDE, SIDE)
        dataset = made_dataset(
            words, bits=image.bits, signed=image.signed, allocated=image.allocated, high_bit=image.high_bit
        )
        dataset.PhotometricInterpretation = image.photometric
        if self.shape:
            dataset.PresentationLUTShape = self.shape
        if isinstance(image.modality, Table):
            dataset.ModalityLUTSequence = Sequence([_item(image.modality)])
        elif image.modality:
            dataset.RescaleSlope, dataset.RescaleIntercept = image.modality
        if isinstance(image.voi, Table):
            dataset.VOILUTSequence = Sequence([_item(image.voi)])
            dataset.WindowCenter, dataset.WindowWidth = 1, 2  # a table wins
        elif self.windows:
            dataset.WindowCenter = [center for center, _, _ in self.windows]
            dataset.WindowWidth = [width for _, width, _ in self.windows]
            dataset.WindowCenterWidthExplanation = [f"NAME {place}" for place, _ in enumerate(self.windows, start=1)]
            dataset.VOILUTFunction = self.windows[0][2]
        elif image.voi:
            dataset.WindowCenter, dataset.WindowWidth = image.voi[:2]
            if image.voi[2] != "LINEAR":
                dataset.VOILUTFunction = image.voi[2]
        if image.padding:
            dataset.add_new("PixelPaddingValue", "SS" if image.signed else "US", image.padding[0])
            if image.padding[1] != image.padding[0]:
                dataset.add_new("PixelPaddingRangeLimit", "SS" if image.signed else "US", image.padding[1])
        return dataset

    def choices(self) -> dict[str, Any]:
        """What the reader is told."""
        way = "range" if self.image.percentiles is None else "percentiles"
        ends = {} if self.image.percentiles is None else {"percentiles": self.image.percentiles}
        return {"voi": self.choice, "unwindowed": way, **ends}


def _item(table: Table) -> Any:
    return made_table(table.first, table.bits, np.array(table.entries))


def _bits_and_signs() -> Iterator[Row]:
    """Every depth and both signs, without and with a window: 28 rows."""
    depths = ((8, 8), (16, 10), (16, 12), (16, 14), (16, 16), (32, 24), (32, 32))
    for allocated, bits in depths:
        top = 2**bits - 1
        words = (0, top // 4, top // 2, top // 2 + 1, top)
        for signed in (False, True):
            for photometric in MONOCHROMES:
                image = Image(bits, signed, photometric, allocated)
                yield Row(image, words, SHAPES[photometric], says="whole range")


def _tags_on_polarity() -> Iterator[Row]:
    """PhotometricInterpretation decides, whatever PresentationLUTShape says: 6 rows."""
    for photometric in MONOCHROMES:
        for shape in ("", "IDENTITY", "INVERSE"):
            conflict = shape not in ("", SHAPES[photometric])
            image = Image(12, photometric=photometric, voi=(2048, 4096, "LINEAR"))
            yield Row(image, (0, 1000, 2047, 2048, 4095), shape, says="window 1 of 1", conflict=conflict)


def _windows() -> Iterator[Row]:
    """The three functions, unsigned and signed, in both polarities, and a window at its ends: 14 rows."""
    for photometric in MONOCHROMES:
        for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            yield Row(
                Image(12, photometric=photometric, voi=(1000, 400, function)),
                (799, 801, 1000, 1199, 1201),
                says="window 1 of 1",
            )
            image = Image(12, True, photometric, voi=(-100, 50, function))
            yield Row(image, (2**12 - 200, 2**12 - 110, 2**12 - 100, 2**12 - 90, 0), says="window 1 of 1")
    yield Row(Image(12, voi=(10, 1, "LINEAR")), (8, 9, 10, 11, 12), says="window 1 of 1")
    yield Row(Image(12, voi=(10, 2, "LINEAR_EXACT")), (8, 9, 10, 11, 12), says="window 1 of 1")


def _modality() -> Iterator[Row]:
    """Rescale up, down and by parts, and tables; before a window, before the whole range: 18 rows."""
    words = (0, 60, 128, 200, 255)
    for photometric in MONOCHROMES:
        for modality in ((2.0, -100.0), (-1.0, 255.0), (0.5, 10.0), FALLING):
            yield Row(Image(8, False, photometric, 8, modality=modality), words, says="whole range")
            image = Image(8, False, photometric, 8, modality=modality, voi=(100, 120, "LINEAR_EXACT"))
            yield Row(image, words, says="window 1 of 1")
    image = Image(16, True, modality=(0.25, 0.0), voi=(-100, 400, "LINEAR"))
    yield Row(image, (2**16 - 1500, 2**16 - 400, 2**16 - 1, 0, 399), says="window 1 of 1")
    yield Row(Image(8, True, allocated=8, modality=(1.0, 128.0)), (128, 200, 255, 0, 127), says="whole range")


def _voi_tables() -> Iterator[Row]:
    """Tables win over windows; inputs outside take the nearest end; after a rescale the input is rounded: 9 rows."""
    for photometric in MONOCHROMES:
        yield Row(Image(8, False, photometric, 8, voi=FALLING), (0, 1, 128, 254, 255), says="table 1 of 1")
        yield Row(Image(12, photometric=photometric, voi=SQUARED), (0, 16, 1000, 3000, 4095), says="table 1 of 1")
        yield Row(Image(12, photometric=photometric, voi=SHORT), (0, 1000, 1001, 1002, 4000), says="table 1 of 1")
        image = Image(12, True, photometric, voi=BELOW)
        yield Row(image, (2**12 - 3, 2**12 - 2, 2**12 - 1, 0, 1), says="table 1 of 1")
    yield Row(Image(8, allocated=8, modality=(0.5, 0.0), voi=RISING), (0, 2, 100, 201, 255), says="table 1 of 1")


def _choices() -> Iterator[Row]:
    """Which of three windows counts: 7 rows."""
    windows = ((1000.0, 400.0, "LINEAR"), (2000.0, 3000.0, "LINEAR"), (500.0, 100.0, "LINEAR"))
    chosen = (("first", 1), ("widest", 2), (1, 1), (3, 3), ("name 2", 2), ("NAME 3", 3))
    words = (400, 520, 900, 1300, 2800)
    for choice, number in chosen:
        yield Row(
            Image(12, voi=windows[number - 1]), words, windows=windows, choice=choice, says=f"window {number} of 3"
        )
    for choice in (4, "lungs"):
        says = "window 1 of 3, for want of the choice"
        yield Row(Image(12, voi=windows[0]), words, windows=windows, choice=choice, says=says)
    yield Row(Image(12), words, windows=windows, choice="none", says="whole range")


def _percentiles() -> Iterator[Row]:
    """Without a window, and the padding left out: 8 rows."""
    for photometric in MONOCHROMES:
        for signed in (False, True):
            image = Image(12, signed, photometric, percentiles=(0.5, 99.5))
            words = (2048, 2500, 4000, 100, 2047) if signed else (10, 300, 1200, 2000, 4000)
            yield Row(image, words, says="percentiles 0.5-99.5")
            yield Row(replace(image, percentiles=(30, 70)), words, says="percentiles 30-70")


def _padding() -> Iterator[Row]:
    """Padding is dark in both polarities, and out of the percentiles: 8 rows."""
    for photometric in MONOCHROMES:
        words = (0, 5, 1200, 2000, 4095)
        for padding in ((0, 0), (4095, 4095), (0, 5)):
            image = Image(12, photometric=photometric, padding=padding, percentiles=(0, 100))
            yield Row(image, words, says="percentiles 0-100")
        image = Image(12, True, photometric, padding=(-2048, -2048), voi=(0, 4096, "LINEAR"))
        yield Row(image, (2048, 2049, 0, 100, 2047), says="window 1 of 1")


def _high_bits() -> Iterator[Row]:
    """Values that do not end at the lowest bit, and stray bits above or below: 8 rows."""
    for photometric in MONOCHROMES:
        for signed in (False, True):
            words = tuple(x << 4 for x in (0, 1000, 2047, 2048, 4095))
            yield Row(Image(12, signed, photometric, high_bit=15), words, says="whole range")
            stray = tuple(x << 2 | 0x8001 for x in (0, 1000, 2047, 2048, 4095))
            yield Row(Image(12, signed, photometric, high_bit=13), stray, says="whole range")


GROUPS = (
    _bits_and_signs,
    _tags_on_polarity,
    _windows,
    _modality,
    _voi_tables,
    _choices,
    _percentiles,
    _padding,
    _high_bits,
)
ROWS = tuple(row for group in GROUPS for row in group())
