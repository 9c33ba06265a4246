"""Kermany: 5,856 AP radiographs of children of one to five years at Guangzhou Women and Children's Medical Center.

Kermany, Zhang and Goldbaum, Mendeley Data, doi 10.17632/rscbjbr9sj; Cell 172, 2018. CC BY 4.0.

The folder is the label, the name of a pneumonia its cause. Which images are of one patient is told of pneumonias alone
(person12); the numbers in the names of normals are taken for it, which is a guess. The same number in train, val and
test is taken for one patient: that may join two, and never parts one. Some images are there twice. The letter R and the
crop go with the class.
"""

from __future__ import annotations

import re
from pathlib import PurePath

from medtea.core.errors import DataError
from medtea.ingest.image_sets import About, ImageSet, Picture, SetSettings

# As at Kaggle: person1_bacteria_2, IM-0115-0001, NORMAL2-IM-0317-0001-0002; as at Mendeley: VIRUS-1008087-0001.
CAUSE = re.compile(r"(?:(person\d+)_)?(bacteria|virus)(?:-(\d+)-|_)", re.IGNORECASE)
NORMAL = re.compile(r"(?:NORMAL2?-)?(?:IM-)?(\d+)-", re.IGNORECASE)
FINDINGS = {"bacteria": "Pneumonia|Pneumonia bacterial", "virus": "Pneumonia|Pneumonia viral"}


class Settings(SetSettings):
    """Where the set is."""


class Source(ImageSet):
    """chest_xray/train/NORMAL/*.jpeg and PNEUMONIA, and so in test and, at Kaggle, val."""

    hospital = "guangzhou"
    suffixes = (".jpeg",)

    def key(self, image: PurePath) -> str:
        """train/NORMAL/IM-0115-0001.jpeg: Kaggle's archive holds all of it twice, one folder deeper."""
        return "/".join(image.parts[-3:])

    def about(self, image: Picture) -> About:
        """Everything stands in the folder and the name."""
        folder, cause = image.path.parent.name.upper(), CAUSE.match(image.path.name)
        if folder == "PNEUMONIA" and cause and (cause[1] or cause[3]):
            return About(cause[1] or cause[3], "AP", FINDINGS[cause[2].lower()])
        normal = NORMAL.match(image.path.name)
        if folder == "NORMAL" and normal:
            return About(f"normal {normal[1]}", "AP", "Normal")
        raise DataError("Folder and name are not those of the set's normals and pneumonias.")
