"""The contract of a connection to a hospital's archive, and the three ways in which it says no."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from medtea.core.errors import DataError
from medtea.data.pixels import quiet_pydicom

STORAGE_CLASSES = frozenset(
    map(
        str,
        (
            ComputedRadiographyImageStorage,
            DigitalXRayImageStorageForPresentation,
            DigitalXRayImageStorageForProcessing,
            SecondaryCaptureImageStorage,
        ),
    )
)
"""What is accepted from an archive. Whether an image is used is decided later, from its header, as for any file."""
TALKATIVE = ("dicomweb_client", "pynetdicom", "urllib3", "requests", "retrying")
"""Loggers whose lines hold UIDs, identifiers of a query, or addresses with them."""


class UnavailableError(DataError):
    """May pass by itself: no connection, a time-out, an overloaded server, an answer cut in the middle.

    Attributes:
        wait_seconds: How long the archive asks to be left alone (HTTP's Retry-After).
        is_answer: The archive did answer, that it failed: after the last try, this image is one that it does not send.
    """

    def __init__(self, text: str, *, wait_seconds: float = 0, is_answer: bool = False) -> None:
        super().__init__(text)
        self.wait_seconds, self.is_answer = wait_seconds, is_answer


class DeniedError(DataError):
    """Will not pass by itself, and holds for the whole hospital: who we are, what we may, where we ask."""


class NotSentError(DataError):
    """One image that the archive lists and does not hand over."""


@dataclass(frozen=True)
class Series:
    """One series of a study, as far as the archive says."""

    uid: str
    modality: str
    body_part: str


@dataclass(frozen=True)
class Instance:
    """One image, by the three UIDs that it is asked for with; `kind` is its storage class, "" where unsaid."""

    study: str
    series: str
    uid: str
    kind: str


Receive = Callable[[bytes], None]
"""Takes one whole DICOM file.

Raises:
    NotSentError: it is not an image that was asked for.
"""


class Connection(Protocol):
    """One connection, used by one thread; every method may raise UnavailableError or DeniedError."""

    def echo(self) -> None:
        """Returns when the archive answers and knows us."""

    def studies(self, keys: Mapping[str, str]) -> Iterator[tuple[str, int | None]]:
        """StudyInstanceUID of each study that matches, and how many instances the archive says it has.

        Args:
            keys: By keyword: StudyDate, ModalitiesInStudy, AccessionNumber, PatientID; matched by the archive.
        """

    def series(self, study: str) -> list[Series]:
        """The series of a study."""

    def instances(self, study: str, series: str) -> list[Instance]:
        """The instances of a series."""

    def retrieve(self, wanted: Instance, receive: Receive) -> None:
        """Hand one image to `receive`.

        Raises:
            NotSentError: it cannot be had.
        """

    def close(self) -> None:
        """Let the archive go."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it neither the protocols' libraries nor pydicom log or warn."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with quiet_pydicom():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
