"""2,000 bootstrap draws of all numbers of 8 methods at 6 hospitals of 100,000 radiographs: seconds and memory.

Scores are normal, a patient has one radiograph, a tenth or half are positive. Measured in a process of its own:

- **bootstrap**: AUROC, average precision, accuracy, sensitivity and specificity of every method and hospital, the same
  2,000 draws of a hospital's patients for all its methods;
- **evaluate**: what an evaluation writes of the same scores: AUROCs by DeLong, shares by Wilson, average precisions
  drawn, all differences with their p-values;
- **draws**: the draws alone, which no way of counting can do without: the floor.

    python benchmarks/report.py                # some minutes
    python benchmarks/report.py --quick        # seconds, to see that it works

docs/performance.md says what each number means.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from measuring import SEED, finish, parsed, parser, table

from medtea.evaluate.by_hospital import scores_by_group
from medtea.evaluate.differences import between_hospitals, differences_to, gaps
from medtea.metrics.intervals import Drawn, Group
from medtea.metrics.weighted import (
    Statistic,
    accuracy_of,
    auroc_of,
    average_precision_of,
    sensitivity_of,
    specificity_of,
)

METHODS, HOSPITALS, RADIOGRAPHS, REPLICATES = 8, 6, 100_000, 2_000
QUICK = (2, 2, 500, 100)
PREVALENCES = (0.1, 0.5)
BAR_SECONDS, BAR_CORES, BAR_GIB = 60, 2, 4
THRESHOLD = 0.8
Size = tuple[int, int, int, int]


def hospital(number: int, size: Size, prevalence: float) -> tuple[list[str], np.ndarray, list[np.ndarray]]:
    """Patients, labels, and the scores of every method."""
    draw = np.random.default_rng((SEED, number))
    labels = (draw.random(size[2]) < prevalence).astype(np.int64)
    patients = [f"{number}-{one:06d}" for one in range(size[2])]
    return patients, labels, [1.2 * labels + draw.normal(size=size[2]) for _ in range(size[0])]


def statistics_of(labels: np.ndarray, scores: np.ndarray) -> list[Statistic]:
    """All that is drawn of one method at one hospital."""
    rates = [one(labels, scores, THRESHOLD) for one in (accuracy_of, sensitivity_of, specificity_of)]
    return [auroc_of(labels, scores), average_precision_of(labels, scores), *rates]


def bootstrap(size: Size, prevalence: float) -> None:
    """Every number of every method and hospital with its percentile interval."""
    for number in range(size[1]):
        patients, labels, by_method = hospital(number, size, prevalence)
        groups = [Group(patients, one) for scores in by_method for one in statistics_of(labels, scores)]
        drawn = Drawn.of(groups, replicates=size[3], generator=np.random.default_rng(number))
        for place in range(len(groups)):
            drawn.estimate(place)


def evaluate(size: Size, prevalence: float) -> None:
    """What the evaluate wing writes of such scores."""
    parts = []
    for number in range(size[1]):
        patients, labels, by_method = hospital(number, size, prevalence)
        common = {"radiograph": patients, "patient": patients, "group": f"h{number}", "hospital": f"h{number}"}
        common |= {"role": "train" if number < 2 else "external", "label": labels, "plausible_mask": True}
        parts += [
            pd.DataFrame(
                {**common, "split": "test", "method": "erm" if not m else f"m{m}", "score": s, "predicted": np.nan}
            )
            for m, s in enumerate(by_method)
        ]
    # A hundred of the first hospital to choose the thresholds on.
    parts += [part.iloc[:: max(len(part) // 100, 1)].assign(split="val") for part in parts[: size[0]]]
    scores = pd.concat(parts, ignore_index=True)
    scores_by_group(scores, replicates=size[3], seed=SEED)
    for compare in (gaps, between_hospitals):
        compare(scores)
    differences_to("erm", scores)


def draws(size: Size, prevalence: float) -> None:
    """The draws of every hospital's patients, and one mean over them."""
    for number in range(size[1]):
        patients, labels, _ = hospital(number, (1, *size[1:]), prevalence)
        Drawn.of(
            [Group(patients, accuracy_of(labels, labels, 0.5))], replicates=size[3], generator=np.random.default_rng(0)
        )


CASES: dict[str, Callable[[Size, float], None]] = {"bootstrap": bootstrap, "evaluate": evaluate, "draws": draws}


def _child(case: str, size: Size, prevalence: float, answer: Any) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    CASES[case](size, prevalence)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer.put({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak_bytes": peak})


def measured(case: str, size: Size, prevalence: float) -> dict[str, float]:
    """Seconds and peak memory of one case in a process of its own; what is imported counts in the memory (Linux)."""
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=_child, args=(case, size, prevalence, answer))
    child.start()
    found: dict[str, float] = answer.get()
    child.join()
    return found


def rows(found: dict[str, Any]) -> list[str]:
    """The table."""
    columns = dict.fromkeys(("case", "positives"), "left")
    columns |= dict.fromkeys(("wall s", "CPU s", "peak GiB"), "right") | {"to reach": "left"}
    lines = []
    for one in found["results"]:
        small = one["peak_bytes"] < BAR_GIB * 2**30
        reached = small and one["wall"] < BAR_SECONDS
        told = f"< {BAR_SECONDS} s, {BAR_GIB} GiB: {'reached' if reached else 'missed'}"
        # Other work on the machine takes of the wall time, hardly of the process's own.
        if not reached:
            told += f"; < {BAR_SECONDS * BAR_CORES} CPU s: "
            told += "reached" if small and one["cpu"] < BAR_SECONDS * BAR_CORES else "missed"
        numbers = (f"{one['wall']:.0f}", f"{one['cpu']:.0f}", f"{one['peak_bytes'] / 2**30:.2f}")
        share = f"{100 * one['prevalence']:.0f} %"
        lines.append([one["case"], share, *numbers, "" if one["case"] == "draws" else told])
    return table(columns, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parsed(parser(__doc__, "report", rounds=2), arguments)
    size = QUICK if asked.quick else (METHODS, HOSPITALS, RADIOGRAPHS, REPLICATES)
    results = []
    for prevalence in PREVALENCES[: 1 if asked.quick else None]:
        for case in CASES:
            runs = [measured(case, size, prevalence) for _ in range(asked.rounds)]
            middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            results.append({"case": case, "prevalence": prevalence, **middle})
            print(case, prevalence, {name: round(value, 1) for name, value in middle.items()}, flush=True)
    finish(asked, rows, results, size=size)


if __name__ == "__main__":
    main()
