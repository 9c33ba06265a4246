"""Each probe asked about networks and data whose reliance is known; what all probes share is in tests/contracts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from oracles.audited import BLIND, CORNER, COUNT, LETTER, LUNGS, SIZE, elsewhere, group_of, lungs, reads
from torch import nn

from medtea.audit.asked import AuditedGroup, AuditedNetwork, log_odds
from medtea.audit.learned import FEWEST, learned_scores, shuffled_labels
from medtea.audit.probes import (
    acquisition_stress,
    artefact_erase,
    artefact_stratified,
    background_relevance,
    background_swap,
    deletion_insertion,
    hospital_probe,
    lungs_removed,
    lungs_removed_retrained,
    map_gates,
    mask_only,
    new_scanner,
    planted_mark,
    prediction_depth,
    relevance_clusters,
    score_site,
)
from medtea.audit.probes.probe import Outcome
from medtea.audit.probes.relevance_clusters import cramers_v_of
from medtea.core.errors import ConfigError, UsageError
from medtea.core.settings import parse


def ask(module: Any, network: AuditedNetwork, group: Any, **settings: Any) -> Outcome:
    outcome: Outcome = module.Probe(module.Settings(**settings)).ask(network, group, np.random.default_rng(0))
    return outcome


def drawn(seed: int, **changes: Any) -> AuditedGroup:
    """A group of its own patients with noise of its own, whose label shows in the lungs."""
    group = group_of(corner_tells=False)
    noise = 0.05 * np.random.default_rng(seed).random(group.radiographs.shape)
    pictures = (0.2 + noise + 0.2 * group.labels[:, None, None] * (lungs() > 0)).astype(np.float32)
    patients = [f"{seed}-{patient}" for patient in group.patients]
    return replace(group, radiographs=pictures, patients=patients, **changes)


# --- artefact_erase


def lettered(share: float = 1.0) -> AuditedGroup:
    """Radiographs of which a share, those of label 1 first, has a bright letter in the corner."""
    group = drawn(5)
    order = np.argsort(-group.labels, kind="stable")[: round(share * len(group))]
    pictures = group.radiographs.copy()
    pictures[:, lungs() > 0] += 0.4  # a range of grey values beside which the noise is small
    pictures[order] = np.where(LETTER, 0.95, pictures[order])
    return replace(group, radiographs=pictures)


def test_erasing_a_letter_changes_the_network_that_reads_it_and_patches_do_not() -> None:
    outcome = ask(artefact_erase, CORNER, lettered(0.5))
    # logit 40 x (mean - 0.5): from 0.95 to the grey around it, 0.2 to 0.25
    assert outcome.estimate.value == pytest.approx(40 * (0.95 - 0.225), abs=1.5)
    assert outcome.control is not None
    assert outcome.control.value < 1
    assert outcome.judged.low > 0.5, "in standard deviations of the network's own log odds"
    assert outcome.details["signed change"].high < 0, "the letter spoke for the finding"
    assert outcome.details["radiographs with a mark"].value == pytest.approx(0.5)
    assert outcome.estimate.n == COUNT // 2
    assert outcome.sentence.endswith("the marks are read.")


def test_erasing_a_letter_leaves_the_network_that_reads_lungs_as_it_is() -> None:
    outcome = ask(artefact_erase, LUNGS, lettered(0.5))
    assert outcome.estimate.value < 1e-6, "rounding of a sigmoid"
    assert outcome.judged.high < 1e-6
    assert outcome.sentence.endswith("not clearly more than patches do.")


def test_marks_are_erased_where_they_are_and_lungs_never() -> None:
    group, probe = lettered(0.5), artefact_erase.Probe(artefact_erase.Settings())
    erased, patched, rows = probe.changed(group, np.random.default_rng(0))
    assert (group.labels[rows] == 1).all()
    before = group.radiographs[rows]
    assert (erased[:, LETTER] < 0.5).all()
    for changed in (erased, patched):
        assert (changed[group.lungs[rows]] == before[group.lungs[rows]]).all()
        assert (changed != before).any(axis=(1, 2)).all()
    assert (patched[:, LETTER] == before[:, LETTER]).mean() > 0.9
    # a patch has the mark's pixels, but for those that would have fallen on lungs
    assert ((patched != before).sum((1, 2)) <= (erased != before).sum((1, 2))).all()


def test_without_a_mark_there_is_nothing_to_erase_and_no_answer() -> None:
    outcome = ask(artefact_erase, CORNER, lettered(0.0))
    assert not outcome.estimate.answered
    assert outcome.details["radiographs with a mark"].value == 0
    assert outcome.sentence == "No text or marker was found on the border at alpha that could be erased for student."


# --- what networks are asked


def test_scores_of_a_groups_own_radiographs_are_computed_once_and_cannot_be_spoilt() -> None:
    group, calls = group_of(corner_tells=True), []
    network = reads(LETTER)
    network.network.register_forward_hook(lambda *_: calls.append(1))
    first = network.of(group)
    first[:] = 9
    assert (network.of(group) == network.scores(group.radiographs, group.lung_masks)).all()
    assert len(calls) == 2  # once for the group, once for the comparison
    other = replace(group, radiographs=group.radiographs * 0)
    assert (network.of(other) != network.of(group)).any(), "a group of the same name with other radiographs is another"


def test_a_score_that_is_not_finite_is_refused() -> None:
    network = reads(LETTER)
    network.network[1].bias.data[:] = torch.inf
    with pytest.raises(UsageError, match=r"^60 scores of student are not finite numbers\.$"):
        network.of(group_of(corner_tells=True))


def test_features_are_what_the_last_linear_layer_is_given() -> None:
    group = group_of(corner_tells=True, count=3)
    found = CORNER.features(group.radiographs, group.lung_masks)
    np.testing.assert_array_equal(found, group.radiographs.reshape(3, -1))


def test_log_odds_are_the_logits_and_stay_finite() -> None:
    np.testing.assert_allclose(log_odds(np.array([0.5, 0.75])), [0, np.log(3)])
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()


# --- background_relevance


def test_relevance_is_said_beyond_a_margin_where_the_size_of_a_pixel_is_known() -> None:
    group = replace(group_of(corner_tells=False), pixel_mm=np.where(np.arange(COUNT) < 30, 5.0, np.nan))
    outcome = ask(background_relevance, reads(np.ones((SIZE, SIZE))), group, margins_mm=(5.0,))
    wider = outcome.details["beyond 5 mm of the lungs"]
    assert wider.n == 30
    assert wider.value < outcome.estimate.value
    assert "beyond 5 mm of the lungs" not in ask(background_relevance, LUNGS, group_of(corner_tells=False)).details


def test_the_pointing_game_and_the_ranks_agree_with_where_a_network_looks() -> None:
    group = group_of(corner_tells=False)
    for network, outside in ((LUNGS, 0.0), (CORNER, 1.0)):
        details = ask(background_relevance, network, group).details
        assert details["largest relevance lies outside"].value == outside
        assert details["positive relevance alone"].value == pytest.approx(outside, abs=1e-6)
    assert ask(background_relevance, LUNGS, group).details["highest ranks that lie outside"].value == 0.0


def test_reliance_is_share_over_area() -> None:
    outcome = ask(background_relevance, CORNER, group_of(corner_tells=True))
    assert outcome.judged.value == pytest.approx(1 / 0.75)


def test_maps_that_follow_these_lungs_lie_further_outside_another_patients() -> None:
    group = group_of(corner_tells=False)
    masks = np.stack([np.roll(lungs(), 4 * (number % 2), axis=1) for number in range(COUNT)])
    pictures = (0.2 + 0.2 * masks).astype(np.float32)
    moved = replace(group, lung_masks=masks, radiographs=pictures * masks)
    outcome = ask(background_relevance, reads(np.ones((SIZE, SIZE))), moved)
    assert outcome.estimate.value == 0.0
    assert outcome.control is not None
    assert outcome.control.value > 0.3


# --- map_gates and deletion_insertion


class Fixed(nn.Module):
    """A network without anything that was learned: the mean of the picture, whatever its one weight is."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.full((SIZE * SIZE, 1), 0.01))
        self.head = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1) @ self.gain)  # type: ignore[operator,no-any-return]


def test_maps_that_change_with_the_weights_may_be_read() -> None:
    outcome = ask(map_gates, CORNER, group_of(corner_tells=True), radiographs=20)
    assert outcome.estimate.value < 0.5
    assert outcome.is_void == ""
    assert outcome.sentence.endswith("they may be read.")
    assert outcome.details["share of the logit that is missed"].value < 1e-4
    before = CORNER.network[1].weight.clone()
    assert (before == reads(LETTER).network[1].weight).all(), "the network itself keeps its weights"


def test_maps_of_a_network_that_learned_nothing_are_void() -> None:
    network = AuditedNetwork("student", Fixed().eval(), sees_lungs_only=False)
    outcome = ask(map_gates, network, group_of(corner_tells=True))
    assert outcome.estimate.value > 0.99
    assert outcome.is_void == "heatmaps hardly change when all weights are drawn anew"


class Chaotic(nn.Module):
    """Whether a pixel counts depends on whether it is a trifle above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.full((SIZE, SIZE), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x - self.threshold).sum((2, 3))


def test_maps_that_faint_noise_turns_over_are_void_and_others_repeat() -> None:
    steady = ask(map_gates, CORNER, group_of(corner_tells=True), radiographs=20)
    assert steady.details["alike under faint noise"].value > 0.9
    group = group_of(corner_tells=True)
    flat = replace(group, radiographs=np.full_like(group.radiographs, 0.5))
    network = AuditedNetwork("student", Chaotic().eval(), sees_lungs_only=False)
    outcome = ask(map_gates, network, flat, radiographs=20, least_repeatable=0.5)
    assert abs(outcome.details["alike under faint noise"].value) < 0.1, "every pixel is drawn anew"
    assert "heatmaps change under noise that cannot be seen" in outcome.is_void


def test_a_map_that_shows_what_counts_beats_a_random_order() -> None:
    outcome = ask(deletion_insertion, LUNGS, drawn(1), shares=(0.1,), radiographs=20)
    assert outcome.is_void == ""
    assert outcome.details["beyond a random order"].low > 0
    assert outcome.control is not None
    assert outcome.estimate.value > outcome.control.value
    assert outcome.sentence.endswith("the heatmaps show what it rests on.")


def test_a_map_that_does_no_better_than_chance_voids() -> None:
    outcome = ask(deletion_insertion, BLIND, drawn(1), shares=(0.1,), radiographs=10)
    assert outcome.is_void == "removing what the heatmaps show does no more than removing random pixels"


def test_a_share_of_all_pixels_cannot_be_removed() -> None:
    with pytest.raises(ConfigError, match="each share of the pixels lies between 0 and 1"):
        parse(deletion_insertion.Settings, {"shares": [1.0]}, "audit")


# --- lungs_removed and planted_mark


def test_what_is_left_without_lungs_is_a_share_of_the_discrimination() -> None:
    group = group_of(corner_tells=True)
    assert ask(lungs_removed, CORNER, group).judged.value == 1.0
    assert ask(lungs_removed, LUNGS, group, fills=("grey",)).judged.value < 0.5
    chance = replace(group, labels=np.arange(COUNT) // 2 % 2)
    assert not ask(lungs_removed, CORNER, chance, fills=("grey",)).judged.answered, "nothing known, nothing left"


def test_scores_without_lungs_keep_their_rank_where_the_background_gives_them() -> None:
    group = group_of(corner_tells=True)
    assert ask(lungs_removed, CORNER, group).details["rank kept"].value == pytest.approx(1.0)
    blind = ask(lungs_removed, LUNGS, group, fills=("grey",)).details["rank kept"]
    assert not blind.answered, "all scores are the same"


def test_a_dose_a_texture_and_a_blur_are_said_beside_the_mark() -> None:
    outcome = ask(planted_mark, CORNER, group_of(corner_tells=False))
    assert set(outcome.details) == {
        "L at 0.5 of its height",
        "L at 1.5 of its height",
        "noise of 0.05",
        "noise of 0.15",
        "blur of 0.02 of the height",
    }
    assert all(one.value == 0 for one in ask(planted_mark, LUNGS, group_of(corner_tells=False)).details.values())


def test_a_network_whose_scores_all_lie_near_a_half_is_judged_by_its_own_spread() -> None:
    group = group_of(corner_tells=True)
    timid, bold = (ask(planted_mark, reads(LETTER, gain=gain), group) for gain in (0.04, 4.0))
    assert timid.estimate.value < 0.02, "in scores nearly nothing"
    assert timid.judged.value == pytest.approx(bold.judged.value, rel=1e-3)
    assert timid.judged.low > 1
    assert not ask(planted_mark, BLIND, group).judged.answered, "scores that do not vary have no unit"


@pytest.mark.parametrize("sign", ["box", "cable", "pacemaker"])
def test_other_marks_than_letters_can_be_stamped(sign: str) -> None:
    everywhere = reads(lungs() == 0, gain=40.0, threshold=0.24)
    assert ask(planted_mark, everywhere, group_of(corner_tells=False), signs=(sign,)).estimate.value > 0.02


# --- background_swap


def test_the_background_is_all_or_nothing_to_networks_that_read_one_of_both() -> None:
    group = group_of(corner_tells=True)
    for network, share in ((CORNER, 1.0), (LUNGS, 0.0)):
        outcome = ask(background_swap, network, group)
        assert outcome.judged.value == pytest.approx(share, abs=0.05)
        assert outcome.details["background of the same class"].value < 0.2


def test_without_a_patient_of_the_other_class_nothing_is_swapped() -> None:
    group = group_of(corner_tells=True, count=1)
    outcome = ask(background_swap, CORNER, group)
    assert not outcome.estimate.answered
    assert outcome.sentence.startswith("No two patients of different classes at alpha")


# --- acquisition_stress


def test_a_network_that_reads_brightness_is_moved_by_the_window_and_one_that_reads_nothing_by_nothing() -> None:
    group = group_of(corner_tells=False)
    outcome = ask(acquisition_stress, reads(np.ones((SIZE, SIZE)), gain=20, threshold=0.25), group)
    assert outcome.details["slope of gamma"].value > outcome.details["slope of blur"].value
    assert outcome.estimate.value == max(one.value for name, one in outcome.details.items() if "slope" in name)
    assert ask(acquisition_stress, BLIND, group).estimate.value == 0.0


@pytest.mark.parametrize("stress", acquisition_stress.STRESSES)
def test_a_stress_grows_with_its_strength_and_stays_in_range(stress: str) -> None:
    picture = np.clip(np.random.default_rng(0).random((SIZE, SIZE)), 0.05, 0.95).astype(np.float32)
    changes = []
    for strength in (0.5, 1.0):
        changed = acquisition_stress.STRESSES[stress](picture, strength)
        assert changed.shape == picture.shape
        assert changed.min() >= -1e-6
        assert changed.max() <= 1 + 1e-6
        changes.append(np.abs(changed - picture).mean())
    assert 0 < changes[0] < changes[1]


def test_lungs_move_with_what_moves_the_radiograph_and_stay_otherwise() -> None:
    group = group_of(corner_tells=False, count=4)
    seen: dict[str, Any] = {}

    class Notes(AuditedNetwork):
        def scores(self, radiographs: Any, lung_masks: Any) -> Any:
            seen["masks"] = lung_masks
            return np.full(len(radiographs), 0.5)

    notes = Notes("student", LUNGS.network, sees_lungs_only=True)
    ask(acquisition_stress, notes, group, stresses=("blur",), strengths=(1.0,))
    assert (seen["masks"] == group.lung_masks).all()
    ask(acquisition_stress, notes, group, stresses=("crop",), strengths=(1.0,))
    # 3 of 32 pixels are cut off each side: lungs of 16 x 8 pixels grow by 32 / 26
    assert seen["masks"][0].sum() == pytest.approx(group.lung_masks[0].sum() * (32 / 26) ** 2, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"stresses": ["gama"]}, "Did you mean 'gamma'"), ({"strengths": [0]}, "each strength lies above 0")],
)
def test_a_stress_that_there_is_not_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(acquisition_stress.Settings, settings, "audit")


# --- several hospitals


def test_features_tell_hospitals_that_differ_and_not_those_that_do_not() -> None:
    here, there = drawn(1), drawn(2, name="beta", hospital="beta")
    darker = replace(there, radiographs=there.radiographs - np.float32(0.05))
    assert ask(hospital_probe, CORNER, [here, darker], untrained=False).estimate.value > 0.9
    same = ask(hospital_probe, CORNER, [here, there])
    assert 0.3 < same.estimate.value < 0.7
    assert same.sentence.endswith("that they do does not say that the answer uses it.")
    few = [group_of(corner_tells=True, count=4), elsewhere(group_of(corner_tells=True, count=4))]
    assert not ask(hospital_probe, CORNER, few).estimate.answered


def test_pooling_hospitals_of_different_prevalence_that_score_differently_owes_to_the_hospital() -> None:
    group = group_of(corner_tells=False)
    many = np.arange(COUNT) % 4 > 0
    bright = np.full_like(group.radiographs, 0.9)
    dark = np.full_like(group.radiographs, 0.1)
    jitter = (np.random.default_rng(0).random(COUNT) * 0.02).astype(np.float32)[:, None, None]
    ill = replace(group, radiographs=bright + jitter, labels=many.astype(int))
    well = replace(elsewhere(group), radiographs=dark + jitter, labels=(~many).astype(int))
    outcome = ask(score_site, reads(np.ones((SIZE, SIZE)), gain=5), [ill, well])
    # three quarters ill against one quarter, and scores that know the hospital alone: 0.75
    assert outcome.control is not None
    assert outcome.control.value == pytest.approx(0.5, abs=0.15)
    assert outcome.estimate.low > 0.1
    assert outcome.details["log odds of positives, beta less alpha"].high < 0
    assert ask(score_site, LUNGS, [drawn(1), drawn(2, name="beta", hospital="beta")]).judged.value < 0.05


def test_a_drain_that_gives_the_answer_away_explains_the_auroc() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(200) % 2
    drain = np.where(generator.random(200) < 0.85, labels, 1 - labels)
    pictures = (0.2 + 0.1 * generator.random((200, SIZE, SIZE)) + 0.5 * drain[:, None, None] * LETTER).astype(
        np.float32
    )
    group = replace(
        group_of(corner_tells=False, count=1),
        radiographs=pictures,
        lung_masks=np.repeat(lungs()[None], 200, axis=0),
        labels=labels,
        patients=[f"p{number}" for number in range(200)],
        columns={"drain": np.where(drain == 1, "yes", "no"), "view": np.array(["PA"] * 200)},
    )
    outcome = ask(artefact_stratified, CORNER, group)
    assert outcome.control is not None
    assert 0.4 < outcome.control.value < 0.6
    assert outcome.estimate.low > 0.15
    assert "strata of drain" in outcome.sentence
    assert not any("view" in name for name in outcome.details), "one view splits nothing"


def test_without_a_column_that_splits_there_is_no_answer() -> None:
    outcome = ask(artefact_stratified, CORNER, group_of(corner_tells=True))
    assert not outcome.estimate.answered
    assert outcome.sentence == "No column splits alpha into two parts large enough to ask student about."


# --- what the data offer


def test_outlines_that_go_with_the_class_tell_it() -> None:
    group = group_of(corner_tells=False)
    masks = np.stack([np.roll(lungs(), 3 * label, axis=0) for label in group.labels])
    outcome = ask(mask_only, LUNGS, replace(group, lung_masks=masks))
    assert outcome.estimate.value == 1.0
    assert outcome.control is not None
    assert outcome.control.value < 0.8
    assert ask(mask_only, LUNGS, group).estimate.value == 0.5, "all masks are the same"


def test_a_corner_that_tells_the_class_is_there_to_be_learned() -> None:
    assert ask(lungs_removed_retrained, LUNGS, group_of(corner_tells=True)).estimate.value > 0.95
    nothing = ask(lungs_removed_retrained, LUNGS, drawn(3))
    assert 0.25 < nothing.estimate.value < 0.75
    few = ask(lungs_removed_retrained, LUNGS, group_of(corner_tells=True, count=2 * FEWEST - 2))
    assert not few.estimate.answered


def test_nobody_is_scored_by_a_fold_that_saw_them() -> None:
    generator = np.random.default_rng(0)
    classes = np.arange(60) % 2
    patients = [f"p{number // 2}" for number in range(60)]
    # each patient has one number that no other has: only who saw the patient could use it
    rows = np.eye(30)[np.arange(60) // 2]
    labels = np.repeat(generator.permutation(np.arange(30) % 2), 2)
    scores = learned_scores(rows, labels, patients, 0)
    assert np.ptp(scores) < 0.2
    assert set(shuffled_labels(classes, patients, generator)) <= {0, 1}
    shuffled = shuffled_labels(labels, patients, generator)
    assert (shuffled[::2] == shuffled[1::2]).all()


# --- new_scanner


def test_a_hospital_that_looks_different_is_new_and_one_that_does_not_is_not() -> None:
    here, there = drawn(1), drawn(2, name="beta", hospital="beta", is_seen=False)
    alike = ask(new_scanner, CORNER, [here, there])
    assert 0.3 < alike.estimate.value < 0.7
    brighter = replace(there, radiographs=there.radiographs + np.float32(0.05))
    new = ask(new_scanner, CORNER, [here, brighter])
    assert new.estimate.value > 0.95
    assert new.control is not None
    assert new.control.value < 0.8
    assert new.details["new radiographs outside the known distribution"].value > 0.9


def test_nothing_new_has_no_answer() -> None:
    outcome = ask(new_scanner, CORNER, [drawn(1), drawn(2, name="beta", hospital="beta")])
    assert not outcome.estimate.answered
    assert "none is new" in outcome.sentence


# --- relevance_clusters


def test_kinds_of_maps_that_go_with_the_hospital_are_found() -> None:
    here, there = drawn(1), drawn(2, name="beta", hospital="beta")
    both = reads((lungs() > 0) | LETTER, threshold=0.3)
    pictures = there.radiographs * np.where(lungs() > 0, 0, 1).astype(np.float32)
    pictures[:, LETTER] = 1.0
    outcome = ask(relevance_clusters, both, [here, replace(there, radiographs=pictures)], clusters=2)
    assert outcome.estimate.value > 0.8
    assert outcome.control is not None
    assert outcome.control.value < 0.4
    alike = ask(relevance_clusters, both, [here, there], clusters=2)
    assert alike.estimate.value < 0.4
    few = [group_of(corner_tells=True, count=4), elsewhere(group_of(corner_tells=True, count=4))]
    assert not ask(relevance_clusters, both, few).estimate.answered


def test_cramers_v_of_a_table_worked_by_hand() -> None:
    kinds = np.array([0] * 10 + [1] * 10)
    hospitals = np.array(["a"] * 8 + ["b"] * 2 + ["a"] * 2 + ["b"] * 8)
    # expected 5 in each cell, deviations of 3: χ² = 4 · 9 / 5 = 7.2, n = 20
    value = cramers_v_of(kinds, hospitals, np.zeros(20)).value
    assert value == pytest.approx(np.sqrt(7.2 / 20))
    assert cramers_v_of(kinds, np.where(kinds == 0, "a", "b"), np.zeros(20)).value == 1.0
    assert np.isnan(cramers_v_of(kinds, np.full(20, "a"), np.zeros(20)).value)


# --- prediction_depth


def test_the_depth_is_the_first_layer_from_which_all_agree() -> None:
    probe = prediction_depth.Probe(prediction_depth.Settings(neighbours=1))
    answers = np.array([True, True, False, False])
    wrong, right = np.array([[0.0], [1.0], [0.1], [1.1]]), np.array([[0.0], [0.1], [1.0], [1.1]])
    assert probe._depths([wrong, right], answers, [wrong, right], answers).tolist() == [0.5] * 4
    assert probe._depths([right, right], answers, [right, right], answers).tolist() == [0.0] * 4
    assert probe._depths([right, wrong], answers, [right, wrong], answers).tolist() == [1.0] * 4


def test_layers_run_in_order_and_are_spread_over_the_network() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(1),
    )
    network(torch.zeros(1, 1, SIZE, SIZE))
    audited = AuditedNetwork("student", network.eval(), sees_lungs_only=False)
    outcome = ask(prediction_depth, audited, group_of(corner_tells=True), layers=3)
    assert outcome.estimate.answered
    assert 0 <= outcome.details["depth with the mark"].value <= 1
    assert prediction_depth._layers(audited, group_of(corner_tells=True), 2) == ["0", "3"]
