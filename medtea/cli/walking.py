"""A pipeline walked up to a wing or to its end, once or with several seeds, and what is shown of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from medtea import __version__
from medtea.cli.configs import load, load_content, pipeline_of
from medtea.cli.screen import err, out, say
from medtea.core.errors import ConfigError, DataError, UsageError, nearest
from medtea.core.names import OutcomesArtefact, ScoresArtefact
from medtea.core.settings import override, to_yaml
from medtea.core.tracking import NullTracker, Tracker
from medtea.core.work import Work, code_commit, write_text
from medtea.report.seeds_tables import headline_table
from medtea.report.stage import page_of, print_table
from medtea.report.tables import to_terminal
from medtea.sweep import sweep, track_sweep, write_tables

NOT_TRACKED: dict[str, Any] = {"ingest": {"options", "labels"}, "scores": {"path"}}
NOT_TRACKED |= {"evaluate": {"models": {"__all__": {"path"}}}, "models": {"__all__": {"path"}}, "masks": True}
"""Settings that hold paths, or words of a source."""


def walk(config: Path, to: Path | None, assignments: list[str], no_tracking: bool, until: str = "") -> None:
    """Run a pipeline up to a wing, or to its end, and show what came out."""
    module, settings = load(config, assignments)
    walk_pipeline(
        module, settings, folder=folder_of(config, to), study=config.stem, no_tracking=no_tracking, until=until
    )


def walk_seeds(config: Path, to: Path | None, settings: Any, no_tracking: bool, only: list[str]) -> None:
    """Run a pipeline with each seed, and show one table of all.

    Raises:
        UsageError: a student is named that there is not.
        DataError: something did not finish; all else did, and is in the table.
    """
    students = {student.name: student for student in settings.distil}
    for name in only:
        if name not in students:
            raise UsageError(f"--only '{name}': there is no such student. {nearest(name, students)}")
    chosen = tuple(students[name] for name in students if not only or name in only)
    settings = settings.model_copy(update={"distil": chosen})
    module = pipeline_of(settings.pipeline)
    folder = folder_of(config, to)
    failed = sweep(
        module.run,
        settings,
        folder=folder,
        seeds=settings.seeds,
        processes=settings.processes,
        device=device_of(settings.device),
        say=say,
    )
    runs = [folder / f"seed_{seed}" for seed in settings.seeds]
    record = write_tables(folder, settings, runs=runs, failed=failed, title=config.stem.replace("_", " "))
    with NullTracker() if no_tracking else _tracker(folder, config.stem, settings) as tracker:
        track_sweep(tracker, record, folder)
    if tracker.notice:
        err.print(tracker.notice, style="yellow", markup=False)
    out.print(to_terminal(headline_table(record)))
    out.print(
        f"The tables: {folder / 'table.html'}, {folder / 'table.md'}", markup=False, highlight=False, soft_wrap=True
    )
    if failed:
        parts = "; ".join(f"{done.unit} ({done.reason})" for done in failed)
        raise DataError(f"{len(failed)} parts did not finish: {parts}. Start again to go on with them.")


def walk_scores(
    scores: Path, to: Path | None, train: list[str], external: list[str], assignments: list[str], no_tracking: bool
) -> None:
    """Evaluate a file of predictions, and make its page; the study is called as its folder is."""
    given = {"path": str(scores)} | {name: value for name, value in (("train", train), ("external", external)) if value}
    module, settings = load_content(override({"pipeline": "given_scores", "scores": given}, assignments))
    folder = to or Path("runs") / "scores"
    walk_pipeline(module, settings, folder=folder, study=folder.resolve().name, no_tracking=no_tracking)


def walk_pipeline(module: Any, settings: Any, *, folder: Path, study: str, no_tracking: bool, until: str = "") -> None:
    """Run a pipeline whose settings are filled in, and show what came out.

    Raises:
        UsageError: it has no such wing, or the folder cannot be made.
    """
    wings = type(settings).model_fields
    is_to_the_end = not until
    until = until or ("report" if "report" in wings else "evaluate")
    if until not in wings:
        raise UsageError(f"The pipeline {settings.pipeline} has no wing '{until}'. Leave it out, or take another.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The run folder cannot be made ({type(error).__name__}). Give another with --to.") from error
    tracker = NullTracker() if no_tracking else _tracker(folder, study, settings)
    work = Work(folder, settings.seed, tracker, say=say, device=device_of(settings.device))
    write_text(folder / "settings.yaml", to_yaml(settings.model_dump(mode="json")))
    with tracker, closing(module.run(work, settings)) as stages:
        for artefact in stages:
            tracker.send()
            if artefact.folder.relative_to(folder).as_posix() == _last_stage(until, settings):
                break
    if tracker.notice:
        err.print(tracker.notice, style="yellow", markup=False)
    if is_to_the_end and until == "evaluate":
        out.print(to_terminal(headline_table(write_tables(folder, settings, runs=[folder], failed=[], title=study))))
    elif until in ("evaluate", "report") and {"evaluate", "report"} <= set(wings):
        outcomes = OutcomesArtefact(folder / "audit")
        # A pipeline that knows the wing may leave it out: hospitals left out in turn are not audited together.
        audited = outcomes if until == "report" and outcomes.outcomes.exists() else None
        print_table(ScoresArtefact(folder / "evaluate"), audited, out.print)
    if until == "report":
        out.print(f"The page: {page_of(folder)}", markup=False, highlight=False, soft_wrap=True)
    if not work.ran:
        out.print("Nothing to do: every stage's record matches the settings, inputs, seed and version.")


def folder_of(config: Path, to: Path | None) -> Path:
    """The run folder."""
    return to or Path("runs") / config.stem


def _last_stage(wing: str, settings: Any) -> str:
    """The stage that finishes a wing; `distil` is finished with its last student."""
    return f"distil/{settings.distil[-1].name}" if wing == "distil" else wing


def _tracker(folder: Path, name: str, settings: Any) -> Tracker:
    return Tracker.open(
        folder,
        experiment=name,
        run_name=f"{name}, seed {settings.seed}",
        params=settings.model_dump(mode="json", exclude=NOT_TRACKED),
        tags={"medtea.version": __version__, "medtea.commit": code_commit()},
    )


def device_of(name: str) -> torch.device:
    """The device that a setting names.

    Raises:
        ConfigError: there is no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: 'cuda' is asked for and torch finds no GPU here. Set device: auto or cpu.")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")
