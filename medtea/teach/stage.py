"""Train the teacher on lungs only, then store its heatmaps of every training radiograph."""

from __future__ import annotations

import shutil
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field as Bound
from pydantic import PositiveFloat, field_validator

from medtea.core import bay
from medtea.core.errors import DataError
from medtea.core.names import Field, IndexArtefact, LungsArtefact, Role, Split, TeacherArtefact
from medtea.core.seeds import named_seed, numpy_generator
from medtea.core.settings import StrictSettings
from medtea.core.work import Work, read_array, write_json, write_weights
from medtea.data.augment import AugmentSettings
from medtea.data.bank import Bank, bank_fields, make_bank
from medtea.data.index import read_index, read_plausible, rows
from medtea.data.loader import Loader
from medtea.metrics.classification import auroc
from medtea.teach import teachers
from medtea.teach.heatmaps import bytes_per_radiograph, drawn_epsilon, store_heatmaps
from medtea.teach.teachers.teacher import Teacher
from medtea.training.loop import LoopSettings, selection_rule, train
from medtea.training.networks import backbone, build_classifier
from medtea.training.predict import predict_logits


class Settings(StrictSettings):
    """Who teaches, and how.

    Attributes:
        teacher: A file of medtea/teach/teachers.
        network: A backbone of medtea/training/networks.py.
        copies: Augmented copies per radiograph; every student trains on the same ones.
        epsilon: ε of LRP-ε in the stored heatmaps; 0 is gradient x input. A pair [low, high]: drawn log-uniformly for
            every radiograph and copy (the paper's default is [0.001, 0.01], drawn at every step).
        epsilon_relative: ε counts in means of |a| of each layer.
        augment: How far the copies differ.
        loop: How the network is trained.
    """

    teacher: str = "masked_classifier"
    network: str = "small_resnet"
    copies: int = Bound(8, ge=1)
    epsilon: Annotated[float, Bound(ge=0)] | tuple[PositiveFloat, PositiveFloat] = 0.0
    epsilon_relative: bool = False
    augment: AugmentSettings = AugmentSettings()
    loop: LoopSettings = LoopSettings(epochs=20)

    @field_validator("teacher")
    @classmethod
    def _known_teacher(cls, name: str) -> str:
        bay.load(teachers, name, "teach.teacher")
        return name

    @field_validator("epsilon")
    @classmethod
    def _low_before_high(cls, epsilon: float | tuple[float, float]) -> float | tuple[float, float]:
        if isinstance(epsilon, tuple) and epsilon[0] > epsilon[1]:
            raise ValueError("a range of ε is [low, high]")
        return epsilon

    @field_validator("network")
    @classmethod
    def _known_network(cls, name: str) -> str:
        backbone(name)
        return name


def run(work: Work, settings: Settings, index: IndexArtefact, lungs: LungsArtefact) -> TeacherArtefact:
    """Leave the teacher and the bank.

    Only labelled radiographs of the training hospitals with a plausible mask are used, in the splits train and
    validation.

    Raises:
        DataError: none is left, or one class is missing; or the disk has no room for the heatmaps.
    """
    stage = work.stage("teach", settings, [index, lungs])
    artefact = TeacherArtefact(stage.folder)
    if stage.is_finished:
        return artefact
    table = read_index(index.index)
    radiographs = read_array(index.radiographs)
    masks = read_array(lungs.lung_masks)
    learning = learning_rows(table, read_plausible(lungs))
    spec = backbone(settings.network)
    network = build_classifier(settings.network, named_seed(work.seed, "teacher")).to(work.device)
    example = torch.zeros(2, 1, *radiographs.shape[1:], device=work.device)
    room = len(learning) * bytes_per_radiograph(network, example, spec.layers, settings.copies)
    free = shutil.disk_usage(work.folder).free
    work.say(f"teach: copies and heatmaps of {len(learning)} radiographs will take {room / 2**20:.0f} MiB")
    if room > free:
        raise DataError(
            f"teach.copies: the heatmaps need {room / 2**30:.1f} GiB and the disk has {free / 2**30:.1f} GiB free. "
            "Lower teach.copies or ingest.size, or give another folder with --to."
        )
    bank = make_bank(
        artefact.bank,
        radiographs=radiographs,
        lung_masks=masks,
        rows=learning,
        copies=settings.copies,
        settings=settings.augment,
        seed=named_seed(work.seed, "teach"),
    )
    teacher: Teacher = bay.load(teachers, settings.teacher, "teach.teacher").Teacher(network)
    is_training = table["split"].to_numpy()[learning] == Split.TRAIN
    with work.tracker.child("teacher", settings.model_dump(mode="json")) as tracked:
        train(
            teacher,
            training=_loader(work, teacher, bank, table, settings, np.flatnonzero(is_training), shuffled=True),
            validation=_loader(work, teacher, bank, table, settings, np.flatnonzero(~is_training), shuffled=False),
            settings=settings.loop,
            folder=stage.folder,
            name="teacher",
            log=tracked.metrics,
        )
        write_weights(artefact.teacher, network)
        store_heatmaps(
            teacher,
            bank,
            layers=spec.layers,
            epsilon=drawn_epsilon(
                settings.epsilon, len(learning), settings.copies, named_seed(work.seed, "teach/epsilon")
            ),
            relative=settings.epsilon_relative,
            device=work.device,
        )
        selected_on = learning[~is_training]
        labels = table["label"].to_numpy(dtype=float, na_value=np.nan)[selected_on]
        validation = auroc(labels, predict_logits(network, radiographs, selected_on, masks=masks))
        tracked.metrics({"auroc/iid_validation": validation})
    write_json(
        artefact.card,
        {
            "teacher": settings.teacher,
            "network": settings.network,
            "layers": list(spec.layers),
            "epsilon": settings.epsilon,
            "epsilon_relative": settings.epsilon_relative,
            "sees": sorted(teacher.sees),
            "trained_on": int(is_training.sum()),
            "selected_on": int((~is_training).sum()),
            "selection": selection_rule(settings.loop),
            "auroc_iid_validation": validation if np.isfinite(validation) else None,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        },
    )
    stage.finish(auroc_iid_validation=validation if np.isfinite(validation) else None)
    return artefact


def learning_rows(
    table: pd.DataFrame, plausible: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Rows that teacher and students may learn from or be selected on.

    Raises:
        DataError: none is left, or training has one class only.
    """
    usable = table["role"].eq(Role.TRAIN) & table["split"].ne(Split.TEST) & table["label"].notna() & plausible
    learning = rows(usable)
    classes = set(table.loc[usable & table["split"].eq(Split.TRAIN), "label"])
    if len(classes) < 2:
        raise DataError(
            "The training hospitals have "
            + ("no labelled radiograph" if not classes else f"radiographs of class {classes.pop()} only")
            + " with a plausible lung mask; a classifier needs both classes. Look at ingest/flow.csv and "
            "segment/masks.csv, and at ingest.positive and ingest.negative."
        )
    return learning


def _loader(
    work: Work,
    teacher: Teacher,
    bank: Bank,
    table: pd.DataFrame,
    settings: Settings,
    entries: np.ndarray[tuple[int], np.dtype[np.int64]],
    *,
    shuffled: bool,
) -> Loader:
    labels = table["label"].to_numpy(dtype=np.float32, na_value=np.nan)[bank.rows]
    return Loader(
        bank_fields(bank) | {Field.LABEL: labels},
        asks=teacher.sees,
        entries=entries,
        rows=bank.rows,
        names=table["radiograph"].to_numpy()[bank.rows],
        batch_size=settings.loop.batch_size,
        generator=numpy_generator(work.seed, "teach/order") if shuffled else None,
        device=work.device,
    )
