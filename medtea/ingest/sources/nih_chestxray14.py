"""NIH ChestX-ray14: 112,120 frontal radiographs of adults and children at the NIH Clinical Center, 14 findings.

Wang et al., CVPR 2017. Distributed by the NIH Clinical Center without restrictions on use, with attribution.

Labels are what a rule-based reader found in the reports, which are not public: some are wrong, "Infiltration",
"Consolidation" and "Pneumonia" overlap, and "No Finding" means none of the 14. In many with "Pneumothorax" a drain lies
already. The view goes with the ward, and so with the finding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from medtea.ingest.csv_rows import Row
from medtea.ingest.image_sets import About, ImageSet, Picture, SetSettings, lines

LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}


class Settings(SetSettings):
    """Where the set is, and which part of it."""

    part: Literal["all", "train_val", "test"] = "all"
    """All images, or those of the official list; its parts share no patient."""


class Source(ImageSet):
    """images_001/images/*.png to images_012, or all in one folder; Data_Entry_2017.csv or its revision of 2020."""

    hospital = "nih"
    suffixes = (".png",)
    has_row_per_image = True

    def rows(self) -> Mapping[str, Row]:
        """By image name."""
        columns = ("Image Index", "Finding Labels", "Patient ID", "View Position")
        table = self.table("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", columns=columns)
        return {row["Image Index"]: row for row in table}

    def selected(self) -> Collection[str] | None:
        """The names in the official list."""
        part = self.settings.part
        return None if part == "all" else set(lines(self.root / LISTS[part]))

    def about(self, image: Picture) -> About:
        """The findings already have a bar between them."""
        return About(
            patient=image.row["Patient ID"], view=image.row["View Position"], finding=image.row["Finding Labels"]
        )
