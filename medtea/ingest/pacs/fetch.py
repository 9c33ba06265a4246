"""What a query matches is listed, then received: nothing twice, nothing lost, whenever the process ends."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from functools import partial
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

from pydicom import dcmread
from pydicom.dataset import Dataset

from medtea.core.errors import ConfigError
from medtea.core.progress import Count, counter, track
from medtea.core.work import digest_of
from medtea.ingest.pacs import dicomweb, dimse
from medtea.ingest.pacs.cache import OpenShelf, Shelf
from medtea.ingest.pacs.crew import Crew, Pace
from medtea.ingest.pacs.protocol import (
    STORAGE_CLASSES,
    Connection,
    DeniedError,
    Instance,
    NotSentError,
    UnavailableError,
    quiet,
)
from medtea.ingest.pacs.receiver import Listener, Receiver
from medtea.ingest.pacs.settings import LOOPBACK, Dicomweb, Hospital, Manners, Own, Query

LISTED = {"accession_number": "AccessionNumber", "patient_id": "PatientID"}
WILDCARDS = frozenset("*?\\")
FAILURES_IN_A_ROW = 5
"""So many images that did not come, one after the other, and the hospital is left for now."""


@dataclass(frozen=True)
class Archive:
    """One hospital of a config, with all that is needed to ask it."""

    name: str
    hospital: Hospital
    query: Query
    own: Own
    manners: Manners

    @property
    def digest(self) -> str:
        """What the list of wanted images is kept under: another archive, query or table is another list."""
        rows = listed(self.query.listed_in) if self.query.listed_in is not None else []
        query = self.query.model_dump(mode="json", exclude={"listed_in"})
        return digest_of({"archive": self.hospital.address, "query": query, "listed": rows})[:32]

    def connect(self, pace: Callable[[], None], receiver: Receiver) -> Connection:
        """A connection, which says nothing yet.

        Raises:
            ConfigError: a variable is not set, a password would go over the network in plain text, or ca_file is
                no file.
        """
        if self.hospital.ca_file is not None and not self.hospital.ca_file.is_file():
            raise ConfigError(f"hospitals.{self.name}.ca_file: there is no such file.")
        if isinstance(self.hospital, Dicomweb):
            known = credentials(self.name, self.hospital, os.environ)
            return dicomweb.Connection(self.hospital, self.manners, known, pace)
        return dimse.Connection(self.hospital, self.own, self.manners, receiver, pace)

    def crew(self, stack: ExitStack) -> Crew:
        """Connections, and for C-MOVE the port that images arrive at, until the stack is left."""
        receiver = Receiver()
        if not isinstance(self.hospital, Dicomweb) and self.hospital.retrieve == "move":
            receiver = stack.enter_context(Listener(self.hospital, self.own, self.manners))
        pace = Pace(self.manners.requests_per_second)
        self.connect(pace, receiver).close()  # what is wrong in the settings is said at once
        return stack.enter_context(Crew(partial(self.connect, pace, receiver), self.manners))

    def searches(self) -> Iterator[dict[str, str]]:
        """What studies are asked for by, one search each.

        Raises:
            ConfigError: the table of the query cannot be used.
        """
        since, until = self.query.since, self.query.until
        common = {"StudyDate": f"{_day(since)}-{_day(until)}"} if since or until else {}
        if self.query.listed_in is None:
            yield from (common | {"ModalitiesInStudy": modality} for modality in self.query.modality)
        else:
            yield from (common | row for row in listed(self.query.listed_in))


def fetch(archive: Archive, cache: Path, *, again: bool = False) -> str:
    """List what is wanted and receive what is missing; "" when all is there, else what is not and why.

    Args:
        archive: Whom to ask for what.
        cache: Where images are received.
        again: Ask anew for what the query matches, though it was answered before.

    Raises:
        ConfigError: a setting is wrong; nothing was asked.
    """
    shelf = Shelf(cache, archive.name, archive.digest)
    if shelf.is_listed and not again and not shelf.missing():
        return ""
    with quiet(), shelf.open() as opened, ExitStack() as stack:
        if again:
            opened.forget_answers()
        try:
            crew = archive.crew(stack)
            if not shelf.is_listed:
                _list(archive, opened, crew)
        except (UnavailableError, DeniedError) as problem:
            return f"{archive.name}: the search was not answered to its end. {problem}"
        last = Receiving(shelf, opened, crew).run(archive.name)
    missing, wanted = len(shelf.missing()), len(shelf.wanted())
    return f"{archive.name}: {missing} of {wanted} images are missing. {last}" if missing else ""


def _list(archive: Archive, opened: OpenShelf, crew: Crew) -> None:
    """Write down every image that the query matches, study by study."""
    studies = opened.unlisted_studies()
    if studies is None:
        opened.add_studies(crew.once(partial(find_studies, archive)))
        studies = opened.unlisted_studies() or []
    limit = archive.query.limit
    found = crew.map(partial(find_instances, query=archive.query), studies)
    for study, instances in zip(studies, track(found, f"{archive.name}: searching", total=len(studies)), strict=True):
        room = len(instances) if limit is None else limit - opened.count()
        opened.add_instances(study, instances[: max(room, 0)])
        if limit is not None and opened.count() >= limit:
            break
    opened.finish_listing()


def find_studies(archive: Archive, connection: Connection) -> dict[str, int | None]:
    """Every study that matches, by StudyInstanceUID, with the number of instances that the archive says it has."""
    return {study: size for keys in archive.searches() for study, size in connection.studies(keys)}


def find_instances(connection: Connection, study: str, *, query: Query) -> list[Instance]:
    """The images of one study that the query wants, sorted.

    Modality and body part are matched here: matching of the second is optional for an archive, and what it leaves
    unsaid is wanted.
    """
    parts = {part.upper() for part in query.body_part}
    found: list[Instance] = []
    for series in connection.series(study):
        if series.modality and series.modality not in query.modality:
            continue
        if parts and series.body_part and series.body_part.strip().upper() not in parts:
            continue
        found += connection.instances(study, series.uid)
    return sorted((one for one in found if not one.kind or one.kind in STORAGE_CLASSES), key=lambda one: one.uid)


class Receiving:
    """One hospital's missing images, one after the other on each connection."""

    def __init__(self, shelf: Shelf, opened: OpenShelf, crew: Crew) -> None:
        self.shelf, self.opened, self.crew = shelf, opened, crew

    def run(self, name: str) -> str:
        """Receive what is missing; why something still is, "" if nothing."""
        missing = self.shelf.missing()
        with counter(f"{name}: receiving", len(missing)) as count:
            return self._all(missing, count)

    def _all(self, missing: list[Instance], count: Count) -> str:
        failed, in_a_row, last = dict[str, str](), 0, ""
        results = self.crew.try_each(self._one, missing)
        try:
            for instance, problem in zip(missing, results, strict=True):
                count(refused=problem is not None)
                in_a_row = in_a_row + 1 if problem is not None else 0
                last = str(problem) if problem is not None else last
                if isinstance(problem, NotSentError) or (problem is not None and problem.is_answer):
                    failed[instance.uid] = str(problem)
                if in_a_row >= FAILURES_IN_A_ROW:
                    return last
        except (UnavailableError, DeniedError) as problem:
            return str(problem)
        if self.shelf.received():  # else it is not one image or another: nothing comes at all
            self.opened.give_up(failed)
        return last

    def _one(self, connection: Connection, instance: Instance) -> NotSentError | None:
        """None when it came; what was wrong with this one image alone."""
        try:
            connection.retrieve(instance, partial(self._take, instance))
        except NotSentError as problem:
            return problem
        return None

    def _take(self, wanted: Instance, data: bytes) -> None:
        check(wanted, data)
        try:
            self.opened.write(wanted.uid, data)
        except OSError as problem:
            raise DeniedError(f"cache: an image cannot be written ({type(problem).__name__}); is there room?") from None


def check(wanted: Instance, data: bytes) -> None:
    """Returns when this is the file that was asked for, and whole.

    Raises:
        NotSentError: it is another one, of another kind, or no DICOM.
        UnavailableError: it is cut.
    """
    try:
        dataset = dcmread(BytesIO(data))
        uid, kind = str(dataset.get("SOPInstanceUID")), str(dataset.get("SOPClassUID"))
        is_whole = _is_whole(dataset)
    except Exception as problem:  # what is no DICOM makes pydicom raise almost any kind
        raise NotSentError(f"What the archive sent is no DICOM file ({type(problem).__name__}).") from None
    if uid != wanted.uid:
        raise NotSentError("The archive sent another image than the one that was asked for.")
    if kind not in STORAGE_CLASSES:
        raise NotSentError("SOPClassUID (0008,0016) is none of CR, DX and secondary capture.")
    if not is_whole:
        raise UnavailableError("The image came without the end of its pixels.")


def _is_whole(dataset: Dataset) -> bool:
    """Whether the pixels are there, and of those that are not compressed as many as the header says."""
    if "PixelData" not in dataset:
        return False
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return True
    sizes = (dataset.get(name) for name in ("Rows", "Columns", "BitsAllocated"))
    rows, columns, bits = (size if isinstance(size, int) else 0 for size in sizes)
    return len(dataset.PixelData) >= rows * columns * bits // 8


def listed(table: Path) -> list[dict[str, str]]:
    """One query for each row of a CSV of accession or patient numbers.

    Raises:
        ConfigError: it cannot be read, lacks both columns, is empty, or a value holds a wildcard.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns = [name for name in LISTED if name in (reader.fieldnames or ())]
            rows = [{name: (row[name] or "").strip() for name in columns} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise ConfigError(f"listed_in: the CSV cannot be read ({type(problem).__name__}); give UTF-8.") from None
    if not columns:
        raise ConfigError(f"listed_in: the CSV has no column {' or '.join(LISTED)}.")
    for number, row in enumerate(rows, start=2):
        if WILDCARDS.intersection("".join(row.values())):
            raise ConfigError(f"listed_in: line {number} holds * ? or \\, which would match others too. Correct it.")
    keys = [{LISTED[name]: value for name, value in row.items() if value} for row in rows]
    if not any(keys):
        raise ConfigError("listed_in: the CSV lists nothing, so that nothing would be asked for.")
    return _once(one for one in keys if one)


def _once(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return [dict(one) for one in dict.fromkeys(tuple(sorted(row.items())) for row in rows)]


def credentials(name: str, hospital: Dicomweb, environment: Mapping[str, str]) -> dict[str, str]:
    """User and password, or a token, as the environment holds them.

    Raises:
        ConfigError: a variable is not set, or they would cross the network in plain text.
    """
    named = {"user": hospital.user_variable, "password": hospital.password_variable, "token": hospital.token_variable}
    found = {}
    for what, variable in named.items():
        if variable is None:
            continue
        if not environment.get(variable):
            raise ConfigError(
                f"hospitals.{name}: the environment variable {variable} is not set; it is to hold the {what}."
            )
        found[what] = environment[variable]
    if found and hospital.url.startswith("http://") and not hospital.unencrypted and not _is_here(hospital.url):
        raise ConfigError(
            f"hospitals.{name}.url: over http:// the password could be read on its way. Use https://, or, in a network "
            "that you trust, set unencrypted: true."
        )
    return found


def _day(day: date | None) -> str:
    return f"{day:%Y%m%d}" if day else ""


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK
