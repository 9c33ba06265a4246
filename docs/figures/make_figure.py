"""The README's pictures from the run folder of a finished demo: `python docs/figures/make_figure.py RUN`.

Writes beside itself: demo.svg (AUROC from the hospitals seen in training to the one not seen), heatmaps.svg (a
diseased and a healthy phantom of that hospital, with each network's heatmap) and demo.md (the numbers, and with what
they were made). Refuses a run of anything but phantoms: no picture of a patient belongs into the repository.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medtea.core.errors import MedteaError, UsageError
from medtea.core.names import OutcomesArtefact, ScoresArtefact
from medtea.core.settings import read_yaml
from medtea.core.work import read_json, write_text
from medtea.report.contents import Picture, read_metrics, read_outcomes, read_pictures
from medtea.report.figures import montage_svg, slope_plot
from medtea.report.tables import main_table, to_markdown

HERE = Path(__file__).parent


def make(run: Path, to: Path = HERE) -> list[Path]:
    """The files written.

    Raises:
        UsageError: the run is of another source than the phantom.
        RecordError: the run is not finished.
    """
    settings = read_yaml(run / "settings.yaml")
    if settings["ingest"]["source"] != "phantom":
        raise UsageError("The run is not of phantoms. Pictures in the repository show no patient: give a demo's run.")
    scores, outcomes = ScoresArtefact(run / "evaluate"), OutcomesArtefact(run / "audit")
    metrics = read_metrics(read_json(scores.metrics))
    unseen = [group for group, role in metrics.groups.items() if role == "ood"]
    with np.load(outcomes.pictures, allow_pickle=False) as arrays:
        shown = chosen(read_pictures(dict(arrays)), unseen)
    table = to_markdown(main_table(metrics, read_outcomes(read_json(outcomes.outcomes))))
    made = read_json(scores.folder / "record.json")["made_with"]
    written = {
        to / "demo.svg": on_white(slope_plot(metrics)),
        to / "heatmaps.svg": on_white(montage_svg(shown)),
        to / "demo.md": facts(table, settings, made),
    }
    for path, text in written.items():
        write_text(path, text)
    return list(written)


def chosen(pictures: Sequence[Picture], groups: Sequence[str]) -> list[Picture]:
    """The first diseased and the first healthy picture of each group."""
    first: dict[tuple[str, str], Picture] = {}
    for picture in pictures:
        if picture.group in groups:
            first.setdefault((picture.group, picture.label), picture)
    return list(first.values())


def on_white(svg: str) -> str:
    """The SVG with a white ground: it is drawn for paper, and a dark page would swallow its ink."""
    return re.sub(r"(<svg[^>]*>)", r'\1<rect width="100%" height="100%" fill="#ffffff"/>', svg, count=1)


def facts(table: str, settings: dict[str, Any], made: dict[str, Any]) -> str:
    """The page with the numbers behind the pictures."""
    full = read_yaml(HERE.parents[1] / "configs" / "demo.yaml")
    is_full = settings["distil"][0]["loop"]["epochs"] == full["distil"][0]["loop"]["epochs"]
    warning = "" if is_full else "**A small demo (`--quick`), trained too briefly: its numbers mean nothing.**\n\n"
    hospitals = settings["ingest"]["options"]["hospitals"]
    letter = ", ".join(f"{name} {hospital['agreement']:.0%}" for name, hospital in hospitals.items())
    return (
        f"# The demo's numbers\n\n{warning}{table.strip()}\n\n"
        f"One run on phantoms: seed {settings['seed']}, {made['date']}, commit {made['commit']}, medtea "
        f"{made['versions']['medtea']}, torch {made['versions']['torch']}, {made['machine']['processor']}. It shows "
        "what the program does and that a planted letter is or is not learnt; it says nothing about patients.\n\n"
        f"How often the letter names the label: {letter}. An AUROC far below 0.5 where it names the other label says "
        "that the letter was read, not the lungs.\n"
    )


def main() -> None:
    """The command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: make_figure.py RUN, the folder of a finished `medtea demo`")
    try:
        for path in make(Path(sys.argv[1])):
            print(path)
    except MedteaError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
