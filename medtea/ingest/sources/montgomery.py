"""Montgomery County: 138 PA radiographs of a tuberculosis screening programme in Maryland, with masks of both lungs.

Jaeger et al., Quantitative Imaging in Medicine and Surgery 4, 2014. Released by the U.S. National Library of Medicine.

The last digit of a name is the label: 1 for findings of tuberculosis, 0 for none. Masks were drawn by hand under a
radiologist's supervision and leave the heart out; they are united here. Boxes "PA ERECT" and black borders go with the
hospital.
"""

from __future__ import annotations

from pathlib import PurePath

from medtea.ingest.image_sets import About, ImageSet, Picture, SetSettings, tuberculosis_of

MASKS = ("ManualMask/leftMask", "ManualMask/rightMask")


class Settings(SetSettings):
    """Where the set is."""


class Source(ImageSet):
    """CXR_png/MCUCXR_0001_0.png; ManualMask/leftMask and ManualMask/rightMask with the same names."""

    hospital = "montgomery"
    suffixes = (".png",)

    def is_image(self, image: PurePath) -> bool:
        """In CXR_png."""
        return super().is_image(image) and image.parent.name == "CXR_png"

    def about(self, image: Picture) -> About:
        """An image of which a lung's mask is missing has none."""
        patient, finding = tuberculosis_of(image.path, "MCUCXR")
        masks = tuple(image.path.parent.parent / folder / image.path.name for folder in MASKS)
        is_whole = all((self.root / mask).is_file() for mask in masks)
        return About(patient, "PA", finding, masks=masks if is_whole else ())
