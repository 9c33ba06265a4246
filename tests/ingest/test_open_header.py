from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from oracles.made_sources import made_picture
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from medtea.core.errors import DataError
from medtea.data.dicom_files import VENDORS, write_radiograph
from medtea.data.pixels import open_dicom, quiet_pydicom
from medtea.ingest import open_header as module
from medtea.ingest.open_header import open_header

SHARED = Path(os.environ.get("MEDTEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def said(path: Path, opened: object) -> str:
    """Everything that a way of opening says of a file: all elements as text, or the refusal."""
    with quiet_pydicom():
        try:
            dataset: Dataset = opened(path)  # type: ignore[operator]
            return f"{dataset.file_meta.TransferSyntaxUID}\n{dataset}"
        except DataError as reason:
            return str(reason)
        except Exception as problem:  # an element that cannot be converted: both must agree on that too
            return type(problem).__name__


def both(path: Path) -> tuple[str, str]:
    return said(path, open_header), said(path, lambda one: open_dicom(one, header_only=True))


def made(path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    write_radiograph(path, made_picture(1) / 255, vendor=VENDORS[0], patient="Grün^Ägid", study="s", view="PA")
    dataset = pydicom.dcmread(path)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "R-10206", "antero-postérieur"
    dataset.ViewCodeSequence = Sequence([code])
    dataset["ViewCodeSequence"].is_undefined_length = True
    if syntax == JPEG2000Lossless:
        dataset.compress(syntax)
    else:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = dataset.pixel_array.astype(">u2").tobytes()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless])
def test_the_plain_case_is_read_without_the_slow_way(
    syntax: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path / "x", syntax)
    quick, slow = both(path)
    assert quick == slow
    assert "postérieur" in quick
    monkeypatch.setattr(module, "open_dicom", lambda *_, **__: pytest.fail("the slow way was taken"))
    open_header(path)


def test_what_is_worked_out_once_is_not_shared(tmp_path: Path) -> None:
    path = made(tmp_path / "x")
    changed = open_header(path)
    changed.Modality, changed.Rows = "CT", 7
    again, slow = both(path)
    assert again == slow
    assert (changed.Modality, open_header(path).Modality) == ("CT", "DX")


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_what_is_not_plain_is_read_the_slow_way(syntax: str, tmp_path: Path) -> None:
    quick, slow = both(made(tmp_path / "x", syntax))
    assert quick == slow
    assert "postérieur" in quick


def test_a_header_longer_than_the_piece_is_read_whole(tmp_path: Path) -> None:
    path = made(tmp_path / "x")
    dataset = pydicom.dcmread(path)
    dataset.private_block(0x0011, "MADE", create=True).add_new(1, "OB", bytes(2 * module.PIECE))
    dataset.save_as(path)
    quick, slow = both(path)
    assert quick == slow
    assert "Rows" in quick


def test_both_ways_say_the_same_of_damaged_files(tmp_path: Path) -> None:
    good, draw, path = made(tmp_path / "good").read_bytes(), np.random.default_rng(0), tmp_path / "x"
    header = good.index(b"\xe0\x7f\x10\x00")
    differences = 0
    for turn in range(400):
        spoilt = bytearray(good)
        for place in draw.integers(0, header + 12, size=draw.integers(1, 4)):
            spoilt[place] = draw.integers(256)
        path.write_bytes(spoilt[: draw.integers(header)] if turn % 4 == 0 else spoilt)
        quick, slow = both(path)
        assert quick == slow
        differences += quick != said(tmp_path / "good", open_header)
    assert differences > 300, "most of the damage can be seen"


@pytest.mark.skipif(not (SHARED / "data/dicom").is_dir(), reason="the shared DICOM files are not here")
def test_both_ways_say_the_same_of_real_and_hostile_files() -> None:
    files = [path for path in (SHARED / "data/dicom").rglob("*") if path.is_file()]
    assert len(files) > 200
    for path in files:
        quick, slow = both(path)
        assert quick == slow, path.name
