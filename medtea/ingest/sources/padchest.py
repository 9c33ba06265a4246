"""PadChest: 160,868 radiographs of Hospital San Juan, Alicante, 174 findings; adults and children.

Bustos et al., Medical Image Analysis 66, 2020. Distributed by BIMCV under a research use agreement; do not pass it on.

A quarter was labelled by physicians, the rest by a network that read the Spanish reports. Pictures hold stored values
of 10 to 16 bits without a window, and are dark where dense when the table says MONOCHROME1. Views were in part assigned
by a network. "normal" and "exclude", "suboptimal study", "unchanged" stand among the labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from medtea.core.errors import DataError
from medtea.ingest.csv_rows import Row
from medtea.ingest.image_sets import About, ImageSet, Picture, SetSettings, listed
from medtea.ingest.labels import SEVERAL

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
COLUMNS = (
    *("ImageID", "StudyID", "PatientID", "Projection", "MethodLabel", "Labels", "Pediatric"),
    *("Manufacturer_DICOM", "PhotometricInterpretation_DICOM"),
)
VIEWS = ("PA", "AP", "AP_horizontal")
CHILD = "PED"


class Settings(SetSettings):
    """Where the set is, whose labels count, and whether children are kept."""

    labels: Literal["all", "physician"] = "all"
    """physician: an image that the network labelled is unlabelled."""
    children: bool = True


class Source(ImageSet):
    """Numbered folders, 0 to 54, of pictures, or all in one; the table beside them, gzipped or not."""

    hospital = "san_juan"
    suffixes = (".png",)
    has_row_per_image = True

    def rows(self) -> Mapping[str, Row]:
        """By ImageID."""
        return {row["ImageID"]: row for row in self.table(TABLE, columns=COLUMNS)}

    def about(self, image: Picture) -> About:
        """Projection is PA, AP, AP_horizontal (lying), L, COSTAL (ribs) or EXCLUDE."""
        if image.row["Projection"] not in VIEWS:
            raise DataError("Projection is none of PA, AP and AP_horizontal; a frontal chest radiograph is.")
        if image.row["Pediatric"] == CHILD and not self.settings.children:
            raise DataError("The table calls the patient a child, and children are left out by the settings.")
        is_counted = self.settings.labels == "all" or image.row["MethodLabel"] == "Physician"
        return About(
            patient=image.row["PatientID"],
            study=image.row["StudyID"],
            view=image.row["Projection"].partition("_")[0],
            finding=SEVERAL.join(dict.fromkeys(listed(image.row["Labels"]))) or None if is_counted else None,
            device=image.row["Manufacturer_DICOM"] or "unknown",
            is_inverted=image.row["PhotometricInterpretation_DICOM"] == "MONOCHROME1",
        )
