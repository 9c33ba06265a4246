"""A method in float64, where rounding does not hide a wrong gradient; and methods small enough to work out by hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from oracles.made_batches import context_of, everything, small_network
from torch import Tensor, nn

from medtea.core import bay
from medtea.core.names import Field
from medtea.core.settings import parse
from medtea.data.loader import Batch
from medtea.distil import methods
from medtea.distil.methods.method import Context
from medtea.training.asked import AskedTeacher

RADIOGRAPHS = 4


def in_double(
    name: str, *, student: int = 1, logits: int = 1, epsilon: float = 0.0, **options: Any
) -> tuple[Any, Batch]:
    """A method in evaluation mode with a small student, and a batch of four radiographs with all that it sees.

    Args:
        name: The method.
        student: Seed of the student's weights; the teacher's is 0.
        logits: Of both.
        epsilon: Of the teacher's stored maps.
        options: The method's own settings.
    """
    module = bay.load(methods, name, "method")
    teacher, network = (small_network(seed, logits=logits).double().eval() for seed in (0, student))
    context = context_of(teacher, module.Method.sees)
    method = module.Method(network, network.head, parse(module.Settings, options, f"distil.{name}.options"), context)
    method.assistant.double().eval()
    return method, _batch(module.Method.sees, logits, epsilon)


@cache
def _batch(sees: frozenset[Field], logits: int, epsilon: float) -> Batch:
    loader = everything(small_network(0, logits=logits).double().eval(), sees, epsilon=epsilon)
    loader._entries = np.arange(RADIOGRAPHS)
    return doubled(next(iter(loader)))


def doubled(batch: Batch) -> Batch:
    """The batch in float64."""
    return Batch(
        batch.rows,
        {field: values.double() for field, values in batch._fields.items()},
        {layer: values.double() for layer, values in batch._heatmaps.items()},
        epsilon=batch._epsilon,
        cotangent=None if batch._cotangent is None else batch._cotangent.double(),
        for_teacher=None if batch.for_teacher is None else doubled(batch.for_teacher),
    )


def shown_to_both(batch: Batch) -> Batch:
    """The same batch, whose radiographs are what the teacher is shown of them."""
    assert batch.for_teacher is not None
    fields = batch._fields | {Field.RADIOGRAPH: batch.for_teacher[Field.TWIN]}
    return Batch(batch.rows, fields, batch._heatmaps, for_teacher=batch.for_teacher)


# ---- by hand


def linear(weights: Sequence[float]) -> nn.Sequential:
    """The logit is <weights, pixels> of a radiograph of one row; its only layer is the radiograph itself."""
    head = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([weights]))
    return nn.Sequential(OrderedDict(layer=nn.Identity(), flatten=nn.Flatten(), head=head)).eval()


def by_hand(
    name: str, *, student: Sequence[float], teacher: Sequence[float], pixels: Any, shown: Any, **options: Any
) -> Tensor:
    """A distillation method's loss where both networks are linear.

    Args:
        name: The method.
        student: Its weights.
        teacher: Its weights.
        pixels: A row of pixels for each radiograph, as the student sees it.
        shown: The same for the teacher.
        options: The method's own settings.
    """
    module = bay.load(methods, name, "method")
    given, network = linear(teacher), linear(student)
    asked = AskedTeacher(given, given.head, ["layer"])
    context = Context(
        layers=("layer",),
        teacher_head=given.head,
        teacher_layers=("input", "layer"),
        look=asked.look,
        slopes=asked.slopes,
    )
    method = module.Method(network, network.head, parse(module.Settings, options, ""), context)
    for_teacher = Batch(np.arange(len(shown)), {Field.TWIN: torch.tensor(shown)[:, None, None]}, {})
    fields = {Field.RADIOGRAPH: torch.tensor(pixels)[:, None, None]}
    loss: Tensor = method.loss(Batch(np.arange(len(pixels)), fields, {}, for_teacher=for_teacher))
    return loss


def of_logits(name: str, *, hospitals: int = 2, classes: int = 2, **options: Any) -> Any:
    """A method in evaluation mode whose network passes on as logits what it is shown: see `logits_batch`."""
    module = bay.load(methods, name, "method")
    count = 1 if classes == 2 else classes
    head = nn.Linear(count, count, bias=False)
    nn.init.eye_(head.weight)
    network = nn.Sequential(nn.Flatten(), head).eval()
    return module.Method(network, head, parse(module.Settings, options, ""), Context(hospitals=hospitals))


def logits_batch(logits: Sequence[Any], fields: Mapping[Field, Sequence[float]]) -> Batch:
    """A batch for `of_logits`: one logit a radiograph, or a row of them."""
    shown = torch.tensor(logits).reshape(len(logits), 1, 1, -1)
    given = {field: torch.tensor(values, dtype=torch.float32) for field, values in fields.items()}
    return Batch(np.arange(len(logits)), {Field.RADIOGRAPH: shown, **given}, {})
