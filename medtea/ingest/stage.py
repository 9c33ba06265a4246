"""Files of several hospitals become an index and arrays; every file found ends as accepted or refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pandas as pd
from numpy.lib.format import write_array_header_1_0
from pydantic import Field as Bound
from pydantic import model_validator

from medtea.core import bay
from medtea.core.errors import ConfigError, DataError, nearest
from medtea.core.names import IndexArtefact, Role
from medtea.core.progress import track
from medtea.core.pseudonyms import Pseudonyms, pseudonyms
from medtea.core.settings import StrictSettings, expand, parse
from medtea.core.work import Work, write_atomically, write_csv
from medtea.data.acquisition import write_acquisition, write_facts
from medtea.data.choices import Choices
from medtea.data.index import write_index
from medtea.ingest import sources
from medtea.ingest.acquisition import row_of
from medtea.ingest.answers import answer_all
from medtea.ingest.burned_in import TextPolicy
from medtea.ingest.cluster import ClusterPool
from medtea.ingest.decode import MASK, PICTURE, parts_of
from medtea.ingest.duplicates import near_pairs
from medtea.ingest.labels import UNMATCHED, Labels, LabelSettings, label_of
from medtea.ingest.leaks import PAIR_COLUMNS, Policy, left_out, pair_rows, refuse_leak
from medtea.ingest.quality import How
from medtea.ingest.scan import accepting
from medtea.ingest.sources.source import Candidate, Refused, Source
from medtea.ingest.splits import split_patients
from medtea.ingest.store import Store
from medtea.ingest.workers import Limits, LocalPool, as_current, usable_cores

STORE = Path("decoded") / "answers.sqlite"
"""Below the run folder, not the stage's own, which is emptied when the source has grown."""
FREE = {"processes", "cluster"}
"""Settings that change nothing of what comes out."""
NOT_OF_PIXELS = {"source", "options", "positive", "negative", "train", "external", "val_share", "test_share"}
NOT_OF_PIXELS |= {"patient_ids", "keep_year", "labels", "duplicates", "seconds_per_file", "memory_per_file_mb"} | FREE
"""Settings that change nothing of a picture: with others of these no file is decoded again."""


class Settings(StrictSettings):
    """What comes in, and what each hospital is for.

    Attributes:
        source: A file of medtea/ingest/sources.
        options: The source's own settings (see its file).
        labels: A CSV whose findings take the place of the source's own, see `LabelSettings`.
        positive: Findings that make label 1; one of them is enough.
        negative: Findings that make label 0. A radiograph with neither is unlabelled.
        train: Hospitals to learn from and to select on; their test split is IID.
        external: Hospitals that no training or selection step sees: OOD. A hospital in neither list serves the
            segmenter alone.
        size: Rows and columns of every radiograph from here on.
        fit: "stretch": the collimated field fills the square. "pad": the sides' ratio is kept, black is added.
        reading: How a file's grey values and sides go, and which kinds of DICOM image are taken (docs/ingest.md).
        val_share: Share of a training hospital's patients for validation.
        test_share: Share for the IID test.
        lung_segments: SegmentLabel of the segments of a DICOM Segmentation that are lung; when empty, those that are
            coded as lung.
        duplicates: What becomes of radiographs of different patients that are nearly one picture, where one would be
            trained on and another tested on. "refuse": ingest ends with the ids of two. "drop": those that would be
            trained on are refused. "flag": all stay. All such groups are listed in duplicates.csv in any case.
        burned_in: What becomes of radiographs with burned-in text, declared by a tag or seen on the border. "flag":
            they stay, see acquisition.parquet. "refuse": they are refused. "ignore": nobody looks.
        keep_year: Whether acquisition.parquet says in which year a radiograph was taken.
        patient_ids: "shared": the same number at two hospitals is one patient. "per_hospital": it is two.
        processes: Worker processes that open the files; as many as cores where nothing is said.
        seconds_per_file: A file that takes longer is refused.
        memory_per_file_mb: A file that needs more is refused (on Linux; elsewhere nothing limits it).
        cluster: Address of a Dask scheduler whose workers open the files in the place of this machine's; ${NAME} is an
            environment variable.
    """

    source: str
    options: dict[str, Any] = Bound(default_factory=dict)
    labels: LabelSettings | None = None
    positive: tuple[str, ...] = Bound(min_length=1)
    negative: tuple[str, ...] = Bound(min_length=1)
    train: tuple[str, ...] = Bound(min_length=1)
    external: tuple[str, ...] = ()
    size: int = Bound(96, ge=32, le=1024)
    fit: How = "stretch"
    reading: Choices = Choices()
    val_share: float = Bound(0.15, ge=0, lt=1)
    test_share: float = Bound(0.2, ge=0, lt=1)
    lung_segments: tuple[str, ...] = ()
    patient_ids: Literal["shared", "per_hospital"] = "shared"
    duplicates: Policy = "refuse"
    burned_in: TextPolicy = "flag"
    keep_year: bool = True
    processes: int | None = Bound(None, ge=1)
    seconds_per_file: float = Bound(60, gt=0, le=86_400)
    memory_per_file_mb: int = Bound(4096, ge=64)
    cluster: str | None = None

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

    @property
    def limits(self) -> Limits:
        """What the workers are held to."""
        return Limits(self.processes or usable_cores(), self.seconds_per_file, self.memory_per_file_mb)

    @property
    def of_pixels(self) -> dict[str, Any]:
        """The settings that a picture depends on."""
        return self.model_dump(mode="json", exclude=NOT_OF_PIXELS)

    def role(self, hospital: str) -> Role:
        """What a hospital is for."""
        if hospital in self.train:
            return Role.TRAIN
        return Role.EXTERNAL if hospital in self.external else Role.EXTRA

    def label(self, finding: str | None) -> int | None:
        """1, 0 or None for a finding as the source writes it."""
        return label_of(finding, self.positive, self.negative)


def run(work: Work, settings: Settings) -> IndexArtefact:
    """Leave the index, the arrays, refused.csv and flow.csv.

    Raises:
        ConfigError: a hospital of `train` or `external` does not occur.
        DataError: nothing could be used, or a patient is on both sides of a split.
    """
    source = open_source(settings, work.folder, work.seed)
    names = pseudonyms()
    lasting = settings.model_copy(update={**dict.fromkeys(FREE), "options": lasting_options(settings)})
    labels = open_labels(settings)
    digests = [source.fingerprint(), names.key_digest, *([labels.digest] if labels else [])]
    stage = work.stage("ingest", lasting, source="/".join(digests))
    index = IndexArtefact(stage.folder)
    if stage.is_finished:
        return index
    with (
        open_pool(settings) as pool,
        as_current(pool),
        accepting(settings.reading.accept),
        Store(work.folder / STORE, settings.limits) as store,
    ):
        found = list(labels.joined(source.find()) if labels else source.find())
        if labels:
            write_csv(stage.folder / "labels_unmatched.csv", labels.unmatched, UNMATCHED)
            work.say(labels.summary)
        _refuse_unknown_hospitals(settings, {one.hospital for one in found})
        candidates = [one for one in found if isinstance(one, Candidate)]
        entries, known = answer_all(candidates, settings.of_pixels, pool=pool, store=store)
        refused = [one for one in found if isinstance(one, Refused)]
        rows, accepted = _accept(candidates, entries, store, settings, names, refused)
        write_csv(index.refused, [vars(one) for one in refused], ["file", "hospital", "reason"])
        if not rows:
            raise DataError(
                f"None of the {len(found)} files found can be used. "
                + (f"The first reason: {refused[0].reason}" if refused else "Is the path right?")
            )
        table = _table(rows, settings, work.seed)
        _write_arrays(index, store, accepted, settings.size)
        dropped = _near_duplicates(index, table, settings.duplicates)
        if dropped:
            refused += [Refused(table["file"][row], table["hospital"][row], reason) for row, reason in dropped.items()]
            write_csv(index.refused, [vars(one) for one in refused], ["file", "hospital", "reason"])
            table = table.drop(index=list(dropped))
            _write_arrays(index, store, [accepted[row] for row in table.index], settings.size)
        write_csv(index.flow, flow(found, refused, table), FLOW)
        write_facts(index.reading, table["radiograph"], table["reading"].tolist())
        write_acquisition(index.acquisition, table["radiograph"], table["acquisition"].tolist())
        write_index(index.index, table)
        store.keep_only(entries)
    for artefact in (index.refused, index.flow):
        work.tracker.artefact(artefact)
    work.tracker.params({"index.digest": hashlib.sha256(index.index.read_bytes()).hexdigest()})
    work.say(
        f"ingest: {len(found)} files found, {len(table)} accepted, {len(refused)} refused (ingest/refused.csv)"
        + (f"; {known} were decoded before" if known else "")
    )
    stage.by_content = True
    stage.finish(found=len(found), accepted=len(table), refused=len(refused))
    return index


def open_source(settings: Settings, folder: Path, seed: int) -> Source:
    """The source that the settings name; what it makes lies below the run folder."""
    module = bay.load(sources, settings.source, "ingest.source")
    options = parse(module.Settings, expand(settings.options), "ingest.options")
    source: Source = module.Source(options, workspace=folder / "source", seed=seed)
    return source


def lasting_options(settings: Settings) -> dict[str, Any]:
    """The source's options without those that it calls FREE: with others of these nothing need run again."""
    free: frozenset[str] = getattr(bay.load(sources, settings.source, "ingest.source"), "FREE", frozenset())
    return {name: value for name, value in settings.options.items() if name not in free}


def open_pool(settings: Settings) -> LocalPool | ClusterPool:
    """Whoever opens the files: this machine's processes, or a cluster's."""
    if settings.cluster is None:
        return LocalPool(settings.limits)
    return ClusterPool(expand(settings.cluster), settings.limits)


def open_labels(settings: Settings) -> Labels | None:
    """The labels that the settings name, if any."""
    if settings.labels is None:
        return None
    return Labels(parse(LabelSettings, expand(settings.labels.model_dump(mode="json")), "ingest.labels"))


def _accept(
    candidates: Sequence[Candidate],
    entries: Sequence[str],
    store: Store,
    settings: Settings,
    names: Pseudonyms,
    refused: list[Refused],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows and entries of the radiographs, in the candidates' order; what cannot be used joins `refused`."""
    rows: dict[str, dict[str, Any]] = {}
    accepted = []
    for candidate, entry in zip(candidates, entries, strict=True):
        reply = store[entry]
        reason = reply.refused
        if reason is None and reply.facts["digest"] in rows:
            reason = "Its pixels are those of another radiograph that was accepted before it."
        if reason is not None:
            refused.append(Refused(candidate.file, candidate.hospital, reason))
            continue
        rows[reply.facts["digest"]] = _row(candidate, reply.facts, settings, names)
        accepted.append(entry)
    return list(rows.values()), accepted


def _near_duplicates(index: IndexArtefact, table: pd.DataFrame, policy: Policy) -> dict[int, str]:
    """List the pairs of radiographs that are nearly one picture; which rows are to be left out, and why.

    Raises:
        DataError: the policy is "refuse", and one would be trained on and the other tested on.
    """
    pairs = near_pairs(np.load(index.radiographs, mmap_mode="r"), track)
    write_csv(index.duplicates, pair_rows(table, pairs, policy), PAIR_COLUMNS)
    if policy == "refuse":
        refuse_leak(table, pairs)
    return left_out(table, pairs) if policy == "drop" else {}


def _row(candidate: Candidate, facts: dict[str, Any], settings: Settings, names: Pseudonyms) -> dict[str, Any]:
    """One radiograph's row, of what its source says and of what its pixels do."""
    # Without a patient's number, the images of one study are at least known to be of one patient.
    patient = candidate.patient or candidate.study or candidate.file
    where = candidate.hospital if settings.patient_ids == "per_hospital" or candidate.patient is None else ""
    label = settings.label(candidate.finding)
    return {
        "hospital": candidate.hospital,
        "patient": names.patient(patient, hospital=where),
        "study": names.study(candidate.study or candidate.file, hospital=where),
        "view": candidate.view,
        "device": candidate.device,
        "label": pd.NA if label is None else label,
        "has_mask": candidate.mask is not None,
        "role": settings.role(candidate.hospital).value,
        "group": candidate.hospital,
        "file": candidate.file,
        "acquisition": {
            **row_of(candidate.acquisition, names, hospital=candidate.hospital, keep_year=settings.keep_year),
            "text_on_border": facts["text_on_border"],
        },
        "reading": facts["reading"],
        "digest": facts["digest"],
    }


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


def _write_arrays(index: IndexArtefact, store: Store, accepted: Sequence[str], size: int) -> None:
    """The pictures and masks one by one from the store: no array of all of them is ever in memory."""
    for path, part, dtype in ((index.radiographs, 0, PICTURE), (index.given_masks, 1, MASK)):
        header = {"descr": dtype.str, "fortran_order": False, "shape": (len(accepted), size, size)}

        def write(file: IO[bytes], header: dict[str, Any] = header, part: int = part) -> None:
            write_array_header_1_0(file, header)
            for entry in accepted:
                file.write(parts_of(store.blob(entry), size)[part])

        write_atomically(path, write)
