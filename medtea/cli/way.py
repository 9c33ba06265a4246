"""The whole way, or the way up to a wing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from medtea.cli.configs import load, source_of
from medtea.cli.options import Config, From, NoTracking, Set, To
from medtea.cli.walking import walk, walk_seeds
from medtea.core.errors import UsageError

WINGS = {
    "ingest": "Hospitals' files to an index and arrays; what cannot be used, with its reason.",
    "scenes": "A set of images with a known shortcut, in the place of ingest (pipeline scenes only).",
    "plant": "Known marks stamped on the radiographs (pipeline planted_shortcut only).",
    "segment": "The lung segmenter, and a checked mask for every radiograph.",
    "teach": "The teacher, shown lungs only, and its heatmaps.",
    "distil": "The students, each by its method.",
    "evaluate": "AUROC with intervals, per method and hospital.",
    "audit": "Whether the networks rely on what is outside the lungs.",
    "report": "The HTML page, the tables and the figures: the whole way.",
}
QUICK = (
    "ingest.options.hospitals.northgate.patients=60",
    "ingest.options.hospitals.riverside.patients=60",
    "ingest.options.hospitals.hillcrest.patients=40",
    "segment.loop.epochs=6",
    "teach.copies=2",
    "teach.loop.epochs=8",
    "distil.0.loop.epochs=6",
    "distil.1.loop.epochs=6",
    "distil.2.loop.epochs=6",
    "evaluate.replicates=200",
)
"""What makes the demo small enough to show in two minutes that every part works; its numbers mean nothing."""


def run(
    config: Config,
    to: To = None,
    set_: Set = None,
    from_: From = None,
    no_tracking: NoTracking = False,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Run with each of these (0,1,2) and make one table of all.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Of several seeds: networks trained at a time.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Of several seeds: this student alone. May be repeated.")
    ] = None,
) -> None:
    """Walk the whole way; finished stages are skipped, a killed one goes on. With seeds: a table of methods."""
    assignments = [*source_of(config, from_), *(set_ or []), *([f"seeds=[{seeds}]"] if seeds else [])]
    _, settings = load(config, [*assignments, *([f"processes={processes}"] if processes else [])])
    if settings.seeds:
        walk_seeds(config, to, settings, no_tracking, only or [])
    elif only or processes:
        raise UsageError("--only and --processes are for several seeds; name them with --seeds 0,1,2.")
    else:
        walk(config, to, assignments, no_tracking)


def demo(
    to: To = None,
    set_: Set = None,
    no_tracking: NoTracking = False,
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes, to see that all works; means nothing.")] = False,
) -> None:
    """Three phantom hospitals, the whole way: about five minutes on two cores."""
    walk(Path("demo"), to, [*(QUICK if quick else ()), *(set_ or [])], no_tracking)


def wing_command(wing: str) -> Callable[..., None]:
    """The command that walks up to a wing."""

    def command(
        config: Config, to: To = None, set_: Set = None, from_: From = None, no_tracking: NoTracking = False
    ) -> None:
        walk(config, to, [*source_of(config, from_), *(set_ or [])], no_tracking, until=wing)

    return command
