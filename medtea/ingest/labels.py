"""Labels: a CSV joined to radiographs by patient, study or instance; values that are uncertain, by a named policy.

A finding is told in words, so that `ingest.positive` and `ingest.negative` can list it: "Edema" where it is there,
"no Edema" where it is said not to be, "uncertain Edema" where the policy leaves that as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medtea.core.errors import ConfigError, DataError, nearest
from medtea.core.settings import StrictSettings
from medtea.ingest.csv_rows import Row, csv_rows
from medtea.ingest.sources.source import Candidate, Refused

SEVERAL = "|"
"""Between the findings of one radiograph."""
NO, UNCERTAIN = "no ", "uncertain "
UNMATCHED = ("side", "row", "file")
PRESENT, ABSENT, UNSURE, BLANK = "1", "0", "-1", ""

Policy = Literal["ignore", "ones", "zeros"]
Policies = Policy | dict[str, Policy]


class LabelSettings(StrictSettings):
    """A CSV of labels, and how its rows find their radiographs.

    Attributes:
        path: The CSV, UTF-8 with a header line.
        by: What a row is about: every radiograph of a patient, those of a study, or one.
        key: Its column with the number of the patient, study or instance; called as `by` is when null.
        hospital: Its column with the hospital, where the same number at two hospitals means two patients.
        finding: Its column with findings in words, several with a bar between them; or null.
        findings: Or columns called after one finding each, that hold 1, 0, -1 (uncertain) or nothing (not mentioned).
        uncertain: What becomes of -1. "ignore": the radiograph has no label in that finding. "ones": it is there.
            "zeros": it is not. These are U-Ignore, U-Ones and U-Zeros of Irvin et al. 2019. Or one policy per finding
            by name; those not named are ignored.
        unmentioned: What becomes of nothing: "ignore", or "zeros" as in that paper.
    """

    path: Path
    by: Literal["patient", "study", "instance"] = "patient"
    key: str | None = None
    hospital: str | None = None
    finding: str | None = "finding"
    findings: tuple[str, ...] = ()
    uncertain: Policies = "ignore"
    unmentioned: Literal["ignore", "zeros"] = "ignore"


def in_words(
    row: Mapping[str, str], findings: Sequence[str], *, uncertain: Policies = "ignore", unmentioned: str = "ignore"
) -> str | None:
    """The findings of a row with one column each, in words; None where it says nothing.

    Raises:
        ConfigError: a value is none of 1, 0, -1 and nothing.
    """
    words = []
    for finding in findings:
        value = _value(row[finding], finding)
        policy = uncertain if isinstance(uncertain, str) else uncertain.get(finding, "ignore")
        if value == UNSURE and policy != "ignore":
            value = PRESENT if policy == "ones" else ABSENT
        if value == BLANK and unmentioned == "zeros":
            value = ABSENT
        words += {PRESENT: [finding], ABSENT: [NO + finding], UNSURE: [UNCERTAIN + finding], BLANK: []}[value]
    return SEVERAL.join(words) or None


def _value(text: str, finding: str) -> str:
    value = text.removesuffix(".0")
    if value in {"nan", "NaN"}:
        return BLANK
    if value not in {PRESENT, ABSENT, UNSURE, BLANK}:
        raise ConfigError(f"The labels hold a value in column '{finding}' that is none of 1, 0, -1 and nothing.")
    return value


def check_policies(uncertain: Policies, findings: Sequence[str]) -> None:
    """Returns when every finding with a policy of its own is one of the findings.

    Raises:
        ConfigError: one is not.
    """
    for name in uncertain if isinstance(uncertain, dict) else ():
        if name not in findings:
            raise ConfigError(f"uncertain: there is no finding '{name}'. {nearest(name, findings)}")


def label_of(finding: str | None, positive: Iterable[str], negative: Iterable[str]) -> int | None:
    """1 where one of the positive findings is there, 0 where a negative one is, else None.

    None, too, where none is there and a positive one is uncertain: under U-Ignore such a radiograph has no label.
    """
    found = {part.strip() for part in (finding or "").split(SEVERAL)}
    if found.intersection(positive):
        return 1
    if any(UNCERTAIN + name in found for name in positive):
        return None
    return 0 if found.intersection(negative) else None


@dataclass(frozen=True)
class Label:
    """One row: its line in the file, of which the header is 1, and what it says."""

    line: int
    finding: str | None


class Labels:
    """The labels of a CSV; `joined` hands them out and remembers which were asked for."""

    def __init__(self, settings: LabelSettings) -> None:
        """Reads the table.

        Raises:
            ConfigError: it cannot be read, lacks a column, holds a value that is not allowed, or names no finding.
            DataError: two rows contradict each other.
        """
        self.settings = settings
        if not settings.findings and settings.finding is None:
            raise ConfigError("labels: finding is null and findings is empty; name a column that holds the findings.")
        check_policies(settings.uncertain, settings.findings)
        self.rows: dict[tuple[str, str], Label] = {}
        key, wanted = settings.key or settings.by, [] if settings.findings else [str(settings.finding)]
        columns = [key, *([settings.hospital] if settings.hospital else []), *wanted, *settings.findings]
        for line, row in enumerate(csv_rows(settings.path, columns, what="labels"), start=2):
            place = (row[settings.hospital] if settings.hospital else "", row[key])
            self._add(place, Label(line, self._finding(row)))
        self.used: set[tuple[str, str]] = set()
        self.without: list[str] = []

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.settings.path.read_bytes()).hexdigest()

    def joined(self, found: Iterable[Candidate | Refused]) -> Iterator[Candidate | Refused]:
        """What was found, with the finding of its row; where there is no row, as the source says.

        Raises:
            DataError: at the end, if not one row found its radiograph.
        """
        for one in found:
            if isinstance(one, Refused):
                yield one
                continue
            place = (one.hospital if self.settings.hospital else "", (self._number(one) or "").strip())
            if place[1] and place in self.rows:
                self.used.add(place)
                yield replace(one, finding=self.rows[place].finding)
            else:
                self.without.append(one.file)
                yield one
        if self.rows and not self.used:
            by = self.settings.by
            raise DataError(
                f"labels: none of the {len(self.rows)} rows has the {by} of a radiograph. Check labels.by (now '{by}') "
                f"and labels.key (now '{self.settings.key or by}')."
            )

    @property
    def unmatched(self) -> list[Mapping[str, object]]:
        """Rows without a radiograph, by their line, then radiographs without a row, by the digest of their path."""
        lines = sorted(label.line for place, label in self.rows.items() if place not in self.used)
        rows: list[Mapping[str, object]] = [{"side": "labels", "row": line, "file": ""} for line in lines]
        return rows + [{"side": "radiographs", "row": "", "file": file} for file in self.without]

    @property
    def summary(self) -> str:
        """The join in a sentence, of numbers alone."""
        return (
            f"labels: {len(self.used)} of {len(self.rows)} rows found a radiograph by {self.settings.by}, "
            f"{len(self.rows) - len(self.used)} did not; {len(self.without)} radiographs have no row "
            "(ingest/labels_unmatched.csv)"
        )

    def _finding(self, row: Row) -> str | None:
        settings = self.settings
        if settings.findings:
            return in_words(row, settings.findings, uncertain=settings.uncertain, unmentioned=settings.unmentioned)
        return row[str(settings.finding)] or None

    def _add(self, place: tuple[str, str], label: Label) -> None:
        first = self.rows.setdefault(place, label)
        if first.finding != label.finding:
            raise DataError(
                f"labels: lines {first.line} and {label.line} have the same {self.settings.by} and contradict each "
                "other. Keep one of them; where a finding changes over time, join by study or by instance."
            )

    def _number(self, one: Candidate) -> str | None:
        return {"patient": one.patient, "study": one.study, "instance": one.instance}[self.settings.by]
