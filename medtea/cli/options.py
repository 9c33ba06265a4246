"""The arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Argument(help="The experiment's YAML, or the name of one that comes along (demo).")]
To = Annotated[Path | None, typer.Option("--to", help="Run folder. Default: runs/<name of the config>.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: --set distil.0.loop.epochs=2. May be repeated.")
]
From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="SOURCE", help="Read from this source; its options: the config's, or medtea/SOURCE.yaml."
    ),
]
NoTracking = Annotated[bool, typer.Option("--no-tracking", help="Log nothing to MLflow.")]
