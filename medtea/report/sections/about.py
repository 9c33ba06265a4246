"""What this is, and for whom: intended use, the networks compared, hospitals, seed and version at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from medtea.report.blocks import Block, Facts, Text
from medtea.report.contents import Contents, is_audit_alone
from medtea.report.tables import listed

TITLE = "What this is, and for whom"
PLACE = 10
YOURS = "to be filled in by you (report.intended_use)"
SHOWN = ("date", "seed", "commit of the code")


def blocks(contents: Contents) -> Sequence[Block]:
    """For whom it is written, and the facts that name this run."""
    if is_audit_alone(contents):
        return _of_audit(contents)
    groups = contents.metrics.groups
    facts = {
        "told apart": contents.task or "not said (report.task)",
        "intended use": contents.intended_use or YOURS,
        "methods compared": listed(contents.metrics.names),
        "tested at, seen in training": listed([name for name, role in groups.items() if role == "iid"]) or "none",
        "tested at, not seen": listed([name for name, role in groups.items() if role == "ood"]) or "none",
    }
    facts |= {name: contents.provenance[name] for name in SHOWN if name in contents.provenance}
    facts |= {name: value for name, value in contents.provenance.items() if name.startswith("digest of")}
    return [
        Text(
            "A record of how classifiers of chest radiographs do at hospitals where they were trained and where they "
            "were not. It is written for those who have to judge that: the team that made them, a reviewer, a "
            "statistician, a radiologist. It is not written for the care of a patient."
        ),
        Facts(facts),
        Text(
            "Every number can be traced: point at it to read what it rests on and in which file of the run, under "
            "which key, it stands. A digest names settings, inputs, seed and version that made a part of the run; two "
            "runs with the same digest are the same.",
            small=True,
        ),
    ]


def _of_audit(contents: Contents) -> list[Block]:
    """The same of an audit of given networks."""
    names = list(contents.audited["verdicts"])
    places = sorted({outcome.group for outcome in contents.outcomes} & set(contents.table["group"]))
    facts = {
        "told apart": contents.task or "not said (report.task)",
        "intended use": contents.intended_use or YOURS,
        "networks asked": listed(names),
        "radiographs of": listed(places) or "none",
        "labels": "known" if contents.table["label"].notna().any() else "none",
    }
    facts |= {name: contents.provenance[name] for name in SHOWN if name in contents.provenance}
    facts |= {name: value for name, value in contents.provenance.items() if name.startswith("digest of")}
    return [
        Text(
            "Whether networks that others trained rely on what is outside the lungs, asked on these radiographs. How "
            "well they do at their task is not what is asked. It is not written for the care of a patient."
        ),
        Facts(facts),
    ]
