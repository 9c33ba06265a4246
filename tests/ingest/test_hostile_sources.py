"""What lies in a source beside radiographs: each is refused with a true reason, nothing outside is read."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from oracles.made_run import silent_work
from oracles.made_sources import made_picture
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, RLELossless

from medtea.core.errors import DataError
from medtea.core.settings import parse
from medtea.data.choices import Choices
from medtea.data.dicom_files import VENDORS, write_radiograph
from medtea.data.index import read_index
from medtea.ingest.decode import decode, read_fields, state_of
from medtea.ingest.sources import dicom_tree
from medtea.ingest.sources.source import Candidate, Refused, file_digest
from medtea.ingest.stage import Settings, run

SHARED = Path(os.environ.get("MEDTEA_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data" / "dicom"
HOW = {"size": 32, "fit": "stretch", "reading": Choices().model_dump(), "lung_segments": (), "burned_in": "flag"}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")


def write(path: Path, number: int = 1, **values: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = made_picture(number) / 255
    write_radiograph(path, picture, vendor=VENDORS[0], patient=f"p{number}", study="s", view="PA", instance=str(number))
    if values:
        dataset = pydicom.dcmread(path)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    return path


def found(root: Path) -> dict[str, str]:
    """Why each file is refused, "" for one that is not, by its path."""
    source = dicom_tree.Source(dicom_tree.Settings(root=root), workspace=root, seed=0)
    reasons = {one.file: one.reason if isinstance(one, Refused) else "" for one in source.find()}
    files = {file_digest(path.relative_to(root)): str(path.relative_to(root)) for path in source._files()}
    return {files[file]: reason for file, reason in reasons.items()}


def test_what_is_no_ordinary_file_is_refused_and_nothing_waits_for_it(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    write(root / "a/0")
    os.mkfifo(root / "a/fifo")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(root / "a/socket"))
    (root / "a/device").symlink_to("/dev/zero")
    (root / "a/circle").symlink_to("circle")
    (root / "a/empty").touch()
    write(tmp_path / "outside/1", 2)
    (root / "a/out").symlink_to(tmp_path / "outside/1")
    (root / "a/folder").symlink_to(tmp_path / "outside")
    (root / "a/within").symlink_to("0")
    reasons = found(root)
    link, ordinary = "A link to a folder, or out of the source, is not followed.", "This is no ordinary file."
    assert reasons.pop("a/circle") in {link, ordinary, "The file cannot be opened (RuntimeError)."}
    assert reasons == {
        "a/0": "",
        "a/fifo": ordinary,
        "a/socket": ordinary,
        "a/device": link,
        "a/empty": "The file is not DICOM: the prefix DICM is missing after the preamble.",
        "a/out": link,
        "a/folder": link,
        "a/within": "SOPInstanceUID (0008,0018) stands in an earlier file too; the image is a copy.",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_or_folder_without_the_right_to_read_it_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a/0").chmod(0)
    write(tmp_path / "a/closed/1").parent.chmod(0)
    reasons = found(tmp_path)
    (tmp_path / "a/closed").chmod(0o700)
    assert "PermissionError" in reasons["a/0"]
    assert reasons["a/closed"] == "The folder cannot be opened; nothing is known of what is in it."


def dicomdir(path: Path, *referenced: str) -> None:
    """A DICOMDIR that names a file by a path; its reader is not to go there."""
    record = Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.add(DataElement("ReferencedFileID", "CS", list(referenced), validation_mode=config.IGNORE))
    dataset = Dataset()
    dataset.DirectoryRecordSequence = Sequence([record])
    dataset.preamble, dataset.file_meta = bytes(128), FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=False, implicit_vr=False, little_endian=True)


def nest(path: Path, depth: int) -> None:
    """Put RequestAttributesSequence (0040,0275) into itself so many times, written by hand as pydicom cannot."""
    data = path.read_bytes()
    begin = b"\x40\x00\x75\x02SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00" + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    place = data.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(data[:place] + begin * depth + end * depth + data[place:])


def test_claims_and_depths_are_refused_or_read(tmp_path: Path) -> None:
    write(tmp_path / "a/plain")
    write(tmp_path / "a/huge", 2, Rows=65_535, Columns=65_535)
    write(tmp_path / "a/large", 3, Rows=8_000, Columns=8_000)
    nest(write(tmp_path / "a/deep", 4), 60)
    nest(write(tmp_path / "a/abyss", 6), 3_000)
    dicomdir(tmp_path / "a/DICOMDIR", "..", "..", "etc", "passwd")
    long = write(tmp_path / "a/long", 5)
    data = bytearray(long.read_bytes())
    place = data.index(b"\x10\x00\x20\x00LO") + 6  # PatientID's length
    data[place : place + 2] = b"\xff\xff"
    long.write_bytes(data)
    reasons = found(tmp_path)
    assert reasons["a/plain"] == reasons["a/large"] == reasons["a/deep"] == ""
    assert "65535 x 65535; a radiograph has at most" in reasons["a/huge"]
    assert reasons["a/DICOMDIR"].startswith("The file is a DICOMDIR")
    assert reasons["a/long"]
    assert re.fullmatch(
        r"The DICOM header cannot be read \(\w+\)\.|Decoding (took longer|needs more) .*", reasons["a/abyss"]
    )
    for name, said in {"large": "PixelData", "huge": "at most", "deep": ""}.items():
        path = str(tmp_path / "a" / name)
        if said:
            with pytest.raises(DataError, match=said):
                decode(path=path, masks=[], said={}, text="unknown", states=[state_of(path)], how=HOW)
        else:
            decode(path=path, masks=[], said={}, text="unknown", states=[state_of(path)], how=HOW)


def test_a_bomb_needs_more_memory_than_it_gets_and_costs_one_file(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    # 7,900 x 8,100 pixels are allowed, and as RLE of long runs they are two megabytes.
    for number in range(3):
        write(root / f"a/{number}", number)
    bomb = pydicom.dcmread(write(root / "a/bomb", 9))
    bomb.Rows, bomb.Columns = 7_900, 8_100
    bomb.PixelData = np.tile(np.arange(2, dtype=np.uint16).repeat(4_050), 7_900).tobytes()
    bomb.compress(RLELossless, encoding_plugin="pylibjpeg")
    bomb.save_as(root / "a/bomb")
    assert (root / "a/bomb").stat().st_size < 3_000_000
    index = ingest(root, tmp_path / "run", memory_per_file_mb=64)
    assert len(read_index(index / "index.parquet")) == 3
    (refused,) = refusals(index)
    assert refused["reason"] == "Decoding needs more memory than 64 MB (memory_per_file_mb)."


def ingest(root: Path, folder: Path, **given: object) -> Path:
    content = {
        "source": "dicom_tree",
        "options": {"root": str(root), "labels": None},
        "positive": ["Tuberculosis"],
        "negative": ["Normal"],
        "train": ["a"],
        "size": 32,
        "processes": 2,
    }
    return run(silent_work(folder), parse(Settings, content | given, "ingest")).folder


def refusals(index: Path) -> list[dict[str, str]]:
    with (index / "refused.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def state(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Contents, times of change and modes of all that is in a folder, its own among them."""
    return {
        str(path): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.lstat().st_mtime_ns,
            path.lstat().st_mode,
        )
        for path in [folder, *folder.rglob("*")]
    }


def test_a_tree_that_cannot_be_written_is_read_and_stays_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for number in range(3):
        write(root / f"a/deep/{number}", number)
    (root / "a/none").write_text("no DICOM")
    for path in [root, *root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = state(root)
    ingest(root, tmp_path / "run")
    assert state(root) == before


# ---- real and hostile files

# What the files of the shared folder are refused for, by a part of their names: every kind that its index tells of.
REASONS = {
    "ExplVR_BigEndNoMeta": "the prefix DICM is missing",
    "JLSL_RGB_ILV0": "DICOM without its preamble",
    "DICOMDIR-nooffset": "The file is a DICOMDIR",
    "DICOMDIR-bigEnd": "The file is a DICOMDIR",
    "nested_priv_SQ": "Modality (0008,0060) is missing",
    "meta_missing_tsyntax": "Modality (0008,0060) is missing",
    "empty_charset_LEI": "Modality (0008,0060) is missing",
    "chrGerm": "Modality (0008,0060) is 'OT'",
    "liver": "Modality (0008,0060) is 'SEG'",
    "rtdose.dcm": "Modality (0008,0060) is 'RTDOSE'",
    "rtplan_truncated": "Modality (0008,0060) is 'RTPLAN'",
    "MR_truncated": "Modality (0008,0060) is 'MR'",
    "badVR": "",
    "waveform_ecg": "Modality (0008,0060) is 'ECG'",
    "reportsi": "Modality (0008,0060) is 'SR'",
    "chrKoreanMulti": "PixelData (7FE0,0010) is missing",
    "chrJapMulti.": "PixelData (7FE0,0010) is missing",
    "Fake_MONOHR1": "",
    "RG1_J2KI": "",
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The shared files as one hospital, and its ingest."""
    if not SHARED.is_dir():
        pytest.skip("the shared DICOM files are not here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDTEA_KEY", "a key for tests only")
        content = {"train": ["chest"], "seconds_per_file": 30}
        before = state(SHARED)
        yield SHARED, ingest(SHARED, tmp_path_factory.mktemp("run"), **content)
        assert state(SHARED) == before


def test_every_real_and_hostile_file_is_accepted_or_refused(hostile: tuple[Path, Path]) -> None:
    root, index = hostile
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 200
    accepted, refused = read_index(index / "index.parquet"), refusals(index)
    assert len(accepted) + len(refused) == len(files)
    assert set(accepted["file"]) | {row["file"] for row in refused} == {
        file_digest(path.relative_to(root)) for path in files
    }
    assert len(accepted) >= 3
    for row in refused:
        assert not any(word in row["reason"] for word in ("crashed", "longer than", "more memory", "cannot be read ("))


def test_the_reasons_are_true(hostile: tuple[Path, Path]) -> None:
    root, index = hostile
    reasons = {row["file"]: row["reason"] for row in refusals(index)}
    files = [path for path in root.rglob("*") if path.is_file()]
    for part, reason in REASONS.items():
        named = [path for path in files if part in path.name]
        assert named, part
        for path in named:
            said = reasons.get(file_digest(path.relative_to(root)), "")
            assert reason in said, path.name


def test_nothing_outside_the_source_is_opened(hostile: tuple[Path, Path], tmp_path: Path) -> None:
    """Python tells its audit hooks of every file that it opens; they cannot be removed, so this one is switched."""
    root, _ = hostile
    dicomdir(tmp_path / "DICOMDIR", "..", "..", "..", "etc", "hostname")
    opened: list[str] = []
    watching = False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            opened.append(os.fsdecode(arguments[0]))

    files = [*sorted(path for path in root.rglob("*") if path.is_file()), tmp_path / "DICOMDIR"]
    sys.addaudithook(hook)
    for turn in range(2):  # the first time decoders and tables of characters are imported
        watching = turn == 1
        for path in files:
            read_fields(paths=[str(path)], accept={})
            try:
                decode(path=str(path), masks=[], said={}, text="unknown", states=[state_of(path)], how=HOW)
            except DataError:
                continue
    watching = False
    assert len(set(opened)) == len(files)
    assert set(opened) == {str(path) for path in files}


def test_candidates_hold_no_data_sets(tmp_path: Path) -> None:
    write(tmp_path / "a/0")
    source = dicom_tree.Source(dicom_tree.Settings(root=tmp_path), workspace=tmp_path, seed=0)
    (one,) = source.find()
    assert isinstance(one, Candidate)
    plain = (str, int, float, bool, type(None), Path, dict)
    assert all(isinstance(value, plain) for value in vars(one).values())
