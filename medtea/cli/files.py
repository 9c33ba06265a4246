"""Files written for others: a table as DICOM, DICOM without its patients, a run sent to a tracking server."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medtea.cli.screen import out
from medtea.core.errors import UsageError
from medtea.core.pseudonyms import pseudonyms
from medtea.core.settings import parse
from medtea.core.tracking import sync
from medtea.ingest.dicomize import Dicomized, dicomize
from medtea.ingest.release import LABELS, TABLE, LabelTable, code_of, release
from medtea.ingest.sources import table
from medtea.ingest.sources.source import files_below
from medtea.ingest.workers import Limits, usable_cores


class By(StrEnum):
    """What a row of a table of labels is about."""

    PATIENT = "patient"
    STUDY = "study"
    INSTANCE = "instance"


def dicomize_command(
    source: Annotated[Path, typer.Argument(help="A CSV with one row per image, or the folder of a manifest.csv.")],
    to: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the DICOM trees, one per hospital.")],
    hospitals: Annotated[list[str] | None, typer.Option("--hospital", help="Only this one. May be repeated.")] = None,
) -> None:
    """Write a table of images as DICOM, each hospital in another vendor's manner.

    Says per hospital how many files were written, kept from an earlier run, and refused for which reason.

    To read them in place of a config's own source:

    medtea run CONFIG --set ingest.source=dicom_tree --set 'ingest.options={root: OUT}'
    """
    if source.is_dir() and (source / "manifest.csv").is_file():
        source = source / "manifest.csv"
    counts = dicomize(parse(table.Settings, {"path": source, "hospitals": tuple(hospitals or ())}), to)
    for hospital, count in counts.items():
        for line in _in_words(hospital, count):
            out.print(line, markup=False, highlight=False, soft_wrap=True)


def deidentify_command(
    source: Annotated[Path, typer.Argument(help="A folder of DICOM files, in any depth; it is not changed.")],
    to: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the new files, apart from the source.")],
    hospital: Annotated[str, typer.Option("--hospital", help="Whose they are: the folder below OUT.")] = "hospital",
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="Also write radiographs with what looks like text on the border.")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", metavar="CSV", help="Write it again with the new numbers: OUT/deidentified_labels.csv."
        ),
    ] = None,
    by: Annotated[By, typer.Option("--by", help="What a row of it is about.")] = By.PATIENT,
    key: Annotated[str | None, typer.Option("--key", help="Its column with that number; called as BY is.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", help="A column of it that is copied; finding. May be repeated.")
    ] = None,
    processes: Annotated[int | None, typer.Option("--processes", min=1, help="As many as cores.")] = None,
    seconds_per_file: Annotated[float, typer.Option("--seconds-per-file", min=0.1, help="More: refused.")] = 60,
    memory_per_file_mb: Annotated[int, typer.Option("--memory-per-file-mb", min=64, help="More: refused.")] = 4096,
    where: Annotated[
        str | None, typer.Option("--where", help="Write nothing; print the path behind a code of the table, for you.")
    ] = None,
) -> None:
    """Write CR and DX files again without their patients (PS3.15: Basic Profile, device, characteristics, new dates).

    Pseudonyms, UIDs and dates follow from your key (MEDTEA_KEY or the key file), the same in every run. With --labels
    a table of findings gets the new numbers, and the new folder can be read with ingest.labels.
    """
    names = pseudonyms()
    if where is not None:
        path = next((path for path in files_below(source) if code_of(source, path, names) == where), None)
        if path is None:
            raise UsageError(f"'{where}' is no code of a file in this folder, or was made with another key.")
        out.print(str(path), markup=False, highlight=False, soft_wrap=True)
        return
    table_of_labels = None
    if labels is not None:
        table_of_labels = LabelTable(labels, by=by.value, key=key, keep=tuple(keep or ("finding",)))
    limits = Limits(processes or usable_cores(), seconds_per_file, memory_per_file_mb)
    done = release(source, to, names, hospital=hospital, keep_text=keep_text, labels=table_of_labels, limits=limits)
    out.print(
        f"{done.written} written, {done.kept} kept, {done.refused.total()} refused ({TABLE} lists them); "
        f"{done.with_text} written with what looks like text on the border"
    )
    for reason, files in done.refused.most_common():
        out.print(f"  {files} refused: {reason}", markup=False, highlight=False, soft_wrap=True)
    if labels is not None:
        out.print(f"{done.labels} rows of labels belong to files that are there ({LABELS})")


def sync_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")],
    uri: Annotated[str, typer.Argument(envvar="MLFLOW_TRACKING_URI", help="The tracking server.")],
) -> None:
    """Send a run to an MLflow server; what it has already is not sent again."""
    sent = sync(folder, uri)
    counts = ", ".join(f"{count} {what}" for what, count in vars(sent).items())
    out.print(f"sent: {counts}", soft_wrap=True)


def _in_words(hospital: str, count: Dicomized) -> Iterator[str]:
    """One line for the hospital, and one for each reason to refuse a row."""
    vendor = count.vendor
    yield (
        f"{hospital}: {count.written} written, {count.kept} kept, {count.refused.total()} refused; "
        f"{vendor.manufacturer} {vendor.model}, {vendor.photometric}, {vendor.bits} bits, {vendor.syntax.name}"
    )
    for reason, rows in count.refused.most_common():
        yield f"  {rows} refused: {reason}"
