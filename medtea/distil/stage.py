"""Train one student by one method, on the same copies of the same radiographs as every other method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field as Bound
from pydantic import field_validator, model_validator

from medtea.core import bay
from medtea.core.names import INPUT, Field, IndexArtefact, Split, StudentArtefact, TeacherArtefact
from medtea.core.seeds import named_seed, numpy_generator
from medtea.core.settings import StrictSettings, parse
from medtea.core.work import Work, read_json, write_json, write_weights
from medtea.data.bank import Bank, bank_fields
from medtea.data.index import read_index
from medtea.data.loader import Loader, StoredHeatmaps
from medtea.distil import methods
from medtea.distil.methods.method import Method, TeacherView
from medtea.distil.watch import LOOKS_AT, Watch, some_of
from medtea.training.loop import LoopSettings, selection_rule, train
from medtea.training.networks import backbone, build_classifier, head_of, load_classifier

Array = np.ndarray[Any, Any]


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
    sees: frozenset[Field] = module.Method.sees
    network = build_classifier(settings.network, named_seed(work.seed, "student")).to(work.device)
    view = _view(work, teacher, sees)
    method: Method = module.Method(
        network, head_of(network, settings.network), parse(module.Settings, settings.options), view
    )
    is_training = table["split"].to_numpy()[bank.rows] == Split.TRAIN
    selecting = np.flatnonzero(~is_training)
    watch = None
    if settings.watch:
        watched = _loader(work, settings, LOOKS_AT, bank, table, some_of(selecting), layers=[INPUT])
        watch = Watch(network, watched, view.relative)
    with work.tracker.child(settings.name, settings.model_dump(mode="json")) as tracked:
        history = train(
            method,
            training=_loader(work, settings, sees, bank, table, np.flatnonzero(is_training), shuffled=True),
            validation=_loader(work, settings, sees, bank, table, selecting),
            settings=settings.loop,
            folder=stage.folder,
            name=settings.name,
            log=tracked.metrics,
            watch=watch,
        )
    write_weights(artefact.student, network)
    write_json(
        artefact.card,
        {
            "name": settings.name,
            "method": settings.method,
            "network": settings.network,
            "sees": sorted(sees),
            "options": settings.options,
            "trained_on": int(is_training.sum()),
            "selected_on": int((~is_training).sum()),
            "selection": selection_rule(settings.loop),
            "watched": "after each epoch, on validation radiographs of the training hospitals; decided nothing"
            if settings.watch
            else "no",
            "epochs": len(history),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        },
    )
    stage.finish(last_epoch=history[-1])
    return artefact


def _view(work: Work, teacher: TeacherArtefact, sees: frozenset[Field]) -> TeacherView:
    """What the method may have of the teacher; its head only if declared."""
    card = read_json(teacher.card)
    head = None
    if Field.TEACHER_HEAD in sees:
        head = head_of(load_classifier(teacher, work.device), card["network"])
    return TeacherView(head=head, layers=card["layers"], relative=card["epsilon_relative"])


def _loader(
    work: Work,
    settings: Settings,
    sees: frozenset[Field],
    bank: Bank,
    table: Any,
    entries: Array,
    *,
    shuffled: bool = False,
    layers: Sequence[str] | None = None,
) -> Loader:
    labels = table["label"].to_numpy(dtype=np.float32, na_value=np.nan)[bank.rows]
    hospitals = table["hospital"].astype("category").cat.codes.to_numpy(dtype=np.float32)[bank.rows]
    fields = {
        Field.LABEL: labels,
        Field.HOSPITAL: hospitals,
        Field.TEACHER_LOGIT: bank.array(Field.TEACHER_LOGIT),
    }
    return Loader(
        bank_fields(bank) | fields,
        asks=sees,
        entries=entries,
        rows=bank.rows,
        batch_size=settings.loop.batch_size,
        names=table["radiograph"].to_numpy()[bank.rows],
        heatmaps=StoredHeatmaps({layer: bank.heatmap(layer) for layer in layers or bank.layers}, bank.epsilon),
        generator=numpy_generator(work.seed, "distil/order") if shuffled else None,
        device=work.device,
    )
