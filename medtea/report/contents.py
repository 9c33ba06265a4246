"""What the report is made from: the JSON of evaluate and audit and the tables of ingest and segment, as typed rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medtea.core.errors import RecordError
from medtea.metrics.estimates import Estimate, without_interval

NAN = float("nan")
RATES = ("average_precision", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv")
"""What a score has beside its AUROC."""
METRICS = "evaluate/metrics.json"
OUTCOMES = "audit/outcomes.json"
FEWEST = 5


@dataclass(frozen=True)
class Method:
    """How a network was trained: what it saw, what it needs at inference, how its checkpoint was chosen."""

    name: str
    sees: tuple[str, ...]
    network: str
    parameters: int | None
    seconds: float | None
    selection: str
    sees_at_inference: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """One method at one group; role is "iid", "ood" or another word. None: not computed. record: where it stands."""

    method: str
    group: str
    role: str
    auroc: Estimate
    average_precision: Estimate | None
    accuracy: Estimate | None
    sensitivity: Estimate | None
    specificity: Estimate | None
    prevalence: float
    threshold: float = NAN
    record: str = ""
    ppv: Estimate | None = None
    npv: Estimate | None = None
    balanced_accuracy: Estimate | None = None


@dataclass(frozen=True)
class Gap:
    """AUROC at the IID groups less AUROC at the OOD groups: positive is a fall. NaN: no p-value."""

    method: str
    iid: tuple[str, ...]
    ood: tuple[str, ...]
    difference: Estimate
    record: str = ""
    p: float = NAN
    p_holm: float = NAN


@dataclass(frozen=True)
class DifferenceToErm:
    """AUROC of the method less that of erm on the same radiographs: positive is better than erm. NaN: no p-value."""

    method: str
    group: str
    difference: Estimate
    record: str = ""
    p: float = NAN
    p_holm: float = NAN


@dataclass(frozen=True)
class LeftOut:
    """Radiographs of a group that no number counts, and why."""

    group: str
    n: int
    reason: str


@dataclass(frozen=True)
class Metrics:
    """What evaluate wrote."""

    methods: tuple[Method, ...]
    scores: tuple[Score, ...]
    gaps: tuple[Gap, ...] = ()
    differences_to_erm: tuple[DifferenceToErm, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    interval: str = "95 %, percentile bootstrap of patients"
    operating_point: str = ""

    @property
    def groups(self) -> dict[str, str]:
        """Role of each group, seen hospitals first, otherwise in the order of the scores."""
        roles = {score.group: score.role for score in self.scores}
        return dict(sorted(roles.items(), key=lambda item: {"iid": 0, "ood": 2}.get(item[1], 1)))

    @property
    def are_given(self) -> bool:
        """Whether these are predictions made elsewhere alone: of no method it is known what it saw."""
        return bool(self.methods) and not any(method.sees for method in self.methods)

    @property
    def names(self) -> list[str]:
        """Methods in the order in which they are shown."""
        return list(dict.fromkeys([method.name for method in self.methods] + [score.method for score in self.scores]))

    @property
    def thresholds(self) -> dict[str, float]:
        """Of each method that has one."""
        return {score.method: score.threshold for score in self.scores if not np.isnan(score.threshold)}

    def score(self, method: str, group: str) -> Score | None:
        """The score of one method at one group, if there is one."""
        return next((score for score in self.scores if (score.method, score.group) == (method, group)), None)


@dataclass(frozen=True)
class Outcome:
    """What one probe of the audit found for one method at one group."""

    probe: str
    method: str
    group: str
    estimate: Estimate
    reference: float
    control: Estimate | None
    sentence: str
    void_when: str
    record: str = ""
    verdict: str = ""
    void: str = ""
    details: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class SegmenterRow:
    """The segmenter at one hospital: its masks, and how they compare with given ones on held-out radiographs."""

    hospital: str
    radiographs: int
    compared: int
    dice: float
    surface_distance_px: float
    implausible: int
    reasons: Mapping[str, int]
    empty: int = 0
    estimates: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A radiograph with heatmaps to show beside it: arrays (height, width), the radiograph in [0, 1].

    radiograph is our own id, case why it was chosen ("typical", "worst"); both empty where that is not known.
    """

    group: str
    label: str
    image: NDArray[Any]
    maps: Mapping[str, NDArray[Any]]
    lung_mask: NDArray[Any] | None = None
    radiograph: str = ""
    case: str = ""


@dataclass(frozen=True)
class Exhibit:
    """A radiograph on which a probe's answer shows most; arrays (height, width) as in a picture.

    changed is what the network was shown in its place, marked what is pointed at; radiographs are the ids of all that
    something is shown of.
    """

    probe: str
    method: str
    group: str
    note: str
    image: NDArray[Any]
    lung_mask: NDArray[Any]
    radiographs: tuple[str, ...] = ()
    changed: NDArray[Any] | None = None
    heatmap: NDArray[Any] | None = None
    marked: NDArray[Any] | None = None


@dataclass(frozen=True)
class Failure:
    """A radiograph that a method was sure about, and wrong; image as in a picture, None where it is not shown."""

    radiograph: str
    group: str
    method: str
    label: int
    score: float
    image: NDArray[Any] | None = None


@dataclass(frozen=True)
class Contents:
    """Everything on the page.

    Attributes:
        title: The heading.
        task: What was to be told apart.
        metrics: The part of evaluate's metrics.json that every run has, as typed rows.
        written: The same file as it was written, with every key that a wing's file put there.
        outcomes: What the audit found.
        audited: The audit's outcomes.json as it was written: verdicts, policy, what was skipped.
        questions: What each probe asks.
        segmenter: The segmenter per hospital.
        flow: flow.csv of ingest.
        refused: refused.csv of ingest.
        table: Row i for radiograph i: the index with the columns of acquisition.parquet, and `plausible`, of its mask.
        duplicates: duplicates.csv of ingest.
        scores: scores.csv of evaluate, a row per method and radiograph.
        failures: Radiographs that a method was surest and wrong about.
        pictures: Radiographs with heatmaps; those of case "mean" are means of many.
        exhibits: Radiographs on which the audit's answers show most.
        provenance: Who made this, with what.
        settings: Filled in, as YAML.
        notes: Further limits, in sentences, that only the caller can know.
        intended_use: What the network would be for, in the caller's words.
        anchors: Anchor to title of the sections that this report has; filled in as they are made.
    """

    title: str
    task: str
    metrics: Metrics
    written: Mapping[str, Any] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()
    audited: Mapping[str, Any] = field(default_factory=dict)
    questions: Mapping[str, str] = field(default_factory=dict)
    segmenter: tuple[SegmenterRow, ...] = ()
    flow: pd.DataFrame = field(default_factory=pd.DataFrame)
    refused: pd.DataFrame = field(default_factory=pd.DataFrame)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    duplicates: pd.DataFrame = field(default_factory=pd.DataFrame)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    failures: tuple[Failure, ...] = ()
    pictures: tuple[Picture, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    notes: tuple[str, ...] = ()
    intended_use: str = ""
    anchors: Mapping[str, str] = field(default_factory=dict)


def is_audit_alone(contents: Contents) -> bool:
    """Whether networks were asked for shortcuts and not evaluated: what is said of AUROCs has then nothing to say."""
    return not contents.metrics.names and bool(contents.audited.get("verdicts"))


def read_metrics(written: Mapping[str, Any]) -> Metrics:
    """The metrics.json of evaluate.

    Raises:
        RecordError: a field is missing.
    """
    with _Naming(METRICS):
        return Metrics(
            methods=tuple(_method(name, card) for name, card in written["methods"].items()),
            scores=tuple(_score(row, f"{METRICS}#/scores/{place}") for place, row in enumerate(written["scores"])),
            gaps=tuple(
                Gap(
                    row["method"],
                    _names(row["iid"]),
                    _names(row["ood"]),
                    Estimate.from_json(row["difference"]),
                    f"{METRICS}#/gaps/{place}",
                    *_p_values(row),
                )
                for place, row in enumerate(written.get("gaps", ()))
            ),
            differences_to_erm=tuple(
                DifferenceToErm(
                    row["method"],
                    row["group"],
                    Estimate.from_json(row["difference"]),
                    f"{METRICS}#/differences_to_erm/{place}",
                    *_p_values(row),
                )
                for place, row in enumerate(written.get("differences_to_erm", ()))
            ),
            left_out=tuple(LeftOut(row["group"], int(row["n"]), row["reason"]) for row in written.get("left_out", ())),
            interval=written.get("interval", Metrics.interval),
            operating_point=written.get("operating_point", ""),
        )


def read_outcomes(written: Mapping[str, Any]) -> tuple[Outcome, ...]:
    """The outcomes.json of audit.

    Raises:
        RecordError: a field is missing.
    """
    with _Naming(OUTCOMES):
        return tuple(
            Outcome(
                probe=row["probe"],
                method=row["method"],
                group=row["group"],
                estimate=Estimate.from_json(row["estimate"]),
                reference=_number(row.get("reference")),
                control=_maybe(row.get("control")),
                sentence=row.get("sentence", ""),
                void_when=row.get("void_when", ""),
                record=f"{OUTCOMES}#/outcomes/{place}",
                verdict=row.get("verdict") or "",
                void=row.get("void", ""),
                details={name: Estimate.from_json(one) for name, one in row.get("details", {}).items()},
            )
            for place, row in enumerate(written["outcomes"])
        )


def read_questions(written: Mapping[str, Any]) -> dict[str, str]:
    """What each probe asks, in words, from the outcomes.json of audit; empty where it does not say."""
    return {str(probe): str(question) for probe, question in written.get("questions", {}).items()}


def read_segmenter(written: Mapping[str, Any]) -> tuple[SegmenterRow, ...]:
    """The metrics.json of segment: one row per hospital.

    Raises:
        RecordError: a field is missing.
    """
    with _Naming("segment/metrics.json"):
        return tuple(
            SegmenterRow(
                hospital=row["hospital"],
                radiographs=int(row["radiographs"]),
                compared=int(row["measured"]),
                dice=_number(row["dice"]),
                surface_distance_px=_number(row["surface_distance_px"]),
                implausible=int(row["implausible"]),
                reasons={str(reason): int(count) for reason, count in row["reasons"].items()},
                empty=int(row.get("empty", 0)),
                estimates={name: Estimate.from_json(one) for name, one in row.get("estimates", {}).items()},
            )
            for row in written["hospitals"]
        )


def read_pictures(arrays: Mapping[str, NDArray[Any]]) -> tuple[Picture, ...]:
    """The pictures.npz of audit, one picture per radiograph.

    Keys, with a number per group: "0/name", "0/radiograph", "0/lung_mask", "0/label", "0/heatmap/<method>", and, where
    they are there, "0/id" and "0/case".
    """
    pictures = []
    for key in [key for key in arrays if key.endswith("/name")]:
        number = key.removesuffix("name")
        group, images, masks, labels = (arrays[number + what] for what in ("name", "radiograph", "lung_mask", "label"))
        heatmap = f"{number}heatmap/"
        maps = {name.removeprefix(heatmap): arrays[name] for name in arrays if name.startswith(heatmap)}
        ids, cases = (arrays.get(number + what, np.full(len(images), "")) for what in ("id", "case"))
        for row in range(len(images)):
            pictures.append(
                Picture(
                    group=str(group),
                    label={1: "positive", 0: "negative"}.get(int(labels[row]), "no label"),
                    image=np.asarray(images[row], dtype=np.float64),
                    maps={name: np.asarray(of_method[row], dtype=np.float64) for name, of_method in maps.items()},
                    lung_mask=masks[row],
                    radiograph=str(ids[row]),
                    case=str(cases[row]),
                )
            )
    return tuple(pictures)


def read_exhibits(written: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> tuple[Exhibit, ...]:
    """What the audit shows: `exhibits` of outcomes.json with the pictures of pictures.npz, "exhibit/0/image" ..."""

    def part(place: int, what: str) -> NDArray[Any] | None:
        found = arrays.get(f"exhibit/{place}/{what}")
        return None if found is None else np.asarray(found, dtype=np.float64)

    return tuple(
        Exhibit(
            probe=row["probe"],
            method=row["method"],
            group=row["group"],
            note=row["note"],
            image=np.asarray(arrays[f"exhibit/{place}/image"], dtype=np.float64),
            lung_mask=arrays[f"exhibit/{place}/lung_mask"],
            radiographs=tuple(filter(None, row["radiographs"])),
            changed=part(place, "changed"),
            heatmap=part(place, "heatmap"),
            marked=part(place, "marked"),
        )
        for place, row in enumerate(written.get("exhibits", ()))
    )


def read_means(arrays: Mapping[str, NDArray[Any]]) -> tuple[Picture, ...]:
    """The mean radiograph and mean maps per group and class, as pictures; the label says of how many.

    None is made of fewer than FEWEST radiographs, in which a single one would show.

    Further keys of pictures.npz: "0/mean_n" (of label 0 and 1), "0/mean_radiograph", "0/mean_lung_mask",
    "0/mean_heatmap/<method>".
    """
    pictures = []
    for key in [key for key in arrays if key.endswith("/mean_n")]:
        number = key.removesuffix("mean_n")
        heatmap = f"{number}mean_heatmap/"
        maps = {name.removeprefix(heatmap): arrays[name] for name in arrays if name.startswith(heatmap)}
        for label in (1, 0):
            count = int(arrays[key][label])
            if count >= FEWEST:
                pictures.append(
                    Picture(
                        group=str(arrays[number + "name"]),
                        label=f"mean of {count} {'positive' if label else 'negative'}",
                        image=np.asarray(arrays[number + "mean_radiograph"][label], dtype=np.float64),
                        maps={name: np.asarray(of_method[label], np.float64) for name, of_method in maps.items()},
                        lung_mask=arrays[number + "mean_lung_mask"][label],
                        case="mean",
                    )
                )
    return tuple(pictures)


def _method(name: str, card: Mapping[str, Any]) -> Method:
    return Method(
        name=name,
        sees=tuple(card["sees"]),
        network=str(card.get("network", "")),
        parameters=card.get("parameters"),
        seconds=card.get("seconds"),
        selection=card.get("selection", ""),
        sees_at_inference=tuple(card.get("sees_at_inference", ())),
    )


def _score(row: Mapping[str, Any], record: str) -> Score:
    more = {name: _maybe(row.get(name), like=row["auroc"]) for name in RATES}
    return Score(
        method=row["method"],
        group=row["group"],
        role=row["role"],
        auroc=Estimate.from_json(row["auroc"]),
        prevalence=_number(row.get("prevalence")),
        threshold=_number(row.get("threshold")),
        record=record,
        **more,
    )


def _maybe(written: object, like: Mapping[str, Any] | None = None) -> Estimate | None:
    # An estimate, a bare number (with the counts of `like`), or nothing.
    if isinstance(written, Mapping):
        return Estimate.from_json(written)
    if isinstance(written, int | float) and like is not None:
        return without_interval(
            float(written), n=like["n"], n_patients=like["n_patients"], n_positive=like["n_positive"]
        )
    return None


def _p_values(row: Mapping[str, Any]) -> tuple[float, float]:
    return _number(row.get("p")), _number(row.get("p_holm"))


def _number(written: object) -> float:
    return float(written) if isinstance(written, int | float) else NAN


def _names(written: str | Sequence[str]) -> tuple[str, ...]:
    return (written,) if isinstance(written, str) else tuple(written)


class _Naming:
    """Turns a missing field into a sentence that names the file."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError):
            raise RecordError(
                f"{self.file} has no field '{error.args[0]}'; it was written by another version. "
                "Remove that stage's folder from the run and start the run again."
            ) from error
