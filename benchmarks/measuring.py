"""What the benchmarks share: steps timed side by side, the peak of a step's memory, and the file a benchmark writes."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile, record_function

from medtea.core.work import provenance, read_json, write_json

Step = Callable[[], object]
Round = dict[str, tuple[float, float]]
"""Seconds of CPU time and of wall time, by step."""

SEED = 0
FOLDER = Path("runs/benchmarks")
MEASURED = "the measured step"

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells every start and stop on standard error


def parser(about: str, name: str, rounds: int = 20) -> argparse.ArgumentParser:
    """The options that every benchmark has; `about` is its docstring and becomes its help."""
    made = argparse.ArgumentParser(
        prog=f"python benchmarks/{name}.py", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--quick", action="store_true", help="small and few: to see that it works; no number means a thing"
    )
    made.add_argument("--rounds", type=int, help=f"how often every step is timed ({rounds}; with --quick 3)")
    made.add_argument(
        "--to", type=Path, help=f"where the JSON goes ({FOLDER}/{name}.json; with --quick {name}.quick.json)"
    )
    made.set_defaults(name=name, usual_rounds=rounds)
    return made


def parsed(made: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options with their defaults filled in."""
    asked = made.parse_args(arguments)
    asked.rounds = (3 if asked.quick else asked.usual_rounds) if asked.rounds is None else asked.rounds
    if asked.rounds < 2:
        made.error("--rounds: a median with its quartiles needs at least 2")
    asked.to = asked.to or FOLDER / f"{asked.name}{'.quick' if asked.quick else ''}.json"
    return asked


def finish(asked: argparse.Namespace, rows: Callable[[dict[str, Any]], list[str]], results: Any, **more: Any) -> None:
    """Write the JSON, and print its tables."""
    head = {"made_with": provenance(), "seed": SEED, "quick": asked.quick, "rounds": asked.rounds}
    write_json(asked.to, head | more | {"results": results})
    print("\n".join(["", *rows(read_json(asked.to)), "", f"{asked.rounds} rounds; written to {asked.to}"]), flush=True)


def table(columns: Mapping[str, str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; `columns` are headings and "left" or "right"."""
    rule = ["---:" if side == "right" else "---" for side in columns.values()]
    return [f"| {' | '.join(cells)} |" for cells in [list(columns), rule, *lines]]


# ---- time


def timed(step: Step) -> tuple[float, float]:
    """Seconds of process CPU time and of wall time."""
    settle()
    cpu, wall = time.process_time(), time.perf_counter()
    step()
    settle()
    return time.process_time() - cpu, time.perf_counter() - wall


def settle() -> None:
    """Wait until the GPU has done what it was told, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternate(steps: Mapping[str, Step], rounds: int) -> list[Round]:
    """Every step once a round, in the order given and the next time in the reverse order.

    A machine that slows down slows neighbours both. The first time of each warms up and is not counted.
    """
    for step in steps.values():
        step()
    found = []
    for turn in range(rounds):
        order = list(steps)[:: -1 if turn % 2 else 1]
        found.append({name: timed(steps[name]) for name in order})
    return found


def ratios(rounds: Sequence[Round], case: str, against: str) -> dict[str, float]:
    """Medians over the rounds of case / against: CPU time with its quartiles, wall time, and the case's seconds."""
    cpu, wall = ([one[case][kind] / one[against][kind] for one in rounds] for kind in (0, 1))
    low, _, high = statistics.quantiles(cpu, n=4)
    return {
        "cpu_ratio": statistics.median(cpu),
        "cpu_ratio_low": low,
        "cpu_ratio_high": high,
        "wall_ratio": statistics.median(wall),
        "wall_seconds": statistics.median(one[case][1] for one in rounds),
    }


def spread(numbers: Mapping[str, float]) -> str:
    """A ratio of CPU times, and the middle half of the rounds."""
    return f"{numbers['cpu_ratio']:.2f} ({numbers['cpu_ratio_low']:.2f} to {numbers['cpu_ratio_high']:.2f})"


# ---- memory


def peak_bytes(step: Step, device: torch.device) -> int:
    """The most memory of tensors that `step` held at once, above what was held when it began.

    On a CPU every allocation and release of PyTorch's allocator is listed by its profiler, and summed up: the same
    step gives the same number, whatever else runs. Temporaries inside an operator count; what oneDNN and Python take
    for themselves does not. On CUDA it is the allocator's own peak. A first call may make what later ones find made
    (an optimiser's state): call `step` once before.
    """
    if device.type == "cuda":
        settle()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        settle()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        step()  # the profiler knows no size of what was there before it: this leaves what the next step gives back
        with record_function(MEASURED):
            step()
    assert watched.profiler is not None
    # no public list has each allocation with its time: prof.events() gives an operator's sum
    events = list(_inside(watched.profiler.kineto_results.experimental_event_tree()))
    (begun,) = (event.start_time_ns for event in events if event.name == MEASURED)
    changes = [(event.start_time_ns, event.extra_fields.alloc_size) for event in events if _is_memory(event)]
    held = peak = 0
    for _, change in sorted((one for one in changes if one[0] >= begun), key=lambda one: one[0]):
        held += change
        peak = max(peak, held)
    return peak


def _inside(events: Sequence[Any]) -> Iterator[Any]:
    for event in events:
        yield event
        yield from _inside(event.children)


def _is_memory(event: Any) -> bool:
    return bool(event.tag == _EventType.Allocation)


def held_bytes(network: nn.Module, optimiser: torch.optim.Optimizer, others: Sequence[Tensor]) -> int:
    """What training keeps from step to step: parameters, buffers, gradients, optimiser state, and `others`."""
    tensors = [*network.parameters(), *network.buffers(), *others]
    tensors += [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    tensors += [value for state in optimiser.state.values() for value in state.values() if isinstance(value, Tensor)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
