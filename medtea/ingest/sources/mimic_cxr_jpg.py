"""MIMIC-CXR-JPG: 377,110 radiographs of Beth Israel Deaconess Medical Center, Boston, 14 findings with uncertainty.

Johnson et al., arXiv 1901.07042, 2019. Distributed by PhysioNet to credentialed users under its data use agreement.

Labels are what the CheXpert or the NegBio reader found in the report of the study; all images of a study share them,
its laterals included. JPEG of histogram-equalised values: grey values tell nothing of exposure. Most are of the
emergency department and of wards.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Literal

from medtea.ingest.csv_rows import Row
from medtea.ingest.image_sets import FOURTEEN, About, ImageSet, Picture, UncertainSettings

TABLE = "mimic-cxr-2.0.0-{}.csv"


class Settings(UncertainSettings):
    """Where the set is, whose labels, which part, and what becomes of uncertain labels."""

    labeller: Literal["chexpert", "negbio"] = "chexpert"
    part: Literal["all", "train", "validate", "test"] = "all"
    """All, or the official split."""


class Source(ImageSet):
    """files/p10/p10000032/s50414267/<dicom_id>.jpg; mimic-cxr-2.0.0-metadata.csv and others, gzipped or not."""

    hospital = "beth_israel"
    suffixes = (".jpg",)
    has_row_per_image = True

    def rows(self) -> Mapping[str, Row]:
        """By dicom_id; a study without labels has none."""
        labels = self.table(TABLE.format(self.settings.labeller), columns=("study_id", *FOURTEEN))
        of_study = {row["study_id"]: self.settings.in_words(row) or "" for row in labels}
        images = self.table(TABLE.format("metadata"), columns=("dicom_id", "subject_id", "study_id", "ViewPosition"))
        return {row["dicom_id"]: row | {"finding": of_study.get(row["study_id"], "")} for row in images}

    def selected(self) -> Collection[str] | None:
        """What the official split names."""
        if self.settings.part == "all":
            return None
        table = self.table(TABLE.format("split"), columns=("dicom_id", "split"))
        return {row["dicom_id"] for row in table if row["split"] == self.settings.part}

    def key(self, image: PurePath) -> str:
        """The file's name, which is dicom_id."""
        return image.stem

    def about(self, image: Picture) -> About:
        """From the joined image.row."""
        return About(
            image.row["subject_id"],
            image.row["ViewPosition"],
            image.row["finding"] or None,
            study=image.row["study_id"],
        )
