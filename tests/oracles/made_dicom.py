"""The smallest DICOM data sets that are radiographs, made by code."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian


def made_dataset(
    stored: np.ndarray | None = None,
    *,
    bits: int = 12,
    signed: bool = False,
    allocated: int | None = None,
    high_bit: int | None = None,
    big_endian: bool = False,
) -> FileDataset:
    """The smallest data set that is a radiograph; `stored` are whole words of PixelData."""
    if stored is None:
        stored = np.arange(20 * 24).reshape(20, 24) * 8
    allocated = allocated or (8 if bits == 8 else 16)
    dataset = FileDataset(
        "",
        {},
        file_meta=FileMetaDataset(),
        preamble=b"\0" * 128,
        is_implicit_VR=False,
        is_little_endian=not big_endian,
    )
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian if big_endian else ExplicitVRLittleEndian
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.BitsAllocated, dataset.BitsStored = allocated, bits
    dataset.HighBit = bits - 1 if high_bit is None else high_bit
    dataset.PixelRepresentation = int(signed)
    order = ">" if big_endian else "<"
    dataset.PixelData = (stored & (2**allocated - 1)).astype(f"{order}u{allocated // 8}").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def made_words(bits: int, shape: tuple[int, int] = (20, 24)) -> np.ndarray:
    """Raw words of every part of the range, both ends among them."""
    words = np.linspace(0, 2**bits - 1, shape[0] * shape[1]).astype(np.int64)
    return np.random.default_rng(0).permutation(words).reshape(shape)


def made_table(first: int, bits: int, table: np.ndarray, explanation: str = "") -> Dataset:
    """One item of a Modality or VOI LUT Sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(table) % 65_536, first, bits])
    item.add_new("LUTData", "US", table.tolist())
    if explanation:
        item.LUTExplanation = explanation
    return item


def put_code(dataset: Dataset, keyword: str, value: str, meaning: str) -> None:
    """A code sequence of one item."""
    item = Dataset()
    item.CodeValue, item.CodeMeaning = value, meaning
    setattr(dataset, keyword, Sequence([item]))
