"""Every network's score of every test radiograph, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch

from medtea.core.names import IndexArtefact, LungsArtefact, Role, Split, StudentArtefact, TeacherArtefact
from medtea.core.work import read_array, read_json
from medtea.data.index import read_index, read_plausible, rows
from medtea.training.networks import load_classifier
from medtea.training.predict import predict_logits, score

COLUMNS = (
    "radiograph",
    "hospital",
    "patient",
    "role",
    "split",
    "group",
    "label",
    "plausible_mask",
    "method",
    "score",
)


def score_all(
    index: IndexArtefact,
    lungs: LungsArtefact,
    teacher: TeacherArtefact,
    students: Sequence[StudentArtefact],
    device: torch.device,
) -> pd.DataFrame:
    """One row per labelled radiograph of validation and test and network, columns COLUMNS.

    The teacher is shown lungs only, by the segmenter's mask; the students are shown the whole radiograph.
    """
    table = read_index(index.index)
    radiographs = read_array(index.radiographs)
    masks = read_array(lungs.lung_masks)
    wanted = table["label"].notna() & table["role"].ne(Role.EXTRA) & table["split"].ne(Split.TRAIN)
    chosen = rows(wanted)
    common = table.iloc[chosen].assign(plausible_mask=read_plausible(lungs)[chosen])

    def scored(name: str, artefact: TeacherArtefact | StudentArtefact, shown: Any) -> pd.DataFrame:
        network = load_classifier(artefact, device)
        logits = predict_logits(network, radiographs, chosen, masks=shown, what=f"scores of {name}")
        return common.assign(method=name, score=score(logits))[list(COLUMNS)]

    parts = [scored("teacher", teacher, masks)]
    parts += [scored(read_json(student.card)["name"], student, None) for student in students]
    return pd.concat(parts, ignore_index=True)
