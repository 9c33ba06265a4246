"""Shenzhen: 662 frontal radiographs of Shenzhen No. 3 Hospital, 336 with tuberculosis; adults and some children.

Jaeger et al., Quantitative Imaging in Medicine and Surgery 4, 2014. Released by the U.S. National Library of Medicine.
Masks: Stirenko et al., ELNANO 2018, 566 of them, distributed apart; unpack them into a folder `mask`.

The last digit of a name is the label: 1 for tuberculosis, 0 for normal. Most are PA and some of the children's AP, of
which nothing is said of each: the view is unknown. Letters R and L and the rims go with the hospital.
"""

from __future__ import annotations

from pathlib import PurePath

from medtea.ingest.image_sets import About, ImageSet, Picture, SetSettings, tuberculosis_of


class Settings(SetSettings):
    """Where the set is."""


class Source(ImageSet):
    """CXR_png/CHNCXR_0001_0.png; mask/CHNCXR_0001_0_mask.png beside it, where there is one."""

    hospital = "shenzhen"
    suffixes = (".png",)

    def is_image(self, image: PurePath) -> bool:
        """In CXR_png."""
        return super().is_image(image) and image.parent.name == "CXR_png"

    def about(self, image: Picture) -> About:
        """Everything stands in the name."""
        patient, finding = tuberculosis_of(image.path, "CHNCXR")
        mask = image.path.parent.parent / "mask" / f"{image.path.stem}_mask.png"
        return About(patient, "", finding, masks=(mask,) if (self.root / mask).is_file() else ())
