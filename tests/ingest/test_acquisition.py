from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as some
from oracles.made_run import silent_work
from oracles.made_sources import made_picture
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from medtea.core.errors import RecordError
from medtea.core.pseudonyms import Pseudonyms
from medtea.data.acquisition import COLUMNS, read_acquisition, write_acquisition
from medtea.data.dicom_files import VENDORS, write_radiograph
from medtea.data.index import read_index
from medtea.data.makers import MAKERS, PRODUCT_WORDS, maker_of, model_of, software_of
from medtea.data.pixels import quiet_pydicom
from medtea.ingest.acquisition import facts_of, row_of
from medtea.ingest.stage import Settings, run

NAMES = Pseudonyms(b"a key of sixteen characters or more")


def header(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("written", "maker"),
    [
        ("GE Healthcare", "GE"),
        ('"GE Healthcare"', "GE"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("Philips Medical Systems", "Philips"),
        ("SIEMENS", "Siemens"),
        ("FUJI PHOTO FILM Co., ltd.", "Fujifilm"),
        ("FUJIFILM Corporation", "Fujifilm"),
        ("Agfa-Gevaert AG", "Agfa"),
        ("KONICA MINOLTA", "Konica Minolta"),
        ("Aster Imaging", "Aster Imaging"),
        ("Geraldine Zimmermann", "other"),
        ("", "unknown"),
    ],
)
def test_a_maker_has_one_name_however_it_is_written(written: str, maker: str) -> None:
    assert maker_of(written) == maker


@pytest.mark.parametrize(
    ("written", "model"),
    [
        ("DX-D 600", "DX-D 600"),
        ("Definium 5000", "Definium 5000"),
        ("AXIOM Aristos MX/VX", "AXIOM Aristos MX/VX"),
        ("DigitalDiagnost", "DigitalDiagnost"),
        ("Cassette Holder Type 9840 500 70201", "Cassette Holder Type 9840 500 70201"),
        ("Zimmermann's Definium 5000", "Definium 5000"),
        ("Zimmermann", "unknown"),
        ("room 4711 Zimmermann42", "4711"),
        ("19310427", "unknown"),
        ("1931-04-27", "unknown"),
        ("QX7731415", "unknown"),
        ("5000 " * 20, ("5000 " * 8).strip()),
    ],
)
def test_of_a_model_only_product_names_and_short_numbers_are_kept(written: str, model: str) -> None:
    assert model_of(written) == model


def test_a_word_of_the_patients_own_name_is_not_a_model() -> None:
    # "Carbon" is a product, and "Li" is short enough to be one: here both are names.
    dataset = header(PatientName="Carbon^Li", PatientID="5004", ManufacturerModelName="Carbon Li XG 5004")
    assert facts_of(dataset)["model"] == "XG"
    assert facts_of(header(ManufacturerModelName="Carbon Li XG 5004"))["model"] == "Carbon Li XG 5004"


@given(some.text(), some.text())
def test_what_comes_out_of_a_vendors_field_is_short_and_of_a_small_alphabet(maker: str, model: str) -> None:
    assert maker_of(maker) in {*MAKERS.values(), "GE", "other", "unknown"}
    for text in (model_of(model), software_of(model)):
        assert len(text) <= 40
        assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ./+-")


def test_software_is_letters_digits_and_dots() -> None:
    dataset = header(SoftwareVersions=["NIM_2.1.4", "build(77)", "by Zimmermann", "20170809"])
    assert facts_of(dataset)["software"] == "2.1.4 77"


@pytest.mark.parametrize(
    ("elements", "mas"),
    [
        ({"Exposure": "3"}, 3),
        ({"Exposure": "3", "ExposureInuAs": "2650"}, 2.65),
        ({"ExposureTime": "10", "XRayTubeCurrent": "320"}, 3.2),
        ({"ExposureTimeInuS": "10500", "XRayTubeCurrentInuA": "320000"}, 3.36),
        ({"Exposure": "0", "ExposureTime": "10", "XRayTubeCurrent": "320"}, 3.2),
        ({"Exposure": "7731415"}, None),
        ({}, None),
    ],
)
def test_the_exposure_is_in_mas_whichever_attribute_says_it(elements: dict[str, object], mas: float | None) -> None:
    assert facts_of(header(**elements)).get("exposure_mas") == (None if mas is None else pytest.approx(mas))


@pytest.mark.parametrize(
    ("elements", "years"),
    [
        ({"PatientAge": "045Y"}, 45),
        ({"PatientAge": "089Y"}, 89),
        ({"PatientAge": "090Y"}, 90),
        ({"PatientAge": "101Y"}, 90),
        ({"PatientAge": "018M"}, 1),
        ({"PatientAge": "051W"}, 0),
        ({"PatientBirthDate": "19310427", "StudyDate": "20170426"}, 85),
        ({"PatientBirthDate": "19310427", "StudyDate": "20170427"}, 86),
        ({"PatientBirthDate": "19210427", "StudyDate": "20170427"}, 90),
        ({"PatientBirthDate": "20180101", "StudyDate": "20170427"}, None),
        ({"PatientBirthDate": "19310427"}, None),
        ({"PatientAge": "Zimm"}, None),
    ],
)
def test_an_age_is_in_years_and_ninety_is_the_highest(elements: dict[str, object], years: int | None) -> None:
    assert facts_of(header(**elements)).get("age_years") == years


@pytest.mark.parametrize(
    ("elements", "portable"),
    [
        ({"ManufacturerModelName": "MobileDaRt Evolution"}, "yes"),
        ({"SeriesDescription": "Thorax Bettaufnahme Zimmermann"}, "yes"),
        ({"StudyDescription": "CHEST PORTABLE 1 VIEW"}, "yes"),
        ({"ManufacturerModelName": "AMX 4"}, "yes"),
        ({"StudyDescription": "Chest PA erect"}, "no"),
        ({"ManufacturerModelName": "DigitalDiagnost"}, "no"),
        ({"ViewPosition": "AP"}, None),
        ({}, None),
    ],
)
def test_portable_is_said_by_words_and_not_by_the_view(elements: dict[str, object], portable: str | None) -> None:
    facts = facts_of(header(**elements))
    assert facts.get("portable") == portable
    assert "Zimmermann" not in str(facts)


def test_station_and_detector_are_told_apart_and_not_told() -> None:
    facts = facts_of(header(StationName="WALHALLA7", DetectorID="WALHALLA7", AcquisitionDate="20170809", KVP="125"))
    row = row_of(facts, NAMES, hospital="alpha")
    assert row["station"] != row["detector"]
    assert "WALHALLA" not in str(row)
    assert (row["year"], row["kvp"]) == (2017, 125)
    assert row_of(facts, NAMES, hospital="beta")["station"] != row["station"], "numbers of a hospital's own"
    assert "year" not in row_of(facts, NAMES, hospital="alpha", keep_year=False)
    assert facts_of(header(DeviceSerialNumber="4711"))["station"] == "4711"


def test_a_header_that_says_nothing_or_nonsense_is_unknown() -> None:
    nonsense = Dataset()
    for keyword, vr in {"DetectorType": "CS", "PatientSex": "CS", "KVP": "DS", "AcquisitionDate": "DA"}.items():
        tag = BaseTag(tag_for_keyword(keyword) or 0)
        nonsense[tag] = RawDataElement(tag, vr, 8, b"Zimmermn", 0, False, True)  # as read from a file
    with quiet_pydicom():
        assert facts_of(nonsense) == facts_of(Dataset()) == {}


def test_the_table_reads_back_and_says_what_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "acquisition.parquet"
    write_acquisition(path, ["r000001", "r000002"], [{"year": 2017, "sex": "F", "kvp": 125.0}, {}])
    table = read_acquisition(path)
    assert list(table.columns) == list(COLUMNS)
    assert table["year"].tolist() == [2017, pd.NA]
    assert table["sex"].tolist() == ["F", "unknown"]
    assert table["kvp"].tolist() == [125.0, pytest.approx(np.nan, nan_ok=True)]
    write_acquisition(path, [], [])
    assert len(read_acquisition(path)) == 0
    path.write_bytes(b"no table")
    with pytest.raises(RecordError, match="remove the ingest folder"):
        read_acquisition(path)


def test_row_i_is_radiograph_i(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")
    for number in range(8):
        path = tmp_path / "tree" / ("alpha", "beta")[number % 2] / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        made = made_picture(number) / 255
        write_radiograph(path, made, vendor=VENDORS[number % 2], patient=f"{number}", study="1", instance=f"{number}")
        dataset = pydicom.dcmread(path)
        dataset.KVP, dataset.AcquisitionDate, dataset.Modality = 60 + number, "20170809", ("DX", "CT")[number == 2]
        dataset.save_as(path)
    content = {"source": "dicom_tree", "options": {"root": str(tmp_path / "tree")}, "size": 32, "keep_year": False}
    content |= {"positive": ("Ill",), "negative": ("Normal",), "train": ("alpha",), "external": ("beta",)}
    index = run(silent_work(tmp_path / "run"), Settings(**content))  # type: ignore[arg-type]
    table, taken = read_index(index.index), read_acquisition(index.acquisition)
    assert taken["radiograph"].tolist() == table["radiograph"].tolist()
    assert taken["kvp"].tolist() == [60, 64, 66, 61, 63, 65, 67], "the second of alpha was refused"
    assert (taken["manufacturer"] + " " + taken["model"]).tolist() == table["device"].tolist()
    assert taken["year"].isna().all()
    assert set(taken["station"]) == {"unknown"}


def test_no_product_word_is_longer_than_its_field() -> None:
    assert all(word == word.lower() and len(word) <= 16 for word in PRODUCT_WORDS)
