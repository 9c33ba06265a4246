"""COLOURED MNIST: digits whose colour names their class in training, made of any MNIST in idx files.

Ahmed et al., Systematic generalisation with group invariant predictions, ICLR 2021, whose colours of 1 to 9 these are;
the protocol is that of TEA (arXiv 2407.09788). Three test groups of the same digits: "iid", coloured as in training;
"ood", ten colours never seen, drawn without regard to the class; "shift", every digit in another class's colour.

A pixel is digit where its grey value is above half of white. Ours: the colour of 0 and the unseen colours, which are
not published; below a bias of 1 the other digits have another class's colour, where Ahmed et al. draw from a palette of
its own; and what `background: linked` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field as Bound

from medtea.core.errors import DataError
from medtea.core.names import Role, Split
from medtea.core.seeds import numpy_generator
from medtea.core.settings import StrictSettings
from medtea.scenes.idx import SIDE, read_idx
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
BRIGHT = 100
"""The largest channel of an unseen colour is above it, so that the digit stands out from black."""


class Settings(StrictSettings):
    """How the images are made.

    Attributes:
        path: Folder with MNIST's four idx files, packed (.gz) or not.
        train: Digits to train on; the published size is 50000.
        validation: Digits to select on, as biased as training; the published size is 10000.
        test: Digits of the test file that come as "iid", "ood" and "shift".
        bias: Share of digits in their class's colour; the others have another class's.
        environments: What training's environments ("hospitals") are. "one": it has one. "agreement": digits in their
            class's colour and the others, the groups that Ahmed et al. give to a method. "halves": every second digit
            has `second_bias` instead of `bias`, as in IRM.
        second_bias: That of the second half.
        background: "black", or "linked": the background has half the brightness of the colour of five classes on, so
            that it names the class as well; "ood" and "shift" change both.
        twin: What the teacher is shown: the digit in "white", or each in a "random" colour; on black.
        unbiased: Digits of the small unbiased subset, coloured without regard to the class, a fifth for validation.
    """

    path: Path
    train: int = Bound(24000, ge=1)
    validation: int = Bound(4000, ge=1)
    test: int = Bound(10000, ge=1)
    bias: float = Bound(1.0, ge=0, le=1)
    environments: Literal["one", "agreement", "halves"] = "one"
    second_bias: float = Bound(0.8, ge=0, le=1)
    background: Literal["black", "linked"] = "black"
    twin: Literal["white", "random"] = "white"
    unbiased: int = Bound(0, ge=0)


@dataclass(frozen=True)
class Planned:
    """One image to be: its row, its digit (28, 28), and the colours of digit, background and twin in [0, 1]."""

    scene: Scene
    digit: Array
    colour: Array
    ground: Array
    twin: Array


class SceneSet(scene_set.SceneSet[Settings]):
    """Binary digits times a colour, 28 x 28."""

    has_twins = True
    size = SIDE

    def fingerprint(self) -> str:
        """Digest of the four files' pixels and labels."""
        digest = hashlib.sha256()
        for array in (*self._files["train"], *self._files["test"]):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def scenes(self) -> Sequence[Scene]:
        """Training, validation and the unbiased subset of the training file; three groups of the test file."""
        return [planned.scene for planned in self._plan]

    def picture(self, number: int) -> Picture:
        """The digit of that row in its colour; the twin without."""
        planned = self._plan[number]
        image = _coloured(planned.digit, planned.colour, planned.ground)
        return Picture(image, planned.digit, _coloured(planned.digit, planned.twin, np.zeros(3)))

    @cached_property
    def _files(self) -> dict[str, tuple[Array, Array]]:
        return {"train": read_idx(self.settings.path, "train"), "test": read_idx(self.settings.path, "t10k")}

    @cached_property
    def _plan(self) -> list[Planned]:
        settings = self.settings
        held, tested = len(self._files["train"][1]), len(self._files["test"][1])
        wanted = settings.train + settings.validation + settings.unbiased
        if wanted > held or settings.test > tested:
            raise DataError(
                f"scenes.options: {wanted} training digits and {settings.test} test digits are asked for; the files "
                f"hold {held} and {tested}."
            )
        order = numpy_generator(self.seed, "scenes/order").permutation(held)[:wanted]
        train, validation, unbiased = np.split(order, np.cumsum([settings.train, settings.validation]))
        aside, test = len(unbiased) // 5, np.arange(settings.test)
        return [
            *self._part("train", train, "iid", Role.TRAIN, Split.TRAIN),
            *self._part("train", validation, "iid", Role.TRAIN, Split.VALIDATION),
            *self._part("train", unbiased[aside:], "unbiased", Role.UNBIASED, Split.TRAIN),
            *self._part("train", unbiased[:aside], "unbiased", Role.UNBIASED, Split.VALIDATION),
            *self._part("test", test, "iid", Role.TRAIN, Split.TEST),
            *self._part("test", test, "ood", Role.EXTERNAL, Split.TEST),
            *self._part("test", test, "shift", Role.EXTERNAL, Split.TEST),
        ]

    def _part(self, file: str, chosen: Array, group: str, role: Role, split: Split) -> Iterator[Planned]:
        """The chosen digits of a file, coloured as the group asks."""
        images, labels = self._files[file][0][chosen], self._files[file][1][chosen]
        generator = numpy_generator(self.seed, f"scenes/colours/{group}/{split}")
        names = self._colour_names(labels, group, generator)
        palette = (unseen_colours() if group == "ood" else COLOURS) / 255
        linked = self.settings.background == "linked"
        grounds = palette[(names + CLASSES // 2) % CLASSES] / 2 if linked else np.zeros((len(labels), 3))
        drawn = COLOURS[generator.integers(CLASSES, size=len(labels))] / 255
        twins = np.ones_like(drawn) if self.settings.twin == "white" else drawn
        environments = self._environments(labels, names) if group == "iid" else [group] * len(labels)
        for number, (row, label) in enumerate(zip(chosen, labels, strict=True)):
            picture = f"{file} {row}"
            name, digest = name_digest(f"{picture} {group}"), name_digest(picture)
            scene = Scene(name, digest, environments[number], role, split, group, int(label))
            yield Planned(scene, images[number], palette[names[number]], grounds[number], twins[number])

    def _colour_names(self, labels: Array, group: str, generator: np.random.Generator) -> Array:
        """The number of each digit's colour in the group's palette."""
        others = (labels + generator.integers(1, CLASSES, size=len(labels))) % CLASSES
        if group == "iid":
            return np.where(generator.random(len(labels)) < self._biases(len(labels)), labels, others)
        return others if group == "shift" else generator.integers(CLASSES, size=len(labels))

    def _biases(self, count: int) -> Array:
        biases = np.full(count, self.settings.bias)
        if self.settings.environments == "halves":
            biases[1::2] = self.settings.second_bias
        return biases

    def _environments(self, labels: Array, names: Array) -> list[str]:
        """What the index calls the hospital of each biased digit."""
        if self.settings.environments == "agreement":
            return ["coloured" if agrees else "coloured otherwise" for agrees in names == labels]
        second = "coloured again" if self.settings.environments == "halves" else "coloured"
        return [second if number % 2 else "coloured" for number in range(len(labels))]


def unseen_colours() -> Array:
    """Ten colours, (10, 3) in 0 to 255, each far from the classes' and from one another; always the same."""
    generator = np.random.default_rng(0)
    found = list(COLOURS)
    while len(found) < 2 * CLASSES:
        drawn = generator.integers(0, 256, size=3)
        if min(int(np.square(drawn - one).sum()) for one in found) > FAR and drawn.max() > BRIGHT:
            found.append(drawn)
    return np.array(found[CLASSES:])


def _coloured(digit: Array, colour: Array, ground: Array) -> Array:
    return np.where(digit, colour[:, None, None], ground[:, None, None])
