"""What public sets share: a folder as it is distributed, its images, and what its tables and names say of each.

A set's own file says four things: which files are its images, what tables there are, by which key a row finds its
image, and, in `about`, patient, view, finding and mask of one image.
"""

from __future__ import annotations

import abc
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from medtea.core.errors import ConfigError, DataError, nearest
from medtea.core.settings import StrictSettings
from medtea.data.views import NOT_FRONTAL, UNKNOWN, view_from_words
from medtea.ingest.csv_rows import Row, csv_rows
from medtea.ingest.headers import Header
from medtea.ingest.labels import Policies, in_words
from medtea.ingest.scan import read_headers
from medtea.ingest.sources.source import Candidate, Refused, file_digest, fingerprint_of, inside

# CheXpert's findings, which MIMIC-CXR-JPG took over.
FOURTEEN = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
)
NO_IMAGE = "The set's table names an image that is not in the folder; perhaps not all of the set was unpacked."
NO_ROW = "The set's table does not name this image."
SECOND = "An image of this name lies in another folder of the set, too."
LATERAL = "The set calls the view not frontal; a frontal radiograph is PA or AP."


class SetSettings(StrictSettings):
    """Where the set is; what only one set has stands in its own file."""

    root: Path
    """The folder that the set was unpacked into."""
    hospital: str | None = None
    """Another name for the set's hospital."""


class UncertainSettings(SetSettings):
    """Where a set is whose labels may be uncertain, and what becomes of those."""

    uncertain: Policies = "ignore"
    """Of -1: "ignore", "ones" or "zeros" (see `LabelSettings`), or one of these for each finding by name."""
    unmentioned: Literal["ignore", "zeros"] = "ignore"
    """Of what a report does not mention."""

    @model_validator(mode="after")
    def _known_findings(self) -> UncertainSettings:
        for name in self.uncertain if isinstance(self.uncertain, dict) else ():
            if name not in FOURTEEN:
                raise ValueError(f"there is no finding '{name}'. {nearest(name, FOURTEEN)}")
        return self

    def in_words(self, row: Row) -> str | None:
        """The findings of a row, each by its policy."""
        return in_words(row, FOURTEEN, uncertain=self.uncertain, unmentioned=self.unmentioned)


@dataclass(frozen=True)
class About:
    """What a set says of one image.

    Attributes:
        patient: Its number of the patient, None where it has none.
        view: In its own words; "" where it says nothing, or the header does.
        finding: As `ingest.positive` and `ingest.negative` list it; several with a bar between them.
        study: Its number of the study, None where it has none.
        masks: Lung masks, relative to the root.
        device: Maker and model.
        is_inverted: Whether the picture is dark where the body is dense.
        modality: Of DICOM files whose header does not tell it.
    """

    patient: str | None
    view: str
    finding: str | None
    study: str | None = None
    masks: tuple[PurePath, ...] = ()
    device: str = UNKNOWN
    is_inverted: bool = False
    modality: str | None = None


@dataclass(frozen=True)
class Picture:
    """One image of a set.

    Attributes:
        path: Relative to the root.
        row: Its row of `rows`; empty where it has none.
        header: Of DICOM files, where the set asks for it.
    """

    path: PurePath
    row: Row
    header: Header | None = None


class ImageSet(abc.ABC):
    """A set's images as candidates; a set derives its `Source` from this."""

    hospital: ClassVar[str]
    """Who acquired it."""
    suffixes: ClassVar[tuple[str, ...]]
    """How the names of its images end, in small letters."""
    has_row_per_image: ClassVar[bool] = False
    """Whether an image without a row, or a row without an image, is refused."""
    has_headers: ClassVar[bool] = False
    """Whether its images are DICOM files whose headers say what the tables do not: view, maker and model."""

    def __init__(self, settings: Any, *, workspace: Path, seed: int) -> None:  # noqa: ARG002 (the contract's)
        self.settings = settings
        self.root: Path = settings.root

    def rows(self) -> Mapping[str, Row]:
        """The rows of the set's tables by the key of the image, or of what else a row is about."""
        return {}

    def key(self, image: PurePath) -> str:
        """What a row is found by: the image's name, unless the set says otherwise."""
        return image.name

    def row_key(self, image: PurePath) -> str:
        """The key of the row that tells of an image; another than the image's own where a row is about a study."""
        return self.key(image)

    def is_image(self, image: PurePath) -> bool:
        """Whether a file of the set, relative to the root, is one of its images."""
        return image.suffix.lower() in self.suffixes

    def selected(self) -> Collection[str] | None:
        """Keys of the images that the settings ask for, others being left out; None: all."""
        return None

    @abc.abstractmethod
    def about(self, image: Picture) -> About:
        """What the set says of an image.

        Raises:
            DataError: it cannot be used.
        """

    def find(self) -> Iterator[Candidate | Refused]:
        """One candidate or refusal per image, by its place in the folder; then one refusal per row without an image.

        Raises:
            ConfigError: the root is no folder, or lacks a table.
        """
        rows, selected, seen = self.rows(), self.selected(), set()
        images = [one for one in self._images() if selected is None or self.key(one) in selected]
        for image, header in self._headers(images):
            key = self.key(image)
            yield self._one(image, rows.get(self.row_key(image)), header, is_second=key in seen)
            seen.add(key)
        for key in rows if self.has_row_per_image else ():
            if key not in seen and (selected is None or key in selected):
                yield Refused(file_digest(Path(key)), self._hospital, NO_IMAGE)

    def where(self, file: str) -> Path | None:
        """See the contract; an image that is not there is named as the table does."""
        named = map(Path, self.rows()) if self.has_row_per_image else iter(())
        places = (path for paths in (self._images(), named) for path in paths)
        return next((self.root / path for path in places if file_digest(Path(path)) == file), None)

    def fingerprint(self) -> str:
        """See the contract; the root's own place does not count."""
        files = [self.root / path for path in self.files()]
        return fingerprint_of(self.root, files, self.settings.model_dump(exclude={"root"}, mode="json"))

    def files(self) -> list[PurePath]:
        """All files of the set, relative to the root, sorted; folders that are links are not entered.

        Raises:
            ConfigError: the root is no folder.
        """
        if not self.root.is_dir():
            raise ConfigError("root: there is no such folder. Give the folder that the set was unpacked into.")
        found = []
        for folder, folders, names in os.walk(self.root):
            # What macOS leaves in archives has the images' names and is none of them.
            folders[:] = [name for name in folders if name != "__MACOSX"]
            here = Path(folder).relative_to(self.root)
            found += [here / name for name in names if not name.startswith("._")]
        return sorted(found)

    def table(self, *names: str, columns: tuple[str, ...], delimiter: str = ",") -> Iterator[Row]:
        """The rows of the first of these tables that is in the root, plain or gzipped.

        Raises:
            ConfigError: none of them is there, or it lacks a column.
        """
        for name in names:
            for path in (self.root / name, self.root / f"{name}.gz"):
                if path.is_file():
                    return csv_rows(path, columns, what=path.name, delimiter=delimiter)
        raise ConfigError(f"root: the set's table '{names[0]}' is not there. Give the folder that holds it.")

    @property
    def _hospital(self) -> str:
        return self.settings.hospital or self.hospital

    def _images(self) -> Iterator[PurePath]:
        return (path for path in self.files() if self.is_image(path))

    def _headers(self, images: list[PurePath]) -> Iterator[tuple[PurePath, Header | str | None]]:
        if not self.has_headers:
            return ((image, None) for image in images)
        # A link is opened by nobody; `_one` says where it leads.
        plain = [image for image in images if not (self.root / image).is_symlink()]
        headers = dict(zip(plain, read_headers([self.root / image for image in plain]), strict=True))
        return ((image, headers.get(image, "A link is not followed.")) for image in images)

    def _one(
        self, image: PurePath, row: Row | None, header: Header | str | None, *, is_second: bool
    ) -> Candidate | Refused:
        file = file_digest(Path(image))
        try:
            if is_second:
                raise DataError(SECOND)
            if row is None and self.has_row_per_image:
                raise DataError(NO_ROW)
            path = self.root / image
            if path.is_symlink() or not path.is_file():  # no folder above it is a link: `files` enters none
                path = inside(self.root, str(image))
            if isinstance(header, str):
                raise DataError(header)
            about = self.about(Picture(image, row or {}, header))
            view = header.view if header else view_from_words(about.view)
            if view == NOT_FRONTAL:
                raise DataError(LATERAL)
            masks = tuple(inside(self.root, str(mask)) for mask in about.masks)
        except DataError as reason:
            return Refused(file, self._hospital, str(reason))
        return Candidate(
            file=file,
            path=path,
            hospital=self._hospital,
            patient=about.patient,
            study=about.study,
            view=view,
            device=header.device if header else about.device,
            finding=about.finding,
            mask=masks or None,
            instance=self.key(image),
            is_inverted=about.is_inverted,
            modality=about.modality,
            acquisition=header.acquisition if header else {},
        )


def listed(text: str) -> list[str]:
    """The entries of a list as Python prints it, "['normal', 'nodule']", or with tabs in the place of the commas."""
    entries = (entry.strip(" '\"\n\r") for entry in re.split(r"[,\t]", text.strip().strip("[]")))
    return [entry for entry in entries if entry]


def tuberculosis_of(image: PurePath, start: str) -> tuple[str, str]:
    """Patient and finding in the names of the NLM's two sets: MCUCXR_0001_0.png is patient 1, without tuberculosis.

    Raises:
        DataError: the name is another one.
    """
    named = re.fullmatch(rf"{start}_(\d+)_([01])", image.stem)
    if named is None:
        raise DataError(f"The name is not one of the set, {start}, four digits, and 0 or 1.")
    return f"{start}_{named[1]}", ("Normal", "Tuberculosis")[int(named[2])]


def lines(path: Path) -> list[str]:
    """The lines of a list that comes with a set.

    Raises:
        ConfigError: it is not there, or no text.
    """
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"root: the set's list '{path.name}' is not there. Give the folder that holds it.") from None
