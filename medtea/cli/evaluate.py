"""medtea evaluate: a config's networks, others' beside them, or predictions alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtea.cli.configs import load, models_of, source_of
from medtea.cli.options import From, NoTracking, Set, To
from medtea.cli.walking import walk, walk_scores
from medtea.core.errors import UsageError


def evaluate_command(
    config: Annotated[Path | None, typer.Argument(help="The experiment's YAML, or the name of one.")] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="CSV", help="Predictions of any system (docs/scores.md).")
    ] = None,
    train: Annotated[
        list[str] | None, typer.Option("--train", metavar="HOSPITAL", help="Of --scores: the system was trained there.")
    ] = None,
    external: Annotated[
        list[str] | None, typer.Option("--external", metavar="HOSPITAL", help="Of --scores: it never saw this one.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="[NAME=]PATH", help="Of CONFIG: score this too (docs/given_models.md)."),
    ] = None,
    to: To = None,
    set_: Set = None,
    from_: From = None,
    no_tracking: NoTracking = False,
) -> None:
    """AUROC with intervals, per method and hospital.

    Two ways: of a config's own networks, with others' beside them to the page; or of predictions that any system made:

    medtea evaluate CONFIG --model network.onnx

    medtea evaluate --scores scores.csv --train northgate --external hillcrest --to FOLDER
    """
    if (config is None) == (scores is None):
        raise UsageError("Give either CONFIG, to evaluate its networks, or --scores CSV, to evaluate predictions.")
    if scores is not None:
        if models or from_:
            raise UsageError("--model and --from go with CONFIG; predictions that are made already need neither.")
        walk_scores(scores, to, train or [], external or [], set_ or [], no_tracking)
    elif config is not None:
        if train or external:
            raise UsageError("--train and --external go with --scores; a config has them below `ingest`.")
        assignments = [*source_of(config, from_), *(set_ or []), *models_of(config, models or [])]
        _, settings = load(config, assignments)
        until = "report" if models and "report" in type(settings).model_fields else "evaluate"
        walk(config, to, assignments, no_tracking, until=until)
