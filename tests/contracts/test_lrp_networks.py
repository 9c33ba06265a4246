"""Every network that medtea.lrp promises: same logits, conserved relevance, true slopes, a plain network at the end."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from oracles.lrp_networks import Family
from oracles.lrp_zoo import FULL, NARROW, ONLY_RELU, build, logits_of, without_chance
from oracles.slopes import assert_gradient_is_the_slope
from oracles.slow_lrp import straight_through_map
from torch import Tensor, nn

from medtea.core.errors import UsageError
from medtea.core.work import read_weights, write_weights
from medtea.lrp import HeatmapPass

EVERY = [*NARROW, *(pytest.param(name, marks=pytest.mark.slow) for name in FULL)]
# name: (ε, relative)
EPSILONS = {"no ε": (0.0, False), "ε .01": (0.01, False), "relative ε .01": (0.01, True)}


@cache
def traced(name: str, statistics: str) -> tuple[Family, HeatmapPass]:
    """A network and its pass with hidden layers and biases; tests that change the network ask for `own`.

    By running statistics without chance: a functional dropout's rate is a number in the trace.
    """
    family = build(name)
    if statistics == "running":
        without_chance(family.network)
    return family, HeatmapPass(family.network, family.radiograph, family.layers, statistics=statistics, biases=True)


def own(name: str, statistics: str) -> tuple[Family, HeatmapPass]:
    """The same with a network of the test's own."""
    family, heatmap_pass = traced(name, statistics)
    heatmap_pass = copy.deepcopy(heatmap_pass)
    return family._replace(network=heatmap_pass.network), heatmap_pass


@cache
def input_pass(name: str) -> HeatmapPass:
    family, _ = traced(name, "batch")
    return HeatmapPass(family.network, family.radiograph)


def mix(family: Family, seed: int = 0) -> Tensor:
    with torch.no_grad():
        shape = logits_of(family.network, family.radiograph).shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_near(found: Tensor, expected: Tensor, *, relative: float = 1e-10) -> None:
    """Equal but for rounding, measured by the largest value: where parts cancel, rounding is that of the parts."""
    scale = expected.abs().max()
    assert scale > 0
    assert (found - expected).abs().max() <= relative * scale


@pytest.mark.parametrize("name", EVERY)
def test_logits_are_the_plain_networks_in_eval_and_in_train_mode(name: str):
    family, heatmap_pass = own(name, "batch")
    network, x, u = family.network, family.radiograph, mix(family)
    for module in network.modules():
        if hasattr(module, "drop_connect_rate"):  # a Python branch on `training`; the trace is of eval mode
            module.drop_connect_rate = 0.0
    for mode in (False, True):
        network.train(mode)
        twin = copy.deepcopy(network)
        with torch.no_grad():
            torch.manual_seed(4)
            expected = logits_of(twin, x)
            torch.manual_seed(4)
            found = heatmap_pass(x, u).logits
        assert_near(found, expected)
        for (key, a), b in zip(network.state_dict().items(), twin.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-9, msg=key)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", EVERY)
def test_map_and_biases_together_are_the_logit(name: str, epsilon: str):
    family, heatmap_pass = traced(name, "batch")
    size, relative = EPSILONS[epsilon]
    u = mix(family)
    with torch.no_grad():
        found = heatmap_pass(family.radiograph, u, epsilon=size, relative=relative)
    terms = [found.maps["input"].flatten(1).sum(1), *(b.flatten(1).sum(1) for b in found.biases.values())]
    together, scale = torch.stack(terms).sum(0), torch.stack(terms).abs().sum(0)
    expected = (u * found.logits).sum(1)
    # Rounding only, which is that of the terms where they cancel.
    assert ((together - expected).abs() <= 1e-10 * (expected.abs() + scale)).all()
    assert ((together - expected).abs() <= 1e-5 * expected.abs()).all()
    torch.testing.assert_close(found.absorbed[:, 0], torch.stack(terms[1:]).sum(0))


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", EVERY)
def test_map_is_that_of_autograd_with_each_functions_slope_replaced_by_its_rule(name: str, epsilon: str):
    family, heatmap_pass = traced(name, "batch")
    size, relative = EPSILONS[epsilon]
    u = mix(family)
    expected = straight_through_map(family.network, family.radiograph, u, size, relative=relative)
    with torch.no_grad():
        found = heatmap_pass(family.radiograph, u, epsilon=size, relative=relative).maps["input"]
    assert_near(found, expected, relative=1e-9)


@pytest.mark.parametrize("name", [n for n in EVERY if (n if isinstance(n, str) else n.values[0]) in ONLY_RELU])
def test_at_epsilon_0_map_and_its_weight_gradient_are_autograds(name: str):
    family, _ = traced(name, "batch")
    network, x, u = family.network, family.radiograph.clone().requires_grad_(), mix(family)
    (g,) = torch.autograd.grad((network(x) * u).sum(), x, create_graph=True)
    expected = x.detach() * g
    found = input_pass(name)(x.detach(), u).maps["input"]
    assert_near(found, expected)
    target = torch.rand_like(found)
    parameters = list(network.parameters())
    losses = [(m - target).square().mean() for m in (found, expected)]
    ours, autograds = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in losses)
    largest = max(float(a.abs().max()) for a in autograds if a is not None)
    for p, a, b in zip(parameters, ours, autograds, strict=True):
        a, b = (torch.zeros_like(p) if g is None else g for g in (a, b))
        torch.testing.assert_close(a, b, atol=1e-10 * largest, rtol=1e-8)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", NARROW)
def test_weight_gradient_without_the_gates_is_autograds_with_constant_gates(name: str, epsilon: str):
    family, _ = traced(name, "batch")
    network, x, u = family.network, family.radiograph, mix(family)
    size, relative = EPSILONS[epsilon]
    expected = straight_through_map(network, x, u, size, relative=relative, create_graph=True)
    found = input_pass(name)(x, u, epsilon=size, relative=relative, exact=False).maps["input"]
    parameters = list(network.parameters())
    losses = [m.square().sum() for m in (found, expected)]
    ours, autograds = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in losses)
    largest = max(float(b.abs().max()) for b in autograds if b is not None)
    for (key, p), a, b in zip(network.named_parameters(), ours, autograds, strict=True):
        a, b = (torch.zeros_like(p) if g is None else g for g in (a, b))
        torch.testing.assert_close(a, b, atol=1e-9 * largest, rtol=1e-7, msg=key)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", EVERY)
def test_weights_get_the_slope_of_a_loss_on_the_maps(name: str, epsilon: str):
    family, heatmap_pass = traced(name, "batch")
    x, u = family.radiograph, mix(family)
    size, relative = EPSILONS[epsilon]
    with torch.no_grad():
        maps = heatmap_pass(x, u, epsilon=size, relative=relative).maps
    generator = torch.Generator().manual_seed(2)
    targets = {
        layer: m + 0.5 * m.std() * torch.randn(m.shape, generator=generator, dtype=m.dtype) for layer, m in maps.items()
    }

    def loss() -> Tensor:
        maps = heatmap_pass(x, u, epsilon=size, relative=relative).maps
        return sum((maps[layer] - t).square().sum() / t.square().sum() for layer, t in targets.items())

    # Short, for many weights move at once and no ReLU may change sides on the way.
    assert_gradient_is_the_slope(family.network, loss, tensors=2, step=1e-9 if name in FULL else 1e-8)


@pytest.mark.parametrize("name", EVERY)
def test_by_running_statistics_a_map_does_not_depend_on_its_batch_mates(name: str):
    family, heatmap_pass = own(name, "running")
    u, x = mix(family), family.radiograph
    network = family.network.train()
    before = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        together = heatmap_pass(x, u, epsilon=0.01)
        moved = copy.deepcopy(network.state_dict())
        network.load_state_dict(before)
        logits_of(network, x)
        plain = copy.deepcopy(network.state_dict())
        for i in range(len(x)):
            network.load_state_dict(before)
            # A batch of two alike: plain batch norm refuses one value per channel.
            alone = heatmap_pass(x[[i, i]], u[[i, i]], epsilon=0.01)
            for layer, m in together.maps.items():
                assert_near(alone.maps[layer][:1], m[i : i + 1])
            assert_near(alone.logits[:1], together.logits[i : i + 1])
            assert_near(alone.absorbed[:1], together.absorbed[i : i + 1])
    norms = [k for k in before if k.endswith("running_mean")]
    assert all(int(moved[k]) == 1 for k in moved if k.endswith("num_batches_tracked"))
    assert not norms or any(not torch.equal(moved[k], before[k]) for k in norms)
    # Where the way there normalises otherwise, deeper layers see other values: only the first batch norm moves alike.
    for k in norms[:1]:
        torch.testing.assert_close(moved[k], plain[k])


@pytest.mark.parametrize("name", EVERY)
def test_a_student_of_heatmaps_is_a_plain_network_bit_for_bit(name: str, tmp_path: Path):
    (family, heatmap_pass), fresh = own(name, "running"), build(name, seed=2).network
    u = mix(family).float()
    network, x = family.network.float().train(), family.radiograph.float()
    keys = list(network.state_dict())
    start = {key: value.clone() for key, value in network.state_dict().items()}
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        maps = heatmap_pass(x, u, epsilon=0.01, exact=False).maps
        sum(m.square().mean() for m in maps.values()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    assert any(not torch.equal(value, start[key]) for key, value in network.state_dict().items())
    assert list(network.state_dict()) == keys == list(fresh.state_dict())
    for module, plain in zip(network.modules(), fresh.modules(), strict=True):
        assert type(module) is type(plain)
        assert "forward" not in vars(module)
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            assert not getattr(module, hooks)
        assert set(vars(module)) == set(vars(plain))
    write_weights(tmp_path / "student.safetensors", network)
    fresh.float()
    read_weights(tmp_path / "student.safetensors", fresh)
    with torch.no_grad():
        assert torch.equal(logits_of(fresh.eval(), x), logits_of(network.eval(), x))


class Recurrent(nn.Module):
    """Reads the radiograph row by row."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.rows, self.head = kind(8, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rows(x.squeeze(1))[0][:, -1])


class Warped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.grid = nn.Linear(64, 2), nn.Parameter(torch.rand(1, 8, 8, 2))

    def forward(self, x: Tensor) -> Tensor:
        grid = self.grid.expand(x.shape[0], -1, -1, -1)
        return self.head(F.grid_sample(x, grid, align_corners=False).flatten(1))


def with_activation(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), activation, nn.Flatten(), nn.Linear(72, 2))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Recurrent(nn.GRU), "gru"),
        (lambda: Recurrent(nn.LSTM), "lstm"),
        (Warped, "grid_sample"),
        (lambda: with_activation(nn.Softplus()), "softplus"),
        (lambda: with_activation(nn.ELU()), "elu"),
        (lambda: with_activation(nn.Upsample(scale_factor=1.0, mode="bilinear")), "upsample"),
        (lambda: with_activation(nn.LocalResponseNorm(2)), "where|pow|avg_pool|div"),
    ],
)
def test_network_with_a_module_without_a_rule_is_refused_by_name_with_what_is_known(make, named: str):
    with pytest.raises(UsageError, match=rf"(?s){named}.*(has no relevance rule.*Rules exist for: .*conv2d|no rule)"):
        HeatmapPass(make(), torch.rand(1, 1, 8, 8))
