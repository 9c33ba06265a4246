"""One command per wing, and run, demo, list, check, dicomize, deidentify, pacs, sync. No work of its own."""

from __future__ import annotations

import importlib
import importlib.resources
import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medtea import __version__
from medtea.audit import probes
from medtea.audit.policy import Verdict, overall
from medtea.audit.stage import costs
from medtea.core import bay
from medtea.core.errors import ConfigError, DataError, MedteaError, UsageError, nearest
from medtea.core.names import OutcomesArtefact, ScoresArtefact
from medtea.core.pseudonyms import key_file, pseudonyms
from medtea.core.settings import expand, override, parse, read_yaml, to_yaml
from medtea.core.tracking import NullTracker, Tracker, sync
from medtea.core.work import Work, code_commit, read_json, write_text
from medtea.distil import methods
from medtea.ingest import sources
from medtea.ingest.dicomize import Dicomized, dicomize
from medtea.ingest.pacs.cache import Shelf
from medtea.ingest.pacs.check import Answer, look
from medtea.ingest.release import TABLE, code_of, release
from medtea.ingest.sources import pacs, table
from medtea.ingest.sources.source import files_below
from medtea.ingest.stage import open_source
from medtea.report.comparison import compare
from medtea.report.contents import read_outcomes
from medtea.report.seeds_tables import headline_table
from medtea.report.stage import page_of, print_table
from medtea.report.tables import plan_table, to_terminal, verdict_table
from medtea.scenes import sets
from medtea.sweep import sweep, track_sweep, write_tables
from medtea.teach import teachers
from medtea.training.networks import BACKBONES
from medtea.training.processes import lead_or_follow

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
out = Console()
err = Console(stderr=True)

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
NOT_TRACKED: dict[str, Any] = {"ingest": {"options", "labels"}, "scores": {"path"}}
NOT_TRACKED |= {"evaluate": {"models": {"__all__": {"path"}}}}
"""Settings that hold paths, or words of a source."""
EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.NO_ANSWER: 2}
"""Of medtea audit, for whoever builds on it."""
INTERRUPTED = 130
"""How a shell says that Ctrl-C ended a command: 128 + SIGINT."""
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


@app.command()
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
    assignments = [*_source(config, from_), *(set_ or []), *([f"seeds=[{seeds}]"] if seeds else [])]
    _, settings = load(config, [*assignments, *([f"processes={processes}"] if processes else [])])
    if settings.seeds:
        walk_seeds(config, to, settings, no_tracking, only or [])
    elif only or processes:
        raise UsageError("--only and --processes are for several seeds; name them with --seeds 0,1,2.")
    else:
        walk(config, to, assignments, no_tracking)


@app.command()
def demo(
    to: To = None,
    set_: Set = None,
    no_tracking: NoTracking = False,
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes, to see that all works; means nothing.")] = False,
) -> None:
    """Three phantom hospitals, the whole way: about five minutes on two cores."""
    walk(Path("demo"), to, [*(QUICK if quick else ()), *(set_ or [])], no_tracking)


def _wing_command(wing: str, about: str) -> None:
    def command(
        config: Config, to: To = None, set_: Set = None, from_: From = None, no_tracking: NoTracking = False
    ) -> None:
        walk(config, to, [*_source(config, from_), *(set_ or [])], no_tracking, until=wing)

    app.command(wing, help=about, rich_help_panel="The way up to and including one wing")(command)


for _wing, _about in WINGS.items():
    if _wing not in ("evaluate", "audit", "report"):  # which have commands of their own
        _wing_command(_wing, _about)


@app.command("evaluate", rich_help_panel="The way up to and including one wing")
def evaluate_(
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

    Two ways: of a config's own networks, with others' beside them; or of predictions that any system made, to the page:

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
        assignments = [*_source(config, from_), *(set_ or []), *_models(config, models or [])]
        walk(config, to, assignments, no_tracking, until="evaluate")


@app.command("audit", rich_help_panel="The way up to and including one wing")
def audit_(
    config: Config,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="YAML", help="Thresholds, like configs/audit_policy.yaml.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Run nothing; say what would be asked, and its cost.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the radiographs: wider intervals.")] = False,
    to: To = None,
    set_: Set = None,
    from_: From = None,
    no_tracking: NoTracking = False,
) -> None:
    """Whether the networks rely on what is outside the lungs: pass (exit code 0), fail (1) or no answer (2).

    A network fails when one answer lies above its threshold as a whole, see --policy; the worst network decides.
    """
    assignments = [*_source(config, from_), *(set_ or [])]
    if policy is not None:
        assignments.append(f"audit.policy={json.dumps(read_yaml(policy))}")
    _, settings = load(config, assignments)
    if "audit" not in type(settings).model_fields:
        raise UsageError(f"The pipeline {settings.pipeline} has no audit: there are no lungs.")
    if quick:
        assignments.append(f"audit.radiographs={max(settings.audit.radiographs // 10, 1)}")
        _, settings = load(config, assignments)
    if plan:
        asked = settings.audit
        table_ = plan_table(costs(asked), asked.policy.model_dump(), networks=1 + len(settings.distil))
        out.print(to_terminal(table_))
        out.print(f"Of each hospital at most {asked.radiographs} radiographs are asked about.", soft_wrap=True)
        return
    walk(config, to, assignments, no_tracking, until="audit")
    audited = read_json(OutcomesArtefact(_folder(config, to) / "audit").outcomes)
    out.print(to_terminal(verdict_table(read_outcomes(audited), audited)))
    sys.exit(EXIT_CODES[overall(Verdict(one) for one in audited["verdicts"].values())])


@app.command("report", rich_help_panel="The way up to and including one wing")
def report_(
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
        walk(config, to, [*_source(config, from_), *(set_ or [])], no_tracking, until="report")
        return
    if set_ or from_:
        raise UsageError("--set and --from go with CONFIG; two run folders are compared as they are.")
    made = compare(config, other, to or Path("runs") / f"{config.resolve().name}_and_{other.resolve().name}")
    out.print(f"The page: {made.page}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def check(config: Config, set_: Set = None, from_: From = None) -> None:
    """Read a config, fill in every default and print it; nothing is run."""
    _, settings = load(config, [*_source(config, from_), *(set_ or [])])
    out.print(to_yaml(settings.model_dump(mode="json")), markup=False, highlight=False, soft_wrap=True, end="")


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, sources, sets, probes, teachers, networks, configs")],
) -> None:
    """What there is to choose from."""
    known = {"methods": methods, "sources": sources, "sets": sets, "probes": probes, "teachers": teachers}
    if what == "networks":
        entries = {name: spec.about for name, spec in BACKBONES.items()}
    elif what == "configs":
        entries = {path.stem: _first_comment(path) for path in _own_configs()}
    elif what in known:
        entries = {name: bay.summary(bay.load(known[what], name, what)) for name in bay.names(known[what])}
    else:
        raise UsageError(f"'{what}' cannot be listed. {nearest(what, [*known, 'networks', 'configs'])}")
    width = max(len(name) for name in entries)
    for name, about in entries.items():
        out.print(f"{name:<{width}}  {about}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def where(
    config: Config,
    file: Annotated[str, typer.Argument(help="What refused.csv and the index call the file.")],
    to: To = None,
    from_: From = None,
) -> None:
    """The path of a file that refused.csv names by a digest; for you alone, it may hold a name."""
    _, settings = load(config, _source(config, from_))
    path = open_source(settings.ingest, _folder(config, to), settings.seed).where(file)
    if path is None:
        raise UsageError(f"'{file}' is no file of this source. Take the first column of ingest/refused.csv.")
    out.print(str(path), markup=False, highlight=False, soft_wrap=True)


@app.command("dicomize")
def dicomize_(
    source: Annotated[Path, typer.Argument(help="A CSV with one row per image, or the folder of a manifest.csv.")],
    to: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the DICOM trees, one per hospital.")],
    hospitals: Annotated[list[str] | None, typer.Option("--hospital", help="Only this one. May be repeated.")] = None,
) -> None:
    """Write a table of images as DICOM, each hospital in another vendor's manner.

    Says per hospital how many files were written, kept from an earlier run, and refused for which reason.

    To read them in place of a config's own source:

    medtea run CONFIG --set ingest.source=dicom_tree --set 'ingest.options={root: OUT}'
    """
    if source.is_dir() and (source / "manifest.csv").is_file():
        source = source / "manifest.csv"
    counts = dicomize(parse(table.Settings, {"path": source, "hospitals": tuple(hospitals or ())}), to)
    for hospital, count in counts.items():
        for line in _in_words(hospital, count):
            out.print(line, markup=False, highlight=False, soft_wrap=True)


@archives.command("check")
def pacs_check(config: Config, set_: Set = None, from_: From = None) -> None:
    """Ask each hospital whether it answers, and how much the query matches; nothing is received."""
    source = _archives(config, set_, from_)
    answers = [look(archive, source.cache) for archive in source.archives()]
    out.print(_answers(answers))
    wrong = [answer for answer in answers if answer.problem]
    for answer in wrong:
        out.print(f"{answer.hospital}: {answer.problem}", markup=False, highlight=False, soft_wrap=True)
    if wrong:
        raise DataError(f"{len(wrong)} of {len(answers)} hospitals would give nothing; see the reasons above.")


@archives.command("fetch")
def pacs_fetch(config: Config, set_: Set = None, from_: From = None) -> None:
    """Ask anew what the query matches, and receive what is not here yet; ingest then reads it."""
    source = _archives(config, set_, from_)
    try:
        source.receive(again=True)
    finally:
        for archive in source.archives():
            shelf = Shelf(source.cache, archive.name, archive.digest)
            wanted, missing = shelf.wanted(), len(shelf.missing())
            lost = sum(bool(reason) for _, reason in wanted)
            here = len(wanted) - missing - lost
            text = f"{archive.name}: {len(wanted)} images wanted, {here} here, {missing} missing, {lost} not to be had"
            out.print(text, markup=False, highlight=False, soft_wrap=True)


@app.command("deidentify")
def deidentify_(
    source: Annotated[Path, typer.Argument(help="A folder of DICOM files, in any depth; it is not changed.")],
    to: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the new files, apart from the source.")],
    hospital: Annotated[str, typer.Option("--hospital", help="Whose they are: the folder below OUT.")] = "hospital",
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="Also write radiographs with what looks like text on the border.")
    ] = False,
    where: Annotated[
        str | None, typer.Option("--where", help="Write nothing; print the path behind a code of the table, for you.")
    ] = None,
) -> None:
    """Write CR and DX files again without their patients (PS3.15: Basic Profile, device, characteristics, new dates).

    Pseudonyms, UIDs and dates follow from your key (MEDTEA_KEY or the key file), the same in every run.
    """
    names = pseudonyms()
    if where is not None:
        path = next((path for path in files_below(source) if code_of(source, path, names) == where), None)
        if path is None:
            raise UsageError(f"'{where}' is no code of a file in this folder, or was made with another key.")
        out.print(str(path), markup=False, highlight=False, soft_wrap=True)
        return
    done = release(source, to, names, hospital=hospital, keep_text=keep_text)
    out.print(
        f"{done.written} written, {done.kept} kept, {done.refused.total()} refused ({TABLE} lists them); "
        f"{done.with_text} written with what looks like text on the border"
    )
    for reason, files in done.refused.most_common():
        out.print(f"  {files} refused: {reason}", markup=False, highlight=False, soft_wrap=True)


@app.command("sync")
def sync_(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")],
    uri: Annotated[str, typer.Argument(envvar="MLFLOW_TRACKING_URI", help="The tracking server.")],
) -> None:
    """Send a run to an MLflow server; what it has already is not sent again."""
    sent = sync(folder, uri)
    counts = ", ".join(f"{count} {what}" for what, count in vars(sent).items())
    out.print(f"sent: {counts}", soft_wrap=True)


def _archives(config: Path, set_: list[str] | None, from_: str | None) -> pacs.Source:
    _, settings = load(config, [*_source(config, from_), *(set_ or [])])
    source = open_source(settings.ingest, _folder(config, None), settings.seed) if hasattr(settings, "ingest") else None
    if not isinstance(source, pacs.Source):
        raise UsageError("The config's source is not 'pacs'. Add --from pacs, or give a config of that source.")
    return source


def _answers(answers: list[Answer]) -> Table:
    grid = Table("hospital", "asked by", "answers", "studies", "instances in them", "wanted of the first", "received")
    for one in answers:
        sizes = ["-" if size is None else f"{size:,}" for size in (one.studies, one.instances)]
        some = f"{one.wanted} of {one.looked_into} studies" if one.looked_into else "-"
        grid.add_row(one.hospital, one.protocol, "yes" if one.answers else "no", *sizes, some, f"{one.received:,}")
    return grid


def _source(config: Path, name: str | None) -> list[str]:
    """The assignments that `--from NAME` stands for.

    Raises:
        UsageError: there is no such source, or its options stand nowhere.
    """
    if name is None:
        return []
    if name not in bay.names(sources):
        raise UsageError(f"--from '{name}': there is no such source. {nearest(name, bay.names(sources))}")
    ingest = read_yaml(_find(config)).get("ingest")
    if isinstance(ingest, dict) and ingest.get("source") == name:
        return []
    path = key_file(os.environ).with_name(f"{name}.yaml")
    if not path.is_file():
        raise UsageError(
            f"--from {name}: its options stand neither in the config, whose source is another, nor in the file "
            f"medtea/{name}.yaml of your configuration folder. Write them there, as they would stand below "
            "ingest.options."
        )
    return [f"ingest.source={name}", f"ingest.options={json.dumps(read_yaml(path), default=str)}"]


def _models(config: Path, given: list[str]) -> list[str]:
    """The assignment that each `--model` adds to; a network's settings lie beside it in a YAML of its name.

    Of a folder they lie in it, as preprocessing.yaml.
    """
    if not given:
        return []
    evaluate = read_yaml(_find(config)).get("evaluate")
    models = list(evaluate.get("models") or []) if isinstance(evaluate, dict) else []
    for text in given:
        name, equals, rest = text.partition("=")
        path = Path(rest if equals else text)
        beside = path / "preprocessing.yaml" if path.is_dir() else path.with_suffix(".yaml")
        found = read_yaml(beside) if beside.is_file() else {}
        models.append(found | {"path": str(path)} | ({"name": name} if equals else {}))
    return [f"evaluate.models={json.dumps(models, default=str)}"]


def _in_words(hospital: str, count: Dicomized) -> Iterator[str]:
    """One line for the hospital, and one for each reason to refuse a row."""
    vendor = count.vendor
    yield (
        f"{hospital}: {count.written} written, {count.kept} kept, {count.refused.total()} refused; "
        f"{vendor.manufacturer} {vendor.model}, {vendor.photometric}, {vendor.bits} bits, {vendor.syntax.name}"
    )
    for reason, rows in count.refused.most_common():
        yield f"  {rows} refused: {reason}"


def load(config: Path, assignments: list[str]) -> tuple[Any, Any]:
    """The pipeline's module and its filled-in settings.

    Raises:
        ConfigError: the config, an override or a setting is wrong.
    """
    return _load(override(read_yaml(_find(config)), assignments))


def _load(content: dict[str, Any]) -> tuple[Any, Any]:
    name = content.get("pipeline", "cross_hospital")
    pipelines = importlib.import_module("medtea.pipelines")
    known = [path.stem for path in Path(str(pipelines.__path__[0])).glob("*.py") if path.stem != "__init__"]
    if name not in known:
        raise ConfigError(f"pipeline: '{name}' is not known. {nearest(str(name), known)}")
    module = importlib.import_module(f"medtea.pipelines.{name}")
    expand(content)  # a variable that is not set is said now; settings keep ${NAME}, since a path is of one machine
    return module, parse(module.Settings, content)


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
    module = importlib.import_module(f"medtea.pipelines.{settings.pipeline}")
    folder = _folder(config, to)
    failed = sweep(
        module.run,
        settings,
        folder=folder,
        seeds=settings.seeds,
        processes=settings.processes,
        device=_device(settings.device),
        say=_say,
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


def walk(config: Path, to: Path | None, assignments: list[str], no_tracking: bool, until: str = "") -> None:
    """Run a pipeline up to a wing, or to its end, and show what came out."""
    module, settings = load(config, assignments)
    _walk(module, settings, folder=_folder(config, to), study=config.stem, no_tracking=no_tracking, until=until)


def walk_scores(
    scores: Path, to: Path | None, train: list[str], external: list[str], assignments: list[str], no_tracking: bool
) -> None:
    """Evaluate a file of predictions, and make its page; the study is called as its folder is."""
    given = {"path": str(scores)} | {name: value for name, value in (("train", train), ("external", external)) if value}
    module, settings = _load(override({"pipeline": "given_scores", "scores": given}, assignments))
    folder = to or Path("runs") / "scores"
    _walk(module, settings, folder=folder, study=folder.resolve().name, no_tracking=no_tracking)


def _walk(module: Any, settings: Any, *, folder: Path, study: str, no_tracking: bool, until: str = "") -> None:
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
    work = Work(folder, settings.seed, tracker, say=_say, device=_device(settings.device))
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
    elif until in ("evaluate", "report") and "report" in wings:
        outcomes = OutcomesArtefact(folder / "audit") if until == "report" and "audit" in wings else None
        print_table(ScoresArtefact(folder / "evaluate"), outcomes, out.print)
    if until == "report":
        out.print(f"The page: {page_of(folder)}", markup=False, highlight=False, soft_wrap=True)
    if not work.ran:
        out.print("Nothing to do: every stage's record matches the settings, inputs, seed and version.")


def _folder(config: Path, to: Path | None) -> Path:
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


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: 'cuda' is asked for and torch finds no GPU here. Set device: auto or cpu.")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _own_configs() -> list[Path]:
    """The experiments that come along; a policy is none."""
    folder = Path(str(importlib.resources.files("medtea.configs")))
    return sorted(path for path in folder.glob("*.yaml") if "pipeline" in read_yaml(path))


def _find(config: Path) -> Path:
    """The config as a file, or by name among those that come along."""
    if config.is_file():
        return config
    own = {path.stem: path for path in _own_configs()}
    if config.stem in own and len(config.parts) == 1:
        return own[config.stem]
    raise ConfigError(f"There is no config '{config}'. Give a YAML file, or a name. {nearest(config.stem, own)}")


def _first_comment(path: Path) -> str:
    """The first sentence of the comment that a config opens with."""
    opening = itertools.takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    return " ".join(line.lstrip("# ") for line in opening).partition(". ")[0].rstrip(".") + "."


def _say(text: str) -> None:
    err.print(text, markup=False, highlight=False, soft_wrap=True)


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
            _say("medtea: stopped. What is finished stays; the same command goes on from there.")
        raise


if __name__ == "__main__":
    main()
