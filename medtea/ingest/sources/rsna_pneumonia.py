"""RSNA Pneumonia Detection Challenge: 26,684 radiographs of ChestX-ray14, read again by radiologists; DICOM.

Shih et al., Radiology: Artificial Intelligence 1, 2019. Distributed by the RSNA through Kaggle, for research.

The images are those of the NIH: do not take this set as another hospital than `nih_chestxray14`. Its patientId numbers
images, not patients, so that two images of one patient may end in training and in test. "Lung Opacity" means suspicious
for pneumonia; "No Lung Opacity / Not Normal" is what else there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from medtea.core.errors import DataError
from medtea.ingest.csv_rows import Row
from medtea.ingest.image_sets import About, ImageSet, Picture, SetSettings

TRAIN = "stage_2_train_images"


class Settings(SetSettings):
    """Where the set is."""


class Source(ImageSet):
    """stage_2_train_images/*.dcm; stage_2_train_labels.csv and stage_2_detailed_class_info.csv. Test has no labels."""

    hospital = "nih"
    suffixes = (".dcm",)
    has_headers = True
    has_row_per_image = True

    def rows(self) -> Mapping[str, Row]:
        """By patientId; a row of the labels is a box, of which an image has several or none.

        Raises:
            DataError: the tables contradict themselves or each other.
        """
        rows: dict[str, Row] = {}
        for row in self.table("stage_2_detailed_class_info.csv", columns=("patientId", "class")):
            _refuse_unless(rows.setdefault(row["patientId"], row) == row)
        for box in self.table("stage_2_train_labels.csv", columns=("patientId", "Target")):
            shown = rows.get(box["patientId"], {"class": ""})["class"]
            _refuse_unless((box["Target"] == "1") == (shown == "Lung Opacity"))
        return rows

    def is_image(self, image: PurePath) -> bool:
        """In the folder of the training images."""
        return super().is_image(image) and image.parent.name == TRAIN

    def key(self, image: PurePath) -> str:
        """The file's name, which is patientId."""
        return image.stem

    def about(self, image: Picture) -> About:
        """View and device are the header's."""
        study = image.header.study if image.header else None
        return About(patient=image.row["patientId"], view="", finding=image.row["class"], study=study)


def _refuse_unless(agree: bool) -> None:
    if not agree:
        raise DataError("Rows of the set's tables contradict each other; get both tables from the same release.")
