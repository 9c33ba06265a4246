"""Hospitals' archives for tests: what is in them, and how they are asked; all of it made by code."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pydicom
from oracles.made_sources import made_picture

from medtea.data.dicom_files import VENDORS, write_radiograph

PATIENT, ACCESSION = "QX7731415", "ACC5544"
# What may be told nowhere: parts of names, numbers and UIDs that made_images writes.
SECRETS = ("qx7731415", "zimmermann", "acc5544", "1.2.826.0.1.3680043")


def made_images(folder: Path, *, count: int = 6, hospital: str = "north", rows: int = 64) -> list[str]:
    """Radiographs of as many patients, each in another vendor's manner, with names in them; their SOPInstanceUIDs."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        path = folder / f"{number:03d}"
        picture = made_picture(number + 100 * len(hospital), rows, rows) / 255
        vendor = VENDORS[number % len(VENDORS)]
        made.append(
            write_radiograph(
                path, picture, vendor=vendor, patient=f"{PATIENT}-{number}", study="s", hospital=hospital, view="PA"
            )
        )
        change(path, PatientName="Zimmermann^Jolanda", AccessionNumber=f"{ACCESSION}{number}", StudyDate=day(number))
    return made


def day(number: int) -> str:
    """The StudyDate of a numbered image."""
    return f"20{10 + number % 10:02d}0615"


def change(path: Path, **values: Any) -> None:
    """The file with other values of these elements."""
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def made_labels(path: Path, uids: list[str]) -> Path:
    """Labels, every second one positive."""
    rows = [(uid, ("Normal", "Nodules")[number % 2]) for number, uid in enumerate(uids)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("sop_instance_uid", "finding"), *rows])
    return path


def told(text: str) -> list[str]:
    """The secrets in a text."""
    low = text.lower()
    return [secret for secret in SECRETS if secret in low]


def quick(**manners: Any) -> dict[str, Any]:
    """Manners of a test, which waits for nobody."""
    return {"requests_per_second": 1000, "timeout_seconds": 10, "retries": 1, "first_wait_seconds": 0.05} | manners
