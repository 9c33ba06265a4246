"""From numbers to pass, fail or no answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles.audited import CORNER, LUNGS, elsewhere, group_of

from medtea.audit.asked import AuditedNetwork, Need
from medtea.audit.asking import ALL, ask_all
from medtea.audit.policy import FEWEST, Policy, Verdict, overall, verdict
from medtea.audit.probes import background_relevance, hospital_probe, planted_mark, score_site
from medtea.audit.probes.probe import Outcome
from medtea.core.errors import ConfigError
from medtea.core.settings import parse
from medtea.metrics.estimates import Estimate

FAIL, PASS, OPEN = Verdict.FAIL, Verdict.PASS, Verdict.NO_ANSWER


def outcome(low: float, high: float, *, void: str = "") -> Outcome:
    middle = (low + high) / 2
    return Outcome(
        Estimate(middle, low, high, FEWEST, FEWEST, None, 0), 0.0, None, "A sentence.", "Never.", is_void=void
    )


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.3, 0.5, FAIL), (0.1, 0.2, PASS), (0.1, 0.3, OPEN), (0.2, 0.4, OPEN), (np.nan, np.nan, OPEN)],
)
def test_the_whole_interval_lies_above_the_threshold_or_at_most_at_it(
    low: float, high: float, expected: Verdict
) -> None:
    assert verdict(outcome(low, high), 0.2) is expected


def test_a_void_answer_decides_nothing() -> None:
    assert verdict(outcome(0.9, 1.0, void="the maps are worthless"), 0.2) is OPEN


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.5), (0.1, 0.2)])
def test_a_handful_of_patients_decides_nothing(low: float, high: float) -> None:
    few = outcome(low, high)
    assert verdict(replace(few, estimate=replace(few.estimate, n_patients=FEWEST - 1)), 0.2) is OPEN


def test_reliance_is_judged_where_a_probe_gives_it() -> None:
    judged = replace(outcome(0.0, 0.1), reliance=outcome(0.6, 0.7).estimate)
    assert verdict(judged, 0.2) is FAIL


def test_one_failure_fails_and_one_open_answer_leaves_open() -> None:
    assert overall([PASS, PASS]) is PASS
    assert overall([PASS, OPEN]) is OPEN
    assert overall([PASS, OPEN, FAIL]) is FAIL
    assert overall([]) is OPEN


def test_a_probe_that_the_policy_does_not_name_is_not_judged() -> None:
    assert Policy().threshold("acquisition_stress") is None
    assert Policy(lungs_removed=None).threshold("lungs_removed") is None
    assert Policy().threshold("lungs_removed") == 0.5
    # the weak ones are asked and not judged, docs/audit_validity.md
    assert {Policy().threshold(name) for name in ("planted_mark", "background_swap", "background_relevance")} == {None}
    with pytest.raises(ConfigError, match="planted_marks"):
        parse(Policy, {"planted_marks": 0.1}, "audit.policy")


PROBES = {
    "planted_mark": planted_mark.Probe(planted_mark.Settings()),
    "background_relevance": background_relevance.Probe(background_relevance.Settings()),
    "score_site": score_site.Probe(score_site.Settings()),
}


STRICT = Policy(planted_mark=0.25, background_relevance=1)


def test_a_network_that_reads_the_corner_fails_and_one_that_reads_lungs_passes() -> None:
    here = group_of(corner_tells=False)
    lungs = replace(LUNGS, name="reads lungs")
    answers, skipped = ask_all(PROBES, [CORNER, lungs], [here, elsewhere(here)], STRICT, seed=0)
    assert not skipped
    of = {name: [one.verdict for one in answers if one.method == name] for name in ("student", "reads lungs")}
    assert overall([v for v in of["student"] if v]) is FAIL
    assert overall([v for v in of["reads lungs"] if v]) is PASS
    assert {one.group for one in answers if one.probe == "score_site"} == {ALL}


def test_what_is_missing_skips_a_probe_with_its_reason() -> None:
    here = group_of(corner_tells=False)
    without = replace(here, labels=np.zeros(len(here), dtype=int), lung_masks=np.zeros_like(here.lung_masks))
    answers, skipped = ask_all(PROBES, [CORNER], [without], Policy(), seed=0)
    assert not answers
    assert {one.probe: one.reason for one in skipped} == {
        "planted_mark": f"It needs {Need.LUNG_MASKS}.",
        "background_relevance": f"It needs {Need.LUNG_MASKS}.",
        "score_site": f"It needs {Need.SEVERAL_HOSPITALS}.",
    }


def test_a_network_without_a_rule_or_a_linear_layer_is_skipped_by_the_probes_that_need_it() -> None:
    import torch
    from torch import nn

    class Sorts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.gain * x.flatten(1).sort(dim=1).values[:, -1:]

    here = group_of(corner_tells=False, count=12)
    probes = {
        "background_relevance": PROBES["background_relevance"],
        "hospital_probe": hospital_probe.Probe(hospital_probe.Settings()),
        "planted_mark": PROBES["planted_mark"],
    }
    network = AuditedNetwork("sorts", Sorts(), sees_lungs_only=False)
    answers, skipped = ask_all(probes, [network], [here, elsewhere(here)], Policy(), seed=0)
    assert {one.probe for one in answers} == {"planted_mark"}
    reasons = {one.probe: one.reason for one in skipped}
    assert reasons["background_relevance"].startswith(f"It needs {Need.HEATMAPS}. ")
    assert reasons["hospital_probe"] == f"It needs {Need.FEATURES}."


def test_a_failed_gate_voids_what_reads_heatmaps_and_nothing_else() -> None:
    class Gate:
        question = "Is the gate shut?"
        needs = frozenset({Need.HEATMAPS})
        cost = 0.0

        def ask(self, network: object, group: object, generator: object) -> Outcome:
            return outcome(0.0, 0.1, void="the gate is shut")

    here = group_of(corner_tells=False, count=12)
    answers, _ = ask_all({**PROBES, "gate": Gate()}, [CORNER], [here], STRICT, seed=0)
    void = {one.probe: one.outcome.is_void for one in answers}
    assert void == {"planted_mark": "", "background_relevance": "the gate is shut", "gate": "the gate is shut"}
    assert {one.probe: one.verdict for one in answers}["background_relevance"] is OPEN
