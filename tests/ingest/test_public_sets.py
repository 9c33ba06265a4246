"""Each public set from a tiny tree in its layout: what it says of hospital, patient, view, finding and mask."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles import made_public_sets
from oracles.made_public_sets import SETS
from oracles.made_run import tiny_config, write_config
from PIL import Image

from medtea import cli
from medtea.core import bay
from medtea.core.errors import ConfigError, DataError
from medtea.core.settings import parse
from medtea.data.index import read_index
from medtea.data.reader import read, read_mask, read_radiograph
from medtea.ingest import sources
from medtea.ingest.image_sets import FOURTEEN, listed
from medtea.ingest.labels import label_of
from medtea.ingest.sources import padchest, vindr_cxr
from medtea.ingest.sources.source import Candidate, Refused

Told = tuple[str, str | None, str | None, str, str | None]


def look(root: Path, name: str, **options: object) -> tuple[dict[str, Candidate], list[str]]:
    """Candidates by file name without its ending, and the reasons of what was refused."""
    module = bay.load(sources, name, "source")
    found = list(module.Source(parse(module.Settings, {"root": root, **options}), workspace=root / "w", seed=0).find())
    candidates = [one for one in found if isinstance(one, Candidate)]
    by_name = {one.path.name.partition(".")[0]: one for one in candidates}
    if name == "chexpert":  # whose files have all the same few names
        by_name = {str(one.instance): one for one in candidates}
    assert len(by_name) == len(candidates)
    return by_name, [one.reason for one in found if isinstance(one, Refused)]


def told(one: Candidate) -> Told:
    return one.hospital, one.patient, one.study, one.view, one.finding


# What each set says of its made images, worked out by hand from the tables that made_public_sets writes.
EXPECTED: dict[str, dict[str, Told]] = {
    "nih_chestxray14": {
        "00000001_000": ("nih", "1", None, "PA", "Cardiomegaly|Emphysema"),
        "00000001_001": ("nih", "1", None, "AP", "No Finding"),
        "00000002_000": ("nih", "2", None, "PA", "Pneumonia"),
    },
    "mimic_cxr_jpg": {
        "aaaaaaaa": ("beth_israel", "10000032", "50414267", "PA", "No Finding"),
        "cccccccc": ("beth_israel", "10000764", "57375967", "AP", "uncertain Edema"),
        "dddddddd": ("beth_israel", "10000764", "57375999", "unknown", None),
    },
    "padchest": {
        "2168_0": ("san_juan", "80", "90", "PA", "normal"),
        "2168_1": ("san_juan", "80", "91", "AP", "nodule|pleural effusion"),
        "2168_3": ("san_juan", "81", "93", "PA", None),
    },
    "bimcv_covid19": {
        "sub-S03047_ses-E06083_run-1_bp-chest_vp-pa_cr": (
            *("valencia", "sub-S03047", "ses-E06083", "PA"),
            "pneumonia|COVID 19",
        ),
        "sub-S03047_ses-E06090_run-1_bp-chest_vp-ap_dx": ("valencia", "sub-S03047", "ses-E06090", "AP", "normal"),
        "sub-S03049_ses-E06110_run-1_bp-chest_cr": ("valencia", "sub-S03049", "ses-E06110", "unknown", None),
    },
    "brixia": {
        "0": ("brescia", "60", "70", "AP", "COVID-19|Brixia 0"),
        "1": ("brescia", "60", "71", "unknown", "COVID-19|Brixia 6"),
    },
    "montgomery": {
        "MCUCXR_0001_0": ("montgomery", "MCUCXR_0001", None, "PA", "Normal"),
        "MCUCXR_0002_1": ("montgomery", "MCUCXR_0002", None, "PA", "Tuberculosis"),
        "MCUCXR_0003_0": ("montgomery", "MCUCXR_0003", None, "PA", "Normal"),
    },
    "shenzhen": {
        "CHNCXR_0001_0": ("shenzhen", "CHNCXR_0001", None, "unknown", "Normal"),
        "CHNCXR_0327_1": ("shenzhen", "CHNCXR_0327", None, "unknown", "Tuberculosis"),
    },
    "jsrt_scr": {
        "JPCLN001": ("jsrt", "JPCLN001", None, "PA", "Nodule"),
        "JPCNN002": ("jsrt", "JPCNN002", None, "PA", "No Nodule"),
    },
    "rsna_pneumonia": {
        "0a": ("nih", "0a", "2.25.0", "AP", "Normal"),
        "1b": ("nih", "1b", "2.25.1", "PA", "Lung Opacity"),
        "2c": ("nih", "2c", "2.25.2", "PA", "No Lung Opacity / Not Normal"),
    },
    "kermany": {
        "person1_bacteria_2": ("guangzhou", "person1", None, "AP", "Pneumonia|Pneumonia bacterial"),
        "person1_virus_6": ("guangzhou", "person1", None, "AP", "Pneumonia|Pneumonia viral"),
        "person1_virus_7": ("guangzhou", "person1", None, "AP", "Pneumonia|Pneumonia viral"),
        "IM-0115-0001": ("guangzhou", "normal 0115", None, "AP", "Normal"),
        "NORMAL2-IM-0115-0001-0002": ("guangzhou", "normal 0115", None, "AP", "Normal"),
        "VIRUS-1008087-0001": ("guangzhou", "1008087", None, "AP", "Pneumonia|Pneumonia viral"),
        "NORMAL-1003233-0001": ("guangzhou", "normal 1003233", None, "AP", "Normal"),
    },
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_set_says_hospital_patient_study_view_and_finding(name: str, tmp_path: Path) -> None:
    candidates, _ = look(SETS[name](tmp_path), name)
    given = {key: told(one) for key, one in candidates.items()}
    if name == "rsna_pneumonia":  # StudyInstanceUID is made from the study's number
        given = {key: (*one[:2], EXPECTED[name][key][2], *one[3:]) for key, one in given.items()}
    assert given == EXPECTED[name]


@pytest.mark.parametrize("name", SETS)
def test_every_image_of_a_set_is_read_with_its_mask(name: str, tmp_path: Path) -> None:
    candidates, _ = look(SETS[name](tmp_path), name)
    for one in candidates.values():
        radiograph = read(one.path, inverted=one.is_inverted, modality=one.modality).pixels
        if one.masks:
            mask = read_mask(one.masks, shape=radiograph.shape)
            assert mask.shape == radiograph.shape
            assert 0.1 < mask.mean() < 0.9


def test_nih_takes_the_official_list_and_tells_what_is_missing(tmp_path: Path) -> None:
    root = made_public_sets.nih_chestxray14(tmp_path)
    _, reasons = look(root, "nih_chestxray14")
    assert len(reasons) == 2
    assert "does not name this image" in reasons[0]
    assert "not in the folder" in reasons[1]
    train, reasons = look(root, "nih_chestxray14", part="train_val")
    assert (set(train), reasons) == ({"00000001_000", "00000001_001"}, [])
    test, reasons = look(root, "nih_chestxray14", part="test")
    assert (set(test), len(reasons)) == ({"00000002_000"}, 1)
    (root / "Data_Entry_2017_v2020.csv").rename(root / "Data_Entry_2017.csv")  # as it was called before 2020
    assert len(look(root, "nih_chestxray14")[0]) == 3
    (root / "test_list.txt").unlink()
    with pytest.raises(ConfigError, match=r"the set's list 'test_list.txt' is not there"):
        look(root, "nih_chestxray14", part="test")


def test_the_same_image_in_two_folders_counts_once(tmp_path: Path) -> None:
    root = made_public_sets.nih_chestxray14(tmp_path)
    shutil.copytree(root / "images_001", root / "images_003")
    candidates, reasons = look(root, "nih_chestxray14")
    assert len(candidates) == 3
    assert sum("in another folder" in reason for reason in reasons) == 2
    kermany, reasons = look(made_public_sets.kermany(tmp_path / "kermany"), "kermany")
    assert len(kermany) == 7
    assert sorted("in another folder" in reason for reason in reasons) == [False, True]


def chexpert_findings(root: Path, **options: object) -> list[tuple[str | None, str | None, str, str | None]]:
    module = bay.load(sources, "chexpert", "source")
    settings = parse(module.Settings, {"root": root, **options})
    found = module.Source(settings, workspace=root, seed=0).find()
    return [(one.patient, one.study, one.view, one.finding) for one in found if isinstance(one, Candidate)]


def test_chexpert_keeps_what_is_uncertain_apart_from_what_is_not_said(tmp_path: Path) -> None:
    root = made_public_sets.chexpert(tmp_path / "small")
    nothing = "|".join(f"no {finding}" for finding in FOURTEEN)
    assert chexpert_findings(root) == [
        ("patient00001", "patient00001 study1", "AP", "Edema|uncertain Pneumonia|no Fracture"),
        ("patient00001", "patient00001 study2", "PA", "No Finding"),
        ("patient64541", "patient64541 study1", "AP", nothing),
    ]
    ones = chexpert_findings(root, uncertain={"Pneumonia": "ones"}, unmentioned="zeros", part="train")
    assert len(ones) == 2
    assert label_of(ones[0][3], ["Pneumonia"], ["no Pneumonia"]) == 1
    assert label_of(ones[1][3], ["Pneumonia"], ["no Pneumonia"]) == 0
    with pytest.raises(ConfigError, match=r"no finding 'Pneumona'.*Did you mean 'Pneumonia'"):
        chexpert_findings(root, uncertain={"Pneumona": "ones"})


def test_chexpert_in_full_size_lies_in_other_folders_and_is_the_same(tmp_path: Path) -> None:
    small, full = made_public_sets.chexpert(tmp_path / "small"), tmp_path / "full"
    first = full / "CheXpert-v1.0 batch 1 (validate & csv)"
    shutil.copytree(small / "train", full / "CheXpert-v1.0 batch 2 (train 1)")
    shutil.copytree(small / "valid", first / "valid")
    for part in ("train.csv", "valid.csv"):
        (first / part).write_text((small / part).read_text().replace("v1.0-small", "v1.0"))
    assert sorted(map(str, chexpert_findings(full))) == sorted(map(str, chexpert_findings(small)))


def test_mimic_refuses_laterals_and_has_two_labellers_and_a_split(tmp_path: Path) -> None:
    root = made_public_sets.mimic_cxr_jpg(tmp_path)
    assert look(root, "mimic_cxr_jpg")[1] == ["The set calls the view not frontal; a frontal radiograph is PA or AP."]
    assert look(root, "mimic_cxr_jpg", labeller="negbio")[0]["cccccccc"].finding == "Edema"
    assert look(root, "mimic_cxr_jpg", uncertain="zeros")[0]["cccccccc"].finding == "no Edema"
    assert set(look(root, "mimic_cxr_jpg", part="validate")[0]) == {"cccccccc"}


def test_padchest_turns_over_what_is_dark_where_dense_and_chooses_labels_and_ages(tmp_path: Path) -> None:
    root = made_public_sets.padchest(tmp_path)
    candidates, reasons = look(root, "padchest")
    assert [one.is_inverted for one in candidates.values()] == [False, True, False]
    assert candidates["2168_0"].device == "ImagingDynamicsCompanyLtd"
    assert len(reasons) == 2
    assert all("Projection is none of PA, AP" in reason for reason in reasons)
    dark = candidates["2168_1"]
    np.testing.assert_allclose(read(dark.path, inverted=True).pixels, 1 - read_radiograph(dark.path))
    assert look(root, "padchest", labels="physician")[0]["2168_1"].finding is None
    adults, reasons = look(root, "padchest", children=False)
    assert set(adults) == {"2168_0", "2168_1"}
    assert any("a child" in reason for reason in reasons)


def test_bimcv_takes_the_polarity_from_the_json_beside_the_picture(tmp_path: Path) -> None:
    root = made_public_sets.bimcv_covid19(tmp_path)
    candidates, reasons = look(root, "bimcv_covid19")
    assert [one.is_inverted for one in candidates.values()] == [True, False, False]
    assert [one.device for one in candidates.values()] == ["GE", "GE", "unknown"]
    assert len(reasons) == 2, "the lateral, and the name that is none; a session of CT alone is no missing image"
    for broken in ("[1]", "{", '{"00280004": {"vr": "CS", "Value": []}}', '{"00280004": "MONOCHROME1"}'):
        next(iter(candidates.values())).path.with_suffix(".json").write_text(broken)
        again, reasons = look(root, "bimcv_covid19")
        assert not any(one.is_inverted for one in again.values())
        assert any("cannot be read" in reason for reason in reasons) == (broken == "{")
    header = {"00280004": {"vr": "CS", "Value": ["'MONOCHROME1'"]}}
    next(iter(candidates.values())).path.with_suffix(".json").write_text(json.dumps(header))
    assert next(iter(look(root, "bimcv_covid19")[0].values())).is_inverted


def test_brixia_reads_both_releases_of_its_table(tmp_path: Path) -> None:
    root = made_public_sets.brixia(tmp_path)
    text = (root / "metadata_global_v2.csv").read_text()
    (root / "metadata_global_v2.csv").unlink()
    (root / "data").mkdir()
    (root / "data" / "metadata_global_v1.csv").write_text(text.replace(";", ","))
    candidates, reasons = look(root, "brixia")
    assert {key: told(one) for key, one in candidates.items()} == EXPECTED["brixia"]
    assert len(reasons) == 2, "a lateral, and a row without an image"
    (root / "data" / "metadata_global_v1.csv").unlink()
    with pytest.raises(ConfigError, match=r"'metadata_global_v2.csv' is not there"):
        look(root, "brixia")


def test_masks_of_both_lungs_are_united_and_half_a_pair_is_none(tmp_path: Path) -> None:
    candidates, _ = look(made_public_sets.montgomery(tmp_path / "m"), "montgomery")
    assert [len(one.masks) for one in candidates.values()] == [2, 2, 0]
    mask = read_mask(candidates["MCUCXR_0001_0"].masks)
    assert mask[20, 25] and mask[20, 8] and not mask[20, 17]  # noqa: PT018 (one mask: left, right, between)
    candidates, _ = look(made_public_sets.shenzhen(tmp_path / "s"), "shenzhen")
    assert [len(one.masks) for one in candidates.values()] == [1, 0]


def test_scr_masks_come_to_the_grid_of_jsrts_films(tmp_path: Path) -> None:
    candidates, reasons = look(made_public_sets.jsrt_scr(tmp_path), "jsrt_scr")
    assert len(reasons) == 1
    one = candidates["JPCNN002"]  # of fold2
    assert [mask.parent.name for mask in one.masks] == ["left lung", "right lung"]
    mask = read_mask(one.masks, shape=(2048, 2048))
    assert mask[1000, 1400]
    assert not mask[1000, 1000], "the heart"


@pytest.mark.parametrize(
    ("raters", "first", "third"),
    [
        ("majority", {"Edema"}, set()),
        ("any", {"Edema", "No finding"}, {"COPD", "No finding", "Edema"}),
        ("all", set(), set()),
    ],
)
def test_vindr_counts_the_votes_of_its_raters(raters: str, first: set[str], third: set[str], tmp_path: Path) -> None:
    root = made_public_sets.vindr_cxr(tmp_path)
    shutil.copy(root / "train" / "1a.dicom", root / "train" / "3c.dicom")
    candidates, reasons = look(root, "vindr_cxr", raters=raters)
    assert reasons == []
    for name, present in (("1a", first), ("3c", third), ("2b", {"No finding"}), ("4d", {"Tuberculosis"})):
        findings = (candidates[name].finding or "").split("|")
        assert {finding for finding in findings if not finding.startswith("no ")} == present
        assert len(findings) == len(vindr_cxr.FINDINGS), "every finding is there or is not"
    assert set(look(root, "vindr_cxr", part="test")[0]) == {"4d"}
    assert {(one.patient, one.view) for one in candidates.values()} == {(None, "PA")}


def test_vindrs_headers_lack_a_modality_and_the_set_supplies_it(tmp_path: Path) -> None:
    candidates, _ = look(made_public_sets.vindr_cxr(tmp_path), "vindr_cxr")
    with pytest.raises(DataError, match="Modality"):
        read_radiograph(candidates["1a"].path)
    assert read(candidates["1a"].path, modality=candidates["1a"].modality).pixels.shape == (40, 36)


def test_rsnas_tables_must_agree_and_its_test_images_have_no_labels(tmp_path: Path) -> None:
    root = made_public_sets.rsna_pneumonia(tmp_path)
    candidates, reasons = look(root, "rsna_pneumonia")
    assert "9f" not in candidates
    assert len(reasons) == 2, "an image without a row, and a row without an image"
    path = root / "stage_2_detailed_class_info.csv"
    text = path.read_text()
    for changed in (text.replace("Lung Opacity\n", "Normal\n", 1), text.replace("1b,Lung Opacity", "1b,Normal")):
        path.write_text(changed)
        with pytest.raises(DataError, match="contradict each other"):
            look(root, "rsna_pneumonia")


@pytest.mark.parametrize("name", SETS)
def test_a_folder_that_is_not_there_or_lacks_a_table_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="root: "):
        look(tmp_path / "absent", name)
    (tmp_path / "empty").mkdir()
    module = bay.load(sources, name, "source")
    source = module.Source(module.Settings(root=tmp_path / "empty"), workspace=tmp_path, seed=0)
    if type(source).has_row_per_image:
        with pytest.raises(ConfigError, match="root: the set's table"):
            list(source.find())
    else:
        assert list(source.find()) == []


def test_links_out_of_a_set_are_not_followed(tmp_path: Path) -> None:
    root = made_public_sets.shenzhen(tmp_path / "set")
    outside = tmp_path / "outside.png"
    (root / "CXR_png" / "CHNCXR_0001_0.png").rename(outside)
    (root / "CXR_png" / "CHNCXR_0001_0.png").symlink_to(outside)
    (root / "more").symlink_to(tmp_path)
    candidates, reasons = look(root, "shenzhen")
    assert set(candidates) == {"CHNCXR_0327_1"}
    assert any("outside its own folder" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("['normal', ' nodule ']", ["normal", "nodule"]),
        ("['COVID 19'\t'pneumonia']", ["COVID 19", "pneumonia"]),
        ("[\"chilaiditi's sign\", 'hernia']", ["chilaiditi's sign", "hernia"]),
        ("[]", []),
        ("", []),
        ("['']", []),
    ],
)
def test_a_list_as_python_prints_it_is_read(text: str, entries: list[str]) -> None:
    assert listed(text) == entries


def test_two_sets_are_one_source_with_two_hospitals(tmp_path: Path) -> None:
    module = bay.load(sources, "several", "source")
    names = ("montgomery", "shenzhen", "montgomery")
    roots = [SETS[name](tmp_path / str(number)) for number, name in enumerate(names)]
    parts = [{"source": name, "options": {"root": root}} for name, root in zip(names, roots, strict=True)]
    parts[2]["options"] |= {"hospital": "again"}  # type: ignore[operator]
    source = module.Source(parse(module.Settings, {"parts": parts}), workspace=tmp_path / "w", seed=0)
    found = list(source.find())
    assert len({one.file for one in found}) == len(found) == 11, "the same names in two folders are two files"
    assert [one.hospital for one in found if isinstance(one, Candidate)] == [
        *("montgomery",) * 3,
        *("shenzhen",) * 2,
        *("again",) * 3,
    ]
    with pytest.raises(ConfigError, match="Did you mean 'montgomery'"):
        parse(module.Settings, {"parts": [{"source": "montgomry"}]})
    with pytest.raises(ConfigError, match="rot"):
        parse(module.Settings, {"parts": [{"source": "montgomery", "options": {"rot": "x"}}]})


def ingested(folder: Path, source: str, options: Mapping[str, object], hospital: str) -> pd.DataFrame:
    """The index of a run on a set whose one hospital is trained at."""
    content = tiny_config(source=source, options=dict(options), size=32)
    content["ingest"] |= {"train": [hospital], "external": [], "positive": ["yes"], "negative": ["no"]}
    config = write_config(folder / "tiny.yaml", content)
    cli.walk(config, folder / "run", [], no_tracking=True, until="ingest")
    return read_index(folder / "run" / "ingest" / "index.parquet")


@pytest.mark.parametrize("name", ["vindr_cxr", "padchest", "brixia", "jsrt_scr"])
def test_what_a_set_says_of_its_pixels_reaches_the_processes_that_read_them(name: str, tmp_path: Path) -> None:
    root = SETS[name](tmp_path / "set")
    hospital = bay.load(sources, name, "source").Source.hospital
    index = ingested(tmp_path, name, {"root": str(root)}, hospital)
    assert len(index) == {"vindr_cxr": 3, "padchest": 3, "brixia": 2, "jsrt_scr": 2}[name]
    pictures = np.load(tmp_path / "run" / "ingest" / "radiographs.npy")
    if name == "padchest":  # the second is dark where dense
        (root / "1" / "2168_1.png").replace(root / "x")
        values = np.asarray(Image.open(root / "x")).astype(np.uint16)
        Image.fromarray((65_535 - values).astype(np.uint16)).save(root / "1" / "2168_1.png")
        table = gzip.decompress((root / f"{padchest.TABLE}.gz").read_bytes()).replace(b"MONOCHROME1", b"MONOCHROME2")
        (root / f"{padchest.TABLE}.gz").write_bytes(gzip.compress(table))
        ingested(tmp_path, name, {"root": str(root)}, hospital)
        again = np.load(tmp_path / "run" / "ingest" / "radiographs.npy")
        np.testing.assert_allclose(again.astype(np.float32), pictures.astype(np.float32), atol=2e-3)
    if name == "jsrt_scr":
        masks = np.load(tmp_path / "run" / "ingest" / "given_masks.npy")
        assert masks.any(axis=(1, 2)).all()
