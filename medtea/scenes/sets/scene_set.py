"""The contract of a set: a row for every image, and each image with its mask and twin when it is asked for."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from medtea.core.names import Role, Split
from medtea.core.settings import StrictSettings

Array = np.ndarray[Any, Any]
S = TypeVar("S", bound=StrictSettings)


@dataclass(frozen=True)
class Scene:
    """What is known of an image before it is looked at.

    Attributes:
        file: What it is called in every table: a digest of its name in the set.
        picture: Digest of the picture that it was made of: one picture in several test groups is resampled as one.
        environment: What the index calls the hospital.
        role: What the environment is for.
        split: Which part of it.
        group: The name that numbers are reported under.
        label: Number of the class, from 0.
    """

    file: str
    picture: str
    environment: str
    role: Role
    split: Split
    group: str
    label: int


@dataclass(frozen=True)
class Picture:
    """An image: (3, size, size) in [0, 1]; where its object is, (size, size) 0 or 1; the same without what biases it.

    Without a mask `mask` is 0 everywhere; `twin` is None where the set has none.
    """

    image: Array
    mask: Array
    twin: Array | None


class SceneSet(ABC, Generic[S]):
    """Every file of this bay has a `Settings` and a class `SceneSet` that extends this one.

    Attributes:
        has_twins: Whether its pictures come with a twin.
        size: Rows and columns of every image.
    """

    has_twins: bool
    size: int

    def __init__(self, settings: S, seed: int) -> None:
        """Look at the files' list, not yet at the images.

        Raises:
            DataError: the set is not there, or not as it is distributed.
        """
        self.settings = settings
        self.seed = seed

    @abstractmethod
    def fingerprint(self) -> str:
        """Digest of the files that the set is made of: another one means another result."""

    @abstractmethod
    def scenes(self) -> Sequence[Scene]:
        """A row for every image, in the index's order."""

    @abstractmethod
    def picture(self, number: int) -> Picture:
        """The image of row `number`.

        Raises:
            DataError: it cannot be used; says why without naming the file.
        """


def name_digest(name: str) -> str:
    """12 hex digits that stand for a file's name within its set."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]
