"""Plant a letter that goes with the label in training, and test with it absent, random and reversed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from medtea.core.names import Artefact
from medtea.core.work import Work
from medtea.ingest.stage import run as ingest
from medtea.plant.stage import Settings as PlantSettings
from medtea.plant.stage import run as plant

from .cross_hospital import Wings, from_index


class Settings(Wings):
    """One experiment."""

    pipeline: Literal["planted_shortcut"] = "planted_shortcut"
    plant: PlantSettings = PlantSettings()


def run(work: Work, settings: Settings) -> Iterator[Artefact]:
    """The method section."""
    index = ingest(work, settings.ingest)
    yield index
    planted = plant(work, settings.plant, index)
    yield planted
    yield from from_index(work, settings, planted)
