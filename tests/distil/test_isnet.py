"""ISNet: its variants, its cuts, its gradient, and what a corner that names the label is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from oracles.made_batches import batch_of, context_of, everything, small_network
from oracles.planted_corner import accuracy_reversed, gradient_in_corner, trained_on_it
from oracles.slopes import assert_gradient_is_the_slope

from medtea.core.errors import ConfigError
from medtea.core.names import INPUT, Field
from medtea.data.loader import Batch, Loader
from medtea.distil.methods import erm, isnet
from medtea.distil.methods.method import Context
from medtea.lrp import HeatmapPass, every_logit, relevance
from medtea.lrp.background import background_loss, foreground_loss
from medtea.training.loop import LoopSettings
from medtea.training.outputs import cross_entropy
from medtea.training.phases import Loaders, train_phases


def made(*, logits: int = 1, **options: Any) -> tuple[isnet.Method, Batch]:
    """In float64 and evaluation mode."""
    teacher, network = small_network(0, logits=logits), small_network(1, logits=logits).double().eval()
    given = batch_of(teacher, isnet.Method.sees)
    context = context_of(teacher, isnet.Method.sees)
    fields = {field: given[field][:4].double() for field in isnet.Method.sees}
    return isnet.Method(network, network.head, isnet.Settings(**options), context), Batch(given.rows[:4], fields, {})


def test_the_loss_of_one_logit_is_put_together_from_the_map_that_relevance_gives() -> None:
    method, batch = made(share=0.6, background=2.0, foreground=0.5, decay=0.9, scale=10.0, cuts=((0.1, 0.2),))
    heatmap = relevance(method.network, batch.radiograph, epsilon=0.01)
    mask = batch[Field.LUNG_MASK]
    heat = 2.0 * background_loss(heatmap, mask, decay=0.9, scale=10.0)
    heat += 0.5 * foreground_loss((heatmap.abs() * mask).sum((1, 2, 3)), 0.1, 0.2, is_hybrid=True)
    entropy = cross_entropy(method.network(batch.radiograph), batch[Field.LABEL])
    torch.testing.assert_close(method.loss(batch), 0.4 * entropy.mean() + 0.6 * heat.mean())


def test_with_one_logit_the_variants_are_one() -> None:
    losses = [made(variant=variant)[0].loss(made()[1]) for variant in ("original", "selective", "stochastic")]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[0], losses[2])


def test_the_original_variant_is_the_mean_over_the_maps_of_all_logits() -> None:
    method, batch = made(logits=3, variant="original", share=1.0, foreground=0.0)
    maps = HeatmapPass(method.network, batch.radiograph)(batch.radiograph, every_logit(4, 3), epsilon=0.01).maps[INPUT]
    wanted = background_loss(maps, batch[Field.LUNG_MASK], decay=0.996, scale=1.0).mean()
    torch.testing.assert_close(method.loss(batch), wanted)


def test_the_stochastic_variant_explains_the_highest_logit_or_another_and_draws_nothing_in_validation() -> None:
    method, batch = made(logits=3, variant="stochastic")
    logits = method.network(batch.radiograph).detach()
    method.network.train()
    torch.manual_seed(0)
    drawn = torch.stack([method._explained(logits, batch) for _ in range(400)])
    assert (drawn.sum(2) == 1).all()
    highest = torch.nn.functional.one_hot(logits.argmax(1), 3)
    share = (drawn * highest).sum(2).mean().item()
    assert share == pytest.approx(0.5, abs=0.05)  # 1600 draws: four standard errors are .05
    method.network.eval()
    state = torch.get_rng_state()
    chosen = method._explained(logits, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert (chosen * highest).sum(1).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("logits", "options"),
    [
        (1, {"layers": "all"}),
        (3, {"variant": "selective", "cuts": ((0.01, 0.02),)}),
        pytest.param(3, {"variant": "original", "cuts": ((0.001, 0.002),), "beyond": "square"}, marks=pytest.mark.slow),
    ],
)
def test_the_gradient_in_the_weights_is_that_of_central_differences(logits: int, options: dict[str, Any]) -> None:
    method, batch = made(logits=logits, **options)
    # a short step crosses few ReLUs
    assert assert_gradient_is_the_slope(method.network, lambda: method.loss(batch), tensors=6, step=1e-8) > 1e-2


def test_a_radiograph_without_a_mask_is_classified_only() -> None:
    method, batch = made(share=0.5)
    nothing = torch.zeros_like(batch[Field.LUNG_MASK])
    entropy = cross_entropy(method.network(batch.radiograph), batch[Field.LABEL]).mean()
    loss = method.loss(Batch(batch.rows, {**batch._fields, Field.LUNG_MASK: nothing}, {}))
    torch.testing.assert_close(loss, 0.5 * entropy)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.network.parameters())


def test_the_cuts_come_from_a_plain_training_that_the_student_does_not_see(tmp_path: Path) -> None:
    teacher, network = small_network(0), small_network(1)
    method = isnet.Method(
        network, network.head, isnet.Settings(layers=("stage1",), tune_epochs=2), context_of(teacher, isnet.Method.sees)
    )
    before = {key: value.clone() for key, value in network.state_dict().items()}

    def seen() -> Loader:
        return everything(teacher, isnet.Method.sees)

    phases = method.phases(seen)
    plain = next(phases)
    assert plain.name == "plain"
    assert plain.loop == {"epochs": 2, "select": "last"}
    assert isinstance(plain.task, erm.Method)
    train_phases(
        [plain],
        loaders=Loaders(lambda _: seen(), lambda _: seen()),
        settings=LoopSettings(batch_size=16),
        folder=tmp_path,
        name="isnet",
        log=lambda *_: None,
    )
    last = next(phases)
    assert last.task is method
    assert not last.name
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())
    (batch,) = seen()
    found = HeatmapPass(plain.task.network.eval(), batch.radiograph, ["stage1"])(
        batch.radiograph, torch.ones(16, 1), epsilon=0.01
    )
    for cuts, layer in zip(method.assistant.get_buffer("cuts").tolist(), (INPUT, "stage1"), strict=True):
        sums = found.maps[layer].abs().sum((1, 2, 3))
        mean, deviation = sums.mean().item(), sums.std().item()
        least = max(mean / 5, mean - 3 * deviation)
        assert cuts == pytest.approx([least, min(25 * least, mean + 3 * deviation)], rel=1e-4)


def test_given_cuts_need_no_first_phase_and_as_many_pairs_as_maps() -> None:
    method, _ = made(cuts=((0.5, 2.0),))
    assert [phase.name for phase in method.phases(lambda: pytest.fail("nothing is to be found out"))] == [""]
    assert method.assistant.get_buffer("cuts").tolist() == [[0.5, 2.0]]
    with pytest.raises(ConfigError, match=r"isnet\.options\.cuts: 1 pairs for 6 maps"):
        made(layers="all", cuts=((0.5, 2.0),))
    with pytest.raises(ConfigError, match=r"isnet\.options\.layers: no layer 'stage9'.*Did you mean 'stage"):
        made(layers=("stage9",))


def test_it_takes_the_network_off_a_corner_that_names_the_label() -> None:
    method = trained_on_it(isnet, steps=150, decay=0.9)
    assert gradient_in_corner(method) < 0.05  # of ERM, which reads nothing else there, it is a quarter
    assert accuracy_reversed(method) > 0.9


def test_a_method_made_for_a_network_has_its_layers_from_it() -> None:
    network = small_network(1)
    method = isnet.Method(network, network.head, isnet.Settings(layers="all"), Context(layers=["stem", "stage2"]))
    assert method.assistant.get_buffer("cuts").shape == (3, 2)
