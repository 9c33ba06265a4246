from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from oracles.made_digits import made_digits

from medtea.core.errors import DataError
from medtea.scenes.idx import read_idx

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made_digits(tmp_path / "Doe1", train=20, test=10)


def refused(folder: Path, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        read_idx(folder, "train")
    assert "Doe1" not in str(caught.value)


def test_a_digit_is_where_grey_is_above_half_of_white(tmp_path: Path) -> None:
    images = np.zeros((1, 28, 28), dtype=np.uint8)
    images[0, 0, :4] = 0, 127, 128, 255
    (tmp_path / IMAGES).write_bytes(struct.pack(">4i", 2051, 1, 28, 28) + images.tobytes())
    (tmp_path / LABELS).write_bytes(struct.pack(">2i", 2049, 1) + b"\7")
    digits, labels = read_idx(tmp_path, "train")
    assert digits[0, 0, :4].tolist() == [0, 0, 1, 1]
    assert digits.sum() == 2
    assert labels.tolist() == [7]


def test_packed_files_and_names_with_a_dot_read_the_same(folder: Path) -> None:
    plain = read_idx(folder, "train")
    for name in (IMAGES, LABELS):
        dotted = name.replace("-idx", ".idx")
        (folder / f"{dotted}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    packed = read_idx(folder, "train")
    assert np.array_equal(plain[0], packed[0])
    assert np.array_equal(plain[1], packed[1])


def test_a_missing_file_says_what_the_folder_holds(folder: Path) -> None:
    (folder / LABELS).unlink()
    refused(folder, "'train-labels-idx1-ubyte' was not found. scenes.options.path is the folder of the four")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        (IMAGES, b"", "no idx file of images"),
        (IMAGES, struct.pack(">4i", 2049, 20, 28, 28) + bytes(20 * 784), "no idx file of images"),
        (LABELS, struct.pack(">2i", 2051, 20) + bytes(20), "no idx file of labels"),
        (IMAGES, struct.pack(">4i", 2051, 20, 28, 28) + bytes(20 * 784 - 1), "cut short, or longer"),
        (IMAGES, struct.pack(">4i", 2051, 20, 28, 28) + bytes(20 * 784 + 1), "cut short, or longer"),
        (IMAGES, struct.pack(">4i", 2051, -1, -1, 28) + bytes(784), "cut short, or longer"),
        (IMAGES, struct.pack(">4i", 2051, 20, 20, 20) + bytes(8000), "not of 28 x 28 pixels and ten classes"),
        (LABELS, struct.pack(">2i", 2049, 19) + bytes(19), "has 20 images and 19 labels"),
        (LABELS, struct.pack(">2i", 2049, 20) + b"\12" * 20, "not of 28 x 28 pixels and ten classes"),
    ],
)
def test_a_bad_file_is_refused_by_what_is_wrong_with_it(folder: Path, name: str, content: bytes, match: str) -> None:
    (folder / name).write_bytes(content)
    refused(folder, match)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packed: b"no gzip" + packed,
        lambda packed: packed[:-9],
        lambda packed: packed[:40] + b"\xff" * 9 + packed[49:],
    ],
)
def test_a_damaged_packed_file_is_refused(folder: Path, spoil) -> None:
    generator = np.random.default_rng(0)  # noise does not pack, so that the spoilt bytes are within the data
    content = struct.pack(">4i", 2051, 20, 28, 28) + generator.bytes(20 * 784)
    (folder / f"{IMAGES}.gz").write_bytes(spoil(gzip.compress(content)))
    refused(folder, "damaged|cut short")


def test_a_packed_file_is_unpacked_no_further_than_it_says(folder: Path) -> None:
    bomb = gzip.compress(struct.pack(">4i", 2051, 20, 28, 28) + bytes(2**26))
    (folder / f"{IMAGES}.gz").write_bytes(bomb)
    refused(folder, "cut short, or longer")
