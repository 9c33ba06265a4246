"""One process or several, as torchrun starts them: the first walks the way, and all of them train.

What is read and written once (index, bank, histories, records) is the first process's work. The others wait until it
comes to a training, take part in it, and wait again.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from medtea.core.errors import MedteaError

T = TypeVar("T")
BETWEEN_TRAININGS = datetime.timedelta(days=30)
"""How long the others wait for the first process; torch's own limit is half an hour, and ingest may take longer."""
_line: list[dist.ProcessGroup] = []
"""By which the first process calls the others; empty where there are none, or nobody leads."""


def are_several() -> bool:
    """Whether torchrun started this process together with others."""
    return dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


def fabric_on(device: torch.device, precision: str) -> Fabric:
    """Where and how precisely this process computes, and how it meets the others."""
    if are_several():
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        fabric = Fabric(
            accelerator=device.type,
            devices=here,
            num_nodes=int(os.environ["WORLD_SIZE"]) // here,
            # A heatmap loss reaches no bias at ε = 0: without the search, the others would be waited for in vain.
            strategy=DDPStrategy(find_unused_parameters=True),
            plugins=TorchElasticEnvironment(),
            precision=precision,  # type: ignore[arg-type]  # LoopSettings allows what Fabric knows
        )
    else:
        fabric = Fabric(
            accelerator=device.type,
            devices=1 if device.index is None else [device.index],
            plugins=LightningEnvironment(),
            precision=precision,  # type: ignore[arg-type]
        )
    fabric.launch()
    return fabric


def mean_of_all(fabric: Fabric, *numbers: Tensor) -> list[float]:
    """Each number's mean over the processes: the same answer in all of them."""
    total = fabric.all_reduce(torch.stack(numbers), reduce_op="sum")
    assert isinstance(total, Tensor)
    return (total / fabric.world_size).tolist()


def each_ones(fabric: Fabric, thing: T) -> list[T]:
    """What each process has, in their order: the same list in all of them."""
    things = [thing] * fabric.world_size
    if fabric.world_size > 1:
        dist.all_gather_object(things, thing)
    return things


def lead_or_follow(way: Callable[[], object]) -> None:
    """Call `way` in the first process, or the only one; any other takes part in its trainings until it ends.

    If the first process fails, it leaves without a word, and torchrun ends the others: they may be anywhere.
    """
    if not are_several():
        way()
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    # gloo, because what is said are objects, and because waiting must not keep a GPU busy
    _line.append(dist.new_group(backend="gloo", timeout=BETWEEN_TRAININGS))
    if dist.get_rank() == 0:
        try:
            way()
        except SystemExit as end:  # how typer ends, also when all is well
            if end.code:
                raise
        _say(None)
    else:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # who waits in gloo never comes to Python's own handler
        _follow()
    dist.destroy_process_group()


def call_others(work: Callable[..., object], *arguments: object) -> None:
    """Have every other process call `work`; the first one calls it itself, directly afterwards."""
    if _line:
        _say((work, arguments))


def _say(what: object) -> None:
    dist.broadcast_object_list([what], src=0, group=_line[0])


def _follow() -> None:
    while True:
        heard: list[Any] = [None]
        dist.broadcast_object_list(heard, src=0, group=_line[0])
        if heard[0] is None:
            return
        work, arguments = heard[0]
        with contextlib.suppress(MedteaError):  # the first process has met it too, and says so
            work(*arguments)
