"""Train one student by one method, on the same copies of the same radiographs as every other method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field as Bound
from pydantic import field_validator, model_validator
from torch import nn

from medtea.core import bay
from medtea.core.names import INPUT, Field, IndexArtefact, StudentArtefact, TeacherArtefact
from medtea.core.seeds import named_seed, numpy_generator
from medtea.core.settings import StrictSettings, parse
from medtea.core.work import Work, read_json, write_json, write_weights
from medtea.data.bank import Bank, bank_fields
from medtea.data.index import Parts, label_fields, read_index
from medtea.data.loader import Loader, StoredHeatmaps
from medtea.distil import methods
from medtea.distil.methods.method import Context, Method
from medtea.distil.registered import registered
from medtea.distil.watch import LOOKS_AT, Watch, some_of
from medtea.training.asked import AskedTeacher
from medtea.training.loop import LoopSettings
from medtea.training.networks import backbone, build_classifier, head_of, load_classifier, shape_of
from medtea.training.phases import Loaders, Phase, noted, told, train_phases

Array = np.ndarray[Any, Any]
ASKED = frozenset({Field.TEACHER_FEATURES, Field.TEACHER_GRADIENT})
"""What of the teacher is not stored: it is asked on the way."""


class Settings(StrictSettings):
    """One student.

    Attributes:
        method: A file of medtea/distil/methods.
        name: What the student is called in results; the method's name when empty.
        network: A backbone of medtea/training/networks.py.
        loop: How the network is trained.
        options: The method's own settings (see its file).
        watch: After each epoch, compare the student's maps with the teacher's (see watch.py); it decides nothing.
    """

    method: str
    name: str = Bound("", pattern=r"^[a-z0-9_]*$")
    network: str = "small_resnet"
    loop: LoopSettings = LoopSettings(epochs=30)
    options: dict[str, Any] = Bound(default_factory=dict)
    watch: bool = True

    @field_validator("network")
    @classmethod
    def _known_network(cls, name: str) -> str:
        backbone(name)
        return name

    @model_validator(mode="before")
    @classmethod
    def _filled_options(cls, content: Any) -> Any:
        """Check the method's own settings, and write their defaults down."""
        if not isinstance(content, dict) or not isinstance(content.get("method"), str):
            return content
        module = bay.load(methods, content["method"], "distil.method")
        options = parse(module.Settings, content.get("options") or {}, f"distil.{content['method']}.options")
        return content | {"options": options.model_dump(mode="json"), "name": content.get("name") or content["method"]}


def run(work: Work, settings: Settings, index: IndexArtefact, teacher: TeacherArtefact) -> StudentArtefact:
    """Leave the student's weights and the card that says what it was allowed to see."""
    stage = work.stage(f"distil/{settings.name}", settings, [index, teacher])
    artefact = StudentArtefact(stage.folder)
    if stage.is_finished:
        return artefact
    table = read_index(index.index)
    bank = Bank(teacher.bank)
    module = bay.load(methods, settings.method, "distil.method")
    options = parse(module.Settings, settings.options)
    sees: frozenset[Field] = module.Method.sees_with(options)
    card = read_json(teacher.card)
    parts = Parts.of(table, bank.rows, sees_unbiased=Field.UNBIASED in sees)
    network = _student(work, settings, card, is_adapted=Field.TEACHER_HEAD in sees)
    context = _context(work, settings, teacher, table, bank, sees)
    head = head_of(network, settings.network)
    method: Method[Any] = module.Method(network, head, options, context)
    fields = bank_fields(bank) | label_fields(table, bank.rows) | {Field.TEACHER_LOGIT: bank.array(Field.TEACHER_LOGIT)}

    def loader(
        entries: Array,
        asks: frozenset[Field] = sees,
        *,
        layers: Sequence[str] | None = None,
        shuffled: bool = False,
    ) -> Loader:
        stored = {layer: bank.heatmap(layer) for layer in layers or bank.layers}
        return Loader(
            fields,
            asks=asks,
            teacher_asks=frozenset(map(Field, card["sees_at_inference"])) if asks & ASKED else frozenset(),
            entries=entries,
            rows=bank.rows,
            batch_size=settings.loop.batch_size,
            names=table["radiograph"].to_numpy()[bank.rows],
            heatmaps=StoredHeatmaps(stored, bank.epsilon, bank.cotangent),
            generator=numpy_generator(work.seed, "distil/order") if shuffled else None,
            device=work.device,
        )

    selecting = parts.validation()
    phases: list[Phase] = []
    watch = None
    if settings.watch:
        watched = LOOKS_AT & (fields.keys() | {Field.TEACHER_HEATMAP})
        watched_on = loader(some_of(selecting), watched, layers=[INPUT])
        watch = Watch(network, watched_on, context.relative, looks_at=module.Method.looks_at)
    with work.tracker.child(settings.name, settings.model_dump(mode="json")) as tracked:
        history = train_phases(
            noted(method.phases(lambda: loader(parts.training())), phases),
            loaders=Loaders(
                training=lambda unbiased: loader(parts.training(unbiased), shuffled=True),
                validation=lambda unbiased: loader(parts.validation(unbiased)),
            ),
            settings=settings.loop,
            folder=stage.folder,
            name=settings.name,
            log=tracked.metrics,
            watch=watch,
        )
        write_weights(artefact.student, network)
        shape = card["shape"]
        size = bank_fields(bank)[Field.RADIOGRAPH].shape[-1]
        tracked.model(registered(network, table, sees=sees, channels=shape["channels"], size=size))
    write_json(
        artefact.card,
        {
            "name": settings.name,
            "method": settings.method,
            "network": settings.network,
            "shape": shape_of(network, settings.network),
            "sees": sorted(sees),
            "sees_at_inference": sorted(module.Method.looks_at),
            "options": settings.options,
            **told(phases, parts, settings.loop),
            "watched": "after each epoch, on validation radiographs of the training hospitals; decided nothing"
            if settings.watch
            else "no",
            "epochs": len(history),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        },
    )
    stage.finish(last_epoch=history[-1])
    return artefact


def _student(work: Work, settings: Settings, card: dict[str, Any], *, is_adapted: bool) -> nn.Module:
    """A fresh student; as wide before its last layer as the teacher, if that layer may be copied."""
    shape = card["shape"] if is_adapted else card["shape"] | {"width": None}
    return build_classifier(settings.network, named_seed(work.seed, "student"), **shape).to(work.device)


def _context(
    work: Work,
    settings: Settings,
    teacher: TeacherArtefact,
    table: pd.DataFrame,
    bank: Bank,
    sees: frozenset[Field],
) -> Context:
    """What the method may have of the teacher: no more than it declared."""
    card = read_json(teacher.card)
    head, look, slopes = None, None, None
    if sees & (ASKED | {Field.TEACHER_HEAD}):
        network = load_classifier(teacher, work.device)
        last = head_of(network, card["network"])
        asked = AskedTeacher(network, last, card["layers"])
        head = last if Field.TEACHER_HEAD in sees else None
        look = asked.look if Field.TEACHER_FEATURES in sees else None
        slopes = asked.slopes if Field.TEACHER_GRADIENT in sees else None
    return Context(
        layers=backbone(settings.network).layers,
        hospitals=table["hospital"].iloc[bank.rows].nunique(),
        rows=len(table),
        teacher_head=head,
        teacher_layers=bank.layers,
        relative=card["epsilon_relative"],
        look=look,
        slopes=slopes,
    )
