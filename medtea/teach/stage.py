"""Train the teacher on what does not mislead it, then store its heatmaps of every training radiograph."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field as Bound
from pydantic import PositiveFloat, field_validator, model_validator

from medtea.core import bay
from medtea.core.errors import DataError
from medtea.core.names import Field, IndexArtefact, LungsArtefact, Role, Split, TeacherArtefact
from medtea.core.seeds import named_seed, numpy_generator
from medtea.core.settings import StrictSettings, expand, parse
from medtea.core.work import Work, read_array, write_json, write_weights
from medtea.data.augment import AugmentSettings
from medtea.data.bank import bank_fields, make_bank
from medtea.data.index import Parts, count_logits, label_fields, learners, read_index, read_plausible, rows
from medtea.data.loader import Loader
from medtea.metrics.classification import auroc
from medtea.teach import teachers
from medtea.teach.heatmaps import bytes_per_radiograph, drawn_cotangent, drawn_epsilon, store_heatmaps
from medtea.teach.teachers.teacher import Built, Teacher
from medtea.training.loop import LoopSettings
from medtea.training.networks import backbone
from medtea.training.phases import Loaders, Phase, noted, told, train_phases
from medtea.training.predict import Shown, predict_logits

Array = np.ndarray[Any, Any]


class Settings(StrictSettings):
    """Who teaches, and how.

    Attributes:
        teacher: A file of medtea/teach/teachers.
        options: The teacher's own settings (see its file).
        network: A backbone of medtea/training/networks.py; a teacher that comes trained brings its own.
        copies: Augmented copies per radiograph; every student trains on the same ones. A scene, in colour,
            is not augmented; with K > 1 logits it has so many maps, each of another ±1 mix of the logits.
        epsilon: ε of LRP-ε in the stored heatmaps; 0 is gradient x input. A pair [low, high]: drawn log-uniformly for
            every radiograph and copy (the paper's default is [0.001, 0.01], drawn at every step).
        epsilon_relative: ε counts in means of |a| of each layer.
        augment: How far the copies differ.
        loop: How the network is trained.
    """

    teacher: str = "masked_classifier"
    options: dict[str, Any] = Bound(default_factory=dict)
    network: str = "small_resnet"
    copies: int = Bound(8, ge=1)
    epsilon: Annotated[float, Bound(ge=0)] | tuple[PositiveFloat, PositiveFloat] = 0.0
    epsilon_relative: bool = False
    augment: AugmentSettings = AugmentSettings()
    loop: LoopSettings = LoopSettings(epochs=20)

    @model_validator(mode="before")
    @classmethod
    def _filled_options(cls, content: Any) -> Any:
        """Check the teacher's own settings, and write their defaults down."""
        if not isinstance(content, dict):
            return content
        name = content.get("teacher", "masked_classifier")
        module = bay.load(teachers, name, "teach.teacher")
        options = parse(module.Settings, content.get("options") or {}, f"teach.{name}.options")
        return content | {"options": options.model_dump(mode="json")}

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


def run(work: Work, settings: Settings, index: IndexArtefact, lungs: LungsArtefact | None = None) -> TeacherArtefact:
    """Leave the teacher and the bank.

    Only labelled radiographs of the training hospitals with a plausible mask are used, in the splits train and
    validation; the unbiased subset is in the bank too, for whoever declares to see it. Without `lungs` the index's own
    masks are used (scenes), and all are plausible.

    Raises:
        DataError: none is left, or one class is missing; or the disk has no room for the heatmaps; or the teacher
            needs what the index does not have.
    """
    module = bay.load(teachers, settings.teacher, "teach.teacher")
    options = parse(module.Settings, expand(settings.options), f"teach.{settings.teacher}.options")
    inputs = [index, *([lungs] if lungs else [])]
    stage = work.stage("teach", settings, inputs, source=module.Teacher.source(options))
    artefact = TeacherArtefact(stage.folder)
    if stage.is_finished:
        return artefact
    table = read_index(index.index)
    radiographs = read_array(index.radiographs)
    masks = read_array(lungs.lung_masks if lungs else index.given_masks)
    twins = read_array(index.twins) if Field.TWIN in module.Teacher.sees and index.twins.exists() else None
    if Field.TWIN in module.Teacher.sees and twins is None:
        raise DataError(f"teach.teacher: '{settings.teacher}' is shown debiased twins, and this index has none.")
    learning = learning_rows(table, read_plausible(lungs) if lungs else np.ones(len(table), dtype=bool))
    channels, logits = 1 if radiographs.ndim == 3 else radiographs.shape[1], count_logits(table)
    shape = {"channels": channels, "logits": logits, "size": radiographs.shape[-1]}
    built: Built = module.Teacher.built(options, settings.network, named_seed(work.seed, "teacher"), **shape)
    network, layers = built.network.to(work.device), built.layers
    copies = 1 if radiographs.ndim > 3 else settings.copies
    maps_of_each = settings.copies if logits > 1 else copies
    example = torch.zeros(2, channels, *radiographs.shape[-2:], device=work.device)
    per_radiograph = bytes_per_radiograph(network, example, layers, copies=copies, maps_of_each=maps_of_each)
    room, free = len(learning) * per_radiograph, shutil.disk_usage(work.folder).free
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
        twins=twins,
        rows=learning,
        copies=copies,
        settings=settings.augment,
        seed=named_seed(work.seed, "teach"),
    )
    teacher: Teacher[Any] = module.Teacher(network, options)
    parts = Parts.of(table, bank.rows, sees_unbiased=Field.UNBIASED in teacher.sees)
    _refuse_one_class(table["label"].iloc[bank.rows[parts.training(True)]] if parts.sees_unbiased else ())
    phases: list[Phase] = []

    def loader(entries: Array, *, shuffled: bool) -> Loader:
        return Loader(
            bank_fields(bank) | label_fields(table, bank.rows),
            asks=teacher.sees,
            entries=entries,
            rows=bank.rows,
            names=table["radiograph"].to_numpy()[bank.rows],
            batch_size=settings.loop.batch_size,
            generator=numpy_generator(work.seed, "teach/order") if shuffled else None,
            device=work.device,
        )

    with work.tracker.child("teacher", settings.model_dump(mode="json")) as tracked:
        train_phases(
            noted(teacher.phases(), phases),
            loaders=Loaders(
                training=lambda unbiased: loader(parts.training(unbiased), shuffled=True),
                validation=lambda unbiased: loader(parts.validation(unbiased), shuffled=False),
            ),
            settings=settings.loop,
            folder=stage.folder,
            name="teacher",
            log=tracked.metrics,
        )
        write_weights(artefact.teacher, network)
        entries = len(learning)
        store_heatmaps(
            teacher,
            bank,
            layers=layers,
            epsilon=drawn_epsilon(settings.epsilon, entries, maps_of_each, named_seed(work.seed, "teach/epsilon")),
            relative=settings.epsilon_relative,
            device=work.device,
            cotangent=drawn_cotangent(entries, maps_of_each, logits, named_seed(work.seed, "teach/cotangent")),
            copies=maps_of_each,
        )
        shown = Shown(sorted(teacher.looks_at), radiographs, masks, twins)
        measured = _on_validation(table, learning[parts.validation(False)], network, shown)
        tracked.metrics({f"{name}_iid_validation": value for name, value in measured.items()})
    answers = {f"{name}_iid_validation": value if np.isfinite(value) else None for name, value in measured.items()}
    write_json(
        artefact.card,
        {
            "teacher": settings.teacher,
            **built.card,
            "layers": list(layers),
            "epsilon": settings.epsilon,
            "epsilon_relative": settings.epsilon_relative,
            "sees": sorted(teacher.sees),
            "sees_at_inference": sorted(teacher.looks_at),
            "options": settings.options,
            **told(phases, parts, settings.loop),
            **answers,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        },
    )
    stage.finish(**answers)
    return artefact


def _refuse_one_class(labels: Iterable[int]) -> None:
    """Refuse an unbiased subset from which nothing can be learnt; an empty one is refused where it is asked for."""
    classes = set(labels)
    if len(classes) == 1:
        raise DataError(
            f"The training part of the unbiased subset has radiographs of class {classes.pop()} only; a classifier "
            "needs both classes. Give the scene or the plant a larger one."
        )


def _on_validation(table: pd.DataFrame, rows: Array, network: torch.nn.Module, shown: Shown) -> dict[str, float]:
    """AUROC, or the accuracy of several classes, on IID validation radiographs."""
    labels = table["label"].to_numpy(dtype=float, na_value=np.nan)[rows]
    logits = predict_logits(network, shown.images, rows, masks=shown.masks)
    if logits.ndim == 1:
        return {"auroc": auroc(labels, logits)}
    return {"accuracy": float((logits.argmax(1) == labels).mean()) if len(rows) else math.nan}


def learning_rows(
    table: pd.DataFrame, plausible: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Rows that teacher and students may learn from or be selected on.

    Raises:
        DataError: none is left, or training has one class only.
    """
    usable = learners(table, sees_unbiased=True) & table["split"].ne(Split.TEST) & table["label"].notna() & plausible
    learning = rows(usable)
    classes = set(table.loc[usable & table["role"].eq(Role.TRAIN) & table["split"].eq(Split.TRAIN), "label"])
    if len(classes) < 2:
        raise DataError(
            "The training hospitals have "
            + ("no labelled radiograph" if not classes else f"radiographs of class {classes.pop()} only")
            + " with a plausible lung mask; a classifier needs both classes. Look at ingest/flow.csv and "
            "segment/masks.csv, and at ingest.positive and ingest.negative."
        )
    return learning
