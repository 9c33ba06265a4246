"""One contract for every file of the bay of probes; and networks whose reliance is known by construction."""

from __future__ import annotations

import json
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from oracles.audited import BLIND, CORNER, COUNT, LETTER, LUNGS, SIZE, elsewhere, group_of, lungs, reads

from medtea.audit import probes
from medtea.audit.asked import AuditedGroup, AuditedNetwork, Need
from medtea.audit.changes import stamped
from medtea.audit.probes import background_relevance, lungs_removed, planted_mark
from medtea.audit.probes.probe import Outcome
from medtea.core import bay
from medtea.core.errors import ConfigError
from medtea.core.settings import StrictSettings, parse
from medtea.data.marks import Mark
from medtea.metrics.estimates import Estimate

EVERY = bay.names(probes)


def module_of(name: str) -> ModuleType:
    return bay.load(probes, name, "audit.probes")


def ask(name: str, network: AuditedNetwork, group: AuditedGroup, **settings: Any) -> Outcome:
    module = module_of(name)
    probe = module.Probe(parse(module.Settings, settings, f"audit.probes.{name}"))
    asked = [group, elsewhere(group)] if Need.SEVERAL_HOSPITALS in probe.needs else group
    outcome: Outcome = probe.ask(network, asked, np.random.default_rng(0))
    return outcome


def written(outcome: Outcome) -> str:
    """All of it as text: "no answer" equals itself there."""
    return repr(outcome)


# --- the contract


@pytest.mark.parametrize("name", EVERY)
def test_a_probe_has_settings_with_defaults_a_question_and_a_line(name: str) -> None:
    module = module_of(name)
    assert issubclass(module.Settings, StrictSettings)
    assert module.Settings() == parse(module.Settings, {}, "")
    assert module.Probe.question.endswith("?")
    assert module.Probe.needs <= set(Need)
    assert module.Probe(module.Settings()).cost >= 0
    line = bay.summary(module)
    assert 20 <= len(line) <= 120
    assert line.endswith(".")


GROUPS = {
    "many": group_of(corner_tells=True),
    "one patient": group_of(corner_tells=True, patients=1),
    "one radiograph": group_of(corner_tells=True, count=1),
}


@pytest.mark.parametrize("lungs_only", [False, True])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", EVERY)
def test_an_answer_is_a_number_or_none_and_a_sentence_that_names_network_and_group(
    name: str, group: str, lungs_only: bool
) -> None:
    asked = GROUPS[group]
    before = asked.radiographs.copy(), asked.lung_masks.copy()
    for pixels in (LETTER, np.zeros((SIZE, SIZE))):
        outcome = ask(name, reads(pixels, lungs_only=lungs_only), asked)
        json.dumps(
            [
                outcome.reference,
                outcome.control and outcome.control.to_json(),
                [one.to_json() for one in (outcome.estimate, outcome.judged, *outcome.details.values())],
            ],
            allow_nan=False,
        )
        assert isinstance(outcome.estimate, Estimate)
        assert "student" in outcome.sentence
        assert "alpha" in outcome.sentence
        assert "nan" not in outcome.sentence
        assert outcome.sentence.endswith(".")
        assert outcome.void_when.endswith(".")
    assert (asked.radiographs == before[0]).all()
    assert (asked.lung_masks == before[1]).all()


@pytest.mark.parametrize("name", EVERY)
def test_the_same_generator_gives_the_same_answer(name: str) -> None:
    group = group_of(corner_tells=True)
    assert written(ask(name, CORNER, group)) == written(ask(name, CORNER, group))


@pytest.mark.parametrize("name", EVERY)
def test_a_probe_takes_masks_as_booleans_as_well(name: str) -> None:
    group = group_of(corner_tells=True)
    as_bool = replace(group, lung_masks=group.lung_masks.astype(bool))
    for lungs_only in (False, True):
        network = reads(lungs(), lungs_only=lungs_only)
        assert written(ask(name, network, as_bool)) == written(ask(name, network, group))


# --- reliance that is known


def test_a_network_that_reads_the_corner_alone_is_found_by_every_probe() -> None:
    group = group_of(corner_tells=True)
    mark = ask("planted_mark", CORNER, group)
    assert mark.estimate.value > 0.95, "the score goes from near 0 to near 1"
    assert mark.control is not None
    assert mark.control.value < 0.3
    assert mark.sentence.endswith("the letter itself is read.")
    without = ask("lungs_removed", CORNER, group)
    assert without.estimate.value == 1.0
    assert without.control is not None
    assert without.control.value == 1.0
    assert without.sentence.endswith("is 1.00: the background alone tells the class to it.")
    relevance = ask("background_relevance", CORNER, group)
    assert relevance.estimate.value == 1.0
    assert relevance.sentence.endswith("that is more than the outside's 75% of the area.")


def test_a_network_that_reads_the_lungs_alone_is_cleared_by_every_probe() -> None:
    group = group_of(corner_tells=False)
    mark = ask("planted_mark", LUNGS, group)
    assert (mark.estimate.value, mark.estimate.high) == (0.0, 0.0)
    assert mark.sentence.endswith(
        "by 0.00 on average (scattered pixels: 0.00): not clearly more than scattered pixels do."
    )
    without = ask("lungs_removed", LUNGS, group)
    assert without.estimate.value == 0.5
    assert without.control is not None
    assert without.control.value == 1.0
    assert without.sentence.endswith("all scores are the same, no shortcut shows here.")
    relevance = ask("background_relevance", LUNGS, group)
    assert relevance.estimate.value == 0.0
    assert relevance.sentence.endswith("that is less than the outside's 75% of the area.")


def test_a_network_that_is_shown_lungs_only_cannot_be_reached_from_outside_them() -> None:
    everywhere = reads(np.ones((SIZE, SIZE)), lungs_only=True)
    group = group_of(corner_tells=True)
    assert ask("planted_mark", everywhere, group).estimate.value == 0.0
    assert ask("lungs_removed", everywhere, group).estimate.value == 0.5
    assert ask("background_relevance", everywhere, group).estimate.value == 0.0


def test_a_shortcut_that_points_the_other_way_is_found_too() -> None:
    group = group_of(corner_tells=True)
    turned = replace(group, labels=1 - group.labels)
    outcome = ask("lungs_removed", CORNER, turned)
    assert outcome.estimate.value == 0.0
    assert "the background alone tells the class to it" in outcome.sentence


# --- background_relevance


def test_relevance_is_below_or_above_the_area_only_when_the_interval_leaves_it_out() -> None:
    group = group_of(corner_tells=False)
    # every pixel weighs the same; lungs and outside differ in brightness with the label, so the share scatters
    even = replace(group, radiographs=np.random.default_rng(0).random((COUNT, SIZE, SIZE)).astype(np.float32))
    outcome = ask("background_relevance", reads(np.ones((SIZE, SIZE))), even)
    assert outcome.reference == 0.75  # 2 lungs of 16 x 8 of 32 x 32 pixels
    assert outcome.estimate.low < 0.75 < outcome.estimate.high
    assert outcome.sentence.endswith("that is not clearly different from the outside's 75% of the area.")


def test_relevance_of_one_patient_has_no_interval_and_takes_no_side() -> None:
    outcome = ask("background_relevance", LUNGS, group_of(corner_tells=False, patients=1))
    assert outcome.sentence.endswith("that is without an interval, to be set beside the outside's 75% of the area.")


def test_a_network_without_relevance_has_no_answer_and_no_reference() -> None:
    outcome = ask("background_relevance", BLIND, group_of(corner_tells=False))
    assert not outcome.estimate.answered
    assert outcome.reference is None
    assert outcome.sentence == "student has no relevance anywhere at alpha."


def test_a_radiograph_without_lungs_is_left_out_of_share_and_area_alike() -> None:
    group = group_of(corner_tells=False)
    group.lung_masks[:10] = 0
    outcome = ask("background_relevance", CORNER, group)
    assert outcome.estimate.n == COUNT - 10
    assert outcome.reference == 0.75


# --- planted_mark


def test_no_score_no_answer_to_a_letter() -> None:
    none = group_of(corner_tells=True, count=0)
    outcome = ask("planted_mark", CORNER, none)
    assert not outcome.estimate.answered
    assert outcome.sentence == "student has no score at alpha that a letter could change."


def test_one_patient_is_too_few_to_tell_a_letter_from_scattered_pixels() -> None:
    outcome = ask("planted_mark", CORNER, group_of(corner_tells=True, patients=1))
    assert outcome.sentence.endswith("there are too few patients to tell the letter from scattered pixels.")


def test_a_network_that_reads_brightness_alone_does_not_read_the_letter() -> None:
    outcome = ask("planted_mark", reads(lungs() == 0, gain=20.0, threshold=0.24), group_of(corner_tells=False))
    assert outcome.estimate.value > 0.02, "brightness changes its score"
    assert outcome.sentence.endswith("not clearly more than scattered pixels do.")


def test_marks_and_scattered_pixels_are_as_many_as_bright_and_all_outside_the_lungs() -> None:
    group = group_of(corner_tells=False)
    group.lung_masks[:, :10, :6] = 1  # part of the letter is on lung
    mark = Mark("L", corner="top left")
    for generator in (None, np.random.default_rng(0)):
        changed = stamped(group, mark, generator) != group.radiographs
        assert not (changed & (group.lung_masks > 0)).any()
        assert set(changed.sum(axis=(1, 2))) == {int((LETTER & (group.lung_masks[0] == 0)).sum())}
    assert (LETTER & (group.lung_masks[0] > 0)).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corners": ["top lef"]}, r"^audit\.corners: .*there is no corner 'top lef'.*Did you mean 'top left'\?$"),
        ({"corners": []}, r"^audit\.corners: \[\] is not allowed; tuple should have at least 1 item"),
        ({"signs": []}, r"^audit\.signs: \[\] is not allowed"),
        ({"height": 0}, r"^audit\.height: 0 is not allowed"),
    ],
)
def test_marks_that_cannot_be_stamped_are_refused_before_anything_runs(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(planted_mark.Settings, settings, "audit")


# --- lungs_removed


def test_lungs_and_a_rim_take_one_grey_value_in_all_radiographs() -> None:
    group = group_of(corner_tells=True)
    blank = lungs_removed.Probe(lungs_removed.Settings(margin=1)).removed(group, "grey", np.random.default_rng(0))
    rim = np.zeros((SIZE, SIZE), dtype=bool)
    rim[9:27, 5:13] = rim[9:27, 19:27] = rim[10:26, 4:14] = rim[10:26, 18:28] = True  # within 1 pixel, no corners
    assert (blank[:, ~rim] == group.radiographs[:, ~rim]).all()
    np.testing.assert_allclose(blank[:, rim], group.radiographs[:, ~rim].mean(), rtol=1e-5)


def test_a_mask_that_covers_everything_leaves_nothing_and_no_warning() -> None:
    group = group_of(corner_tells=False, count=2)
    group.lung_masks[:] = 1
    assert (lungs_removed.Probe(lungs_removed.Settings()).removed(group, "grey", np.random.default_rng(0)) == 0).all()


def test_one_class_or_one_patient_decides_nothing() -> None:
    group = group_of(corner_tells=True)
    one_class = replace(group, labels=np.ones(COUNT, dtype=int))
    assert ask("lungs_removed", CORNER, one_class).sentence.endswith(
        "AUROC at alpha has no answer: one class is missing."
    )
    one_patient = group_of(corner_tells=True, patients=1)
    assert ask("lungs_removed", CORNER, one_patient).sentence.endswith("is 1.00: too few patients for an interval.")


def test_a_negative_rim_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"margin: -1 is not allowed"):
        parse(lungs_removed.Settings, {"margin": -1})


def test_a_probe_without_settings_takes_none() -> None:
    with pytest.raises(ConfigError, match="no such setting"):
        parse(background_relevance.Settings, {"epsilon": 0.1})
