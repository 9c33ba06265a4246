"""Where this report answers the items of two reporting guidelines, and what only you can say."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Fold, Text
from medtea.report.contents import Contents, is_audit_alone
from medtea.report.tables import Cell, Column, Table

TITLE = "Checklist: TRIPOD+AI and CLAIM 2024"
PLACE = 910
YOURS = "to be filled in by you"
# topic in our words, item of TRIPOD+AI (Collins et al., BMJ 385, 2024; compared with its checklist of 11 January 2024),
# item of CLAIM (Tejani et al., Radiol. AI 6, 2024; not compared but for 43 and 44), and the sections that answer it:
# the first that a run has is named
ITEMS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("title and abstract", "1, 2", "1, 2", ()),
    ("clinical background, intended users, inequalities", "3", "3", ()),
    ("objectives", "4", "4, 6", ()),
    ("prospective or retrospective; where the data come from", "5a", "5, 7", ()),
    ("dates of recruitment", "5b", "7", ()),
    ("setting, eligibility, treatments", "6", "8", ()),
    ("preparation of images", "7, 12b", "9", ("provenance",)),
    ("subsets taken from a larger collection", "7", "10", ("flow",)),
    ("removal of identities", "", "11", ("provenance",)),
    ("how images were taken", "9", "13", ("cohort",)),
    ("reference standard, who read, and how well readers agree", "8", "14-18", ()),
    ("sample size: how it was decided", "10", "21", ()),
    ("missing data", "11", "12", ("flow",)),
    ("how data were divided, and at which level parts are disjoint", "12a", "19, 20", ("split",)),
    ("the model and its inputs", "12c", "22", ("methods",)),
    ("software and versions", "12c", "23", ("provenance",)),
    ("initial weights and training", "12c", "24, 25", ("provenance",)),
    ("how the final model was selected", "12c", "26, 27", ("roles",)),
    ("differences between hospitals", "12d", "33", ("heterogeneity", "gap")),
    ("measures of performance", "12e", "28", ("discrimination",)),
    ("uncertainty", "12e", "29", ("headline",)),
    ("updating or recalibration", "12f", "", ("calibration",)),
    ("how predictions were made at the test hospitals", "12g", "32, 33", ("methods",)),
    ("unequal classes", "13", "", ("cohort",)),
    ("fairness", "14", "30", ("subgroups",)),
    ("output of the model, and thresholds", "15", "22", ("discrimination",)),
    ("differences between training and evaluation", "16", "33", ("cohort",)),
    ("sensitivity to what should not matter", "", "30", ("audit",)),
    ("explanations", "", "31", ("explanations",)),
    ("ethical approval", "17", "", ()),
    ("funding and conflicts of interest", "18a, 18b", "44", ()),
    ("protocol and registration", "18c, 18d", "34, 42", ()),
    ("availability of data, code and model", "18e, 18f", "43", ()),
    ("involvement of patients and the public", "19", "", ()),
    ("flow of participants", "20a", "35", ("flow",)),
    ("characteristics of participants", "20b, 20c", "36", ("cohort",)),
    ("participants and events in each analysis", "21", "35", ("split",)),
    ("the full model, so that others can use it", "22", "43", ()),
    ("performance with intervals", "23a", "37, 38", ("headline",)),
    ("performance in subgroups and across hospitals", "23b", "37", ("subgroups", "heterogeneity", "headline")),
    ("results of updating", "24", "", ("calibration",)),
    ("failures", "", "39", ("failures",)),
    ("interpretation", "25", "41", ("findings",)),
    ("limitations", "26", "40", ("limits",)),
    ("use in practice, and by whom", "27", "41", ()),
)


def blocks(contents: Contents) -> Sequence[Block]:
    """Each item with the section that answers it in this report."""
    if is_audit_alone(contents):
        return []
    there = contents.anchors
    rows = []
    for topic, tripod, claim, answered in ITEMS:
        section = next((anchor for anchor in answered if anchor in there), "")
        place = Cell(there[section], link=section) if section else Cell(YOURS, bad=True)
        rows.append((Cell(topic), Cell(tripod or "-"), Cell(claim or "-"), place))
    yours = sum(row[3].text == YOURS for row in rows)
    columns = (Column("topic"), Column("TRIPOD+AI item"), Column("CLAIM 2024 item"), Column("where"))
    return [
        Text(
            f"{len(rows) - yours} of {len(rows)} topics have a section here; {yours} only you can write about. A "
            "section gives the facts of this run; whether they satisfy the item is for you to judge. Topics are in our "
            "words and items by number: the guidelines themselves say what each asks for. The numbers of TRIPOD+AI are "
            "those of its checklist of 11 January 2024; those of CLAIM are to be checked before you cite them."
        ),
        Fold("All items", (Table("Where each item is answered", columns, tuple(rows)),)),
    ]
