"""The heatmap pass over whole networks: values, slopes, conservation, train mode, live parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from monai.networks.nets import DenseNet121, resnet18
from oracles.lrp_networks import FAMILIES, build
from oracles.slopes import assert_gradient_is_the_slope
from oracles.slow_lrp import layerwise_lrp, modified_gradient
from torch import Tensor, nn

from medtea.core.errors import DataError, UsageError
from medtea.lrp import HeatmapPass
from medtea.lrp.trace import trace

# Rounding only: the twin computes the same sums in another order.
SAME = {"atol": 1e-12, "rtol": 1e-10}


def mix(family, seed: int = 0) -> Tensor:
    classes = family.network(family.radiograph).shape[1]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(family.radiograph), classes, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", FAMILIES)
def test_map_equals_autograd_for_any_epsilon_and_batch_size(name: str):
    family, per_radiograph = build(name), torch.tensor([0.0, 0.003, 0.1], dtype=torch.float64)
    heatmap_pass = HeatmapPass(family.network, family.radiograph, family.layers)
    u = mix(family)
    for epsilon in (0.0, 0.01, per_radiograph[: len(u)]):
        for n in (1, len(u)):
            e = epsilon[:n] if isinstance(epsilon, Tensor) else epsilon
            heatmaps = heatmap_pass(family.radiograph[:n], u[:n], epsilon=e)
            expected = modified_gradient(family.network, family.radiograph[:n], u[:n], e)
            assert expected.abs().max() > 0
            torch.testing.assert_close(heatmaps.maps["input"], expected, **SAME)
            torch.testing.assert_close(heatmaps.logits, family.network(family.radiograph[:n]), **SAME)


@pytest.mark.parametrize(
    "make",
    [
        lambda: resnet18(spatial_dims=2, n_input_channels=1, num_classes=1),
        lambda: DenseNet121(spatial_dims=2, in_channels=1, out_channels=1),
    ],
)
def test_full_monai_networks_equal_autograd(make: Callable[[], nn.Module]):
    torch.manual_seed(0)
    network = make().double().eval()
    x, u = torch.rand(1, 1, 32, 32, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    expected = modified_gradient(network, x, u, 0.0)
    with torch.no_grad():
        found = HeatmapPass(network, x)(x, u).maps["input"]
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()


@pytest.mark.parametrize("epsilon", [0.0, 0.02])
def test_map_equals_lrp_written_layer_by_layer(epsilon: float):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Conv2d(3, 2, 2), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2),
    ).double().eval()  # fmt: skip
    x, u = torch.rand(1, 1, 6, 6, dtype=torch.float64), torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    with torch.no_grad():
        expected = layerwise_lrp(network, x, logit=1, epsilon=epsilon)
        assert expected.abs().max() > 0
        torch.testing.assert_close(HeatmapPass(network, x)(x, u, epsilon=epsilon).maps["input"], expected, **SAME)


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 0.01])
@pytest.mark.parametrize("name", FAMILIES)
def test_weights_get_the_slope_of_a_loss_on_maps(name: str, epsilon: float, hidden: bool):
    family = build(name)
    heatmap_pass = HeatmapPass(family.network, family.radiograph, family.layers if hidden else ())
    u = mix(family)
    maps = heatmap_pass(family.radiograph, u).maps
    targets = {k: torch.randn_like(m) * m.detach().std() for k, m in maps.items()}

    def loss() -> Tensor:
        maps = heatmap_pass(family.radiograph, u, epsilon=epsilon).maps
        return sum((maps[k] - t).square().sum() / t.square().sum() for k, t in targets.items())

    assert_gradient_is_the_slope(family.network, loss)


def test_slope_is_right_where_each_radiograph_has_its_own_epsilon():
    family = build("plain")
    heatmap_pass = HeatmapPass(family.network, family.radiograph)
    epsilon, u = torch.tensor([0.0, 0.01, 0.1], dtype=torch.float64), mix(family)
    assert_gradient_is_the_slope(
        family.network, lambda: heatmap_pass(family.radiograph, u, epsilon=epsilon).maps["input"].square().sum()
    )


def test_loss_on_logits_and_maps_together_has_the_right_slope():
    family = build("small_resnet")
    heatmap_pass = HeatmapPass(family.network, family.radiograph)
    u = mix(family)

    def loss() -> Tensor:
        heatmaps = heatmap_pass(family.radiograph, u, logits_graph=True)
        return heatmaps.logits.square().sum() + heatmaps.maps["input"].square().sum()

    assert_gradient_is_the_slope(family.network, loss)


def test_relevance_is_conserved_at_every_layer_without_biases():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(4, 5, 2, bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(20, 6, bias=False), nn.ReLU(), nn.Linear(6, 1, bias=False),
    ).double()  # fmt: skip
    x = torch.randn(4, 1, 9, 9, dtype=torch.float64)
    heatmaps = HeatmapPass(network, x, ["1", "2", "4", "7", "8"])(x, x.new_ones(4, 1))
    assert heatmaps.logits.abs().min() > 1e-4
    for relevance in heatmaps.maps.values():
        torch.testing.assert_close(relevance.flatten(1).sum(1), heatmaps.logits[:, 0], **SAME)


OPTIONS = {
    "z+": {"convolutions": "z_plus"},
    "zB": {"input_box": (-0.1, 1.2)},
    "z+ and zB": {"convolutions": "z_plus", "input_box": (0.0, 1.0)},
}


@pytest.mark.parametrize("rule", OPTIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_split_weights_conserve_relevance_and_get_the_slope(name: str, rule: str):
    family = build(name)
    heatmap_pass = HeatmapPass(family.network, family.radiograph, biases=True, **OPTIONS[rule])
    u = mix(family)
    for epsilon in (0.0, 0.02):
        found = heatmap_pass(family.radiograph, u, epsilon=epsilon)
        total = found.maps["input"].flatten(1).sum(1) + found.absorbed[:, 0]
        torch.testing.assert_close(total, (u * family.network(family.radiograph)).sum(1), **SAME)
    target = torch.randn_like(found.maps["input"]) * found.maps["input"].detach().std()

    def loss() -> Tensor:
        return (heatmap_pass(family.radiograph, u, epsilon=0.02).maps["input"] - target).square().sum()

    assert_gradient_is_the_slope(family.network, loss)


@pytest.mark.parametrize("rule", OPTIONS)
def test_split_weights_leave_a_nonnegative_map(rule: str):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(75, 1)
    )
    nn.init.uniform_(network[-1].weight, 0, 1)
    x = torch.rand(3, 1, 9, 9)
    found = HeatmapPass(network, x, **OPTIONS["z+ and zB"])(x, torch.ones(3, 1)).maps["input"]
    assert (found >= 0).all()
    assert (found > 0).any()


@pytest.mark.parametrize("name", FAMILIES)
def test_several_maps_of_one_pass_are_those_of_one_pass_each(name: str):
    family = build(name)
    heatmap_pass = HeatmapPass(family.network, family.radiograph, family.layers, biases=True)
    cotangents = torch.stack([mix(family, seed) for seed in range(3)])
    together = heatmap_pass(family.radiograph, cotangents, epsilon=0.01)
    for k, u in enumerate(cotangents):
        alone = heatmap_pass(family.radiograph, u, epsilon=0.01)
        for layer, relevance in alone.maps.items():
            torch.testing.assert_close(together.maps[layer][k], relevance, **SAME)
        torch.testing.assert_close(together.absorbed[k], alone.absorbed, **SAME)
    gradients = []
    for maps in (together.maps["input"], torch.stack([heatmap_pass(family.radiograph, u, epsilon=0.01).maps["input"]
                                                      for u in cotangents])):  # fmt: skip
        family.network.zero_grad()
        maps.square().sum().backward()
        gradients.append([p.grad.clone() for p in family.network.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, **SAME)


@pytest.mark.parametrize("name", ["small_resnet", "monai_densenet", "volume"])
def test_running_statistics_make_each_map_independent_of_its_batch_mates(name: str):
    family = build(name)
    network, x, u = family.network, family.radiograph, mix(family)
    heatmap_pass = HeatmapPass(network, x, family.layers, statistics="running")
    before = copy.deepcopy(network.state_dict())
    expected = heatmap_pass(x, u).maps  # eval mode
    network.train()
    together = heatmap_pass(x, u)
    moved = copy.deepcopy(network.state_dict())
    for layer, relevance in expected.items():
        torch.testing.assert_close(together.maps[layer], relevance, **SAME)
    together.maps["input"].square().sum().backward()
    network.load_state_dict(before)
    alone = heatmap_pass(x[:1], u[:1]).maps["input"]
    torch.testing.assert_close(alone, together.maps["input"][:1], **SAME)
    network.load_state_dict(before)
    by_batch = HeatmapPass(network, x)(x, u).maps["input"]
    assert not torch.allclose(by_batch, together.maps["input"])
    norm = next(key for key in moved if key.endswith("num_batches_tracked"))
    assert moved[norm] == before[norm] + 1
    means = [key for key in moved if key.endswith("running_mean")]
    # The first layer's batch is the same either way; the deeper ones see what the running statistics made of it.
    torch.testing.assert_close(network.state_dict()[means[0]], moved[means[0]], **SAME)
    assert all(not torch.equal(moved[key], before[key]) for key in means)


def test_relative_epsilon_does_not_see_the_scale_of_a_layer():
    family = build("small_resnet")
    scaled = copy.deepcopy(family.network)
    with torch.no_grad():
        scaled.stem[1].weight.mul_(7), scaled.stem[1].bias.mul_(7)
        for convolution in (scaled.stage1.conv1, scaled.stage1.skip):
            convolution.weight.div_(7)
    x, u = family.radiograph, mix(family)
    a, b = (HeatmapPass(n, x)(x, u, epsilon=0.1, relative=True).maps["input"] for n in (family.network, scaled))
    torch.testing.assert_close(a, b, **SAME)
    absolute = [HeatmapPass(n, x)(x, u, epsilon=0.1).maps["input"] for n in (family.network, scaled)]
    assert not torch.allclose(*absolute)


class Looks(nn.Module):
    """Notes whether TF32 is allowed where a batch norm asks for its mode."""

    seen: list[tuple[bool, bool]] = []  # noqa: RUF012

    @property
    def training(self) -> bool:
        self.seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return False

    @training.setter
    def training(self, mode: bool) -> None:
        pass


def test_fewer_bits_are_not_allowed_within_a_pass_and_are_again_after_it(monkeypatch: pytest.MonkeyPatch):
    class Norm(Looks, nn.BatchNorm2d):
        pass

    network = nn.Sequential(nn.Conv2d(1, 2, 3), Norm(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1))
    x = torch.rand(2, 1, 4, 4)
    heatmap_pass = HeatmapPass(network, x)
    for allowed in (True, False):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
        Looks.seen.clear()
        heatmap_pass(x, torch.ones(2, 1))
        assert Looks.seen
        assert not any(any(pair) for pair in Looks.seen)
        assert torch.backends.cudnn.allow_tf32 is allowed


class Hidden(nn.Module):
    """Returns its hidden states beside the logits, as MONAI's ViT does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.conv(x)
        return self.head(x.relu().flatten(1)), [x]


def test_logits_are_found_beside_other_outputs():
    network, x = Hidden().double(), torch.rand(2, 1, 4, 4, dtype=torch.float64)
    heatmap_pass = HeatmapPass(network, x)
    assert heatmap_pass.classes == 3
    torch.testing.assert_close(heatmap_pass(x, x.new_ones(2, 3)).logits, network(x)[0], **SAME)


def test_unknown_options_are_refused():
    family = build("plain")
    for options, words in [
        ({"convolutions": "gamma"}, "'epsilon' or 'z_plus'"),
        ({"statistics": "none"}, "'batch' or 'running'"),
        ({"input_box": (1, 0)}, "least, largest"),
    ]:
        with pytest.raises(UsageError, match=words):
            HeatmapPass(family.network, family.radiograph, **options)
    padded = nn.Sequential(nn.ZeroPad2d(1), *family.network)
    with pytest.raises(UsageError, match="one convolution or linear layer"):
        HeatmapPass(padded, torch.rand(1, 1, 7, 7, dtype=torch.float64), input_box=(0, 1))


def test_zero_pixels_and_dead_units_have_exactly_no_relevance():
    family = build("plain")
    x = family.radiograph * (torch.rand_like(family.radiograph) > 0.5)
    for epsilon in (0.0, 0.01, torch.tensor([0.0, 0.01, 1e-3])):
        relevance = HeatmapPass(family.network, x)(x, mix(family), epsilon=epsilon).maps["input"]
        assert (relevance[x == 0] == 0).all()
        assert (relevance[x != 0] != 0).any()


def test_constant_zero_radiograph_gives_finite_gradients():
    family = build("plain")
    network = family.network
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    x = torch.zeros_like(family.radiograph)
    for epsilon in (0.0, 1e-3, torch.tensor([0.0, 0.0, 0.1])):
        network.zero_grad()
        heatmaps = HeatmapPass(network, x, ["1", "5"])(x, mix(family), epsilon=epsilon)
        sum(m.sum() for m in heatmaps.maps.values()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_train_mode_moves_running_statistics_once_and_gives_the_plain_logits(name: str):
    family = build(name)
    network, twin = family.network, copy.deepcopy(family.network)
    heatmap_pass = HeatmapPass(network, family.radiograph, family.layers)
    u = mix(family)
    network.train()
    twin.train()
    torch.manual_seed(5)
    expected = twin(family.radiograph)
    torch.manual_seed(5)
    found = heatmap_pass(family.radiograph, u)
    torch.testing.assert_close(found.logits, expected, **SAME)
    for (key, a), b in zip(network.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, **SAME, msg=key)
    found.logits.square().sum().backward()
    expected.square().sum().backward()
    for p, q in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, **SAME)


@pytest.mark.parametrize("momentum", [None, 0.3])
def test_running_statistics_follow_the_momentum_of_the_module(momentum: float | None):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 1))
    x = torch.rand(3, 1, 6, 6)
    heatmap_pass = HeatmapPass(network, x)
    network[1].momentum = momentum
    twin = copy.deepcopy(network)
    for scale in (1, 2, 3):
        heatmap_pass(scale * x, torch.ones(3, 1))
        twin(scale * x)
    torch.testing.assert_close(network.state_dict(), twin.state_dict())
    assert int(network[1].num_batches_tracked) == 3


def test_train_mode_map_uses_the_statistics_of_the_batch_as_constants():
    family = build("small_resnet")
    network, x, u = family.network, family.radiograph, mix(family)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    heatmap_pass = HeatmapPass(network, x)
    network.train()
    inside = {}
    hooks = [m.register_forward_pre_hook(lambda m, a: inside.update({m: a[0].detach()})) for m in norms]
    frozen = copy.deepcopy(network.state_dict())
    network(x)
    for hook in hooks:
        hook.remove()
    network.load_state_dict(frozen)
    found = heatmap_pass(x, u).maps["input"]
    gradients = torch.autograd.grad(found.square().sum(), network[0][0].weight)
    network.eval()
    for norm, a in inside.items():
        norm.running_mean.copy_(a.mean((0, 2, 3)))
        norm.running_var.copy_(a.var((0, 2, 3), unbiased=False))
    expected = heatmap_pass(x, u).maps["input"]
    torch.testing.assert_close(found, expected, **SAME)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.square().sum(), network[0][0].weight), **SAME)


def test_dropout_mask_is_the_same_both_ways():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False), nn.ReLU(), nn.Dropout2d(0.5), nn.Flatten(), nn.Dropout(0.4),
        nn.Linear(96, 1, bias=False),
    ).double()  # fmt: skip
    x = torch.rand(4, 1, 6, 6, dtype=torch.float64)
    heatmap_pass = HeatmapPass(network, x, ["1", "2", "4"])
    torch.manual_seed(1)
    heatmaps = heatmap_pass(x, x.new_ones(4, 1))
    torch.manual_seed(1)
    torch.testing.assert_close(heatmaps.logits, network(x), **SAME)
    for relevance in heatmaps.maps.values():  # holds with one mask, not with two
        torch.testing.assert_close(relevance.flatten(1).sum(1), heatmaps.logits[:, 0], **SAME)
    network.eval()
    torch.testing.assert_close(heatmap_pass(x, x.new_ones(4, 1)).logits, network(x), **SAME)


def test_parameters_are_live():
    family = build("plain")
    network, x, u = family.network, family.radiograph, mix(family)
    heatmap_pass = HeatmapPass(network, x)
    other = build("plain", seed=9).network
    network.load_state_dict(other.state_dict())
    torch.testing.assert_close(heatmap_pass(x, u).maps["input"], modified_gradient(other, x, u, 0.0), **SAME)
    network[0].weight = nn.Parameter(2 * network[0].weight.detach())
    torch.testing.assert_close(heatmap_pass(x, u).logits, network(x), **SAME)


def test_a_copy_has_parameters_of_its_own():
    family = build("plain")
    heatmap_pass = HeatmapPass(family.network, family.radiograph)
    twin = copy.deepcopy(heatmap_pass)
    with torch.no_grad():
        twin.network[0].weight.zero_()
    u = mix(family)
    assert twin(family.radiograph, u).maps["input"].abs().max() == 0
    assert heatmap_pass(family.radiograph, u).maps["input"].abs().max() > 0


def test_graph_is_kept_only_where_it_is_needed():
    family = build("plain")
    x, u = family.radiograph, mix(family)
    plain, hidden = HeatmapPass(family.network, x), HeatmapPass(family.network, x, ["1"])
    for found, kept in [
        (plain(x, u), False),
        (plain(x, u, epsilon=0.01, exact=False), False),
        (plain(x, u, epsilon=0.01), True),
        (plain(x, u, logits_graph=True), True),
        (hidden(x, u), True),
    ]:
        assert found.logits.requires_grad == kept
        assert found.maps["input"].requires_grad
    with torch.no_grad():
        found = hidden(x, u, epsilon=0.01)
    assert not any(t.requires_grad for t in (found.logits, *found.maps.values()))


def test_detached_epsilon_changes_no_value():
    family = build("plain")
    heatmap_pass, u = HeatmapPass(family.network, family.radiograph, ["1"]), mix(family)
    exact = heatmap_pass(family.radiograph, u, epsilon=0.01).maps
    detached = heatmap_pass(family.radiograph, u, epsilon=0.01, exact=False).maps
    for layer in exact:
        assert torch.equal(exact[layer], detached[layer])


class InPlace(nn.Module):
    """Reads a tensor again after it was overwritten in place, as residual networks do."""

    def __init__(self, *, through_a_view: bool) -> None:
        super().__init__()
        self.conv, self.again, self.head = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 1), nn.Linear(48, 1)
        self.through_a_view = through_a_view

    def forward(self, x: Tensor) -> Tensor:
        kept = y = self.conv(x)
        if self.through_a_view:
            kept = y.flatten(1)
        torch.relu_(y)
        y = self.again(y)
        y += kept.reshape(-1, 3, 4, 4)
        return self.head(y.flatten(1))


def test_value_overwritten_in_place_is_read_as_overwritten():
    torch.manual_seed(0)
    network = InPlace(through_a_view=False).double()
    x, u = torch.rand(2, 1, 6, 6, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    heatmap_pass, before = HeatmapPass(network, x, ["conv"]), x.clone()
    heatmaps = heatmap_pass(x, u)
    torch.testing.assert_close(heatmaps.logits, network(x), **SAME)
    torch.testing.assert_close(heatmaps.maps["input"], modified_gradient(network, x, u, 0.0), **SAME)
    assert torch.equal(x, before)


def test_view_of_an_overwritten_value_is_refused():
    with pytest.raises(UsageError, match=r"reads a view that aten.relu_.default has overwritten in place"):
        HeatmapPass(InPlace(through_a_view=True), torch.rand(1, 1, 6, 6))


def test_layer_map_is_taken_where_the_module_ends():
    family = build("small_resnet")
    x, u = family.radiograph, mix(family)
    at_block, at_relu = HeatmapPass(family.network, x, ["stage1"]), HeatmapPass(family.network, x, ["stage1.relu"])
    relevance = at_block(x, u).maps["stage1"]
    assert relevance.shape == (3, 1, 8, 8)
    assert torch.equal(relevance, at_relu(x, u).maps["stage1.relu"])
    rest = family.network[2:]
    a = family.network[:2](x).detach().requires_grad_()
    (g,) = torch.autograd.grad((rest(a) * u).sum(), a)
    torch.testing.assert_close(relevance, (a * g).sum(1, keepdim=True), **SAME)


def test_convolution_followed_by_batch_norm_has_a_map_of_its_own():
    family = build("small_resnet")
    x, u = family.radiograph, mix(family)
    found = HeatmapPass(family.network, x, ["stem.0", "stem.1"])(x, u).maps
    torch.testing.assert_close(found["input"], HeatmapPass(family.network, x)(x, u).maps["input"], **SAME)
    a = family.network[0][0](x).detach().requires_grad_()
    y = family.network[1:](family.network[0][2](family.network[0][1](a)))
    (g,) = torch.autograd.grad((y * u).sum(), a)
    torch.testing.assert_close(found["stem.0"], (a * g).sum(1, keepdim=True), **SAME)


def test_unknown_layer_is_refused_with_the_nearest_name():
    family = build("small_resnet")
    with pytest.raises(UsageError, match=r"Layer 'stage7'.*Did you mean 'stage[12]'"):
        HeatmapPass(family.network, family.radiograph, ["stage7"])


def test_wrong_shapes_and_negative_epsilon_are_refused():
    family = build("plain")
    x, u = family.radiograph, mix(family)
    heatmap_pass = HeatmapPass(family.network, x)
    with pytest.raises(DataError, match=r"traced for \(1, 9, 9\)"):
        heatmap_pass(x[..., 1:], u)
    with pytest.raises(DataError, match=r"cotangent is \(3, 1\); it must be \(3, 2\)"):
        heatmap_pass(x, u[:, :1])
    with pytest.raises(DataError, match=r"at least 0"):
        heatmap_pass(x, u, epsilon=-0.1)
    with pytest.raises(DataError, match=r"at least 0"):
        heatmap_pass(x, u, epsilon=torch.tensor([0.1, -0.1, 0.1]))
    with pytest.raises(DataError, match=r"epsilon is \(2,\); it must be one number or \(3,\)"):
        heatmap_pass(x, u, epsilon=torch.tensor([0.1, 0.1]))


class TwoOutputs(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1), 2 * x.flatten(1)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


def test_network_that_does_not_return_logits_is_refused():
    for network in (TwoOutputs(), nn.ReLU()):
        with pytest.raises(UsageError, match=r"one tensor of logits"):
            HeatmapPass(network, torch.rand(1, 1, 4, 4))


def test_network_that_cannot_be_traced_is_refused():
    with pytest.raises(UsageError, match=r"cannot be traced by torch.export"):
        HeatmapPass(Branches(), torch.rand(1, 1, 4, 4))


def test_tracing_leaves_every_modules_mode_and_state_alone():
    family = build("monai_resnet")
    family.network.train()
    family.network.layer1.eval()
    modes = [m.training for m in family.network.modules()]
    state = copy.deepcopy(family.network.state_dict())
    trace(family.network, family.radiograph)
    assert [m.training for m in family.network.modules()] == modes
    torch.testing.assert_close(family.network.state_dict(), state, rtol=0, atol=0)


def test_each_batch_norm_follows_its_own_mode():
    family = build("small_resnet")
    network = family.network.train()
    network.stage1.eval()
    twin = copy.deepcopy(network)
    u = torch.ones(3, 3, dtype=torch.float64)
    found = HeatmapPass(network, family.radiograph)(family.radiograph, u)
    torch.testing.assert_close(found.logits, twin(family.radiograph), **SAME)
    torch.testing.assert_close(network.state_dict(), twin.state_dict(), **SAME)
    assert int(network.stage1.norm1.num_batches_tracked) == 0
    assert int(network.stage2.norm1.num_batches_tracked) == 1
