"""medtea report: a run's page, or two runs compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtea.cli.configs import source_of
from medtea.cli.options import From, NoTracking, Set, To
from medtea.cli.screen import out
from medtea.cli.walking import walk
from medtea.core.errors import UsageError
from medtea.report.comparison import compare


def report_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment's YAML, or the name of one.")],
    other: Annotated[
        Path | None, typer.Argument(metavar="RUN_B", help="With it CONFIG is a run folder too; both are compared.")
    ] = None,
    to: To = None,
    set_: Set = None,
    from_: From = None,
    no_tracking: NoTracking = False,
) -> None:
    """The HTML page, the tables and the figures: the whole way.

    Of two run folders with the same radiographs and split, a page of paired differences per method and hospital:

    medtea report runs/first runs/second --to FOLDER
    """
    if other is None:
        walk(config, to, [*source_of(config, from_), *(set_ or [])], no_tracking, until="report")
        return
    if set_ or from_:
        raise UsageError("--set and --from go with CONFIG; two run folders are compared as they are.")
    made = compare(config, other, to or Path("runs") / f"{config.resolve().name}_and_{other.resolve().name}")
    out.print(f"The page: {made.page}", markup=False, highlight=False, soft_wrap=True)
