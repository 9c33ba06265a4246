"""Small valid files of every format, and files that are nearly those: changed, cut, swapped, blown up."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.filereader import data_element_generator
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit

from medtea.data.dicom_files import VENDORS, write_radiograph

SECRETS = {"PatientName": "Zimmermann^Jolanda", "PatientID": "QX7731415", "StudyDescription": "Beekeeper of Walhalla"}
META_END = 0x0003_0000


@dataclass(frozen=True)
class Place:
    """Where an element's tag, length and value stand in a file."""

    tag: int
    length_at: int
    length_size: int
    value: int
    length: int


@dataclass(frozen=True)
class Seed:
    """A valid file."""

    name: str
    data: bytes
    places: tuple[Place, ...] = ()
    """Elements behind the file meta information, where they can be told."""

    @property
    def pixels(self) -> int:
        """Where the pixels begin; of no DICOM file, the middle."""
        return self.places[-1].value if self.places else len(self.data) // 2


def seeds(folder: Path) -> list[Seed]:
    """One file of each transfer syntax and of each other format."""
    rows, columns = np.mgrid[0:40, 0:36]
    picture = ((rows / 39) ** 2 * 0.6 + columns / 35 * 0.2 + ((rows * 7 + columns * 5) % 11) / 55).astype(np.float32)
    found = []
    for vendor in VENDORS:
        path = folder / vendor.model.replace(" ", "_")
        write_radiograph(path, picture, vendor=vendor, patient="x", study="s", spacing_mm=0.2)
        dataset = pydicom.dcmread(path)
        for keyword, value in SECRETS.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
        found.append(_seed(path))
    path = folder / VENDORS[0].model.replace(" ", "_")
    for name, syntax in (("deflated", DeflatedExplicitVRLittleEndian), ("big", ExplicitVRBigEndian)):
        dataset = pydicom.dcmread(path)
        if name == "big":
            dataset.PixelData = dataset.pixel_array.astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(folder / name, dataset, implicit_vr=False, little_endian=name != "big")
        found.append(Seed(name, (folder / name).read_bytes()))
    found.append(_jpeg(folder, picture))
    found += _others(folder, picture)
    return found


def _jpeg(folder: Path, picture: np.ndarray) -> Seed:
    dataset = pydicom.dcmread(folder / VENDORS[4].model.replace(" ", "_"))
    buffer = io.BytesIO()
    Image.fromarray((picture * 255).astype(np.uint8)).save(buffer, format="JPEG")
    dataset.PixelData = encapsulate([buffer.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    pydicom.dcmwrite(folder / "jpeg", dataset, implicit_vr=False, little_endian=True)
    return _seed(folder / "jpeg")


def _others(folder: Path, picture: np.ndarray) -> Iterator[Seed]:
    sixteen = np.rint(picture * 65_535).astype(np.uint16)
    Image.fromarray(sixteen).save(folder / "16.png")
    Image.fromarray((picture * 255).astype(np.uint8)).save(folder / "8.jpg")
    nibabel.save(nibabel.Nifti1Image(sixteen.T, np.eye(4)), folder / "x.nii")
    sitk.WriteImage(sitk.GetImageFromArray(sixteen), str(folder / "x.mha"))
    for name in ("16.png", "8.jpg", "x.nii", "x.mha"):
        yield Seed(name, (folder / name).read_bytes())


def _seed(path: Path) -> Seed:
    """A little-endian DICOM file and the places of its elements."""
    data = path.read_bytes()
    dataset = pydicom.dcmread(path)
    is_implicit, _ = dataset.original_encoding
    stream = io.BytesIO(data)
    stream.seek(132)
    list(data_element_generator(stream, False, True, stop_when=lambda tag, *_: tag >= META_END))
    places = []
    for element in data_element_generator(stream, bool(is_implicit), True):
        long = not is_implicit and str(element.VR) in {"OB", "OW", "SQ", "UN", "UT"}
        value = element.value_tell  # type: ignore[union-attr]
        length = 0xFFFF_FFFF if element.tag == 0x7FE0_0010 else int(getattr(element, "length", 0) or 0)
        at = value - (2 if not is_implicit and not long else 4)
        places.append(Place(value - (12 if long else 8), at, value - at, value, length))
    return Seed(path.name, data, tuple(places))


# ---- ways to spoil a file; each takes the seed and the chance, and gives the bytes


def flipped(seed: Seed, draw: np.random.Generator) -> bytes:
    return _flipped(seed.data, draw, 0, len(seed.data))


def flipped_in_header(seed: Seed, draw: np.random.Generator) -> bytes:
    return _flipped(seed.data, draw, 0, seed.pixels)


def flipped_in_pixels(seed: Seed, draw: np.random.Generator) -> bytes:
    return _flipped(seed.data, draw, seed.pixels, len(seed.data))


def _flipped(data: bytes, draw: np.random.Generator, first: int, last: int) -> bytes:
    spoilt = bytearray(data)
    for place in draw.integers(first, last, size=draw.integers(1, 9)):
        spoilt[place] = draw.integers(256)
    return bytes(spoilt)


def cut(seed: Seed, draw: np.random.Generator) -> bytes:
    return seed.data[: draw.integers(len(seed.data))]


def shifted(seed: Seed, draw: np.random.Generator) -> bytes:
    """A piece is missing, or there twice."""
    first, last = sorted(int(place) for place in draw.integers(len(seed.data), size=2))
    last = min(last, first + 200)
    middle = b"" if draw.random() < 0.5 else seed.data[first:last] * 2
    return seed.data[:first] + middle + seed.data[last:]


def swapped(seed: Seed, draw: np.random.Generator) -> bytes:
    """Two elements have each other's tags."""
    if not seed.places:
        return flipped(seed, draw)
    one, other = (seed.places[number].tag for number in draw.integers(len(seed.places), size=2))
    spoilt = bytearray(seed.data)
    spoilt[one : one + 4], spoilt[other : other + 4] = seed.data[other : other + 4], seed.data[one : one + 4]
    return bytes(spoilt)


def blown_up(seed: Seed, draw: np.random.Generator) -> bytes:
    """An element claims to be longer, or endless."""
    if not seed.places:
        return flipped_in_header(seed, draw)
    place = seed.places[draw.integers(len(seed.places))]
    most = 2 ** (8 * place.length_size) - 1
    length = int(draw.choice([most, most - 1, most // 2, min(most, place.length + 2), 0]))
    spoilt = bytearray(seed.data)
    spoilt[place.length_at : place.value] = length.to_bytes(place.length_size, "little")
    return bytes(spoilt)


def extreme(seed: Seed, draw: np.random.Generator) -> bytes:
    """A number of the header is the least or the largest."""
    numbers = [place for place in seed.places if place.length == 2]
    if not numbers:
        return flipped_in_header(seed, draw)
    place = numbers[draw.integers(len(numbers))]
    spoilt = bytearray(seed.data)
    spoilt[place.value : place.value + 2] = struct.pack("<H", draw.choice([0, 1, 7, 8, 15, 16, 32, 32_767, 65_535]))
    return bytes(spoilt)


WAYS: tuple[Callable[[Seed, np.random.Generator], bytes], ...] = (
    flipped,
    flipped_in_header,
    flipped_in_pixels,
    cut,
    shifted,
    swapped,
    blown_up,
    extreme,
)
