"""Write docs/audit_validity.md: how often the audit fails networks that rely on a mark, and networks that do not.

    python docs/write_audit_validity.py --from runs/audit_validity   # the record, of the units measured there; the page
    python docs/write_audit_validity.py                              # the page alone, of the record

The units come from benchmarks/audit_validity.py. They hold numbers with intervals and no verdict: verdicts are made
here by configs/audit_policy.yaml, so that another threshold needs no other audit. The record is
docs/results/audit_validity.json. Of the page only what stands between its marks is written.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from medtea.audit.policy import FEWEST, Policy, Verdict, overall, verdict
from medtea.audit.probes.probe import Outcome
from medtea.core.settings import parse, read_yaml
from medtea.core.work import read_json, write_json, write_text
from medtea.metrics.classification import auroc
from medtea.metrics.estimates import NAN, Estimate
from medtea.metrics.proportions import wilson

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "audit_validity.md"
RESULTS = REPOSITORY / "docs" / "results" / "audit_validity.json"
POLICY = REPOSITORY / "configs" / "audit_policy.yaml"
SELECTION = (0,)
"""Seeds on which thresholds are chosen; what is reported is of the others."""
RELIES = 0.95
"""A network is to be failed whose training mark named the label at least so often."""
GUESSES = Policy(background_relevance=1.0, lungs_removed=0.5, background_swap=0.5, planted_mark=0.25, score_site=0.1)
"""The thresholds of 0.5.0, which nobody had measured; shown for what the policy does not judge any more."""
KNOWN = "known"
"""The mark that planted_mark stamps, where it stamps it."""
BEGIN, END = "<!-- audit validity -->\n", "<!-- end of audit validity -->"
Unit = dict[str, Any]


# ---- the record


def gathered(folder: Path) -> dict[str, Any]:
    """The units of a folder as one record: what is alike is said once, and of each probe what a policy judges.

    Raises:
        SystemExit: there is none, or they were made with different sizes.
    """
    units = [read_json(path) for path in sorted((folder / "units").glob("*.json"))]
    if not units:
        raise SystemExit(f"No unit lies in {folder.name}/units; run benchmarks/audit_validity.py first.")
    if any(unit["size"] != units[0]["size"] for unit in units):
        raise SystemExit("The units were made with different sizes; measure them again with one.")
    made = [unit["made_with"] for unit in units]
    return {
        "made_with": made[-1] | {"commit": ", ".join(sorted({one["commit"] for one in made}))},
        "size": units[0]["size"],
        "selection_seeds": list(SELECTION),
        "units": [_short(unit) for unit in units],
    }


def _short(unit: Unit) -> Unit:
    kept = ("data", "mark", "agreement", "seed", "planted", "truth", "masks_left_out", "seconds")
    answers = [{name: one[name] for name in ("probe", "judged", "void")} for one in unit["answers"]]
    return {name: unit[name] for name in kept} | {"answers": answers}


# ---- from numbers to verdicts


def is_clean(unit: Unit) -> bool:
    """No mark was there, or one that said nothing of the label."""
    return unit["agreement"] in (None, 0.5)


def is_reliant(unit: Unit) -> bool:
    """The mark named the label nearly always."""
    return unit["agreement"] is not None and unit["agreement"] >= RELIES


def is_told(unit: Unit, probe: str) -> bool:
    """Reliant on something that the probe can find: planted_mark finds the marks that it stamps, and no others."""
    return is_reliant(unit) and (unit["mark"] == KNOWN or probe != "planted_mark")


def judged(answer: dict[str, Any], threshold: float) -> Verdict:
    """What the policy's own rule makes of a stored answer."""
    value, low, high = (NAN if one is None else one for one in answer["judged"])
    estimate = Estimate(value, low, high, FEWEST, FEWEST, None, 0)  # as many are in every unit, and more
    return verdict(Outcome(estimate, None, None, "", "", is_void="void" if answer["void"] else ""), threshold)


def of_probe(unit: Unit, probe: str) -> dict[str, Any] | None:
    """The unit's answer to a probe; None where it could not be asked."""
    return next((one for one in unit["answers"] if one["probe"] == probe), None)


def verdict_by(unit: Unit, policy: Policy) -> Verdict:
    """The audit's verdict on one network: that of all probes that the policy judges."""
    thresholds = [(one, policy.threshold(one["probe"])) for one in unit["answers"]]
    return overall(judged(one, threshold) for one, threshold in thresholds if threshold is not None)


def best(units: Iterable[Unit], probe: str) -> tuple[float, float] | None:
    """The thresholds at which no clean network fails and most reliant ones do; of those, at which most clean ones pass.

    A shortcut that is missed is worse than an answer that stays open. Verdicts change at the ends of intervals only.

    Returns:
        From the first up to the second they are best; None where no reliant network would fail.
    """
    asked = [(unit, of_probe(unit, probe)) for unit in units if is_clean(unit) or is_told(unit, probe)]
    ends = [(is_reliant(unit), *one["judged"][1:]) for unit, one in asked if one and one["judged"][1] is not None]
    edges = sorted({end for _, low, high in ends for end in (low, high)})
    most, found = (0, 0), None
    for below, above in pairwise(edges):
        # a verdict is the same for all thresholds from `below` up to `above`
        failing = sum(low > below for reliant, low, _ in ends if reliant)
        right = failing, sum(high <= below for reliant, _, high in ends if not reliant)
        if not failing or any(low > below for reliant, low, _ in ends if not reliant):
            continue
        if right > most:
            most, found = right, (below, above)
        elif right == most and found is not None and found[1] == below:
            found = (found[0], above)
    return found


# ---- the tables

MARKS = ("letter", "noise", KNOWN)
CLASSES: tuple[tuple[str, Callable[[Unit], bool]], ...] = (
    ("no mark", lambda unit: unit["agreement"] is None),
    ("50 %", lambda unit: unit["agreement"] == 0.5),
    ("80 %", lambda unit: unit["agreement"] == 0.8),
    ("95 %", lambda unit: unit["agreement"] == 0.95),
    ("100 %", lambda unit: unit["agreement"] == 1.0),
)
DATA = {"phantom": "phantoms", "shuffled": "shuffled Kermany"}
"""Where nothing but the mark tells the class outside the lungs, so that it is known which network relies on it."""
AS_IT_IS = {"kermany": "Kermany as it is"}


def rows(record: dict[str, Any], policy: Policy) -> list[str]:
    """All tables of the page."""
    units = record["units"]
    reported = [unit for unit in units if unit["seed"] not in record["selection_seeds"]]
    chosen_on = [unit for unit in units if unit["seed"] in record["selection_seeds"]]
    return [
        "### What the networks do",
        "",
        *_truths(units),
        "",
        "### The overall verdict",
        "",
        *_verdicts(reported, chosen_on, policy),
        "",
        "### Each probe",
        "",
        *_probes(reported, chosen_on, policy),
    ]


def _truths(units: Sequence[Unit]) -> list[str]:
    """AUROC by what the mark does."""
    lines = [
        "| data | mark | names the label | networks | follows | absent | reversed | follows less reversed |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for data, name in (DATA | AS_IT_IS).items():
        for mark in MARKS:
            for often, belongs in CLASSES:
                part = [one for one in units if one["data"] == data and belongs(one) and mark in one["truth"]]
                if not part:
                    continue
                numbers = [[one["truth"][mark][what] for one in part] for what in ("follows", "absent", "reversed")]
                falls = np.array(numbers[0]) - np.array(numbers[2])
                cells = [*(f"{np.mean(one):.2f}" for one in numbers), _range(falls)]
                lines.append(f"| {name} | {mark} | {often} | {len(part)} | {' | '.join(cells)} |")
    return lines


def _range(values: Any) -> str:
    return f"{np.mean(values):.2f} ({np.min(values):.2f} to {np.max(values):.2f})"


def _verdicts(reported: Sequence[Unit], chosen_on: Sequence[Unit], policy: Policy) -> list[str]:
    lines = [
        "| data | names the label | networks | fail | pass | no answer | share that fails | of seed 0 "
        "| by the guesses of 0.5.0 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    kinds = [(name, [data]) for data, name in DATA.items()] + [("both", list(DATA))]
    kinds += [(name, [data]) for data, name in AS_IT_IS.items()]
    for name, data in kinds:
        classes = CLASSES if len(data) == 1 else (("clean", is_clean), CLASSES[3], ("95 and 100 %", is_reliant))
        for often, belongs in classes:
            here, there = (
                [one for one in part if one["data"] in data and belongs(one)] for part in (reported, chosen_on)
            )
            if here:
                found, before, on_seed_0 = (
                    [verdict_by(unit, chosen) for unit in part]
                    for part, chosen in ((here, policy), (here, GUESSES), (there, policy))
                )
                counts = [found.count(one) for one in (Verdict.FAIL, Verdict.PASS, Verdict.NO_ANSWER)]
                cells = [len(here), *counts, _share(found), f"{on_seed_0.count(Verdict.FAIL)} of {len(there)}"]
                lines.append(f"| {name} | {often} | {' | '.join(map(str, cells))} | {_share(before)} |")
    return lines


def _share(found: Sequence[Verdict]) -> str:
    """Of the networks those that fail, with Wilson's interval."""
    if not found:
        return ""
    share = found.count(Verdict.FAIL) / len(found)
    low, high = wilson(share, len(found))
    return f"{share:.2f} ({low:.2f} to {high:.2f})"


def _probes(reported: Sequence[Unit], chosen_on: Sequence[Unit], policy: Policy) -> list[str]:
    heads = ["probe", *(f"{kind}, {name}" for name in DATA.values() for kind in ("clean", "reliant")), "tells apart"]
    heads += ["best on seed 0", "threshold", "power", "false alarms"]
    lines = [f"| {' | '.join(heads)} |", f"| ---{' | ---:' * (len(heads) - 1)} |"]
    for probe in sorted({one["probe"] for unit in [*reported, *chosen_on] for one in unit["answers"]}):
        lines += _probe(
            probe, *([one for one in part if one["data"] in DATA] for part in (reported, chosen_on)), policy
        )
    return lines


def _probe(probe: str, reported: Sequence[Unit], chosen_on: Sequence[Unit], policy: Policy) -> list[str]:
    """One row, or none where the probe could be asked of no network."""
    cells, apart = [], []

    def is_found(unit: Unit) -> bool:
        return is_told(unit, probe)

    for data in DATA:
        values = [_values(probe, data, reported, belongs) for belongs in (is_clean, is_found)]
        cells += [_range(found) if found else "" for found in values]
        if all(values):
            labels = np.repeat([0, 1], [len(found) for found in values])
            apart.append(f"{auroc(labels, np.concatenate(values)):.2f}")
    if not any(cells):
        return []
    found, threshold, shown = best(chosen_on, probe), policy.threshold(probe), "{:g}"
    if threshold is None:
        threshold, shown = GUESSES.threshold(probe), "({:g})"
    cells += [
        "; ".join(apart),
        "none" if found is None else f"{found[0]:.2f} to {found[1]:.2f}",
        "" if threshold is None else shown.format(threshold),
    ]
    for belongs in (is_found, is_clean):
        answers = [of_probe(unit, probe) for unit in reported if belongs(unit)]
        cells.append("" if threshold is None else _share([judged(one, threshold) for one in answers if one]))
    return [f"| `{probe}` | {' | '.join(cells)} |"]


def _values(probe: str, data: str, units: Sequence[Unit], belongs: Callable[[Unit], bool]) -> list[float]:
    """The number that a policy would judge, of every network that has one."""
    answers = [of_probe(unit, probe) for unit in units if unit["data"] == data and belongs(unit)]
    return [one["judged"][0] for one in answers if one and one["judged"][0] is not None]


def told(record: dict[str, Any]) -> str:
    """When, where and with what the numbers were taken."""
    made, size, units = record["made_with"], record["size"], record["units"]
    seeds = {data: sorted({one["seed"] for one in units if one["data"] == data}) for data in DATA | AS_IT_IS}
    said = "; ".join(
        f"{name}: seeds {', '.join(map(str, seeds[data]))}" for data, name in (DATA | AS_IT_IS).items() if seeds[data]
    )
    hours = sum(one["seconds"]["cpu"] for one in units) / 3600
    return (
        f"{made['date']}, {made['machine']['processor']}, medtea {made['versions']['medtea']}, torch "
        f"{made['versions']['torch']}, commit {made['commit']}: {len(units)} networks, {hours:.1f} hours of CPU time "
        f"({said}). About {size['steps']} steps of training each, at most {size['audited']} audited patients."
    )


def filled(page: str, record: dict[str, Any], policy: Policy) -> str:
    """The page with its tables made anew.

    Raises:
        SystemExit: the page has not exactly one place for them.
    """
    body = "\n".join(["", told(record), "", *rows(record, policy), "", ""])
    pattern = re.compile(f"(?<={re.escape(BEGIN)}).*?(?={re.escape(END)})", re.DOTALL)
    page, written = pattern.subn(lambda _: body, page)
    if written != 1:
        raise SystemExit(f"The page has {written} places for its tables; it must have one: {BEGIN.strip()} ... {END}")
    return page


def policy_of(path: Path = POLICY) -> Policy:
    """The thresholds that are shipped."""
    return parse(Policy, read_yaml(path), "audit.policy")


def main(arguments: Sequence[str] | None = None) -> None:
    """Gather, if asked, and write."""
    made = argparse.ArgumentParser(
        prog="python docs/write_audit_validity.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--from", dest="folder", type=Path, metavar="FOLDER", help="where the benchmark left its units")
    asked = made.parse_args(arguments)
    if asked.folder:
        write_json(RESULTS, gathered(asked.folder))
    write_text(PAGE, filled(PAGE.read_text(encoding="utf-8"), read_json(RESULTS), policy_of()))


if __name__ == "__main__":
    main()
