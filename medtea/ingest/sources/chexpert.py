"""CheXpert: 224,316 radiographs of Stanford Hospital, 14 findings with their uncertainty.

Irvin et al., AAAI 2019. Distributed by the Stanford AIMI Center under a research use agreement, not to be passed on.

Labels are what a rule-based reader found in the reports: there, not there, uncertain, or not mentioned, which is not
the same as not there. `valid.csv` holds the votes of radiologists. "No Finding" is never said not to be there, and does
not exclude "Support Devices".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Literal

from medtea.ingest.csv_rows import Row
from medtea.ingest.image_sets import FOURTEEN, About, ImageSet, Picture, UncertainSettings

# The set in full size comes in four folders, of which the first holds the tables.
FIRST = "CheXpert-v1.0 batch 1 (validate & csv)"


class Settings(UncertainSettings):
    """Where the set is, which part of it, and what becomes of uncertain labels."""

    part: Literal["all", "train", "valid"] = "all"


class Source(ImageSet):
    """.../patient00001/study1/view1_frontal.jpg, whatever lies above; train.csv and valid.csv."""

    hospital = "stanford"
    suffixes = (".jpg",)
    has_row_per_image = True

    def rows(self) -> Mapping[str, Row]:
        """By the last three parts of the path, which are the same in every edition of the set."""
        columns = ("Path", "Frontal/Lateral", "AP/PA", *FOURTEEN)
        parts = ("train", "valid") if self.settings.part == "all" else (self.settings.part,)
        tables = (self.table(f"{part}.csv", f"{FIRST}/{part}.csv", columns=columns) for part in parts)
        return {self.key(PurePath(row["Path"])): row for table in tables for row in table}

    def selected(self) -> Collection[str] | None:
        """What the part's table names."""
        return None if self.settings.part == "all" else self.rows()

    def key(self, image: PurePath) -> str:
        """As patient00001/study1/view1_frontal.jpg."""
        return "/".join(image.parts[-3:])

    def about(self, image: Picture) -> About:
        """Studies are numbered within their patient."""
        patient, study, _ = image.path.parts[-3:]
        view = f"{image.row['Frontal/Lateral']} {image.row['AP/PA']}"
        finding = self.settings.in_words(image.row)
        return About(patient=patient, study=f"{patient} {study}", view=view, finding=finding)
