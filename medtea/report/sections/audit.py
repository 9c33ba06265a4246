"""Whether the networks rely on what is outside the lungs: verdicts, then every probe's answer."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Alert, Block, Fold, Gallery, Heading, Numbers, Points, Text
from medtea.report.contents import Contents, Exhibit, Outcome
from medtea.report.figures import exhibition, panels_svg
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
                "below it, and is no answer otherwise, or of fewer than 20 patients. There is no published threshold: "
                "whoever sets one defends it.",
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
                "an interval by patient. Above 0 the first relies more on what is not lung. "
                "Not computed: an answer of the two is void, or is not one number for each radiograph.",
                small=True,
            ),
        ]
    for probe in dict.fromkeys(outcome.probe for outcome in contents.outcomes):
        made += _of_probe(probe, contents)
    skipped = skipped_table(contents.audited)
    if skipped.rows:
        made.append(Fold("Questions that could not be asked", (skipped,)))
    return made


SHOWN = {
    "background_relevance": "The radiographs on which it looked away most",
    "background_swap": "The swaps that changed the score most",
    "artefact_erase": "The marks whose erasure changed the score most",
}


def _gallery(probe: str, shown: Sequence[Exhibit]) -> Gallery:
    rows = exhibition(shown)
    numbers = tuple((row.title, panel.title, panel.note) for row in rows for panel in row.panels)
    return Gallery(
        f"shown_{probe}",
        SHOWN.get(probe, "The radiographs on which it shows most"),
        rows,
        panels_svg(rows),
        Numbers(("network", "radiograph", "note"), numbers),
        fades=False,
    )


def _voided(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Which answers are void, in one phrase for each reason: networks and where."""
    where: dict[str, dict[str, list[str]]] = {}
    for one in outcomes:
        if one.void:
            where.setdefault(one.void, {}).setdefault(one.method, []).append(one.group)
    return {
        reason: "; ".join(f"{method} at {', '.join(groups)}" for method, groups in methods.items())
        for reason, methods in where.items()
    }


def _of_probe(probe: str, contents: Contents) -> list[Block]:
    mine = [outcome for outcome in contents.outcomes if outcome.probe == probe]
    table = outcome_table(probe, contents.outcomes)
    made: list[Block] = [Heading(contents.questions.get(probe) or table.caption)]
    made += [Alert(f"{where}: void, since {reason}.") for reason, where in _voided(mine).items()]
    made += [table, *(Text(f"Worthless if: {condition}", small=True) for condition in void(contents.outcomes, probe))]
    shown = [one for one in contents.exhibits if one.probe == probe]
    if shown:
        made.append(Fold(SHOWN.get(probe, "The radiographs on which it shows most"), (_gallery(probe, shown),)))
    details = detail_table(probe, contents.outcomes)
    if details.rows:
        made.append(Fold("More numbers", (details,)))
    sentences = tuple(o.sentence for o in mine if o.sentence)
    if sentences:
        made.append(Fold("In sentences", (Points(sentences),)))
    return made
