from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from oracles.made_sources import made_picture
from PIL import Image

from medtea.core.errors import ConfigError, DataError
from medtea.data.dicom_files import VENDORS, write_radiograph
from medtea.data.pixels import LARGEST_AREA
from medtea.ingest.headers import read_header
from medtea.ingest.sources.dicom_tree import Settings, Source
from medtea.ingest.sources.source import Candidate, Refused

SHARED = Path(os.environ.get("MEDTEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def write(path: Path, patient: str = "Doe^1", view: str = "PA") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_radiograph(path, made_picture(1) / 255, vendor=VENDORS[0], patient=patient, study="s", view=view)


def found(root: Path, **settings: object) -> list[Candidate | Refused]:
    return list(Source(Settings(root=root, **settings), workspace=root / "unused", seed=0).find())  # type: ignore[arg-type]


def label(root: Path, *rows: tuple[str, ...]) -> None:
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("sop_instance_uid", "hospital", "finding", "mask"), *rows])


def test_folders_are_hospitals_and_files_need_no_suffix(tmp_path: Path) -> None:
    uid = write(tmp_path / "alpha" / "deep" / "IM1")
    write(tmp_path / "beta" / "x.dcm", patient="Doe^2", view="AP")
    (tmp_path / "masks").mkdir()
    Image.fromarray(made_picture(1)).save(tmp_path / "masks" / "m.png")
    label(tmp_path, (uid, "", "Normal", "masks/m.png"))
    first, second = found(tmp_path)
    assert isinstance(first, Candidate)
    assert isinstance(second, Candidate)
    assert (first.hospital, first.patient, first.view, first.finding) == ("alpha", "Doe^1", "PA", "Normal")
    assert first.device == "Aster Imaging Aster 12"
    assert first.mask == (tmp_path / "masks/m.png").resolve()
    assert (second.hospital, second.view, second.finding, second.mask) == ("beta", "AP", None, None)
    assert found(tmp_path, hospitals=("beta",)) == [second]


def test_every_file_is_a_candidate_or_refused(tmp_path: Path) -> None:
    write(tmp_path / "alpha" / "1")
    (tmp_path / "alpha" / "2").write_bytes((tmp_path / "alpha" / "1").read_bytes())
    write(tmp_path / "alpha" / "3", patient="Doe^3", view="LL")
    (tmp_path / "alpha" / "4").write_text("no DICOM")
    (tmp_path / "alpha" / "5").symlink_to("/etc/hostname")
    (tmp_path / "alpha" / "6").symlink_to("nowhere")
    (tmp_path / "alpha" / "7").symlink_to(tmp_path)
    write(tmp_path / "8", patient="Doe^8")
    result = found(tmp_path)
    assert len(result) == 8
    # sorted by path: the file in the root comes first
    reasons = [one.reason if isinstance(one, Refused) else "" for one in result]
    expected = ["no hospital", "", "a copy", "'LL'; a frontal", "DICM is missing", "link", "no ordinary", "link"]
    for reason, part in zip(reasons, expected, strict=True):
        assert part in reason
        assert bool(part) == bool(reason)


def test_the_labels_may_name_the_hospital(tmp_path: Path) -> None:
    label(tmp_path, (write(tmp_path / "1"), "gamma", "Normal", ""))
    assert [one.hospital for one in found(tmp_path)] == ["gamma"]


def test_another_part_of_the_body_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "1")
    dataset = pydicom.dcmread(tmp_path / "1")
    dataset.BodyPartExamined = "HAND"
    dataset.save_as(tmp_path / "1")
    with pytest.raises(DataError, match=r"BodyPartExamined \(0018,0015\) is 'HAND'"):
        read_header(tmp_path / "1")


def test_an_empty_header_is_unknown_not_guessed(tmp_path: Path) -> None:
    write(tmp_path / "1", patient="", view="unknown")
    dataset = pydicom.dcmread(tmp_path / "1")
    del dataset.Manufacturer, dataset.ManufacturerModelName, dataset.BodyPartExamined
    dataset.save_as(tmp_path / "1")
    header = read_header(tmp_path / "1")
    assert (header.patient, header.view, header.device) == (None, "unknown", "unknown")


def test_a_huge_image_is_refused_from_its_header(tmp_path: Path) -> None:
    write(tmp_path / "1")
    dataset = pydicom.dcmread(tmp_path / "1")
    dataset.Rows = dataset.Columns = 65_000
    dataset.save_as(tmp_path / "1")
    with pytest.raises(DataError, match=f"at most {LARGEST_AREA:,}"):
        read_header(tmp_path / "1")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("1.2", "", "Normal", ""), ("1.2", "", "Ill", "")], "contradict each other"),
        ([("1.2", "", "Normal", "")], "None of the 1 rows of the labels"),
    ],
)
def test_labels_that_cannot_be_right_are_refused(tmp_path: Path, rows: list[tuple[str, ...]], message: str) -> None:
    write(tmp_path / "alpha" / "1")
    label(tmp_path, *rows)
    with pytest.raises((ConfigError, DataError), match=message):
        found(tmp_path)


def test_a_mask_out_of_the_tree_refuses_its_image(tmp_path: Path) -> None:
    label(tmp_path, (write(tmp_path / "alpha" / "1"), "", "", "../mask.png"))
    with pytest.raises(DataError, match="None of the 1"):
        found(tmp_path)


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "alpha" / "1")
    with pytest.raises(ConfigError, match="no such folder"):
        found(tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"no hospital 'alfa'. .*Did you mean 'alpha'"):
        found(tmp_path, hospitals=("alfa",))
    with pytest.raises(ConfigError, match="labels: there is no such file"):
        found(tmp_path, labels="other.csv")
    (tmp_path / "labels.csv").write_text("uid\n")
    with pytest.raises(ConfigError, match="no column 'sop_instance_uid'"):
        found(tmp_path)


@pytest.mark.skipif(not (SHARED / "data/dicom").is_dir(), reason="the shared DICOM files are not here")
def test_real_and_hostile_files_are_found_or_refused() -> None:
    result = found(SHARED / "data/dicom", labels=None)
    files = [path for path in (SHARED / "data/dicom").rglob("*") if path.is_file()]
    assert len(result) == len(files)
    accepted = [one for one in result if isinstance(one, Candidate)]
    # The mislabelled chest image is a copy of another one under the same SOPInstanceUID.
    assert {one.path.name[:12] for one in accepted} >= {"pydicom-data", "torchxrayvis", "covid-chest-"}
    assert np.all([len(one.device) <= 64 for one in accepted])
