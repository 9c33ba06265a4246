"""Every network's score of every test radiograph, one row each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax

from medtea.core.errors import ConfigError
from medtea.core.names import IndexArtefact, LungsArtefact, Role, Split, StudentArtefact, TeacherArtefact
from medtea.core.work import read_array, read_json
from medtea.data.index import count_logits, read_index, read_plausible, rows
from medtea.evaluate.by_hospital import PROBABILITY
from medtea.training.given.model import Settings as GivenModel
from medtea.training.networks import load_classifier
from medtea.training.predict import Shown, predict_logits, score
from medtea.training.score_given import scores_of_given

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
    "predicted",
)
DECIMALS = 12
"""Of PROBABILITY; more would fill the file with digits that tell nothing."""


def score_all(
    index: IndexArtefact,
    lungs: LungsArtefact | None,
    teacher: TeacherArtefact,
    students: Sequence[StudentArtefact],
    device: torch.device,
    models: Sequence[GivenModel] = (),
) -> pd.DataFrame:
    """One row per labelled radiograph of validation and test and network, columns COLUMNS, and PROBABILITY of each.

    Each network, teacher or student, is shown what its card says: the whole radiograph, the lungs alone by the
    segmenter's mask, or the twin; a given model what its settings say. Of one logit `score` is the probability of
    class 1; of several classes that of the `predicted` one.

    Raises:
        ConfigError: a given model cannot be opened or does not fit, or there are more than two classes.
    """
    table = read_index(index.index)
    radiographs = read_array(index.radiographs)
    masks = read_array(lungs.lung_masks if lungs else index.given_masks)
    twins = read_array(index.twins) if index.twins.exists() else None
    wanted = table["label"].notna() & table["role"].isin([Role.TRAIN, Role.EXTERNAL]) & table["split"].ne(Split.TRAIN)
    chosen = rows(wanted)
    plausible = read_plausible(lungs) if lungs else np.ones(len(table), dtype=bool)
    common = table.iloc[chosen].assign(plausible_mask=plausible[chosen])

    def scored(name: str, artefact: TeacherArtefact | StudentArtefact) -> pd.DataFrame:
        shown = Shown(read_json(artefact.card)["sees_at_inference"], radiographs, masks, twins)
        network = load_classifier(artefact, device)
        logits = predict_logits(network, shown.images, chosen, masks=shown.masks, what=f"scores of {name}")
        if logits.ndim == 1:
            return common.assign(method=name, score=score(logits), predicted=np.nan)[list(COLUMNS)]
        probabilities = softmax(logits.astype(np.float64), axis=1)
        highest = probabilities.argmax(1)
        by_class = {PROBABILITY.format(one): column for one, column in enumerate(probabilities.round(DECIMALS).T)}
        made = common.assign(method=name, score=probabilities.max(1), predicted=highest, **by_class)
        return made[[*COLUMNS, *by_class]]

    parts = [scored("teacher", teacher)]
    parts += [scored(read_json(student.card)["name"], student) for student in students]
    for model in models:
        if count_logits(table) > 1:
            raise ConfigError(
                "evaluate.models: these radiographs have several classes; a given model is scored on two."
            )
        found = scores_of_given(model, radiographs, chosen, masks=masks, twins=twins, device=device)
        parts.append(common.assign(method=model.name, score=found, predicted=np.nan)[list(COLUMNS)])
    return pd.concat(parts, ignore_index=True)
