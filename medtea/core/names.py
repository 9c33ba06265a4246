"""The field's words as types: what passes between the wings, and what each artefact's folder holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from medtea.core.errors import RecordError

INPUT = "input"
"""The name of the heatmap on the radiograph's own grid; every other heatmap is named by its layer's module path."""

BIASES = "biases"
"""The name under which what biases and ε absorb of the logit is stored beside the heatmaps, one number a radiograph."""


class Role(StrEnum):
    """What a hospital is for: EXTERNAL hospitals are seen by no training or selection step.

    UNBIASED ones hold a small set in which the shortcut says nothing; only who declares to see it is trained on it.
    """

    TRAIN = "train"
    UNBIASED = "unbiased"
    EXTERNAL = "external"
    EXTRA = "extra"


class Split(StrEnum):
    """Patient-disjoint parts of a hospital; an external hospital is all TEST."""

    TRAIN = "train"
    VALIDATION = "val"
    TEST = "test"


class Field(StrEnum):
    """What a method may ask to see, and what the loader hands over; everything else stays unseen."""

    RADIOGRAPH = "radiograph"
    LABEL = "label"
    LUNG_MASK = "lung_mask"
    TWIN = "twin"
    HOSPITAL = "hospital"
    UNBIASED = "unbiased"
    TEACHER_HEATMAP = "teacher_heatmap"
    TEACHER_LOGIT = "teacher_logit"
    TEACHER_HEAD = "teacher_head"
    TEACHER_FEATURES = "teacher_features"
    TEACHER_GRADIENT = "teacher_gradient"


@dataclass(frozen=True)
class Artefact:
    """A finished stage's folder."""

    folder: Path

    @property
    def digest(self) -> str:
        """What later stages know it by: its settings, inputs, seed and version, or of ingest what its files hold.

        Raises:
            RecordError: the folder holds no readable record.
        """
        try:
            record = json.loads((self.folder / "record.json").read_text(encoding="utf-8"))
            return str(record.get("content") or record["digest"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(
                f"Stage '{self.folder.name}' has no readable record.json; run it again (the folder is not finished)."
            ) from error


class IndexArtefact(Artefact):
    """What ingest leaves: one row per radiograph, and the arrays on the same rows."""

    @property
    def index(self) -> Path:
        """Parquet, one row per radiograph (columns: see medtea.data.index)."""
        return self.folder / "index.parquet"

    @property
    def acquisition(self) -> Path:
        """Parquet, row i for radiograph i: with what and how it was taken (columns: see medtea.data.acquisition)."""
        return self.folder / "acquisition.parquet"

    @property
    def reading(self) -> Path:
        """Parquet, row i for radiograph i: what was done on the way to [0, 1] (columns: see medtea.data.facts)."""
        return self.folder / "reading.parquet"

    @property
    def duplicates(self) -> Path:
        """CSV of pairs of radiographs that are nearly one picture."""
        return self.folder / "duplicates.csv"

    @property
    def radiographs(self) -> Path:
        """Float16 (radiographs, size, size) in [0, 1], bright is dense; of scenes (images, 3, size, size)."""
        return self.folder / "radiographs.npy"

    @property
    def given_masks(self) -> Path:
        """Bytes 0 or 1, same shape: the source's own lung masks, 0 everywhere where none was given."""
        return self.folder / "given_masks.npy"

    @property
    def twins(self) -> Path:
        """Scenes only. Float16, shape of the radiographs: each image again without what biases it."""
        return self.folder / "twins.npy"

    @property
    def refused(self) -> Path:
        """CSV of the files that could not be used, each with its reason."""
        return self.folder / "refused.csv"

    @property
    def flow(self) -> Path:
        """CSV of counts per hospital: found, accepted, refused, labelled, patients."""
        return self.folder / "flow.csv"


class LungsArtefact(Artefact):
    """What segment leaves: a lung mask for every radiograph, and whether it is plausible."""

    @property
    def segmenter(self) -> Path:
        """Weights (safetensors)."""
        return self.folder / "segmenter.safetensors"

    @property
    def lung_masks(self) -> Path:
        """Bytes 0 or 1 (radiographs, size, size), on the index's rows."""
        return self.folder / "lung_masks.npy"

    @property
    def masks(self) -> Path:
        """CSV: radiograph, hospital, plausible, reason, and how it compares with a given mask (see docs/data.md)."""
        return self.folder / "masks.csv"

    @property
    def metrics(self) -> Path:
        """JSON: Dice and surface distance per hospital."""
        return self.folder / "metrics.json"


class TeacherArtefact(Artefact):
    """What teach leaves: the teacher, and the bank of radiograph copies with its heatmaps."""

    @property
    def teacher(self) -> Path:
        """Weights (safetensors)."""
        return self.folder / "teacher.safetensors"

    @property
    def card(self) -> Path:
        """JSON: network, layers, what it saw, validation AUROC."""
        return self.folder / "card.json"

    @property
    def bank(self) -> Path:
        """Folder of the bank: copies of every training and validation radiograph with the teacher's heatmaps."""
        return self.folder / "bank"


class StudentArtefact(Artefact):
    """What distil leaves for one method."""

    @property
    def student(self) -> Path:
        """Weights (safetensors): the plain backbone, no segmenter."""
        return self.folder / "student.safetensors"

    @property
    def card(self) -> Path:
        """JSON: method, network, what it saw, selection rule."""
        return self.folder / "card.json"


class ScoresArtefact(Artefact):
    """What evaluate leaves."""

    @property
    def scores(self) -> Path:
        """CSV: one row per test radiograph and method."""
        return self.folder / "scores.csv"

    @property
    def metrics(self) -> Path:
        """JSON: estimates with intervals per method and group."""
        return self.folder / "metrics.json"


class OutcomesArtefact(Artefact):
    """What the audit leaves."""

    @property
    def outcomes(self) -> Path:
        """JSON: one outcome per probe, method and group."""
        return self.folder / "outcomes.json"

    @property
    def pictures(self) -> Path:
        """npz: radiographs and heatmaps of a few test radiographs per group, for the page."""
        return self.folder / "pictures.npz"


class ReportArtefact(Artefact):
    """What report leaves."""

    @property
    def page(self) -> Path:
        """The self-contained HTML page."""
        return self.folder / "report.html"

    @property
    def markdown(self) -> Path:
        """The same as Markdown."""
        return self.folder / "report.md"

    @property
    def json(self) -> Path:
        """The same as JSON: sections, and blocks by their kind."""
        return self.folder / "report.json"

    @property
    def figures(self) -> Path:
        """Folder of its figures: NAME.svg, with its numbers in NAME.csv."""
        return self.folder / "figures"
