"""medtea audit: whether networks rely on what is outside the lungs, with the verdict as exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from medtea.audit.policy import Verdict, overall
from medtea.audit.stage import costs
from medtea.cli.configs import load, models_of, source_of
from medtea.cli.given_audits import Survey, given_audit, surveyed
from medtea.cli.options import From, NoTracking, Set, To
from medtea.cli.screen import out
from medtea.cli.walking import folder_of, walk_pipeline
from medtea.core.errors import UsageError
from medtea.core.names import OutcomesArtefact
from medtea.core.settings import read_yaml
from medtea.core.work import read_json
from medtea.report.contents import read_outcomes
from medtea.report.tables import not_asked, plan_table, skipped_table, to_terminal, verdict_table

EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.NO_ANSWER: 2}
"""Of medtea audit, for whoever builds on it."""


def audit_command(
    model: Annotated[
        str, typer.Argument(metavar="CONFIG|MODEL", help="An experiment's YAML or name; or, with DATA, [NAME=]PATH.")
    ],
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="Of MODEL: a folder, a table (CSV), or an experiment.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", metavar="[NAME=]PATH", help="Audit this too, beside the others.")
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option("--positive", metavar="FINDING", help="Of DATA: makes label 1. May be repeated.")
    ] = None,
    negative: Annotated[
        list[str] | None, typer.Option("--negative", metavar="FINDING", help="Of DATA: makes label 0. May be repeated.")
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            "--masks", metavar="RUN|given|learned|none", help="Of DATA: a run's segmenter, its own masks, ... or none."
        ),
    ] = None,
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
    """Whether networks rely on what is outside the lungs: pass (exit code 0), fail (1) or no answer (2).

    A network fails when one answer lies above its threshold as a whole, see --policy; the worst network decides.

    Two ways: an experiment's own networks, or anybody's network on radiographs that need no label (docs/audit.md):

    medtea audit CONFIG

    medtea audit network.onnx radiographs/ --plan

    medtea audit runs/demo/distil/erm table.csv --positive Tuberculosis --negative Normal
    """
    assignments = list(set_ or [])
    if policy is not None:
        assignments.append(f"audit.policy={json.dumps(read_yaml(policy))}")
    if data is None:
        if positive or negative or masks:
            raise UsageError("--positive, --negative and --masks go with MODEL DATA; a config has them itself.")
        config = Path(model)
        assignments = [*source_of(config, from_), *models_of(config, models or []), *assignments]
        module, settings = load(config, assignments)
    else:
        if from_:
            raise UsageError("--from goes with CONFIG; DATA says itself where radiographs are.")
        findings = {"positive": positive or [], "negative": negative or []}
        asked = [model, *(models or [])]
        module, settings = given_audit(asked, data, assignments, masks=masks, findings=findings)
    if "audit" not in type(settings).model_fields:
        raise UsageError(f"The pipeline {settings.pipeline} has no audit: there are no lungs.")
    if quick:
        fewer = settings.audit.model_copy(update={"radiographs": max(settings.audit.radiographs // 10, 1)})
        settings = settings.model_copy(update={"audit": fewer})
    if plan:
        _plan(settings, None if data is None else surveyed(settings))
        return
    if data is None:
        folder = folder_of(Path(model), to)
        walk_pipeline(module, settings, folder=folder, study=Path(model).stem, no_tracking=no_tracking, until="audit")
    else:
        folder = to or Path("runs") / f"audit_{settings.models[0].name}"
        walk_pipeline(module, settings, folder=folder, study=folder.name, no_tracking=no_tracking)
    audited = read_json(OutcomesArtefact(folder / "audit").outcomes)
    out.print(to_terminal(verdict_table(read_outcomes(audited), audited)))
    if audited["skipped"]:
        out.print(to_terminal(skipped_table(audited)))
    sys.exit(EXIT_CODES[overall(Verdict(one) for one in audited["verdicts"].values())])


def _plan(settings: Any, survey: Survey | None) -> None:
    asked, known = settings.audit, survey or Survey()
    networks = len(settings.models) if survey else 1 + len(settings.distil) + len(settings.evaluate.models)
    cost = costs(asked)
    out.print(to_terminal(plan_table(cost, asked.policy.model_dump(), networks=networks, lacking=known.lacking)))
    out.print(f"Of each hospital at most {asked.radiographs} radiographs are asked about.", soft_wrap=True)
    if survey:
        reasons = not_asked(cost, survey.lacking or {})
        passes = networks * sum(passes for name, (passes, _) in cost.items() if name not in reasons)
        out.print(survey.in_words(asked.radiographs, passes), markup=False, soft_wrap=True)
