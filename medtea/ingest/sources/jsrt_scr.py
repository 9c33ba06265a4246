"""JSRT with SCR: 247 PA films of 14 hospitals, 154 with a lung nodule, digitised; masks of both lungs.

Shiraishi et al., American Journal of Roentgenology 174, 2000, of the Japanese Society of Radiological Technology, free
for research. Masks: van Ginneken et al., Medical Image Analysis 10, 2006, SCR database, free for research.

The name is the label: JPCLN has a nodule, JPCNN has none. Raw numbers of 12 bits, large where the film is dark; the
reader turns them over. Masks are on a grid of half the size and leave the heart out; left and right are united.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import PurePath

from medtea.core.errors import DataError
from medtea.ingest.image_sets import About, ImageSet, Picture, SetSettings

LUNGS = ("left lung", "right lung")


class Settings(SetSettings):
    """Where both sets are."""


class Source(ImageSet):
    """JPCLN001.IMG at any depth; fold1/masks/left lung/JPCLN001.gif, right lung, and fold2 at any depth, too."""

    hospital = "jsrt"
    suffixes = (".img",)

    def about(self, image: Picture) -> About:
        """Every image is of another patient."""
        named = re.fullmatch(r"JPC(L|N)N\d{3}", image.path.stem.upper())
        if named is None:
            raise DataError("The name is not one of the set, JPCLN or JPCNN and three digits.")
        lungs = [self._masks.get((lung, image.path.stem.upper())) for lung in LUNGS]
        masks = tuple(lung for lung in lungs if lung is not None)
        finding = "Nodule" if named[1] == "L" else "No Nodule"
        return About(image.path.stem.upper(), "PA", finding, masks=masks if len(masks) == len(LUNGS) else ())

    @cached_property
    def _masks(self) -> dict[tuple[str, str], PurePath]:
        masks = (path for path in self.files() if path.suffix.lower() == ".gif" and path.parent.name in LUNGS)
        return {(path.parent.name, path.stem.upper()): path for path in masks}
