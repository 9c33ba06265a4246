"""Public sets as tiny trees in the layout they are distributed in: made pictures, made numbers, nothing of theirs."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pydicom
from oracles.made_sources import made_picture
from PIL import Image

from medtea.data.dicom_files import VENDORS, write_radiograph
from medtea.ingest.image_sets import FOURTEEN
from medtea.ingest.sources.vindr_cxr import FINDINGS

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


def picture(path: Path, seed: int, *, bits: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = made_picture(seed)
    Image.fromarray(values if bits == 8 else values.astype(np.uint16) * 16).save(path)


def lung(path: Path, columns: slice, *, side: tuple[int, int] = (40, 36)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(side, dtype=np.uint8)
    mask[side[0] // 5 : -side[0] // 5, columns] = 255
    Image.fromarray(mask).save(path)


def dicom(path: Path, seed: int, *, view: str = "", keep: Iterable[str] = ()) -> None:
    """A radiograph; with `keep`, of its data set only these elements."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = made_picture(seed).astype(np.float32) / 255
    vendor = VENDORS[0]
    write_radiograph(path, values, vendor=vendor, patient=f"Doe{seed}", study=str(seed), view=view or "PA")
    dataset = pydicom.dcmread(path)
    dataset.ViewPosition = view
    if "ViewCodeSequence" in dataset:
        del dataset.ViewCodeSequence
    for element in list(dataset) if keep else ():
        if element.keyword not in keep:
            del dataset[element.tag]
    dataset.save_as(path)


def table(path: Path, rows: list[dict[str, object]], *, delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, restval="")
        writer.writeheader()
        writer.writerows(rows)


def nih_chestxray14(root: Path) -> Path:
    rows = [
        ("00000001_000.png", "Cardiomegaly|Emphysema", 0, 1, "PA"),
        ("00000001_001.png", "No Finding", 1, 1, "AP"),
        ("00000002_000.png", "Pneumonia", 0, 2, "PA"),
        ("00000003_000.png", "Hernia", 0, 3, "PA"),  # of which the archive was not unpacked
    ]
    for number, (name, *_) in enumerate(rows[:3]):
        picture(root / f"images_{number % 2 + 1:03d}" / "images" / name, number)
    picture(root / "images_002" / "images" / "00000009_000.png", 9)  # in no row
    lines = [
        f"{name},{found},{follow},{patient},58,M,{view},2682,2749,0.143,0.143,"
        for name, found, follow, patient, view in rows
    ]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([NIH_HEADER, *lines]) + "\n")
    (root / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (root / "test_list.txt").write_text("00000002_000.png\n00000003_000.png")
    return root


def chexpert(root: Path) -> Path:
    def row(path: str, view: str, projection: str, **findings: str) -> dict[str, object]:
        told = {name: findings.get(name.replace(" ", "_"), "") for name in FOURTEEN}
        start = {"Path": f"CheXpert-v1.0-small/{path}", "Sex": "Male", "Age": 68}
        return start | {"Frontal/Lateral": view, "AP/PA": projection} | told

    names = [
        "train/patient00001/study1/view1_frontal.jpg",
        "train/patient00001/study2/view1_frontal.jpg",
        "train/patient00002/study1/view2_lateral.jpg",
        "valid/patient64541/study1/view1_frontal.jpg",
    ]
    for number, name in enumerate(names):
        picture(root / name, number)
    train = [
        row(names[0], "Frontal", "AP", Edema="1.0", Pneumonia="-1.0", Fracture="0.0"),
        row(names[1], "Frontal", "PA", No_Finding="1.0"),
        row(names[2], "Lateral", "", Edema="1.0"),
    ]
    table(root / "train.csv", train)
    table(root / "valid.csv", [row(names[3], "Frontal", "AP", **{name.replace(" ", "_"): "0.0" for name in FOURTEEN})])
    return root


def mimic_cxr_jpg(root: Path) -> Path:
    images = [("a" * 8, 10000032, 50414267, "PA"), ("b" * 8, 10000032, 50414267, "LATERAL")]
    images += [("c" * 8, 10000764, 57375967, "AP"), ("d" * 8, 10000764, 57375999, "")]
    for number, (name, patient, study, _) in enumerate(images):
        picture(root / "files" / f"p{str(patient)[:2]}" / f"p{patient}" / f"s{study}" / f"{name}.jpg", number)
    columns = ("dicom_id", "subject_id", "study_id", "ViewPosition")
    table(root / "mimic-cxr-2.0.0-metadata.csv.gz", [dict(zip(columns, one, strict=True)) for one in images])
    for labeller, uncertain in (("chexpert", "-1.0"), ("negbio", "1.0")):
        first = {"subject_id": 10000032, "study_id": 50414267, **dict.fromkeys(FOURTEEN, ""), "No Finding": "1.0"}
        second = {"subject_id": 10000764, "study_id": 57375967, **dict.fromkeys(FOURTEEN, ""), "Edema": uncertain}
        table(root / f"mimic-cxr-2.0.0-{labeller}.csv.gz", [first, second])
    splits = zip(images, ("train", "train", "validate", "test"), strict=True)
    table(
        root / "mimic-cxr-2.0.0-split.csv",
        [{"dicom_id": one[0], "study_id": one[2], "subject_id": one[1], "split": part} for one, part in splits],
    )
    return root


def padchest(root: Path) -> Path:
    rows: list[dict[str, object]] = []
    for number, (view, method, labels, polarity, age) in enumerate(
        [
            ("PA", "Physician", "['normal']", "MONOCHROME2", "No"),
            ("AP_horizontal", "RNN_model", "['nodule', ' pleural effusion', 'nodule']", "MONOCHROME1", "No"),
            ("L", "Physician", "['normal']", "MONOCHROME2", "No"),
            ("PA", "RNN_model", "", "MONOCHROME2", "PED"),
            ("EXCLUDE", "Physician", "['exclude']", "MONOCHROME2", "No"),
        ]
    ):
        picture(root / str(number % 2) / f"2168_{number}.png", number, bits=16)
        rows.append(
            {
                "": number,
                "ImageID": f"2168_{number}.png",
                "ImageDir": number % 2,
                "StudyID": f"9{number}",
                "PatientID": f"8{number // 2}",
                "Projection": view,
                "MethodLabel": method,
                "Labels": labels,
                "Pediatric": age,
                "Manufacturer_DICOM": "ImagingDynamicsCompanyLtd",
                "PhotometricInterpretation_DICOM": polarity,
                "Report": "x" * 200_000 if number == 0 else "",
            }
        )
    table(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", rows)
    return root


def bimcv_covid19(root: Path) -> Path:
    subjects = root / "bimcv_covid19_posi_subjects_1"
    names = [
        ("S03047", "E06083", "run-1_bp-chest_vp-pa_cr", "MONOCHROME1"),
        ("S03047", "E06090", "run-1_bp-chest_vp-ap_dx", "MONOCHROME2"),
        ("S03048", "E06100", "run-1_bp-chest_vp-lateral_dx", "MONOCHROME2"),
        ("S03049", "E06110", "run-1_bp-chest_cr", ""),
    ]
    for number, (subject, session, rest, polarity) in enumerate(names):
        folder = subjects / f"sub-{subject}" / f"ses-{session}" / "mod-rx"
        picture(folder / f"sub-{subject}_ses-{session}_{rest}.png", number, bits=16)
        if polarity:
            header = {"00280004": {"vr": "CS", "Value": [polarity]}, "00080070": {"vr": "LO", "Value": ["GE"]}}
            (folder / f"sub-{subject}_ses-{session}_{rest}.json").write_text(json.dumps(header))
    picture(subjects / "sub-S03047" / "ses-E06083" / "mod-rx" / "broken name.png", 8)
    labels: list[dict[str, object]] = [
        {"": 0, "PatientID": "sub-S03047", "ReportID": "ses-E06083", "Labels": "['pneumonia'\t 'COVID 19']"},
        {"": 1, "PatientID": "sub-S03047", "ReportID": "ses-E06090", "Labels": "['normal']"},
        {"": 2, "PatientID": "sub-S03050", "ReportID": "ses-E06120", "Labels": "['normal']"},  # only CT
    ]
    derivatives = root / "bimcv_covid19_posi_head_iter1" / "derivatives" / "labels"
    table(derivatives / "labels_covid19_posi.tsv", labels, delimiter="\t")
    return root


def brixia(root: Path) -> Path:
    rows: list[dict[str, object]] = [
        {
            "Filename": f"{number}.dcm",
            "StudyId": f"7{number}",
            "Subject": f"6{number // 2}",
            "BrixiaScore": score,
            "BrixiaScoreGlobal": total,
        }
        for number, (score, total) in enumerate([("000000", 0), ("012300", 6), ("333333", 18), ("100000", 1)])
    ]
    for number in range(3):
        dicom(root / "dicom_clean" / f"{number}.dcm", number, view=("AP", "", "LL")[number])
    table(root / "metadata_global_v2.csv", rows, delimiter=";")
    return root


def montgomery(root: Path) -> Path:
    for number, name in enumerate(("MCUCXR_0001_0", "MCUCXR_0002_1", "MCUCXR_0003_0")):
        picture(root / "CXR_png" / f"{name}.png", number)
        (root / "ClinicalReadings").mkdir(exist_ok=True)
        (root / "ClinicalReadings" / f"{name}.txt").write_text("Patient's Sex: F\nPatient's Age: 027Y\nDoe\n")
        lung(root / "ManualMask" / "leftMask" / f"{name}.png", slice(20, 30))
        if number != 2:
            lung(root / "ManualMask" / "rightMask" / f"{name}.png", slice(4, 14))
    picture(root / "CXR_png" / "Thumbs_Doe.png", 7)
    return root


def shenzhen(root: Path) -> Path:
    for number, name in enumerate(("CHNCXR_0001_0", "CHNCXR_0327_1")):
        picture(root / "CXR_png" / f"{name}.png", number)
    lung(root / "mask" / "CHNCXR_0001_0_mask.png", slice(4, 30))
    picture(root / "CXR_png" / "CHNCXR_0001_2.png", 7)
    return root


def jsrt_scr(root: Path) -> Path:
    for number, name in enumerate(("JPCLN001", "JPCNN002", "JPCLN999x")):
        path = root / "All247images" / f"{name}.IMG"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = made_picture(number, 32, 32).astype(">u2") * 16
        path.write_bytes(np.kron(values, np.ones((64, 64), dtype=">u2")).astype(">u2").tobytes())
    for fold, name in (("fold1", "JPCLN001"), ("fold2", "JPCNN002")):
        for side, columns in (("left lung", slice(600, 900)), ("right lung", slice(100, 400))):
            lung(root / "scratch" / fold / "masks" / side / f"{name}.gif", columns, side=(1024, 1024))
        lung(root / "scratch" / fold / "masks" / "heart" / f"{name}.gif", slice(400, 600), side=(1024, 1024))
    return root


VINDR_KEPT = (
    *("PatientSex", "PhotometricInterpretation", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation", "WindowCenter", "WindowWidth", "RescaleIntercept", "RescaleSlope"),
    *("PixelData", "SamplesPerPixel", "NumberOfFrames"),
)


def vindr_cxr(root: Path) -> Path:
    votes = {"1a": ["Edema", "Edema", "No finding"], "2b": ["No finding"] * 3, "3c": ["COPD", "No finding", "Edema"]}
    rows: list[dict[str, object]] = []
    for image, read in votes.items():
        for number, finding in enumerate(read):
            told = {name: float(name == finding) for name in FINDINGS}
            rows.append({"image_id": image, "rad_id": f"R{number}", **told, "Other diseases": 0.0})
    table(root / "annotations" / "image_labels_train.csv", rows)
    test = {name: int(name == "Tuberculosis") for name in FINDINGS}
    table(root / "annotations" / "image_labels_test.csv", [{"image_id": "4d", **test, "Other disease": 0}])
    for number, place in enumerate(("train/1a", "train/2b", "test/4d")):
        dicom(root / f"{place}.dicom", number, keep=VINDR_KEPT)
    return root


def rsna_pneumonia(root: Path) -> Path:
    classes = {"0a": "Normal", "1b": "Lung Opacity", "2c": "No Lung Opacity / Not Normal", "3d": "Normal"}
    for number, name in enumerate(classes):
        if name != "3d":
            dicom(root / "stage_2_train_images" / f"{name}.dcm", number, view="PA" if number else "AP")
    dicom(root / "stage_2_test_images" / "9f.dcm", 9, view="AP")
    dicom(root / "stage_2_train_images" / "unknown.dcm", 8, view="AP")
    boxes: list[dict[str, object]] = []
    for name, shown in classes.items():
        boxes += [{"patientId": name, "x": 1.0, "Target": int(shown == "Lung Opacity")}] * (2 if name == "1b" else 1)
    table(root / "stage_2_train_labels.csv", boxes)
    shown = [{"patientId": box["patientId"], "class": classes[str(box["patientId"])]} for box in boxes]
    table(root / "stage_2_detailed_class_info.csv", shown)
    return root


def kermany(root: Path) -> Path:
    names = (
        *("train/PNEUMONIA/person1_bacteria_2.jpeg", "train/PNEUMONIA/person1_virus_6.jpeg"),
        *("test/PNEUMONIA/person1_virus_7.jpeg", "train/NORMAL/IM-0115-0001.jpeg"),
        *("val/NORMAL/NORMAL2-IM-0115-0001-0002.jpeg", "train/PNEUMONIA/VIRUS-1008087-0001.jpeg"),
        *("train/NORMAL/NORMAL-1003233-0001.jpeg", "train/NORMAL/Doe.jpeg"),
    )
    for number, name in enumerate(names):
        picture(root / "chest_xray" / name, number)
    picture(root / "chest_xray" / "chest_xray" / names[0], 0)  # all of Kaggle's archive is there twice
    picture(root / "chest_xray" / "__MACOSX" / "train" / "NORMAL" / "._IM-0115-0001.jpeg", 0)
    return root


SETS: dict[str, Callable[[Path], Path]] = {
    made.__name__: made
    for made in (
        *(nih_chestxray14, chexpert, mimic_cxr_jpg, padchest, bimcv_covid19, brixia, montgomery, shenzhen, jsrt_scr),
        *(vindr_cxr, rsna_pneumonia, kermany),
    )
}
"""Name of the source to what makes its tree and returns the root."""
