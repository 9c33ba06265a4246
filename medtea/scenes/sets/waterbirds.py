"""Waterbirds: birds of land and water, in training mostly before their own background, as Sagawa et al. made them.

Sagawa et al., Distributionally robust neural networks for group shifts, ICLR 2020. Read as it is distributed
(waterbird_complete95_forest2water2): metadata.csv with img_id, img_filename, y (1 is a waterbird), split (0 training,
1 validation, 2 test), place (1 is water) and place_filename, and the pictures below folders of species. A folder
`segmentations` beside them, from CUB-200-2011, gives masks and twins. The environment is the place, so that label and
hospital make their four groups.

The validation split as distributed is balanced, so that selecting on it uses what a biased set does not have; by
default it is the small unbiased subset, as in DFR, and a fifth of the training split is selected on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field as Bound

from medtea.core.errors import DataError
from medtea.core.names import Role, Split
from medtea.core.seeds import numpy_generator
from medtea.core.settings import StrictSettings
from medtea.scenes.pictures import centre, inside, listing_digest, read_picture
from medtea.scenes.sets import scene_set
from medtea.scenes.sets.scene_set import Picture, Scene, name_digest

Array = np.ndarray[Any, Any]
CODES = {"y": ("0", "1"), "split": ("0", "1", "2"), "place": ("0", "1")}
BIRDS = ("landbird", "waterbird")
PLACES = ("land", "water")
SEGMENTATIONS = "segmentations"
ASIDE = 5
"""One in so many training pictures is selected on; likewise of the unbiased subset."""


class Settings(StrictSettings):
    """Where the set is, and how it is used.

    Attributes:
        path: Folder with metadata.csv.
        size: Rows and columns of every image.
        groups: Of the test images. "agreement": "aligned" and "conflicting", with birds of both kinds each, so that an
            AUROC has an answer; sensitivity and specificity there are the accuracies of the four groups. "pair": the
            four themselves, "landbird on land" and so on.
        validation: "training": a fifth of the training split, as biased as the rest. "distributed": the balanced split
            of the set; no unbiased subset then.
        twin: What the teacher sees around the bird, where there are segmentations.
    """

    path: Path
    size: int = Bound(224, ge=32, le=1024)
    groups: Literal["agreement", "pair"] = "agreement"
    validation: Literal["training", "distributed"] = "training"
    twin: Literal["black", "grey"] = "black"


class SceneSet(scene_set.SceneSet[Settings]):
    """Photographs, stretched to a square of which the centre is left."""

    def __init__(self, settings: Settings, seed: int) -> None:
        super().__init__(settings, seed)
        self.size = settings.size
        self.has_twins = (settings.path / SEGMENTATIONS).is_dir()
        self._table = _metadata(settings.path)

    def fingerprint(self) -> str:
        """Digest of the table, and of all files' names, sizes and times of change."""
        names = [str(name) for name in self._table["img_filename"]]
        masks = [_mask_of(name) for name in names] if self.has_twins else []
        table = hashlib.sha256((self.settings.path / "metadata.csv").read_bytes()).hexdigest()
        return f"{table}/{listing_digest(self.settings.path, [*names, *masks])}"

    def scenes(self) -> Sequence[Scene]:
        """A row for every row of metadata.csv."""
        splits = self._table["split"].to_numpy()
        aside = np.zeros(len(splits), dtype=bool)
        for part in ("0", "1"):
            members = np.flatnonzero(splits == part)
            drawn = numpy_generator(self.seed, f"scenes/aside/{part}").permutation(members)
            aside[drawn[: len(drawn) // ASIDE]] = True
        return [self._scene(row, bool(aside[number])) for number, row in enumerate(self._table.itertuples())]

    def picture(self, number: int) -> Picture:
        """The photograph; the twin is its bird alone."""
        name, size = str(self._table["img_filename"].iloc[number]), self.settings.size
        photograph = read_picture(inside(self.settings.path, name), "RGB")
        image = centre(photograph, size)
        if not self.has_twins:
            return Picture(image, np.zeros((size, size), dtype=np.uint8), None)
        outline = read_picture(inside(self.settings.path, _mask_of(name)), "L")
        if outline.size != photograph.size:
            raise DataError("Its segmentation has another size than the picture.")
        mask = (centre(outline, size) >= 0.5).astype(np.uint8)
        return Picture(image, mask, np.where(mask, image, 0.0 if self.settings.twin == "black" else 0.5))

    def _scene(self, row: Any, aside: bool) -> Scene:
        bird, place = int(row.y), int(row.place)
        pair = f"{BIRDS[bird]} on {PLACES[place]}"
        group = pair if self.settings.groups == "pair" else ("aligned" if bird == place else "conflicting")
        environment, role = PLACES[place], Role.TRAIN
        if row.split == "2":
            split = Split.TEST
            if bird != place:
                environment, role = group, Role.EXTERNAL
        elif row.split == "0":
            split = Split.VALIDATION if aside and self.settings.validation == "training" else Split.TRAIN
        elif self.settings.validation == "distributed":
            split = Split.VALIDATION
        else:
            environment, role, group = "unbiased", Role.UNBIASED, "unbiased"
            split = Split.VALIDATION if aside else Split.TRAIN
        name = str(row.img_filename)
        return Scene(name_digest(f"{row.img_id} {name}"), name_digest(name), environment, role, split, group, bird)


def _mask_of(name: str) -> str:
    return f"{SEGMENTATIONS}/{name.rpartition('.')[0]}.png"


def _metadata(folder: Path) -> pd.DataFrame:
    """The set's table, every value as it is written.

    Raises:
        DataError: it is missing or no such table.
    """
    try:
        table = pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' own and UnicodeDecodeError are ValueErrors
        raise DataError(
            f"Waterbirds: metadata.csv cannot be read ({type(error).__name__}). scenes.options.path is the folder that "
            "holds it, waterbird_complete95_forest2water2 as it is distributed."
        ) from error
    missing = [column for column in ("img_id", "img_filename", *CODES) if column not in table.columns]
    if missing:
        raise DataError(f"Waterbirds: metadata.csv lacks the columns {', '.join(missing)}.")
    for column, allowed in CODES.items():
        wrong = np.flatnonzero(~table[column].isin(allowed).to_numpy())
        if len(wrong):
            raise DataError(f"Waterbirds: row {wrong[0] + 1} of metadata.csv: {column} is one of {', '.join(allowed)}.")
    return table
