"""Measure how often the 95 % intervals hold the truth in simulated studies, and write the tables of docs/statistics.md.

    python docs/write_statistics.py --measure    # half an hour or more on one core: the studies, then the page
    python docs/write_statistics.py              # the page, from the numbers of the last measurement
    python docs/write_statistics.py --measure --studies 100 --to FILE.json    # a try, which leaves the page alone

The numbers are kept in docs/results/coverage.json, with date, machine, versions, seed and commit. Of the page only what
stands between `<!-- coverage -->` and `<!-- end of coverage -->` is written.
"""

from __future__ import annotations

import argparse
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from medtea.core.work import provenance, read_json, write_json, write_text
from medtea.metrics.delong import auroc_interval, difference, placed
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import bootstrap_by_patient
from medtea.metrics.proportions import share
from medtea.metrics.weighted import auroc_of, sensitivity_of

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "statistics.md"
RESULTS = REPOSITORY / "docs" / "results" / "coverage.json"
STUDIES, REPLICATES, SEED = 2000, 500, 0
OTHER = 0.05
"""By how much the second method's AUROC is lower, and the second hospital's."""
WITHIN = 0.5
"""Correlation of two radiographs of one patient: of what lies under their labels, and of their scores."""
BETWEEN = 0.5
"""Correlation of the two methods' scores of a radiograph."""
SENSITIVITY = 0.8
MOST_FOR_BOOTSTRAP = 200
"""The bootstrap is measured up to so many radiographs: beyond, it takes hours, and the normal theory holds."""

NAMES = np.array([f"{number:05d}" for number in range(2 * 5000)])


@dataclass(frozen=True)
class Setting:
    """How a study is made: n radiographs of patients with 1 to `most` each, drawn from a population."""

    most: int
    prevalence: float
    n: int
    auroc: float

    @property
    def seed(self) -> int:
        """One per setting, so that a part can be measured again alone."""
        return zlib.crc32(repr((SEED, asdict(self))).encode())


SETTINGS = tuple(
    Setting(most, prevalence, n, auroc)
    for auroc, sizes in ((0.8, (60, 200, 1000, 5000)), (0.95, (60, 200)))
    for most in (1, 6)
    for prevalence in (0.05, 0.2, 0.5)
    for n in sizes
)


@dataclass(frozen=True)
class Study:
    """Radiographs of one hospital, and the scores of two methods."""

    patients: NDArray[np.str_]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    others: NDArray[np.float64]


def drawn(
    setting: Setting, generator: np.random.Generator, shift: float, other: float, first_patient: int = 0
) -> Study:
    """A study of patients numbered from `first_patient`.

    Scores are normal with variance 1 in each class, apart by `shift`, the second method's by `other`.
    """
    images = generator.integers(1, setting.most + 1, setting.n)
    owner = np.repeat(np.arange(setting.n), images)[: setting.n]

    def correlated(count: int) -> NDArray[np.float64]:
        # (count, n) standard normal values, of one patient correlated by WITHIN
        own, noise = generator.normal(size=(count, setting.n)), generator.normal(size=(count, setting.n))
        return np.sqrt(WITHIN) * own[:, owner] + np.sqrt(1 - WITHIN) * noise

    under, shared, first, second = correlated(4)
    labels = (under < norm.ppf(setting.prevalence)).astype(np.int64)
    scores = shift * labels + np.sqrt(BETWEEN) * shared + np.sqrt(1 - BETWEEN) * first
    others = other * labels + np.sqrt(BETWEEN) * shared + np.sqrt(1 - BETWEEN) * second
    return Study(NAMES[first_patient + owner], labels, scores, others)


def intervals(setting: Setting, generator: np.random.Generator) -> Iterator[tuple[str, Estimate, float]]:
    """The intervals of one simulated study, and the truth: name, estimate, truth."""
    shift, other = (np.sqrt(2) * norm.ppf(auroc) for auroc in (setting.auroc, setting.auroc - OTHER))
    one = drawn(setting, generator, shift, other)
    elsewhere = drawn(setting, generator, other, other, setting.n)
    theta = placed(one.patients, one.labels, one.scores)
    weaker = placed(one.patients, one.labels, one.others)
    there = placed(elsewhere.patients, elsewhere.labels, elsewhere.scores)
    yield "AUROC", auroc_interval(theta), setting.auroc
    yield "paired difference", difference([theta], [weaker]).estimate, OTHER
    yield "unpaired difference", difference([theta], [there]).estimate, OTHER
    positive = one.labels == 1
    threshold = shift - norm.ppf(SENSITIVITY)
    yield "sensitivity", share(one.patients[positive], one.scores[positive] >= threshold), SENSITIVITY
    specificity = float(norm.cdf(threshold))
    yield "specificity", share(one.patients[~positive], one.scores[~positive] < threshold), specificity
    called = one.scores >= threshold
    true, false = setting.prevalence * SENSITIVITY, (1 - setting.prevalence) * (1 - specificity)
    yield "PPV", share(one.patients[called], positive[called]), true / (true + false)
    if setting.n <= MOST_FOR_BOOTSTRAP and setting.auroc == 0.8:
        draws = {"replicates": REPLICATES, "generator": generator}
        by_draw = bootstrap_by_patient(one.patients, auroc_of(one.labels, one.scores), **draws)
        yield "AUROC, bootstrap", by_draw, setting.auroc
        statistic = sensitivity_of(one.labels, one.scores, threshold)
        yield "sensitivity, bootstrap", bootstrap_by_patient(one.patients, statistic, **draws), SENSITIVITY


def measured(setting: Setting, studies: int) -> dict[str, Any]:
    """Of `studies` studies: how often each interval held the truth, how wide it was, how often there was none."""
    generator = np.random.default_rng(setting.seed)
    held: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}
    for _ in range(studies):
        for name, estimate, truth in intervals(setting, generator):
            held.setdefault(name, [])
            widths.setdefault(name, [])
            if estimate.has_interval:
                held[name].append(estimate.low <= truth <= estimate.high)
                widths[name].append(estimate.high - estimate.low)
    found = {
        name: {
            "held": float(np.mean(kept)) if kept else None,
            "width": float(np.median(widths[name])) if kept else None,
            "without": studies - len(kept),
        }
        for name, kept in held.items()
    }
    return asdict(setting) | {"intervals": found}


COLUMNS = ("AUROC", "paired difference", "unpaired difference", "sensitivity", "specificity", "PPV")
BOOTSTRAPPED = {"AUROC": "AUROC, bootstrap", "sensitivity": "sensitivity, bootstrap"}
LEAST, HIGHEST = 0.93, 0.97


def rows(found: dict[str, Any]) -> list[str]:
    """The tables of the page."""
    results = found["results"]
    pages = []
    for auroc in dict.fromkeys(cell["auroc"] for cell in results):
        pages += [
            f"**AUROC {auroc:g}**",
            "",
            *_table(COLUMNS, [cell for cell in results if cell["auroc"] == auroc]),
            "",
        ]
    drawn_ones = [cell for cell in results if "AUROC, bootstrap" in cell["intervals"]]
    columns = [name for pair in BOOTSTRAPPED.items() for name in pair]
    return [*pages, "**Beside them, the percentile bootstrap by patient**", "", *_table(columns, drawn_ones)]


def _table(columns: Sequence[str], cells: Sequence[dict[str, Any]]) -> list[str]:
    heads = ("radiographs per patient", "prevalence", "radiographs", *columns)
    lines = [f"| {' | '.join(heads)} |", f"|{' ---: |' * len(heads)}"]
    for cell in cells:
        most = "1" if cell["most"] == 1 else f"1 to {cell['most']}"
        first = [most, f"{100 * cell['prevalence']:.0f} %", f"{cell['n']:,}"]
        lines.append(f"| {' | '.join([*first, *(_cell(cell['intervals'][name]) for name in columns)])} |")
    return lines


def _cell(one: dict[str, Any]) -> str:
    if one["held"] is None:
        return "none"
    text = f"{100 * one['held']:.1f}"
    shown = text if LEAST <= round(one["held"], 3) <= HIGHEST else f"**{text}**"
    return f"{shown} ({one['without']:,} none)" if one["without"] else shown


def told(found: dict[str, Any]) -> str:
    """When, where and with what the numbers were taken."""
    made = found["made_with"]
    machine, versions = made["machine"], made["versions"]
    missing = len(SETTINGS) - len(found["results"])
    rest = f" **{missing} of {len(SETTINGS)} settings are not measured yet.**" if missing else ""
    return (
        f"{made['date']}, {machine['processor']}, numpy {versions.get('numpy', np.__version__)}, medtea "
        f"{versions['medtea']}, commit {made['commit']}, seed {found['seed']}: "
        f"{found['studies']:,} studies per row.{rest}"
    )


def filled(page: str, found: dict[str, Any]) -> str:
    """The page with its tables made anew."""
    begin, end = "<!-- coverage -->\n", "<!-- end of coverage -->"
    body = "\n".join(["", told(found), "", *rows(found), "", ""])
    pattern = re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)
    page, written = pattern.subn(lambda _: body, page)
    if written != 1:
        raise SystemExit(f"The page has {written} places for coverage; it must have one: {begin.strip()} ... {end}")
    return page


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, if asked, and write."""
    made = argparse.ArgumentParser(
        prog="python docs/write_statistics.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--measure", action="store_true", help="simulate the studies anew")
    made.add_argument("--studies", type=int, default=STUDIES, help=f"how many per setting ({STUDIES})")
    made.add_argument("--processes", type=int, default=1, help="how many settings at a time (1)")
    made.add_argument("--to", type=Path, default=RESULTS, metavar="FILE", help="where the numbers go")
    asked = made.parse_args(arguments)
    if asked.measure:
        results = []
        with ProcessPoolExecutor(asked.processes) as pool:
            for cell in pool.map(measured, SETTINGS, [asked.studies] * len(SETTINGS)):
                results.append(cell)
                print(json.dumps(cell), flush=True)
        head = {"made_with": provenance(), "seed": SEED, "studies": asked.studies, "replicates": REPLICATES}
        write_json(asked.to, head | {"results": results})
    if asked.to == RESULTS:
        write_text(PAGE, filled(PAGE.read_text(encoding="utf-8"), read_json(RESULTS)))


if __name__ == "__main__":
    main()
