"""Files of several hospitals become an index and arrays; every file found ends as accepted or refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap
from pydantic import Field as Bound
from pydantic import model_validator

from medtea.core import bay
from medtea.core.errors import ConfigError, DataError, nearest
from medtea.core.names import IndexArtefact, Role
from medtea.core.progress import track
from medtea.core.settings import StrictSettings, expand, parse
from medtea.core.work import Work, write_array, write_csv
from medtea.data.acquisition import write_acquisition
from medtea.data.index import write_index
from medtea.data.reader import read_mask, read_radiograph
from medtea.data.views import UNKNOWN
from medtea.ingest import sources
from medtea.ingest.acquisition import row_of
from medtea.ingest.burned_in import TextPolicy, judged
from medtea.ingest.deidentify import Pseudonyms, pseudonyms
from medtea.ingest.duplicates import near_pairs
from medtea.ingest.leaks import PAIR_COLUMNS, Policy, left_out, pair_rows, refuse_leak
from medtea.ingest.quality import How, prepare
from medtea.ingest.sources.source import Candidate, Refused, Source
from medtea.ingest.splits import split_patients

Array = np.ndarray[Any, Any]
SEVERAL = "|"
"""Between the findings of one radiograph."""


class Settings(StrictSettings):
    """What comes in, and what each hospital is for.

    Attributes:
        source: A file of medtea/ingest/sources.
        options: The source's own settings (see its file).
        positive: Findings that make label 1; one of them is enough.
        negative: Findings that make label 0. A radiograph with neither is unlabelled.
        train: Hospitals to learn from and to select on; their test split is IID.
        external: Hospitals that no training or selection step sees: OOD. A hospital in neither list serves the
            segmenter alone.
        size: Rows and columns of every radiograph from here on.
        fit: "stretch": the collimated field fills the square. "pad": the sides' ratio is kept, black is added.
        val_share: Share of a training hospital's patients for validation.
        test_share: Share for the IID test.
        duplicates: What becomes of two radiographs of different patients that are nearly one picture, where one would
            be trained on and the other tested on. "refuse": ingest ends with both ids. "drop": the one that would be
            trained on is refused. "flag": both stay. All such pairs are listed in duplicates.csv in any case.
        burned_in: What becomes of radiographs with burned-in text, declared by a tag or seen on the border. "flag":
            they stay, see acquisition.parquet. "refuse": they are refused. "ignore": nobody looks.
        keep_year: Whether acquisition.parquet says in which year a radiograph was taken.
        patient_ids: "shared": the same number at two hospitals is one patient. "per_hospital": it is two.
    """

    source: str
    options: dict[str, Any] = Bound(default_factory=dict)
    positive: tuple[str, ...] = Bound(min_length=1)
    negative: tuple[str, ...] = Bound(min_length=1)
    train: tuple[str, ...] = Bound(min_length=1)
    external: tuple[str, ...] = ()
    size: int = Bound(96, ge=32, le=1024)
    fit: How = "stretch"
    val_share: float = Bound(0.15, ge=0, lt=1)
    test_share: float = Bound(0.2, ge=0, lt=1)
    patient_ids: Literal["shared", "per_hospital"] = "shared"
    duplicates: Policy = "refuse"
    burned_in: TextPolicy = "flag"
    keep_year: bool = True

    @model_validator(mode="before")
    @classmethod
    def _filled_options(cls, content: Any) -> Any:
        """Check the source's own settings, and write their defaults down."""
        if not isinstance(content, dict) or not isinstance(content.get("source"), str):
            return content
        module = bay.load(sources, content["source"], "ingest.source")
        options = parse(module.Settings, content.get("options") or {}, "ingest.options")
        return content | {"options": options.model_dump(mode="json")}

    @model_validator(mode="after")
    def _no_overlap(self) -> Settings:
        for first, second, what in (
            (self.train, self.external, "train and external"),
            (self.positive, self.negative, "positive and negative"),
        ):
            both = sorted(set(first) & set(second))
            if both:
                raise ValueError(f"'{both[0]}' stands in both {what}")
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share and test_share leave nothing to train on; together they are below 1")
        return self

    def role(self, hospital: str) -> Role:
        """What a hospital is for."""
        if hospital in self.train:
            return Role.TRAIN
        return Role.EXTERNAL if hospital in self.external else Role.EXTRA

    def label(self, finding: str | None) -> int | None:
        """1, 0 or None for a finding as the source writes it."""
        found = {part.strip() for part in (finding or "").split(SEVERAL)}
        if found & set(self.positive):
            return 1
        return 0 if found & set(self.negative) else None


@dataclass
class Accepted:
    """The radiographs so far: rows of the index, and how many of each pixel digest."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)


def run(work: Work, settings: Settings) -> IndexArtefact:
    """Leave the index, the arrays, refused.csv and flow.csv.

    Raises:
        ConfigError: a hospital of `train` or `external` does not occur.
        DataError: nothing could be used, or a patient is on both sides of a split.
    """
    source = open_source(settings, work.folder, work.seed)
    names = pseudonyms()
    stage = work.stage("ingest", settings, source=f"{source.fingerprint()}/{names.key_digest}")
    index = IndexArtefact(stage.folder)
    if stage.is_finished:
        return index
    found = list(source.find())
    _refuse_unknown_hospitals(settings, {one.hospital for one in found})
    candidates = [one for one in found if isinstance(one, Candidate)]
    refused = [one for one in found if isinstance(one, Refused)]
    accepted = Accepted()
    shape = (max(len(candidates), 1), settings.size, settings.size)
    pictures = open_memmap(_part(index.radiographs), mode="w+", dtype=np.float16, shape=shape)
    masks = open_memmap(_part(index.given_masks), mode="w+", dtype=np.uint8, shape=shape)
    for candidate in track(candidates, "reading radiographs"):
        try:
            row, picture, mask = _read(candidate, settings, names)
            if row["digest"] in accepted.digests:
                raise DataError("Its pixels are those of another radiograph that was accepted before it.")
        except DataError as error:
            refused.append(Refused(candidate.file, candidate.hospital, str(error)))
            continue
        pictures[len(accepted.rows)], masks[len(accepted.rows)] = picture, mask
        accepted.digests.add(row["digest"])
        accepted.rows.append(row)
    write_csv(index.refused, [vars(one) for one in refused], ["file", "hospital", "reason"])
    if not accepted.rows:
        raise DataError(
            f"None of the {len(found)} files found can be used. "
            + (f"The first reason: {refused[0].reason}" if refused else "Is the path right?")
        )
    table = _table(accepted.rows, settings, work.seed)
    pairs = near_pairs(pictures[: len(table)], track)
    write_csv(index.duplicates, pair_rows(table, pairs, settings.duplicates), PAIR_COLUMNS)
    if settings.duplicates == "refuse":
        refuse_leak(table, pairs)
    if settings.duplicates == "drop":
        dropped = left_out(table, pairs)
        refused += [Refused(table["file"][row], table["hospital"][row], reason) for row, reason in dropped.items()]
        write_csv(index.refused, [vars(one) for one in refused], ["file", "hospital", "reason"])
        table = table.drop(index=list(dropped))
    _finish_arrays(index, pictures, masks, table.index.to_numpy())
    write_csv(index.flow, flow(found, refused, table), FLOW)
    write_acquisition(index.acquisition, table["radiograph"], table["acquisition"].tolist())
    write_index(index.index, table)
    for artefact in (index.refused, index.flow):
        work.tracker.artefact(artefact)
    work.tracker.params({"index.digest": hashlib.sha256(index.index.read_bytes()).hexdigest()})
    work.say(f"ingest: {len(found)} files found, {len(table)} accepted, {len(refused)} refused (ingest/refused.csv)")
    stage.finish(found=len(found), accepted=len(table), refused=len(refused))
    return index


def open_source(settings: Settings, folder: Path, seed: int) -> Source:
    """The source that the settings name; what it makes lies below the run folder."""
    module = bay.load(sources, settings.source, "ingest.source")
    options = parse(module.Settings, expand(settings.options), "ingest.options")
    source: Source = module.Source(options, workspace=folder / "source", seed=seed)
    return source


def _read(candidate: Candidate, settings: Settings, names: Pseudonyms) -> tuple[dict[str, Any], Array, Array]:
    """One radiograph's row, picture and mask.

    Raises:
        DataError: it cannot be used.
    """
    radiograph = read_radiograph(candidate.path)
    mask = None if candidate.mask is None else read_mask(candidate.mask)
    said = str(candidate.acquisition.get("text_on_border", UNKNOWN))
    text = judged(radiograph, said, settings.burned_in)
    picture, fitted_mask = prepare(radiograph, mask, size=settings.size, how=settings.fit)
    # Without a patient's number, the images of one study are at least known to be of one patient.
    patient = candidate.patient or candidate.study or candidate.file
    where = candidate.hospital if settings.patient_ids == "per_hospital" or candidate.patient is None else ""
    label = settings.label(candidate.finding)
    row = {
        "hospital": candidate.hospital,
        "patient": names.patient(patient, hospital=where),
        "study": names.study(candidate.study or candidate.file, hospital=where),
        "view": candidate.view,
        "device": candidate.device,
        "label": pd.NA if label is None else label,
        "has_mask": mask is not None,
        "role": settings.role(candidate.hospital).value,
        "group": candidate.hospital,
        "file": candidate.file,
        "acquisition": {
            **row_of(candidate.acquisition, names, hospital=candidate.hospital, keep_year=settings.keep_year),
            "text_on_border": text,
        },
        "digest": hashlib.sha256(np.ascontiguousarray(radiograph).tobytes()).hexdigest(),
    }
    return row, picture, fitted_mask


def _table(rows: list[dict[str, Any]], settings: Settings, seed: int) -> pd.DataFrame:
    """The index, with our own ids and the splits."""
    table = pd.DataFrame(rows)
    table["radiograph"] = [f"r{number:06d}" for number in range(1, len(table) + 1)]
    labels = [None if pd.isna(label) else int(label) for label in table["label"]]
    splits = split_patients(
        table["patient"].tolist(),
        table["hospital"].tolist(),
        labels,
        roles={hospital: settings.role(hospital) for hospital in table["hospital"].unique()},
        seed=seed,
        validation=settings.val_share,
        test=settings.test_share,
    )
    return table.assign(split=[split.value for split in splits])


FLOW = ("hospital", "role", "found", "refused", "accepted", "labelled", "positive", "patients")


def flow(found: Iterable[Candidate | Refused], refused: Iterable[Refused], table: pd.DataFrame) -> list[dict[str, Any]]:
    """How many files of each hospital came how far: found = accepted + refused."""
    counts_found = pd.Series([one.hospital for one in found], dtype=str).value_counts()
    counts_refused = pd.Series([one.hospital for one in refused], dtype=str).value_counts()
    rows = []
    for hospital in sorted(counts_found.index):
        part = table[table["hospital"] == hospital]
        rows.append(
            {
                "hospital": hospital,
                "role": part["role"].iloc[0] if len(part) else "",
                "found": int(counts_found[hospital]),
                "refused": int(counts_refused.get(hospital, 0)),
                "accepted": len(part),
                "labelled": int(part["label"].notna().sum()),
                "positive": int(part["label"].eq(1).sum()),
                "patients": int(part["patient"].nunique()),
            }
        )
    return rows


def _refuse_unknown_hospitals(settings: Settings, found: set[str]) -> None:
    for setting in ("train", "external"):
        for hospital in getattr(settings, setting):
            if hospital not in found:
                raise ConfigError(
                    f"ingest.{setting}: no file of a hospital '{hospital}' was found. {nearest(hospital, found - {''})}"
                )


def _part(path: Path) -> Path:
    """Where an array grows before its length is known."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.stem}.part.npy")


def _finish_arrays(index: IndexArtefact, pictures: Array, masks: Array, rows: Array) -> None:
    """Write the rows that stay under their final names."""
    for path, array in ((index.radiographs, pictures), (index.given_masks, masks)):
        for place, row in enumerate(rows):
            if place != row:
                array[place] = array[row]
        write_array(path, array[: len(rows)])
        _part(path).unlink()
