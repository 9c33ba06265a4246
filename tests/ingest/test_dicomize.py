from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from oracles.made_sources import COLUMNS, made_table, write_table

from medtea.core.errors import ConfigError
from medtea.data.choices import Choices
from medtea.data.dicom_files import VENDORS
from medtea.data.reader import read, read_mask, read_radiograph
from medtea.ingest.dicomize import dicomize
from medtea.ingest.sources import dicom_tree, table
from medtea.ingest.sources.source import Candidate

SHARED = Path(os.environ.get("MEDTEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
HOSPITALS = ("alpha", "beta", "delta", "gamma", "kappa", "omega")
WHOLE_RANGE = Choices(unwindowed="range")
"""Without a window the stored range is the picture's own; percentiles would clip it."""


def candidates(source: table.Source | dicom_tree.Source) -> list[Candidate]:
    found = list(source.find())
    assert all(isinstance(one, Candidate) for one in found)
    return [one for one in found if isinstance(one, Candidate)]


def compare(settings: table.Settings, out: Path) -> set[str]:
    """Checks that the tree holds the table's radiographs, and returns the devices met."""
    before = candidates(table.Source(settings, workspace=out, seed=0))
    after = {
        one.path.stem: one
        for one in candidates(dicom_tree.Source(dicom_tree.Settings(root=out), workspace=out, seed=0))
    }
    assert len(after) == len(before)
    steps = {f"{vendor.manufacturer} {vendor.model}": vendor.step for vendor in VENDORS}
    for one in before:
        two = after[one.file]
        assert (two.hospital, two.patient, two.view, two.finding) == (one.hospital, one.patient, one.view, one.finding)
        difference = np.abs(read(two.path, WHOLE_RANGE).pixels - read_radiograph(one.path)).max()
        assert difference <= steps[two.device] / 2 + 1e-6  # half a step of the vendor's grey values
        assert (one.mask is None) == (two.mask is None)
        if one.mask and two.mask:
            np.testing.assert_array_equal(read_mask(two.mask), read_mask(one.mask))
    return {one.device for one in after.values()}


def test_a_table_sent_through_dicom_comes_back(tmp_path: Path) -> None:
    settings = table.Settings(path=made_table(tmp_path / "t", hospitals=HOSPITALS))
    counts = dicomize(settings, tmp_path / "out")
    assert {name: count.written for name, count in counts.items()} == dict.fromkeys(HOSPITALS, 3)
    assert len(compare(settings, tmp_path / "out")) == len(VENDORS)


def test_pixels_of_eight_bits_come_back_exactly(tmp_path: Path) -> None:
    settings = table.Settings(path=made_table(tmp_path / "t", hospitals=HOSPITALS), hospitals=("kappa",))
    dicomize(settings, tmp_path / "out")
    (tree,) = {
        one.device
        for one in candidates(dicom_tree.Source(dicom_tree.Settings(root=tmp_path / "out"), workspace=tmp_path, seed=0))
    }
    assert tree == "Ember Systems Cassette 8"
    for one in candidates(table.Source(settings, workspace=tmp_path, seed=0)):
        back = read(next((tmp_path / "out").rglob(f"{one.file}.dcm")), WHOLE_RANGE).pixels
        np.testing.assert_allclose(back, read_radiograph(one.path), rtol=0, atol=1e-7)


def test_a_second_run_keeps_what_is_there_and_writes_what_is_new(tmp_path: Path) -> None:
    settings = table.Settings(path=made_table(tmp_path / "t"))
    dicomize(settings, tmp_path / "out")
    labels = (tmp_path / "out" / "labels.csv").read_bytes()
    first, second = sorted((tmp_path / "out" / "alpha").rglob("*.dcm"))[:2]
    first.unlink()
    written = second.stat().st_mtime_ns
    counts = dicomize(settings, tmp_path / "out")
    assert (counts["alpha"].written, counts["alpha"].kept) == (1, 2)
    assert (counts["beta"].written, counts["beta"].kept) == (0, 3)
    assert second.stat().st_mtime_ns == written
    assert (tmp_path / "out" / "labels.csv").read_bytes() == labels


def test_a_picture_that_changed_since_is_written_anew(tmp_path: Path) -> None:
    settings = table.Settings(path=made_table(tmp_path / "t"))
    dicomize(settings, tmp_path / "out")
    picture = tmp_path / "t" / "images" / "alpha-0.png"
    os.utime(picture, ns=(2**62, 2**62))
    assert dicomize(settings, tmp_path / "out")["alpha"].written == 1


def test_the_source_is_left_as_it_was(tmp_path: Path) -> None:
    settings = table.Settings(path=made_table(tmp_path / "t"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "t").rglob("*")}
    dicomize(settings, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "t").rglob("*")} == before
    for out in (tmp_path / "t", tmp_path / "t" / "out", tmp_path):
        with pytest.raises(ConfigError, match="apart from it"):
            dicomize(settings, out)


def test_rows_that_cannot_be_written_are_counted_with_their_reason(tmp_path: Path) -> None:
    path = made_table(tmp_path / "t")
    (tmp_path / "t/images/alpha-0.png").unlink()
    (tmp_path / "t/images/alpha-1.png").write_bytes(b"broken")
    counts = dicomize(table.Settings(path=path), tmp_path / "out")
    assert counts["alpha"].written == 1
    assert sorted(counts["alpha"].refused.values()) == [1, 1]
    with (tmp_path / "out" / "labels.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4


def test_a_patients_number_is_in_no_path(tmp_path: Path) -> None:
    dicomize(table.Settings(path=made_table(tmp_path / "t")), tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if "Doe" in str(path.relative_to(tmp_path))]


def test_a_hospital_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    made_table(tmp_path / "t")
    path = write_table(tmp_path / "t", [{"image": "images/alpha-0.png", "hospital": "../evil"}])
    with pytest.raises(ConfigError, match="cannot be the name of a folder"):
        dicomize(table.Settings(path=path), tmp_path / "out")


@pytest.mark.skipif(not (SHARED / "data/cxr/manifest.csv").is_file(), reason="the shared radiographs are not here")
def test_real_radiographs_sent_through_dicom_come_back(tmp_path: Path) -> None:
    with (SHARED / "data/cxr/manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    chosen = []
    for hospital in sorted({row["hospital"] for row in rows}):
        chosen += [row for row in rows if row["hospital"] == hospital][:3]
    (tmp_path / "t").mkdir()
    for row in chosen:
        for name in filter(None, (row["image"], row["mask"])):
            copy = tmp_path / "t" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((SHARED / "data/cxr" / name).read_bytes())
    path = write_table(tmp_path / "t", [{column: row[column] for column in COLUMNS} for row in chosen])
    settings = table.Settings(path=path)
    dicomize(settings, tmp_path / "out")
    # "AP Supine" in the table becomes AP on the way in.
    assert len(compare(settings, tmp_path / "out")) == len(VENDORS)
