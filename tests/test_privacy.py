"""What a header, a path or a table says of a patient is found nowhere in the run folder and nowhere in what is printed.

Every byte of every file is searched in several encodings, Parquet, NumPy archives and DICOM also unpacked. Manufacturer
and model are kept: the device's identity, not a patient's, and only words of a list.
"""

from __future__ import annotations

import base64
import csv
import logging
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pydicom
import pytest
from oracles.made_run import tiny_config, write_config
from PIL import Image
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medtea import cli
from medtea.core.errors import DataError, MedteaError
from medtea.data.dicom_files import VENDORS, write_radiograph
from medtea.data.phantom import draw_phantom

HOSPITALS = ("northgate", "hillcrest")
PER_HOSPITAL = 24
ROOT = "1.2.826.0.1.3680043.99.271828"

# Keyword to a value that says who the patient is. Each holds a word of SECRETS.
TEXTS = {
    "PatientName": "Zimmermann^Jolanda^Wilhelmina",
    "PatientID": "QX7731415",
    "OtherPatientIDs": "QY8842526",
    "PatientBirthName": "Habsburgerin",
    "PatientMotherBirthName": "Trastamara",
    "PatientAddress": "Lindenweg 4711, Oberammergau",
    "PatientTelephoneNumbers": "+49 8822 9988776",
    "PatientComments": "Niece of Mrs Zimmermann",
    "AdditionalPatientHistory": "Beekeeper in Oberammergau",
    "Occupation": "Beekeeper",
    "EthnicGroup": "Ladinisch",
    "MilitaryRank": "Feldwebel",
    "ResponsiblePerson": "Trastamara^Isabel",
    "MedicalRecordLocator": "ARCHIVKELLER9",
    "AccessionNumber": "ACC55443322",
    "StudyID": "STU66778899",
    "StudyDescription": "Follow-up Zimmermann",
    "SeriesDescription": "Beekeeper upright",
    "ProtocolName": "Jolanda special",
    "ImageComments": "QX7731415 repeated",
    "ReferringPhysicianName": "Semmelweisz^Ignaz",
    "PerformingPhysicianName": "Virchowian^Rudolf",
    "NameOfPhysiciansReadingStudy": "Roentgenova^Clara",
    "RequestingPhysician": "Semmelweisz^Ignaz",
    "OperatorsName": "Roentgenova^Clara",
    "InstitutionName": "Klinikum Walhalla",
    "InstitutionAddress": "Walhallastrasse 1",
    "InstitutionalDepartmentName": "Walhalla Nord",
    "StationName": "WALHALLA7",
    "DeviceSerialNumber": "SN1234567890X",
    "RequestedProcedureDescription": "Check Zimmermann",
    "PerformedProcedureStepDescription": "Beekeeper check",
    "BodyPartExamined": "ZIMMERMANN",
    "PatientState": "Feldwebel asleep",
}
DATES = {"PatientBirthDate": "19310427", "StudyDate": "20170809", "AcquisitionDate": "20170809"}
TIMES = {"StudyTime": "235947", "AcquisitionTime": "235947", "PatientBirthTime": "041327"}
SECRETS = (
    "zimmermann jolanda wilhelmina qx7731415 qy8842526 habsburgerin trastamara lindenweg 4711, oberammergau 9988776 "
    "beekeeper ladinisch feldwebel archivkeller acc55443322 stu66778899 semmelweisz virchowian roentgenova walhalla "
    f"sn1234567890x 19310427 1931-04-27 20170809 2017-08-09 235947 041327 privatgeheim {ROOT} 7731415 tiefverborgen "
    "ueberlagert vorspannung hinterher unbekannt kaputtschrift quellgeraet metageheim zusatzspalte jiráček"
).split()


def write(path: Path, number: int, hospital: str) -> str:
    """One radiograph whose header, name and folder say who it is of; its SOPInstanceUID."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = draw_phantom(np.random.default_rng(number), size=64, diseased=bool(number % 2))
    vendor = VENDORS[HOSPITALS.index(hospital)]
    write_radiograph(path, drawn.radiograph, vendor=vendor, patient="x", study="y", view="PA", instance=str(number))
    dataset = pydicom.dcmread(path)
    hide(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BodyPartExamined is longer than its type allows, as in the field
        for keyword, value in {**TEXTS, **DATES, **TIMES}.items():
            setattr(dataset, keyword, value)
        dataset.PatientID = f"QX7731415-{hospital}-{number}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{ROOT}.1.{number}", f"{ROOT}.2.{number}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.7731415.{number}"
        if number % 5 == 3:
            dataset.SpecificCharacterSet = "KAPUTTSCHRIFT"
            del dataset.PatientInstitutionResidence  # which could not be written so
        other = Dataset()
        other.PatientID, other.IssuerOfPatientID = "QY8842526", "Walhalla"
        dataset.OtherPatientIDsSequence = Sequence([other])
        block = dataset.private_block(0x0011, "PRIVATGEHEIM 1.0", create=True)
        block.add_new(0x01, "LO", "Privatgeheim Zimmermann")
        block.add_new(0x02, "OB", b"Privatgeheim Jolanda")
        dataset.save_as(path)
    return str(dataset.SOPInstanceUID)


def hide(dataset: Dataset) -> None:
    """Who the patient is, in places where nobody would look."""
    deep = Dataset()
    deep.PatientName = "Tiefverborgen^Zimmermann"
    for _ in range(5):
        above = Dataset()
        above.RequestAttributesSequence = Sequence([deep])
        deep = above
    dataset.RequestAttributesSequence = Sequence([deep])
    dataset.preamble = b"VORSPANNUNG Zimmermann".ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = "QUELLGERAET"
    dataset.file_meta.PrivateInformationCreatorUID = f"{ROOT}.5"
    dataset.file_meta.PrivateInformation = b"Metageheim"
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000011, "US", 8)
    dataset.add_new(0x60000022, "LO", "Ueberlagert Zimmermann")
    dataset.add_new(0x60001500, "LO", "Ueberlagert")
    dataset.add_new(0x60003000, "OW", b"Ueberlagert Jolanda ")
    dataset.add_new(0xFFFCFFFC, "OB", b"Hinterher Zimmermann")
    dataset[0x00101001] = DataElement(0x00101001, "UN", b"Unbekannt^Trastamara")
    dataset.PatientInstitutionResidence = "Jiráček"
    dataset.ManufacturerModelName = f"{dataset.ManufacturerModelName} Zimmermann"
    dataset.SoftwareVersions = ["1.2", "Zimmermann"]
    dataset.DetectorID = "QX7731415"


def spoil(path: Path, **values: str) -> None:
    dataset = pydicom.dcmread(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hospitals, with everything that can be refused beside what can be used."""
    root = tmp_path_factory.mktemp("tree")
    labels = []
    for place, hospital in enumerate(HOSPITALS):
        for one in range(PER_HOSPITAL):
            number = 1000 * place + one
            path = root / hospital / f"Zimmermann_Jolanda_{number}" / "20170809" / f"QX7731415_{number}.dcm"
            labels.append((write(path, number, hospital), hospital, ("Normal", "Nodules")[one % 2], ""))
    labels[2] = (*labels[2][:2], "Zimmermann seems well", "")
    labels[3] = (*labels[3][:3], "masks/Zimmermann.png")
    odd = root / "northgate" / "Oberammergau"
    names = ("view", "modality", "colour", "twin", "cut", "picture", "hand", "window")
    paths = {name: odd / f"Zimmermann {name}" for name in names}
    for number, path in enumerate(paths.values(), start=500):
        write(path, number, "northgate")
    spoil(paths["view"], ViewPosition="LATERAL ZIMMERMANN")
    spoil(paths["modality"], Modality="ZIMMERMANN")
    spoil(paths["colour"], PhotometricInterpretation="QX7731415")
    spoil(paths["hand"], BodyPartExamined="HAND")
    spoil(paths["window"], WindowCenter="235947", WindowWidth="-4711")
    spoil(paths["twin"], SOPInstanceUID=labels[0][0])
    paths["cut"].write_bytes(paths["cut"].read_bytes()[:-3000])
    shutil.copy(root / "northgate/Zimmermann_Jolanda_1/20170809/QX7731415_1.dcm", paths["picture"])
    spoil(paths["picture"], SOPInstanceUID=f"{ROOT}.9")
    (odd / "Zimmermann.txt").write_text("Jolanda Zimmermann, 27 April 1931")
    (odd / "Jolanda").symlink_to("/etc/hostname")
    (root / "Zimmermann.pdf").write_bytes(b"%PDF Zimmermann")
    with (root / "labels.csv").open("w", newline="") as file:
        header = ("sop_instance_uid", "hospital", "finding", "mask", "zusatzspalte")
        csv.writer(file).writerows([header, *((*label, "Zusatzspalte Zimmermann") for label in labels)])
    return root


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def unpacked(path: Path) -> Iterator[str]:
    """A file as text in every form in which something could be read off it."""
    yield path.read_bytes().decode("latin-1")
    if path.suffix == ".parquet":
        yield pd.read_parquet(path).to_csv()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            yield " ".join(f"{name} {arrays[name]}" for name in arrays)
    if path.suffix == ".dcm":
        yield str(pydicom.dcmread(path))


@cache
def forms(secret: str) -> tuple[frozenset[str], frozenset[str]]:
    """How bytes that tell a secret look as Latin-1: in any case, and as they are."""
    written = {secret, secret.upper(), secret.title()}
    low = {form for one in written for form in (one, one.encode().decode("latin-1"), quote(one))}
    exact = set()
    for one in written if len(secret) >= 7 else ():
        for shift in range(3):  # where the word stands within the three bytes of a base64 group
            packed = base64.b64encode(b"\0" * shift + one.encode() + b"\0\0").decode()
            ends = -(-shift * 8 // 6), (shift + len(one.encode())) * 8 // 6  # characters of the word's bits alone
            exact.add(packed[ends[0] : ends[1]])
    return frozenset(form.lower() for form in low), frozenset(exact)


def told(text: str) -> list[str]:
    """The secrets that a text tells, in UTF-8, Latin-1, UTF-16, URL encoding or base64."""
    low = text.lower()
    narrow = low.replace("\0", "")  # UTF-16 of ASCII is ASCII with zeros between
    return [
        secret
        for secret in SECRETS
        if any(form in low or form in narrow for form in forms(secret)[0])
        or any(form in text for form in forms(secret)[1])
    ]


def leaks(folder: Path) -> list[str]:
    """Secrets, and the file that tells each."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    found = [f"{secret} in {path.name}" for path in files for text in unpacked(path) for secret in told(text)]
    return found + [f"{secret} as a name" for path in files for secret in told(path.relative_to(folder).as_posix())]


def config_of(tree: Path, folder: Path) -> Path:
    content = tiny_config(source="dicom_tree", options={"root": str(tree)}, size=64)
    content["segment"]["checks"]["area"] = [0.0, 1.0]
    return write_config(folder / "tiny.yaml", content)


def test_the_search_finds_what_is_there(tree: Path, tmp_path: Path) -> None:
    # The search itself can fail: it must find every secret in the source, and those in a table only when unpacked.
    assert {one.split(" ")[0] for one in leaks(tree)} >= set(SECRETS) - {"1931-04-27", "2017-08-09", "4711,"}
    for coded in (
        "ZIMMERMANN".encode("utf-16").decode("latin-1"),
        base64.b64encode(b"Mrs Zimmermann, 27 April").decode(),
        base64.b64encode(b"rs Zimmermann, 27 April").decode(),
        base64.b64encode(b"s Zimmermann, 27 April").decode(),
    ):
        assert told(coded) == ["zimmermann"]
    for coded in (quote("Jiráček"), "Jiráček".encode().decode("latin-1")):
        assert told(coded) == ["jiráček"]
    pd.DataFrame({"patient": ["Zimmermann"] * 1000}).to_parquet(tmp_path / "index.parquet", compression="gzip")
    assert set(leaks(tmp_path)) == {"zimmermann in index.parquet"}
    assert len(TEXTS) + len(DATES) + len(TIMES) + 15 >= 50, "places that name the patient, 15 of them hidden"


def test_ingest_writes_and_prints_nothing_of_a_patient(
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    arguments = ["ingest", str(config_of(tree, tmp_path)), "--to", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["medtea", *arguments])
    with caplog.at_level(logging.DEBUG), pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None)
    printed = capfd.readouterr()
    assert "files found" in printed.err
    assert told(printed.out + printed.err) == []
    assert told(caplog.text) == []
    assert leaks(tmp_path / "run") == []
    refused = pd.read_csv(tmp_path / "run" / "ingest" / "refused.csv", keep_default_na=False)
    assert len(refused) == 12, "what cannot be used is listed all the same"
    assert refused["reason"].nunique() >= 10
    index = pd.read_parquet(tmp_path / "run" / "ingest" / "index.parquet")
    assert len(index) == 2 * PER_HOSPITAL - 1
    assert index["patient"].nunique() == len(index)
    assert index.groupby("hospital")["device"].unique().map(list).to_dict() == {
        hospital: [f"{vendor.manufacturer} {vendor.model}"]
        for hospital, vendor in zip(HOSPITALS, VENDORS, strict=False)
    }


def test_what_is_written_for_others_tells_nothing_of_a_patient(
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    to = tmp_path / "to"
    monkeypatch.setattr(sys, "argv", ["medtea", "deidentify", str(tree), str(to), "--hospital", "north", "--keep-text"])
    with caplog.at_level(logging.DEBUG), pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None)
    printed = capfd.readouterr()
    assert " written, 0 kept, " in printed.out
    assert told(printed.out + printed.err) == []
    assert told(caplog.text) == []
    written = sorted(to.rglob("*.dcm"))
    assert len(written) >= 2 * PER_HOSPITAL
    assert leaks(to) == []
    for path in written[:5]:
        dataset = pydicom.dcmread(path)
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.StudyDate[:4] in ("2015", "2016", "2017"), "moved, and not left out"
        assert "StationName" in dataset, "hashed"
        assert not any(dataset.preamble)
    with (to / "deidentified.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(not path.is_dir() for path in tree.rglob("*"))


def test_a_patient_on_both_sides_is_told_by_the_pseudonym_alone(tree: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    for number, hospital in enumerate(HOSPITALS):
        for one in range(4):
            write(both / hospital / f"{one}", 10 * number + one, hospital)
            spoil(both / hospital / f"{one}", PatientID="QX7731415", BodyPartExamined="CHEST")
    with pytest.raises(DataError, match=r"Patient p[0-9a-f]{12}") as caught:
        cli.walk(config_of(both, tmp_path), tmp_path / "run", [], no_tracking=False, until="ingest")
    assert told(str(caught.value)) == []
    assert leaks(tmp_path / "run") == []


def test_nothing_usable_quotes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "both" / "northgate" / "Zimmermann"
    write(path, 1, "northgate")
    write(tmp_path / "both" / "hillcrest" / "Jolanda", 2, "hillcrest")
    for one in (path, tmp_path / "both" / "hillcrest" / "Jolanda"):
        spoil(one, Modality="ZIMMERMANN")
    with pytest.raises(MedteaError, match="None of the 2 files found can be used") as caught:
        cli.walk(config_of(tmp_path / "both", tmp_path), tmp_path / "run", [], no_tracking=False, until="ingest")
    assert told(str(caught.value)) == []
    assert leaks(tmp_path / "run") == []


@pytest.mark.slow
def test_the_whole_way_writes_and_prints_nothing_of_a_patient(tree: Path, tmp_path: Path) -> None:
    # Without given masks nothing could be segmented, so the lungs of each phantom come along under another name.
    copied = tmp_path / "tree"
    shutil.copytree(tree, copied, symlinks=True)
    (copied / "masks").mkdir()
    with (tree / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    for row in rows[1:]:
        number = int(row[0].rpartition(".")[2])
        lungs = draw_phantom(np.random.default_rng(number), size=64, diseased=bool(number % 2)).lung_mask
        row[3] = f"masks/Zimmermann-{number}.png"
        Image.fromarray(lungs.astype(np.uint8) * 255).save(copied / row[3])
    with (copied / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    config, folder = config_of(copied, tmp_path), tmp_path / "run"
    command = [sys.executable, "-m", "medtea.cli", "run", str(config), "--to", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert ended.returncode == 0, ended.stderr
    assert told(ended.stdout + ended.stderr) == []
    assert (tmp_path / "run" / "report" / "report.html").is_file()
    assert leaks(tmp_path / "run") == []
