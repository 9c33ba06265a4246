"""VinDr-CXR: 18,000 PA radiographs of Hospital 108 and Hanoi Medical University Hospital, 28 findings; DICOM.

Nguyen et al., Scientific Data 9, 2022. Distributed by PhysioNet to credentialed users under its data use agreement.

In train three of 17 radiologists read each image, and may disagree: `raters` says how many it takes. In test five
agreed on one reading. Headers are stripped of all but age, sex and what the pixels need. Which hospital an image is of
is not told, nor the patient: two of one patient may end in training and in test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Literal

from medtea.ingest.csv_rows import Row
from medtea.ingest.image_sets import About, ImageSet, Picture, SetSettings
from medtea.ingest.labels import in_words

FINDINGS = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation"),
    *("Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst"),
    *("Mediastinal shift", "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax"),
    *("Pulmonary fibrosis", "Rib fracture", "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis"),
    "No finding",
)
TABLE = "annotations/image_labels_{}.csv"


class Settings(SetSettings):
    """Where the set is, which part of it, and how many raters it takes."""

    part: Literal["all", "train", "test"] = "all"
    raters: Literal["majority", "any", "all"] = "majority"
    """A finding is there when more than half, one, or all of those who read the image say so; else it is not there."""


class Source(ImageSet):
    """train/*.dicom, test/*.dicom; annotations/image_labels_train.csv and image_labels_test.csv."""

    hospital = "hanoi"
    suffixes = (".dicom",)
    has_row_per_image = True

    def rows(self) -> Mapping[str, Row]:
        """By image_id, one row of agreed findings each."""
        read: dict[str, list[Row]] = defaultdict(list)
        for part in ("train", "test") if self.settings.part == "all" else (self.settings.part,):
            for row in self.table(TABLE.format(part), columns=("image_id", *FINDINGS)):
                read[row["image_id"]].append(row)
        return {image: agreed(rows, self.settings.raters) for image, rows in read.items()}

    def selected(self) -> Collection[str] | None:
        """What the part's table names."""
        return None if self.settings.part == "all" else self.rows()

    def key(self, image: PurePath) -> str:
        """The file's name, which is image_id."""
        return image.stem

    def about(self, image: Picture) -> About:
        """The headers hold neither view nor modality: the set was restricted to PA radiographs."""
        return About(patient=None, view="PA", finding=in_words(image.row, FINDINGS), modality="DX")


def agreed(rows: list[Row], raters: str) -> Row:
    """One row of several raters'.

    Args:
        rows: One for each rater, with 1 and 0 by finding.
        raters: "majority": more than half. "any": one. "all": every one.
    """
    needed = {"majority": len(rows) // 2 + 1, "any": 1, "all": len(rows)}[raters]
    votes = {finding: sum(row[finding].removesuffix(".0") == "1" for row in rows) for finding in FINDINGS}
    return {finding: "1" if count >= needed else "0" for finding, count in votes.items()}
