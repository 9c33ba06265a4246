"""Whether the networks rely on what is outside the lungs: verdicts, then every probe's answer."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Alert, Block, Fold, Heading, Points, Text
from medtea.report.contents import Contents
from medtea.report.tables import compared_table, detail_table, outcome_table, skipped_table, verdict_table
from medtea.report.words import void

TITLE = "Audit: does it take shortcuts?"
PLACE = 700


def blocks(contents: Contents) -> Sequence[Block]:
    """The verdicts; for each probe its question, table, further numbers, what would void it, and its sentences."""
    made: list[Block] = []
    verdicts = verdict_table(contents.outcomes, contents.audited)
    if verdicts.rows:
        made += [
            verdicts,
            Text(
                "An answer fails when its whole interval lies above the policy's threshold, passes when it lies at or "
                "below it, and is no answer otherwise. There is no published threshold: whoever sets one defends it.",
                small=True,
            ),
        ]
    compared = compared_table(contents.audited)
    if compared.rows:
        made += [
            Heading("Networks side by side"),
            compared,
            Text(
                "What the policy judges of the first network less the same of the other, on the same radiographs, with "
                "an interval by patient. Above 0 the first relies more on what is not lung.",
                small=True,
            ),
        ]
    for probe in dict.fromkeys(outcome.probe for outcome in contents.outcomes):
        made += _of_probe(probe, contents)
    skipped = skipped_table(contents.audited)
    if skipped.rows:
        made.append(Fold("Questions that could not be asked", (skipped,)))
    return made


def _of_probe(probe: str, contents: Contents) -> list[Block]:
    mine = [outcome for outcome in contents.outcomes if outcome.probe == probe]
    table = outcome_table(probe, contents.outcomes)
    made: list[Block] = [Heading(contents.questions.get(probe) or table.caption)]
    made += [Alert(f"{o.method} at {o.group}: void, since {o.void}.") for o in mine if o.void]
    made += [table, *(Text(f"Worthless if: {condition}", small=True) for condition in void(contents.outcomes, probe))]
    details = detail_table(probe, contents.outcomes)
    if details.rows:
        made.append(Fold("More numbers", (details,)))
    sentences = tuple(o.sentence for o in mine if o.sentence)
    if sentences:
        made.append(Fold("In sentences", (Points(sentences),)))
    return made
