"""Several seeds of one experiment: its networks are trained in as many processes as asked, and it goes on where it was.

Every seed has an ordinary run folder below the sweep's. A unit is a part of one run: all up to the teacher, one
student, or the evaluation of them all. Finished stages are skipped by their records: starting again costs nothing, and
a run of the sweep can be gone on with alone, to its audit and its own page.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medtea.core.errors import DataError, MedteaError
from medtea.core.names import Artefact
from medtea.core.settings import to_yaml
from medtea.core.tracking import NullTracker, Tracker, metric_name
from medtea.core.work import RECORD, Work, provenance, write_json, write_text
from medtea.evaluate.over_seeds import over_seeds
from medtea.report.page import seeds_page
from medtea.report.seeds_figure import seeds_plot
from medtea.report.seeds_tables import markdown_of

Pipeline = Callable[[Work, Any], Iterator[Artefact]]
TEACHER, EVALUATION = "teacher", "evaluation"
LOG = "sweep.log"
LEFT_OUT: dict[str, Any] = {"seed": True, "evaluate": {"models": {"__all__": {"path"}}}}
"""Of the settings, what a table of several seeds does not say: which one, and where on this machine a model lies."""


@dataclass(frozen=True)
class Unit:
    """A part of one seed's run.

    Attributes:
        pipeline: The `run` of a file of pipelines/.
        settings: The experiment's, with this seed and the students that are wanted.
        folder: The seed's run folder.
        until: The stage to stop after.
        part: "teacher", a student's name, or "evaluation".
        device: Where it is computed.
    """

    pipeline: Pipeline
    settings: Any
    folder: Path
    until: str
    part: str
    device: torch.device

    def __str__(self) -> str:
        """As it is said to the person waiting."""
        return f"seed {self.settings.seed}, {self.part}"


@dataclass(frozen=True)
class Done:
    """What became of a unit: seconds, and the reason if it failed."""

    unit: Unit
    seconds: float
    reason: str = ""


def sweep(
    pipeline: Pipeline,
    settings: Any,
    *,
    folder: Path,
    seeds: Sequence[int],
    processes: int,
    device: torch.device,
    say: Callable[[str], None],
) -> list[Done]:
    """Run the experiment with each seed below `folder`, and return what failed.

    A student that fails is left out of its seed's evaluation; a teacher that fails ends its seed. All others go on.

    Args:
        pipeline: The `run` of a file of pipelines/.
        settings: The experiment's; its own seed does not count.
        folder: Where; a run folder `seed_N` for each.
        seeds: Which.
        processes: How many units at a time; they share the cores.
        device: Where to compute.
        say: Called with a line whenever a unit is done.
    """
    runs = {seed: settings.model_copy(update={"seed": seed}) for seed in seeds}
    students = [student.name for student in settings.distil]
    left = {seed: set(students) for seed in seeds}
    failed: list[Done] = []
    total, finished = len(seeds) * (len(students) + 2), 0
    threads = max(1, (os.cpu_count() or 1) // processes)

    def unit(seed: int, part: str) -> Unit:
        chosen = runs[seed]
        until = {TEACHER: "teach", EVALUATION: "evaluate"}.get(part, f"distil/{part}")
        lost = {done.unit.part for done in failed if done.unit.settings.seed == seed}
        is_student = part not in (TEACHER, EVALUATION)
        kept = [one for one in chosen.distil if (one.name == part if is_student else one.name not in lost)]
        chosen = chosen.model_copy(update={"distil": tuple(kept)})
        return Unit(pipeline, chosen, folder / f"seed_{seed}", until, part, device)

    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_end_with_parent) as pool:

        def start(seed: int, part: str) -> Future[Done]:
            return pool.submit(_do, unit(seed, part), threads)

        try:
            running = {start(seed, TEACHER) for seed in seeds}
            while running:
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    done = future.result()
                    finished += 1
                    seed, part = done.unit.settings.seed, done.unit.part
                    outcome = f"failed: {done.reason}" if done.reason else f"done in {done.seconds:.0f} s"
                    say(f"{done.unit}: {outcome} ({finished} of {total})")
                    if done.reason:
                        failed.append(done)
                    if part == TEACHER:
                        running |= set() if done.reason else {start(seed, student) for student in students}
                    elif part != EVALUATION:
                        left[seed].discard(part)
                        lost = sum(one.unit.settings.seed == seed for one in failed)
                        if not left[seed] and lost < len(students):
                            running.add(start(seed, EVALUATION))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def _end_with_parent() -> None:
    """A killed command takes its processes with it; else they would go on training beside those of the next one."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(unit: Unit, threads: int) -> Done:
    """One unit, in a process of its own; what it says goes into the log of its run folder."""
    begun = time.perf_counter()
    torch.set_num_threads(threads)
    unit.folder.mkdir(parents=True, exist_ok=True)
    with (unit.folder / LOG).open("a", encoding="utf-8") as log:
        sys.stdout = sys.stderr = log
        work = Work(unit.folder, unit.settings.seed, NullTracker(), say=print, device=unit.device)
        if unit.part == EVALUATION:
            write_text(unit.folder / "settings.yaml", to_yaml(unit.settings.model_dump(mode="json")))
        try:
            for artefact in unit.pipeline(work, unit.settings):
                if artefact.folder.relative_to(unit.folder).as_posix() == unit.until:
                    break
        except MedteaError as error:
            return Done(unit, time.perf_counter() - begun, str(error))
    return Done(unit, time.perf_counter() - begun)


def write_tables(
    folder: Path, settings: Any, *, runs: Sequence[Path], failed: Sequence[Done], title: str
) -> dict[str, Any]:
    """Leave table.json, the record, and what it says as table.md, table.html and table.svg; return the record.

    Raises:
        DataError: no run came to its evaluation.
    """
    finished = [run for run in runs if (run / "evaluate" / "record.json").is_file()]
    if not finished:
        raise DataError("No seed came to its evaluation, so there is no table.")
    methods = [student.name for student in settings.distil]
    record = over_seeds(finished, methods=methods)
    record |= {
        "failed": [{"seed": done.unit.settings.seed, "part": done.unit.part, "reason": done.reason} for done in failed],
        "settings": settings.model_dump(mode="json", exclude=LEFT_OUT),
        "made_with": {
            "date": provenance()["date"],
            "seeds": ", ".join(run.name.removeprefix("seed_") for run in finished),
            **_made_with([path for run in finished for path in sorted(run.glob(f"distil/*/{RECORD}"))]),
        },
    }
    write_json(folder / "table.json", record)
    write_text(folder / "table.md", markdown_of(record))
    write_text(folder / "table.html", seeds_page(record, title))
    write_text(folder / "table.svg", seeds_plot(record))
    return record


def _made_with(records: Sequence[Path]) -> dict[str, str]:
    """Commits, machines and versions that the networks were trained with, which need not be those of the table."""
    made = [json.loads(record.read_text(encoding="utf-8"))["made_with"] for record in records]

    def told(of: Callable[[dict[str, Any]], str]) -> str:
        return "; ".join(dict.fromkeys(of(one) for one in made))

    return {
        "commit of the code": told(lambda one: str(one["commit"])),
        "machine": told(lambda one: f"{one['machine']['processor']}, GPU: {one['machine']['gpu'] or 'none'}"),
        "versions": told(lambda one: ", ".join(f"{name} {version}" for name, version in one["versions"].items())),
    }


def track_sweep(tracker: Tracker, record: dict[str, Any], folder: Path) -> None:
    """One run of the tracker for each method and seed, with flat params and the numbers per group, side by side."""
    settings = record["settings"]
    trained = {"teacher": settings["teach"]} | {student["name"]: student for student in settings["distil"]}
    roles = {group["group"]: group["role"] for group in record["groups"]}
    for place, run in enumerate(record["runs"]):
        for method in record["methods"]:
            name = method["method"]
            own = trained[name]
            params = {"method": own.get("method", name), "seed": run.removeprefix("seed_"), "network": own["network"]}
            params |= own["loop"] | {f"option.{key}": value for key, value in (own.get("options") or {}).items()}
            found = {
                metric_name(record["headline"], cell["group"], role=roles[cell["group"]]): cell["by_seed"][place]
                for cell in record["cells"]
                if cell["method"] == name
            }
            with tracker.child(f"{name}, {run}", params) as child:
                child.metrics(found)
    for written in ("table.json", "table.md", "table.html", "table.svg"):
        tracker.artefact(folder / written)
