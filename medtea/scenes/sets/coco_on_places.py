"""COCO-on-Places: objects of nine classes, in training mostly before a place of their class, by Ahmed et al.

Ahmed et al., Systematic generalisation with group invariant predictions, ICLR 2021. Read as the authors' data maker
writes it (coco_places.py of Faruk-Ahmed/predictive_group_invariance; the folder is called cocoplaces_vf_9_0.8): HDF5
files, each with `images` (n, 3, 64, 64) in [0, 1] and `y`, 0 to 8 (boat, airplane, truck, dog, zebra, horse, bird,
train, bus). In train and validtest 80 % of objects are before their class's place, `g` 0, the others before places of
no class, `g` 1: the environments. The three test groups show the same objects, row for row: "iid" is idtest; "ood",
before places never seen, is oodtest; "shift", before another class's place, is sgtest. The validation sets of those
two and anotest, a class of its own, are not read.

Ours: the same arrays may come as .npz. The data maker blends objects in by masks that it does not write; where a user
has written them, as `masks` (n, 64, 64) in [0, 1] in each of the five files, they become masks and twins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medtea.core.errors import DataError
from medtea.core.names import Role, Split
from medtea.core.settings import StrictSettings
from medtea.scenes.arrays import find_arrays, open_arrays
from medtea.scenes.pictures import listing_digest
from medtea.scenes.sets import scene_set
from medtea.scenes.sets.scene_set import Picture, Scene, name_digest

Array = np.ndarray[Any, Any]
CLASSES = 9
PLACES = ("own place", "other place")
TESTS = {"idtest": "iid", "oodtest": "ood", "sgtest": "shift"}
FILES = ("train", "validtest", *TESTS)


class Settings(StrictSettings):
    """Where the set is.

    Attributes:
        path: Folder with the set's files.
        twin: What the teacher sees around the object, where there are masks.
    """

    path: Path
    twin: Literal["black", "grey"] = "black"


class SceneSet(scene_set.SceneSet[Settings]):
    """Objects on places, in the size of the files."""

    def __init__(self, settings: Settings, seed: int) -> None:
        super().__init__(settings, seed)
        self._paths = {name: find_arrays(settings.path, name) for name in FILES}
        self._arrays = {name: open_arrays(path) for name, path in self._paths.items()}
        for name, arrays in self._arrays.items():
            _check(name, arrays)
        shapes = {arrays["images"].shape[2:] for arrays in self._arrays.values()}
        if len(shapes) > 1:
            raise DataError("COCO-on-Places: the files' images are of different sizes.")
        self.size = int(next(iter(shapes))[0])
        self.has_twins = all("masks" in arrays for arrays in self._arrays.values())
        iid = np.asarray(self._arrays["idtest"]["y"])
        if not all(np.array_equal(iid, self._arrays[name]["y"]) for name in TESTS):
            raise DataError("COCO-on-Places: idtest, oodtest and sgtest do not show the same objects, row for row.")
        self._places = [(name, row) for name in FILES for row in range(len(self._arrays[name]["y"]))]

    def fingerprint(self) -> str:
        """Digest of the five files' names, sizes and times of change."""
        return listing_digest(self.settings.path, [path.name for path in self._paths.values()])

    def scenes(self) -> Sequence[Scene]:
        """Training, validation, and the three test groups."""
        found = []
        for name in FILES:
            labels = np.asarray(self._arrays[name]["y"])
            group = TESTS.get(name, "iid")
            groups = np.asarray(self._arrays[name]["g"]) if group == "iid" else None
            split = {"train": Split.TRAIN, "validtest": Split.VALIDATION}.get(name, Split.TEST)
            role = Role.TRAIN if group == "iid" else Role.EXTERNAL
            for row, label in enumerate(labels):
                environment = group if groups is None else PLACES[int(groups[row])]
                picture = name_digest(f"{'test' if name in TESTS else name} {row}")
                found.append(Scene(name_digest(f"{name} {row}"), picture, environment, role, split, group, int(label)))
        return found

    def picture(self, number: int) -> Picture:
        """The image as it is; the twin is its object alone."""
        name, row = self._places[number]
        arrays = self._arrays[name]
        image = np.asarray(arrays["images"][row], dtype=np.float32)
        if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
            raise DataError("The image holds values outside 0 to 1.")
        if not self.has_twins:
            return Picture(image, np.zeros(image.shape[1:], dtype=np.uint8), None)
        mask = (np.asarray(arrays["masks"][row]) >= 0.5).astype(np.uint8)
        return Picture(image, mask, np.where(mask, image, 0.0 if self.settings.twin == "black" else 0.5))


def _check(name: str, arrays: Mapping[str, Any]) -> None:
    """Refuse a file whose arrays are not those of the set.

    Raises:
        DataError: one is missing, or of another shape, or holds other values.
    """
    wanted = ("images", "y", "g") if TESTS.get(name, "iid") == "iid" else ("images", "y")
    missing = [one for one in wanted if one not in arrays]
    if missing:
        raise DataError(f"COCO-on-Places: '{name}' lacks the arrays {', '.join(missing)}.")
    shape = tuple(arrays["images"].shape)
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise DataError(f"COCO-on-Places: the images of '{name}' are not (n, 3, size, size) but {shape}.")
    expected = {"y": shape[:1], "g": shape[:1], "masks": (shape[0], *shape[2:])}
    for one, its_shape in expected.items():
        if one in arrays and tuple(arrays[one].shape) != its_shape:
            raise DataError(f"COCO-on-Places: '{one}' of '{name}' is not {its_shape} but {tuple(arrays[one].shape)}.")
    for one, count in (("y", CLASSES), ("g", len(PLACES))):
        if one in wanted and not np.isin(np.asarray(arrays[one]), np.arange(count)).all():
            raise DataError(f"COCO-on-Places: '{one}' of '{name}' is not 0 to {count - 1} throughout.")
