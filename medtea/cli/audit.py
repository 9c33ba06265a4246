"""medtea audit: whether networks rely on what is outside the lungs, with the verdict as exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from medtea.audit.policy import Verdict, overall
from medtea.audit.stage import costs
from medtea.cli.configs import load, source_of
from medtea.cli.options import Config, From, NoTracking, Set, To
from medtea.cli.screen import out
from medtea.cli.walking import folder_of, walk
from medtea.core.errors import UsageError
from medtea.core.names import OutcomesArtefact
from medtea.core.settings import read_yaml
from medtea.core.work import read_json
from medtea.report.contents import read_outcomes
from medtea.report.tables import plan_table, to_terminal, verdict_table

EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.NO_ANSWER: 2}
"""Of medtea audit, for whoever builds on it."""


def audit_command(
    config: Config,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="YAML", help="Thresholds, like configs/audit_policy.yaml.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Run nothing; say what would be asked, and its cost.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the radiographs: wider intervals.")] = False,
    to: To = None,
    set_: Set = None,
    from_: From = None,
    no_tracking: NoTracking = False,
) -> None:
    """Whether the networks rely on what is outside the lungs: pass (exit code 0), fail (1) or no answer (2).

    A network fails when one answer lies above its threshold as a whole, see --policy; the worst network decides.
    """
    assignments = [*source_of(config, from_), *(set_ or [])]
    if policy is not None:
        assignments.append(f"audit.policy={json.dumps(read_yaml(policy))}")
    _, settings = load(config, assignments)
    if "audit" not in type(settings).model_fields:
        raise UsageError(f"The pipeline {settings.pipeline} has no audit: there are no lungs.")
    if quick:
        assignments.append(f"audit.radiographs={max(settings.audit.radiographs // 10, 1)}")
        _, settings = load(config, assignments)
    if plan:
        asked = settings.audit
        table_ = plan_table(costs(asked), asked.policy.model_dump(), networks=1 + len(settings.distil))
        out.print(to_terminal(table_))
        out.print(f"Of each hospital at most {asked.radiographs} radiographs are asked about.", soft_wrap=True)
        return
    walk(config, to, assignments, no_tracking, until="audit")
    audited = read_json(OutcomesArtefact(folder_of(config, to) / "audit").outcomes)
    out.print(to_terminal(verdict_table(read_outcomes(audited), audited)))
    sys.exit(EXIT_CODES[overall(Verdict(one) for one in audited["verdicts"].values())])
