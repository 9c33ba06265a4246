"""What the report says of a network: what it saw, what it needs, what it cost, and how it was chosen."""

from __future__ import annotations

from typing import Any

from medtea.core.names import Field, StudentArtefact, TeacherArtefact
from medtea.core.work import read_json
from medtea.training.given.model import Settings as GivenModel

UNKNOWN: dict[str, Any] = {
    "sees": [],
    "sees_at_inference": [],
    "network": "",
    "parameters": None,
    "seconds": None,
    "selection": "",
    "options": {},
}
"""Of a system of which there are predictions alone."""


def card_of(artefact: TeacherArtefact | StudentArtefact) -> dict[str, Any]:
    """Of a network that this run trained."""
    card = read_json(artefact.card)
    record = read_json(artefact.folder / "record.json")
    return {
        "sees": card["sees"],
        "sees_at_inference": card["sees_at_inference"],
        "network": card["network"],
        "parameters": card["parameters"],
        "seconds": record["seconds"],
        "selection": card["selection"],
        "options": card.get("options", {}),
    }


def card_of_given(model: GivenModel) -> dict[str, Any]:
    """Of one that others trained: what it saw is theirs to say, and what it is shown are its settings."""
    shown = model.model_dump(mode="json", exclude={"path", "name", "kind", "trust_program"})
    return UNKNOWN | {
        "sees_at_inference": [str(Field.RADIOGRAPH)],
        "selection": "given, not trained here",
        "options": shown,
    }
