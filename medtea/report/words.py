"""Plain sentences that are true of the run, written from its numbers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from medtea.metrics.estimates import Estimate
from medtea.report.contents import Contents, Gap, Metrics, Outcome, Score, is_audit_alone
from medtea.report.seeds_tables import Record, in_digits
from medtea.report.tables import listed

# Below this many radiographs of either class one of them moves the AUROC by a percent or more.
FEW = 50
# A teacher that goes down by more of erm's fall than this does not show that the fall is a shortcut's.
HALF = 0.5
# Shares of positives further apart than this are said.
UNEQUAL = 0.1
KNOWN = {"sex": "sex", "age_years": "age", "manufacturer": "the maker of the device", "portable": "portable or not"}


def findings(metrics: Metrics) -> list[str]:
    """What the numbers say: falls between hospitals, differences to erm, rankings turned round, missing answers."""
    sentences = [_gap(metrics, gap) for gap in metrics.gaps]
    sentences += [
        _turned_round(score) for score in metrics.scores if score.auroc.has_interval and score.auroc.high < 0.5
    ]
    sentences += [
        _difference(row.method, row.group, row.difference)
        for row in metrics.differences_to_erm
        if metrics.groups.get(row.group) != "iid"
    ]
    return sentences + _unanswered(metrics)


def seeds_findings(record: Record) -> list[str]:
    """What erm does at each OOD group of a sweep, a sentence each: where it does not fall there is nothing to mend.

    It falls when its interval there lies wholly below those of the IID groups. That is called a shortcut only where
    the teacher does better on the same images and goes down by less than half as much: else they may just be harder.
    """
    roles = {group["group"]: group["role"] for group in record["groups"]}
    seen = [cell for cell in _row(record, "erm", roles, "iid") if cell["value"] is not None]
    return [_erm_at(record, cell, seen) for cell in _row(record, "erm", roles, "ood")] if seen else []


def limits(contents: Contents) -> list[str]:
    """What the numbers cannot say, and what was left out."""
    metrics = contents.metrics
    hospitals = [] if is_audit_alone(contents) else [_how_many_hospitals(metrics)]
    sentences = [*hospitals, *_few(metrics), *_left_out(metrics), *_masks(contents)]
    sentences += [*_zero_width(metrics), *_of_data(contents)]
    compared = len(metrics.gaps) + len(metrics.differences_to_erm)
    if compared > 1:
        sentences.append(
            f"{compared} differences are shown: at 95 %, one interval in twenty misses the truth by chance. Only the "
            "adjusted p-values allow for their number, table by table."
        )
    sentences += [
        "An interval says how the number would vary with other patients of the same hospitals. It does not hold what "
        "another training run (another seed) would have given, and is a little narrow when patients are few.",
    ]
    if any(not math.isnan(score.threshold) for score in metrics.scores):
        sentences.append(
            "Thresholds were chosen on validation patients of the hospitals seen in training and carried over."
        )
    if metrics.are_given:
        sentences.append(
            "The predictions were made elsewhere, and no image was read here: that no training or selection step saw "
            "the hospitals called OOD is the word of whoever gave the file."
        )
    else:
        sentences.append(
            "Heatmaps show what the network's output was computed from; they do not show that it was right, or why."
        )
    return sentences + list(contents.notes)


def void(outcomes: Sequence[Outcome], probe: str) -> list[str]:
    """When the probe's outcome would mean nothing, each condition once."""
    return list(dict.fromkeys(o.void_when for o in outcomes if o.probe == probe and o.void_when))


def _row(record: Record, method: str, roles: Mapping[str, str], role: str) -> list[Mapping[str, Any]]:
    return [cell for cell in record["cells"] if cell["method"] == method and roles[cell["group"]] == role]


def _erm_at(record: Record, cell: Mapping[str, Any], seen: Sequence[Mapping[str, Any]]) -> str:
    group, groups = cell["group"], [one["group"] for one in seen]
    if cell["value"] is None:
        return f"erm has no answer at {group}, so nothing is known of a shortcut there."
    mean = sum(one["value"] for one in seen) / len(seen)
    what = "The AUROC of erm" if record["headline"] == "auroc" else "The accuracy of erm"
    way = f"from {_with_unit(record, mean)} ({listed(groups)}) to {_with_unit(record, cell['value'])} ({group})"
    if cell["value"] >= mean:
        return f"{what} does not fall, {way}: this run shows nothing about shortcuts there."
    lows, high = [one["patients"]["low"] for one in seen], cell["patients"]["high"]
    if None in (*lows, high):
        return f"{what} falls {way}; without an interval, that may be chance."
    if high >= min(lows):
        return f"{what} falls {way}, but the intervals overlap: that may be chance."
    return f"{what} falls {way}{_beside_teacher(record, group, groups, mean - cell['value'])}"


def _beside_teacher(record: Record, group: str, seen: Sequence[str], fall: float) -> str:
    """How far the teacher goes down on the same images, and what erm's fall is then, as the rest of a sentence."""
    values = {cell["group"]: cell["value"] for cell in record["cells"] if cell["method"] == "teacher"}
    ends = [values.get(one) for one in (*seen, group)]
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return ": something that it learned does not hold there."
    start, end = sum(known[:-1]) / len(seen), known[-1]
    pairs = [row for row in record["differences"] if (row["method"], row["control"]) == ("erm", "teacher")]
    high = next((row["patients"]["high"] for row in pairs if row["group"] == group), None)
    if high is None or high >= 0:
        then = "the images there may only be harder"
    elif start - end < HALF * fall:
        then = "erm has learnt a shortcut"
    else:
        then = "a shortcut may be a part of it, harder images may be another"
    way = f"from {_with_unit(record, start)} to {_with_unit(record, end)}"
    return f", that of the teacher goes {way} on the same images: {then}."


def _with_unit(record: Record, value: float) -> str:
    return in_digits(record, value) + (" %" if record["headline"] == "accuracy" else "")


def _gap(metrics: Metrics, gap: Gap) -> str:
    way = f"from {listed(gap.iid)} (seen in training) to {listed(gap.ood)} (not seen)"
    if not gap.difference.answered:
        return f"{gap.method}: the change in AUROC {way} has no answer, because one of these groups has none."
    ends = [_mean(metrics, gap.method, groups) for groups in (gap.iid, gap.ood)]
    path = f", {ends[0]} to {ends[1]}" if None not in ends else ""
    verb = "lost" if gap.difference.value >= 0 else "gained"
    return f"{gap.method} {verb} {_size(gap.difference)} AUROC {way}{path}; {_zero(gap.difference, 'change')}."


def _difference(method: str, group: str, difference: Estimate) -> str:
    if not difference.answered:
        return f"At {group}, {method} cannot be compared with erm: there is no answer."
    word = "higher" if difference.value >= 0 else "lower"
    return f"At {group}, the AUROC of {method} was {_size(difference)} {word} than that of erm; {_zero(difference)}."


def _turned_round(score: Score) -> str:
    return (
        f"{score.method} ranks the wrong way round at {score.group}: AUROC {score.auroc.text()}, wholly below 0.5. "
        "What it learned points to the other class there."
    )


def _unanswered(metrics: Metrics) -> list[str]:
    sentences = []
    for group in metrics.groups:
        silent = [score for score in metrics.scores if score.group == group and not score.auroc.answered]
        if silent:
            methods = listed([score.method for score in silent])
            sentences.append(f"{group} has no answer for {methods}: {_why(silent[0].auroc)}.")
    return sentences


def _why(found: Estimate) -> str:
    if not found.n:
        return "it has no labelled radiograph to score"
    if found.n_positive in (0, found.n):
        return (
            f"all {found.n} radiographs are {'positive' if found.n_positive else 'negative'}, so nothing can be ranked"
        )
    return "the statistic could not be computed"


def _how_many_hospitals(metrics: Metrics) -> str:
    unseen = [group for group, role in metrics.groups.items() if role == "ood"]
    if not unseen:
        return "No hospital was kept away from training: nothing here says how the methods do at a new one."
    if len(unseen) == 1:
        return f"{unseen[0]} alone stands for all hospitals not seen in training: one says little about the next."
    return (
        f"{len(unseen)} groups stand for all that was not seen in training ({listed(unseen)}): few for a general claim."
    )


def _few(metrics: Metrics) -> list[str]:
    small = []
    for group in metrics.groups:
        found = next(score.auroc for score in metrics.scores if score.group == group)
        if found.answered and found.n_positive is not None:
            rarer = min(found.n_positive, found.n - found.n_positive)
            if rarer < FEW:
                small.append(f"{group} ({rarer} of the rarer class)")
    return [f"Few radiographs: {listed(small)}; the intervals there are wide for that reason."] if small else []


def _left_out(metrics: Metrics) -> list[str]:
    return [f"{row.n} radiographs of {row.group} are in no number: {row.reason}." for row in metrics.left_out if row.n]


def _masks(contents: Contents) -> list[str]:
    unknown = [row.hospital for row in contents.segmenter if math.isnan(row.dice)]
    if not unknown:
        return []
    return [f"How good the lung masks are at {listed(unknown)} is not known: there is no given mask to compare with."]


def _of_data(contents: Contents) -> list[str]:
    """What the index says of who is missing, and of what a network could learn in the place of the disease."""
    table = contents.table[contents.table["label"].notna()] if len(contents.table) else contents.table
    if table.empty:
        return []
    sentences = []
    shares = table.groupby("hospital")["label"].apply(lambda labels: float(labels.eq(1).mean()))
    if len(shares) > 1 and shares.max() - shares.min() > UNEQUAL:
        sentences.append(
            f"The share of positives goes from {shares.min():.0%} ({shares.idxmin()}) to {shares.max():.0%} "
            f"({shares.idxmax()}): predictive values, accuracy and average precision are not comparable between them, "
            "and a network that tells hospitals apart gains by it."
        )
    unknown = [words for column, words in KNOWN.items() if column in table and table[column].map(_is_unknown).all()]
    if unknown:
        sentences.append(f"Not known of any patient: {listed(unknown)}. Nothing can be said of groups by it.")
    if "text_on_border" in table:
        written = int(table["text_on_border"].isin(["text", "declared"]).sum())
        if written:
            sentences.append(
                f"{written} labelled radiographs seem to have text burned in, which a network may read; the report "
                "does not show it."
            )
    return sentences


def _is_unknown(value: object) -> bool:
    return str(value) in ("unknown", "", "<NA>", "nan", "None")


def _zero_width(metrics: Metrics) -> list[str]:
    flat = [score for score in metrics.scores if score.auroc.has_interval and score.auroc.low == score.auroc.high]
    if not flat:
        return []
    where = listed([f"{score.method} at {score.group}" for score in flat])
    return [
        f"The interval of {where} has no width: there was no error to resample, which does not say that none can occur."
    ]


def _mean(metrics: Metrics, method: str, groups: Sequence[str]) -> str | None:
    scores = [metrics.score(method, group) for group in groups]
    values = [score.auroc.value for score in scores if score is not None]
    return f"{sum(values) / len(values):.2f}" if len(values) == len(groups) else None


def _size(found: Estimate) -> str:
    # Told as a size with its direction in words, so a negative difference is turned round, interval and all.
    return (found if found.value >= 0 else replace(found, value=-found.value, low=-found.high, high=-found.low)).text()


def _zero(found: Estimate, what: str = "difference") -> str:
    if not found.has_interval:
        return f"without an interval, the {what} may be chance"
    if found.excludes(0):
        return "the interval excludes 0"
    return f"the interval includes 0, so neither a {what} nor its absence is shown"
