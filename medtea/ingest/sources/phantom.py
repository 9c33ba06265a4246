"""Phantom hospitals: drawn, written as DICOM in different vendors' manners, then read like any hospital's files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydantic import Field

from medtea.core.errors import ConfigError, nearest
from medtea.core.progress import track
from medtea.core.seeds import numpy_generator
from medtea.core.settings import StrictSettings
from medtea.core.work import digest_of, write_csv
from medtea.data import dicom_files, marks, phantom
from medtea.data.dicom_files import VENDORS, Vendor, write_radiograph
from medtea.data.phantom import STYLES, draw_anatomy, draw_mark, draw_phantom
from medtea.ingest.sources import dicom_tree
from medtea.ingest.sources.source import Candidate, Refused

FINDING, NO_FINDING = "Nodules", "Normal"
SECOND_STUDY = 0.1  # share of patients who come back


class Hospital(StrictSettings):
    """One phantom hospital."""

    patients: int = Field(default=160, ge=1)
    prevalence: float = Field(default=0.5, ge=0, le=1)
    """Share of diseased patients."""
    agreement: float = Field(default=1.0, ge=0, le=1)
    """How often the mark says the label's truth: 1 always, 0.5 by chance, 0 reversed."""
    style: str = "plain"
    """How the pictures look: a name of medtea.data.phantom.STYLES."""
    positive: str | None = "R"
    """The mark, a letter or box, that goes with diseased; null for none."""
    negative: str | None = "L"
    """The mark that goes with healthy."""


class Settings(StrictSettings):
    """The phantom hospitals: by default two to train at, whose mark follows the label, and one where it is reversed."""

    hospitals: dict[str, Hospital] = Field(
        default={
            "northgate": Hospital(style="plain"),
            "riverside": Hospital(style="hard"),
            "hillcrest": Hospital(style="portable", agreement=0.0, patients=120),
        },
        min_length=1,
    )
    size: int = Field(default=256, ge=64, le=2048)
    """Rows and columns of every radiograph."""
    severity: tuple[float, float] = (0.5, 1.0)
    """Least and largest amount of disease, 1 is plain to see."""
    unusable: int = Field(default=2, ge=0)
    """Files per hospital that must be refused: a lateral view, a colour image, a damaged one, an empty one, ..."""


class Source:
    """Draws the hospitals into the workspace once, and finds what a DICOM tree finds there."""

    def __init__(self, settings: Settings, *, workspace: Path, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.root = workspace / f"phantom-{self.fingerprint()[:12]}"
        self.tree = dicom_tree.Source(dicom_tree.Settings(root=self.root), workspace=workspace, seed=seed)

    def find(self) -> Iterator[Candidate | Refused]:
        """Writes what is missing first."""
        self.write()
        yield from self.tree.find()

    def where(self, file: str) -> Path | None:
        """See the contract."""
        self.write()
        return self.tree.where(file)

    def fingerprint(self) -> str:
        """Digest of settings, seed and the code that draws and writes, since the files follow from them."""
        code = [Path(module.__file__ or "").read_text(encoding="utf-8") for module in (phantom, marks, dicom_files)]
        return digest_of({"settings": self.settings.model_dump(), "seed": self.seed, "code": [*code, _own_code()]})

    def write(self) -> None:
        """The tree, unless it is complete: the labels are written last.

        Raises:
            ConfigError: a hospital's name cannot be a folder's, or its style is unknown.
        """
        self._check()
        if (self.root / "labels.csv").is_file():
            return
        labels: list[dict[str, str]] = []
        for number, (name, hospital) in enumerate(self.settings.hospitals.items()):
            vendor = VENDORS[number % len(VENDORS)]
            (self.root / name).mkdir(parents=True, exist_ok=True)
            (self.root / dicom_tree.MASKS / name).mkdir(parents=True, exist_ok=True)
            patients = track(range(hospital.patients), f"drawing {name}", total=hospital.patients)
            for patient in patients:
                labels += self._write_patient(patient, name, hospital, vendor)
            for kind in range(self.settings.unusable):
                self._write_unusable(kind, name, vendor)
        write_csv(self.root / "labels.csv", labels, dicom_tree.LABEL_COLUMNS)

    def _check(self) -> None:
        for name, hospital in self.settings.hospitals.items():
            if not name or name.startswith(".") or name == dicom_tree.MASKS or Path(name).name != name:
                raise ConfigError(f"hospitals: '{name}' cannot be the name of a hospital's folder.")
            if hospital.style not in STYLES:
                raise ConfigError(f"hospitals.{name}.style: '{hospital.style}'. {nearest(hospital.style, STYLES)}")

    def _write_patient(self, number: int, name: str, hospital: Hospital, vendor: Vendor) -> list[dict[str, str]]:
        generator = numpy_generator(self.seed, f"phantom/{name}/{number}")
        # Spread evenly, so that a small hospital has the share asked for; the order of patients says nothing.
        diseased = int((number + 1) * hospital.prevalence + 0.5) > int(number * hospital.prevalence + 0.5)
        anatomy = draw_anatomy(generator)
        studies = 1 + int(generator.random() < SECOND_STUDY)
        rows = []
        for study in range(studies):
            mark = draw_mark(
                generator,
                diseased=diseased,
                agreement=hospital.agreement,
                positive=hospital.positive,
                negative=hospital.negative,
            )
            drawn = draw_phantom(
                generator,
                size=self.settings.size,
                diseased=diseased,
                style=STYLES[hospital.style],
                mark=mark,
                severity=self.settings.severity,
                anatomy=anatomy,
            )
            stem = f"{number:04d}-{study}"
            uid = write_radiograph(
                self.root / name / stem,
                drawn.radiograph,
                vendor=vendor,
                patient=f"{name}-{number:04d}",
                study=str(study),
                view="PA" if number % 3 else "AP",
                hospital=name,
            )
            mask = Path(dicom_tree.MASKS) / name / f"{stem}.png"
            Image.fromarray(drawn.lung_mask.astype(np.uint8) * np.uint8(255)).save(self.root / mask)
            finding = FINDING if diseased else NO_FINDING
            rows.append({"sop_instance_uid": uid, "hospital": name, "finding": finding, "mask": mask.as_posix()})
        return rows

    def _write_unusable(self, number: int, name: str, vendor: Vendor) -> None:
        generator = numpy_generator(self.seed, f"phantom/{name}/unusable/{number}")
        drawn = draw_phantom(generator, size=64, diseased=False).radiograph
        path, kind = self.root / name / f"unusable-{number}", number % 4
        patient, view = f"{name}-unusable-{number}", "LL" if kind == 0 else "PA"
        picture = np.zeros_like(drawn) if kind == 3 else drawn
        write_radiograph(path, picture, vendor=vendor, patient=patient, study="0", view=view, hospital=name)
        if kind == 1:
            dataset = pydicom.dcmread(path)
            dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "RGB", 3
            dataset.save_as(path)
        if kind == 2:
            path.write_bytes(path.read_bytes()[:-2000])


def _own_code() -> str:
    return Path(__file__).read_text(encoding="utf-8")
