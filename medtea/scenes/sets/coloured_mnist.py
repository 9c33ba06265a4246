"""COLOURED MNIST: digits whose colour names their class in training, made of any MNIST in idx files.

Ahmed et al., Systematic generalisation with group invariant predictions, ICLR 2021, whose colours of 1 to 9 these are;
the protocol is that of TEA (arXiv 2407.09788). Three test groups of the same digits: "iid", coloured as in training;
"ood", ten colours never seen, drawn without regard to the class; "shift", every digit in another class's colour. Ours:
the colour of 0 and the unseen colours, which are not published, and what `background: linked` does.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field as Bound

from medtea.core.errors import DataError
from medtea.core.names import Role, Split
from medtea.core.seeds import numpy_generator
from medtea.core.settings import StrictSettings
from medtea.scenes.sets import scene_set
from medtea.scenes.sets.scene_set import Picture, Scene, name_digest

Array = np.ndarray[Any, Any]
COLOURS = np.array(
    [
        (128, 0, 128),  # ours: at least 50 away from each of the others
        (0, 100, 0),
        (188, 143, 143),
        (255, 0, 0),
        (255, 215, 0),
        (0, 255, 0),
        (65, 105, 225),
        (0, 225, 225),
        (0, 0, 255),
        (255, 20, 147),
    ]
)
FAR = 2500
"""Squared RGB distance that unseen colours keep from all earlier ones."""
CLASSES = len(COLOURS)
MAGIC = {"images": 2051, "labels": 2049}
GROUPS = ("iid", "ood", "shift")


class Settings(StrictSettings):
    """How the images are made.

    Attributes:
        path: Folder with MNIST's four idx files, packed (.gz) or not.
        train: Digits to train on; the published size is 50000.
        validation: Digits to select on, as biased as training; the published size is 10000.
        test: Digits of the test file that come as "iid", "ood" and "shift".
        bias: Share of digits in their class's colour; the others have another class's.
        background: "black", or "linked": the background has half the brightness of the colour of five classes on, so
            that it names the class as well; "ood" and "shift" change both.
        twin: What the teacher is shown: the digit in "white", or each in a "random" colour.
        unbiased: Digits of the small unbiased subset, coloured without regard to the class, a fifth for validation.
    """

    path: Path
    train: int = Bound(24000, ge=1)
    validation: int = Bound(4000, ge=1)
    test: int = Bound(10000, ge=1)
    bias: float = Bound(1.0, ge=0, le=1)
    background: Literal["black", "linked"] = "black"
    twin: Literal["white", "random"] = "white"
    unbiased: int = Bound(0, ge=0)


class SceneSet(scene_set.SceneSet[Settings]):
    """Binary digits times a colour, 28 x 28."""

    has_twins = True
    size = 28

    def fingerprint(self) -> str:
        """Digest of the four files' pixels and labels."""
        digest = hashlib.sha256()
        for array in (*self._training, *self._testing):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def scenes(self) -> Sequence[Scene]:
        """Training, validation and the unbiased subset of the training file; three groups of the test file."""
        return [scene for scene, _, _ in self._plan]

    def picture(self, number: int) -> Picture:
        """The digit of that row in its colour; the twin without."""
        _, digit, (colour, ground, twin) = self._plan[number]
        return Picture(_coloured(digit, colour, ground), digit, _coloured(digit, twin, np.zeros(3)))

    @cached_property
    def _training(self) -> tuple[Array, Array]:
        return read_idx(self.settings.path, "train")

    @cached_property
    def _testing(self) -> tuple[Array, Array]:
        return read_idx(self.settings.path, "t10k")

    @cached_property
    def _plan(self) -> list[tuple[Scene, Array, tuple[Array, Array, Array]]]:
        """Every image: its row, its digit, and the colours of digit, background and twin."""
        settings = self.settings
        images, labels = self._training
        order = numpy_generator(self.seed, "scenes/order").permutation(len(labels))
        wanted = settings.train + settings.validation + settings.unbiased
        if wanted > len(labels) or settings.test > len(self._testing[1]):
            raise DataError(
                f"scenes.options: {wanted} training digits and {settings.test} test digits are asked for; the files "
                f"hold {len(labels)} and {len(self._testing[1])}."
            )
        train, validation, unbiased = np.split(order[:wanted], np.cumsum([settings.train, settings.validation]))
        aside = len(unbiased) // 5
        parts = [
            ("coloured", Role.TRAIN, Split.TRAIN, "iid", train),
            ("coloured", Role.TRAIN, Split.VALIDATION, "iid", validation),
            ("unbiased", Role.UNBIASED, Split.TRAIN, "unbiased", unbiased[aside:]),
            ("unbiased", Role.UNBIASED, Split.VALIDATION, "unbiased", unbiased[:aside]),
        ]
        plan = []
        for environment, role, split, group, chosen in parts:
            kind = "unbiased" if role == Role.UNBIASED else "iid"
            drawn = self._colours(labels[chosen], kind, f"{environment}/{split}")
            for row, colours in zip(chosen, drawn, strict=True):
                scene = _scene(f"train {row}", environment, role, split, group, int(labels[row]))
                plan.append((scene, images[row], colours))
        tested, digits = self._testing[0][: settings.test], self._testing[1][: settings.test]
        for group in GROUPS:
            environment, role = ("coloured", Role.TRAIN) if group == "iid" else (group, Role.EXTERNAL)
            for row, colours in enumerate(self._colours(digits, group, group)):
                scene = _scene(f"test {row}", environment, role, Split.TEST, group, int(digits[row]))
                plan.append((scene, tested[row], colours))
        return plan

    def _colours(self, labels: Array, kind: str, name: str) -> list[tuple[Array, Array, Array]]:
        """Colours in [0, 1] of each image's digit, background and twin."""
        generator = numpy_generator(self.seed, f"scenes/colours/{name}")
        count = len(labels)
        others = (labels + generator.integers(1, CLASSES, size=count)) % CLASSES
        palette = COLOURS
        if kind == "iid":
            chosen = np.where(generator.random(count) < self.settings.bias, labels, others)
        elif kind == "shift":
            chosen = others
        else:
            chosen = generator.integers(CLASSES, size=count)
            palette = unseen_colours() if kind == "ood" else COLOURS
        ground = palette[(chosen + CLASSES // 2) % CLASSES] / 510 if self.settings.background == "linked" else None
        twins = COLOURS[generator.integers(CLASSES, size=count)] / 255
        return [
            (
                palette[chosen[row]] / 255,
                np.zeros(3) if ground is None else ground[row],
                np.ones(3) if self.settings.twin == "white" else twins[row],
            )
            for row in range(count)
        ]


def unseen_colours() -> Array:
    """Ten colours, (10, 3) in 0 to 255, each far from the classes' and from one another; always the same."""
    generator = np.random.default_rng(0)
    found = list(COLOURS)
    while len(found) < 2 * CLASSES:
        drawn = generator.integers(0, 256, size=3)
        if min(int(np.square(drawn - one).sum()) for one in found) > FAR and drawn.max() > 100:
            found.append(drawn)
    return np.array(found[CLASSES:])


def read_idx(folder: Path, part: str) -> tuple[Array, Array]:
    """The digits of "train" or "t10k" as (n, 28, 28) 0 or 1, brighter than half of white or not, and their labels (n,).

    Raises:
        DataError: a file is missing, is no idx file, is cut short, or the two do not belong together.
    """
    images = _read(folder, f"{part}-images-idx3-ubyte", "images")
    labels = _read(folder, f"{part}-labels-idx1-ubyte", "labels")
    if len(images) != len(labels):
        raise DataError(f"MNIST: '{part}' has {len(images)} images and {len(labels)} labels.")
    if images.shape[1:] != (28, 28) or labels.max(initial=0) >= CLASSES:
        raise DataError(f"MNIST: '{part}' is not of 28 x 28 pixels and ten classes.")
    return (images > 127).astype(np.uint8), labels.astype(np.int64)


def _read(folder: Path, name: str, kind: str) -> Array:
    try:
        packed = folder / f"{name}.gz"
        data = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(
            f"MNIST: '{name}' cannot be read ({type(error).__name__}). scenes.options.path is the folder of the four "
            "idx files, packed (.gz) or not."
        ) from error
    dimensions = 3 if kind == "images" else 1
    start = 4 + 4 * dimensions
    if len(data) < start or struct.unpack(">i", data[:4])[0] != MAGIC[kind]:
        raise DataError(f"MNIST: '{name}' is no idx file of {kind}.")
    shape = struct.unpack(f">{dimensions}i", data[4:start])
    if min(shape) < 0 or len(data) - start != int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"MNIST: '{name}' is cut short, or longer than it says.")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def _scene(name: str, environment: str, role: Role, split: Split, group: str, label: int) -> Scene:
    picture = name_digest(name)
    return Scene(name_digest(f"{name} {group}"), picture, environment, role, split, group, label)


def _coloured(digit: Array, colour: Array, ground: Array) -> Array:
    return np.where(digit, colour[:, None, None], ground[:, None, None])
