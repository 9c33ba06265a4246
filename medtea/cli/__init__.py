"""One command per wing, and run, demo, list, check, dicomize, deidentify, pacs, sync. No work of its own."""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from medtea.cli.audit import audit_command
from medtea.cli.configs import load
from medtea.cli.evaluate import evaluate_command
from medtea.cli.files import deidentify_command, dicomize_command, sync_command
from medtea.cli.lists import check, list_, where
from medtea.cli.pacs import pacs_check, pacs_fetch
from medtea.cli.report import report_command
from medtea.cli.screen import err, say
from medtea.cli.walking import walk
from medtea.cli.way import WINGS, demo, run, wing_command
from medtea.core.errors import MedteaError
from medtea.training.processes import lead_or_follow

__all__ = ["WINGS", "app", "load", "main", "walk"]

INTERRUPTED = 130
"""How a shell says that Ctrl-C ended a command: 128 + SIGINT."""
WAY = "The way up to and including one wing"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Train chest X-ray classifiers on explanations, and show per hospital whether they hold. "
    "For research; not a medical device.",
    epilog="Start: medtea demo. Then: medtea check CONFIG, medtea run CONFIG.",
)
archives = typer.Typer(
    no_args_is_help=True,
    help="Hospitals' archives (PACS): check asks what there is, fetch receives what is new.",
)
app.add_typer(archives, name="pacs")

app.command()(run)
app.command()(demo)
for _wing, _about in WINGS.items():
    if _wing not in ("evaluate", "audit", "report"):  # which have commands of their own
        app.command(_wing, help=_about, rich_help_panel=WAY)(wing_command(_wing))
app.command("evaluate", rich_help_panel=WAY)(evaluate_command)
app.command("audit", rich_help_panel=WAY)(audit_command)
app.command("report", rich_help_panel=WAY)(report_command)
app.command()(check)
app.command("list")(list_)
app.command()(where)
app.command("dicomize")(dicomize_command)
archives.command("check")(pacs_check)
archives.command("fetch")(pacs_fetch)
app.command("deidentify")(deidentify_command)
app.command("sync")(sync_command)


def main() -> None:
    """The command line: an expected error is one message on standard error and exit code 2; Ctrl-C is 130.

    Under torchrun the first process does what the command says; the others take part in its trainings.
    """
    try:
        lead_or_follow(app)
    except MedteaError as error:
        err.print(f"[bold red]medtea:[/] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(2)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            say("medtea: stopped. What is finished stays; the same command goes on from there.")
        raise
