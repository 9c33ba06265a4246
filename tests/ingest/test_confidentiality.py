from __future__ import annotations

import csv
import datetime
import importlib
import io
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage

from medtea.core.errors import ConfigError, DataError
from medtea.core.pseudonyms import Pseudonyms
from medtea.data.dicom_files import VENDORS, Vendor, write_radiograph
from medtea.data.phantom import draw_phantom
from medtea.data.reader import read_radiograph
from medtea.ingest.confidentiality import TERMS, kept_keywords, without_patient
from medtea.ingest.labels import Labels, LabelSettings
from medtea.ingest.release import LABELS, TABLE, LabelTable, code_of, release
from medtea.ingest.sources.dicom_tree import Settings, Source
from medtea.ingest.sources.source import Candidate
from medtea.ingest.workers import Limits

NAMES = Pseudonyms(b"a key of sixteen characters or more")


def write(path: Path, number: int = 0, vendor: Vendor = VENDORS[0], patient: str = "q", study: str = "s") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = draw_phantom(np.random.default_rng(number), size=96, diseased=False).radiograph
    write_radiograph(path, drawn, vendor=vendor, patient=patient, study=study, instance=str(number), view="PA")
    return path


def cleaned(path: Path, key: Pseudonyms = NAMES) -> Dataset:
    """As another would read it."""
    packed = io.BytesIO()
    without_patient(pydicom.dcmread(path), key, hospital="h").save_as(packed, enforce_file_format=True)
    packed.seek(0)
    return pydicom.dcmread(packed)


def test_of_the_standards_table_only_what_an_option_keeps_or_is_replaced_may_stay() -> None:
    # The oracle is Table E.1-1 as dicom-anonymizer carries it.
    pytest.importorskip("dicomanonymizer")
    table = importlib.import_module("dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c")
    listed = {tag for tag in table.ALL_TAGS if len(tag) == 2}
    stays = {
        keyword for keyword in kept_keywords() if (tag := tag_for_keyword(keyword)) and divmod(tag, 1 << 16) in listed
    }
    replaced = {"PatientName", "PatientID", "PatientBirthDate", "StudyID", "AccessionNumber", "ReferringPhysicianName"}
    replaced |= {"SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"}
    moved = {f"{what}{kind}" for what in ("Study", "Series", "Acquisition", "Content") for kind in ("Date", "Time")}
    characteristics = {"PatientAge", "PatientSex", "PatientSize", "PatientWeight"}
    device = {"StationName", "DetectorID", "Manufacturer", "ManufacturerModelName", "SoftwareVersions"}
    ours = {"DeidentificationMethod", "DeidentificationMethodCodeSequence"}
    assert stays - replaced - moved - characteristics - device - ours == set()
    assert len(stays & (replaced | moved)) >= 12, "the table was read"


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.manufacturer)
def test_the_pixels_mean_the_same_as_before(tmp_path: Path, vendor: Vendor) -> None:
    path = write(tmp_path / "one", vendor=vendor)
    clean = cleaned(path)
    clean.save_as(tmp_path / "clean")
    np.testing.assert_array_equal(read_radiograph(tmp_path / "clean"), read_radiograph(path))
    assert clean.Manufacturer == vendor.manufacturer
    assert set(clean.dir()) <= kept_keywords()
    assert clean.preamble == b"\0" * 128


def test_what_is_no_pixel_is_not_written(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write(tmp_path / "one"))
    secret = b"ZIMMERMANN"
    # 12 of 16 bits are stored: the upper four of each pixel spell something, and more lies behind the last one.
    words = np.frombuffer(dataset.PixelData, dtype="<u2").copy()
    words[: len(secret)] |= np.frombuffer(secret, dtype="u1").astype("<u2") << 12
    dataset.PixelData = words.tobytes() + secret
    dataset.add_new(0x60003000, "OW", secret)
    dataset.add_new(0xFFFCFFFC, "OB", secret)
    dataset.preamble = secret.ljust(128)
    dataset.save_as(tmp_path / "odd")
    clean = cleaned(tmp_path / "odd")
    assert (np.frombuffer(clean.PixelData, dtype="<u2") <= 4095).all()
    assert len(clean.PixelData) == 96 * 96 * 2
    assert not any(element.tag.group in (0x6000, 0xFFFC) or element.tag.is_private for element in clean)


def test_a_word_of_somebodys_own_is_not_copied(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write(tmp_path / "one"))
    for keyword in set(TERMS) - {"Modality", "PhotometricInterpretation"}:
        dataset[keyword] = pydicom.DataElement(tag_for_keyword(keyword) or 0, "CS", "ZIMMERMANN")
    dataset.save_as(tmp_path / "odd")
    clean = cleaned(tmp_path / "odd")
    assert set(clean.dir()) & set(TERMS) <= {"Modality", "PhotometricInterpretation", "ImageType"}
    assert "ZIMMERMANN" not in str(clean)


def test_the_days_between_two_studies_stay_and_the_days_do_not(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{number}", number, study=str(number)) for number in range(2)]
    before = [pydicom.dcmread(path) for path in paths]
    after = [cleaned(path) for path in paths]

    def moments(datasets: list[Dataset]) -> list[datetime.datetime]:
        return [datetime.datetime.strptime(f"{one.StudyDate}{one.StudyTime}", "%Y%m%d%H%M%S") for one in datasets]

    was, now = moments(before), moments(after)
    assert was[1] - was[0] == now[1] - now[0]
    assert 62 <= (was[0] - now[0]).days <= 731
    assert was[0].time() != now[0].time()
    assert after[0].PatientID == after[1].PatientID == NAMES.patient("q", hospital="h")
    other = cleaned(write(tmp_path / "other", 0, patient="another"))
    assert moments([other])[0] - now[0] != moments([pydicom.dcmread(tmp_path / "other")])[0] - was[0]


def test_uids_are_replaced_consistently_and_by_the_key(tmp_path: Path) -> None:
    path = write(tmp_path / "one")
    once, again = cleaned(path), cleaned(path)
    other = cleaned(path, Pseudonyms(b"another key of enough characters"))
    sibling = cleaned(write(tmp_path / "two", 1))
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert once[keyword].value == again[keyword].value != other[keyword].value
        assert once[keyword].value != pydicom.dcmread(path)[keyword].value
        assert once[keyword].value.is_valid
    assert once.StudyInstanceUID == sibling.StudyInstanceUID
    assert once.SOPInstanceUID != sibling.SOPInstanceUID
    assert once.file_meta.MediaStorageSOPInstanceUID == once.SOPInstanceUID


def test_the_file_says_what_was_done_to_it(tmp_path: Path) -> None:
    clean = cleaned(write(tmp_path / "one"))
    assert (clean.PatientIdentityRemoved, clean.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    codes = [item.CodeValue for item in clean.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108", "113109"]
    assert "BurnedInAnnotation" not in clean, "nobody has looked: nothing is said"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "SOPClassUID .* is not of a CR or DX image"),
        ({"Rows": 65_000, "Columns": 65_000}, "Rows x Columns is 65000 x 65000"),
        ({"NumberOfFrames": 7}, "several frames"),
        ({"WindowCenter": "19310427", "WindowWidth": "1"}, "WindowCenter is 100,000 or above"),
        ({"StudyInstanceUID": ""}, "StudyInstanceUID is missing"),
        ({"PixelData": b"short"}, "cannot be decoded"),
    ],
)
def test_what_the_list_does_not_fit_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    dataset = pydicom.dcmread(write(tmp_path / "one"))
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    with pytest.raises(DataError, match=message):
        without_patient(dataset, NAMES, hospital="h")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "Zimmermann"
    for number in range(3):
        write(folder / "deep" / f"Zimmermann {number}", number, VENDORS[number])
    (folder / "notes.txt").write_text("Zimmermann")
    (folder / "link").symlink_to("/etc/hostname")
    declared = pydicom.dcmread(write(folder / "declared", 7))
    declared.BurnedInAnnotation = "YES"
    declared.save_as(folder / "declared")
    return folder


def test_every_file_found_is_written_or_refused_and_the_source_is_untouched(source: Path, tmp_path: Path) -> None:
    def listing() -> list[tuple[str, int, int]]:
        stats = [(path, path.lstat()) for path in sorted(source.rglob("*"))]
        return [(str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats]

    before, to = listing(), tmp_path / "to"
    done = release(source, to, NAMES, hospital="alpha")
    assert listing() == before
    assert (done.written, done.kept, done.refused.total()) == (3, 0, 3)
    with (to / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["done"] for row in rows].count("written") == 3
    assert {row["reason"][:24] for row in rows} == {
        "",
        "The file is not DICOM: t",
        "A link to a folder, or o",
        "BurnedInAnnotation (0028",
    }
    assert code_of(source, source / "declared", NAMES) in {row["file"] for row in rows}
    assert "Zimmermann" not in "".join(str(path.relative_to(to)) for path in to.rglob("*"))
    found = list(Source(Settings(root=to), workspace=to, seed=0).find())
    candidates = [one for one in found if isinstance(one, Candidate)]
    assert [one.hospital for one in candidates] == ["alpha"] * 3
    assert [one.patient for one in candidates] == [NAMES.patient("q", hospital="alpha")] * 3


def test_a_second_run_only_writes_what_is_new_or_newer(source: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    release(source, to, NAMES)
    first = {path: path.read_bytes() for path in to.rglob("*.dcm")}
    write(source / "new", 9)
    changed = source / "deep" / "Zimmermann 0"
    later = changed.stat().st_mtime_ns + 10**11
    os.utime(changed, ns=(later, later))
    done = release(source, to, NAMES)
    assert (done.written, done.kept, done.refused.total()) == (2, 2, 3)
    assert {path: path.read_bytes() for path in first} == first, "made of the same file it is the same file"


def test_a_file_that_is_never_full_costs_itself_alone(source: Path, tmp_path: Path) -> None:
    bomb = pydicom.dcmread(write(source / "bomb", 8))
    bomb.Rows, bomb.Columns = 7_900, 8_100
    bomb.PixelData = np.tile(np.arange(2, dtype=np.uint16).repeat(4_050), 7_900).tobytes()
    bomb.compress(RLELossless, encoding_plugin="pylibjpeg")
    bomb.save_as(source / "bomb")
    done = release(source, tmp_path / "to", NAMES, limits=Limits(2, memory_per_file_mb=64))
    assert (done.written, done.refused.total()) == (3, 4)
    assert done.refused["Decoding needs more memory than 64 MB (memory_per_file_mb)."] == 1


@pytest.mark.parametrize("by", ["patient", "study", "instance"])
def test_labels_are_joined_to_the_new_files_as_they_were_to_the_old(source: Path, tmp_path: Path, by: str) -> None:
    keyword = {"patient": "PatientID", "study": "StudyInstanceUID", "instance": "SOPInstanceUID"}[by]
    old = pydicom.dcmread(source / "deep" / "Zimmermann 1")
    table, to = tmp_path / "old.csv", tmp_path / "to"
    lines = [f"{old.get(keyword)} ,Edema,by Dr Zimmermann", "absent,Edema,", f"{old.get(keyword)},Edema,twice"]
    table.write_text("\n".join(["number,finding,remark", *lines]))
    labels = LabelTable(table, by=by, key="number")  # type: ignore[arg-type]
    assert release(source, to, NAMES, labels=labels).labels == 2
    text = (to / LABELS).read_text()
    assert "Zimmermann" not in text
    assert str(old.get(keyword)) not in text
    joined = Labels(LabelSettings(path=to / LABELS, by=by))  # type: ignore[arg-type]
    found = [one for one in Source(Settings(root=to), workspace=to, seed=0).find() if isinstance(one, Candidate)]
    matched = [one.finding for one in joined.joined(found)]  # type: ignore[union-attr]
    assert matched.count("Edema") == (1 if by == "instance" else 3)
    # a second run writes no file again and the same table
    again = release(source, to, NAMES, labels=labels)
    assert (again.written, again.kept, again.labels, (to / LABELS).read_text()) == (0, 3, 2, text)


def test_labels_that_may_be_free_text_are_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    table = tmp_path / "old.csv"
    table.write_text("\n".join(["patient,finding", *(f"q,remark {number}" for number in range(101))]))
    with pytest.raises(ConfigError, match="column 'finding' has more than 100 different values"):
        release(source, tmp_path / "to", NAMES, labels=LabelTable(table))
    table.write_text("number,finding")
    with pytest.raises(ConfigError, match="no column 'patient'"):
        release(source, tmp_path / "to", NAMES, labels=LabelTable(table))
    assert not (tmp_path / "to").exists()


def test_folders_that_do_not_fit_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        release(tmp_path / "absent", tmp_path / "to", NAMES)
    with pytest.raises(ConfigError, match="lie in each other"):
        release(source, source / "to", NAMES)
    with pytest.raises(ConfigError, match="cannot be the name of a folder"):
        release(source, tmp_path / "to", NAMES, hospital="../x")
