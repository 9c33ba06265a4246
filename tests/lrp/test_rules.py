"""Every rule: its map is gradient × input at ε = 0, and weights get the slope of a loss on its maps."""

from __future__ import annotations

import pytest
import torch
from oracles.lrp_networks import scatter_statistics
from oracles.slopes import assert_gradient_is_the_slope
from oracles.slow_lrp import modified_gradient
from torch import Tensor, nn

from medtea.core.errors import UsageError
from medtea.lrp import HeatmapPass


class Change(nn.Module):
    """A module that does what it is given."""

    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x)


class Weighted(nn.Module):
    """Uses a parameter in arithmetic with the radiograph."""

    def __init__(self, change) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 1, 1) + 0.5)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x, self.weight)


class AddsMatrixProduct(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(144, 6)), nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.flatten(1), self.weight, beta=0.5, alpha=2)


# Each sits between a convolution with ReLU, which yields (batch, 4, 6, 6), and ReLU with a linear head.
OPERATORS = {
    "convolution": lambda: nn.Conv2d(4, 3, 3),
    "convolution with stride": lambda: nn.Conv2d(4, 3, 3, stride=2, padding=1),
    "convolution that leaves a border unread": lambda: nn.Conv2d(4, 3, 2, stride=4),
    "convolution with dilation": lambda: nn.Conv2d(4, 3, 3, dilation=2),
    "convolution in groups": lambda: nn.Conv2d(4, 6, 3, groups=2, bias=False),
    "depthwise convolution": lambda: nn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=4),
    "convolution of the same size": lambda: nn.Conv2d(4, 3, 3, padding="same"),
    "convolution of the same size, even kernel": lambda: nn.Conv2d(4, 3, 4, padding="same"),
    "convolution without padding, by name": lambda: nn.Conv2d(4, 3, 3, padding="valid"),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 5), nn.BatchNorm1d(5)),
    "matrix product": AddsMatrixProduct,
    "batch norm": lambda: nn.BatchNorm2d(4),
    "batch norm after a convolution": lambda: nn.Sequential(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3)),
    "batch norm without weights": lambda: nn.Sequential(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3, affine=False)),
    "max pool": lambda: nn.MaxPool2d(2),
    "max pool with overlap": lambda: nn.MaxPool2d(3, 1, 1),
    "max pool with dilation and ceiling": lambda: nn.MaxPool2d(2, 2, 1, dilation=2, ceil_mode=True),
    "adaptive max pool": lambda: nn.AdaptiveMaxPool2d(4),
    "average pool": lambda: nn.AvgPool2d(2),
    "average pool with overlap": lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    "average pool with divisor": lambda: nn.AvgPool2d(2, divisor_override=3),
    "adaptive average pool": lambda: nn.AdaptiveAvgPool2d((4, 1)),
    "mean": lambda: Change(lambda x: x.mean((2, 3))),
    "mean that keeps dimensions": lambda: Change(lambda x: x.mean([-1], keepdim=True)),
    "concatenation": lambda: Change(lambda x: torch.cat([x, x - 3, 2 * x], 1)),
    "sum with itself": lambda: Change(lambda x: x + x),
    "difference": lambda: Change(lambda x: torch.sub(x, x.permute(0, 1, 3, 2), alpha=0.3)),
    "sum with a number": lambda: Change(lambda x: x + 0.25),
    "sum that is broadcast": lambda: Change(lambda x: x + x.mean((2, 3), keepdim=True)),
    "sum with a parameter": lambda: Weighted(lambda x, w: x + w),
    "product with a parameter": lambda: Weighted(lambda x, w: x * w.square()),
    "quotient by a parameter": lambda: Weighted(lambda x, w: x / w),
    "quotient by a number": lambda: Change(lambda x: x / 3 * 2),
    "view by size": lambda: Change(lambda x: x.view(x.size(0), -1)),
    "reshape": lambda: Change(lambda x: x.reshape(-1, 2, 72)),
    "transpose": lambda: Change(lambda x: x.transpose(1, 3).contiguous()),
    "permute": lambda: Change(lambda x: x.permute(0, 2, -1, 1)),
    "squeeze": lambda: Change(lambda x: x.unsqueeze(2).squeeze(2)),
    "padding": lambda: nn.ZeroPad2d((1, 0, 2, 1)),
    "negative padding": lambda: nn.ConstantPad2d((-1, 1, 0, 0), 0.5),
    "clone": lambda: Change(lambda x: x.clone()),
}


def network_with(make) -> nn.Sequential:
    torch.manual_seed(3)
    front = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), make())
    width = front.eval()(torch.rand(2, 1, 6, 6)).flatten(1).shape[1]
    network = nn.Sequential(*front, nn.ReLU(), nn.Flatten(), nn.Linear(width, 2)).double().eval()
    scatter_statistics(network)
    return network


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", OPERATORS)
def test_map_is_the_gradient_times_the_input_and_its_loss_has_the_right_slope(name: str):
    network = network_with(OPERATORS[name])
    x, u = torch.randn(2, 1, 6, 6, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    at_input, hidden = HeatmapPass(network, x), HeatmapPass(network, x, ["1", "3"])
    for heatmap_pass, epsilon in [(at_input, 0.0), (at_input, 0.05), (hidden, 0.0), (hidden, 0.05)]:
        heatmaps = heatmap_pass(x, u, epsilon=epsilon)
        torch.testing.assert_close(heatmaps.logits, network(x), check_stride=False)
        # rounding only: both compute the same sums in another order
        torch.testing.assert_close(
            heatmaps.maps["input"], modified_gradient(network, x, u, epsilon), atol=1e-12, rtol=1e-10
        )
        targets = {layer: torch.randn_like(m) for layer, m in heatmaps.maps.items()}

        def loss(heatmap_pass=heatmap_pass, epsilon=epsilon, targets=targets) -> Tensor:
            maps = heatmap_pass(x, u, epsilon=epsilon).maps
            return sum((maps[layer] - target).square().mean() for layer, target in targets.items())

        assert_gradient_is_the_slope(network, loss, tensors=3)


class Attends(nn.Module):
    """Tokens from rows, attention over them, tokens back to a map."""

    def __init__(self, attend) -> None:
        super().__init__()
        self.qkv, self.attend = nn.Linear(6, 18), attend

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(*self.qkv(x).chunk(3, dim=-1))


class Squeezes(nn.Module):
    """Squeeze and excitation: a gate for each channel from the mean of all."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.down, self.up, self.gate = nn.Linear(4, 3), nn.Linear(3, 4), gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.up(self.down(x.mean((2, 3))).relu())).view(-1, 4, 1, 1)


class HasToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(25, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x.flatten(1, 2)], dim=1)
        return (x + self.place)[:, :3].sum(1)


def hides(scores: Tensor) -> Tensor:
    mask = torch.zeros(6, 6, dtype=scores.dtype)
    mask[0, 3], mask[2, 2] = -torch.inf, 0.7
    return mask


def attention(**options):
    return lambda q, k, v: nn.functional.scaled_dot_product_attention(q, k, v, **options)


# What goes back depends on activations, on weights of their own, or takes a part of the relevance.
BENT = {
    "SiLU": nn.SiLU,
    "GELU": nn.GELU,
    "GELU by tanh": lambda: nn.GELU("tanh"),
    "leaky ReLU": lambda: nn.LeakyReLU(0.1),
    "PReLU": lambda: nn.PReLU(4),
    "PReLU of one slope": nn.PReLU,
    "ReLU6": nn.ReLU6,
    "hardtanh": lambda: nn.Hardtanh(-0.4, 0.3),
    "hardswish": nn.Hardswish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
    "softmax": lambda: nn.Softmax(1),
    "layer norm": lambda: nn.LayerNorm((6, 6)),
    "layer norm without weights": lambda: nn.LayerNorm(6, elementwise_affine=False),
    "root mean square norm": lambda: nn.RMSNorm((6, 6)),
    "root mean square norm without weights": lambda: nn.RMSNorm(6, elementwise_affine=False),
    "group norm": lambda: nn.GroupNorm(2, 4),
    "instance norm": lambda: nn.InstanceNorm2d(4, affine=True),
    "instance norm without weights": lambda: nn.InstanceNorm2d(4),
    "squeeze and excitation": lambda: Squeezes(nn.Sigmoid()),
    "hard squeeze and excitation": lambda: Squeezes(nn.Hardsigmoid()),
    "product of two activations": lambda: Change(lambda x: x * x.mean((2, 3), keepdim=True)),
    "product with the constant first": lambda: Weighted(lambda x, w: w * x),
    "matrix product of two activations": lambda: Change(lambda x: x @ x.mean(1, keepdim=True).mT),
    "matrix product with a parameter": lambda: Weighted(lambda x, w: torch.matmul(x, w.expand(4, 6, 2))),
    "batched matrix product": lambda: Change(lambda x: torch.bmm(x[:, 0], x[:, 1])),
    "sum over products": lambda: Change(lambda x: torch.einsum("bchw,bcwv->bhcv", x, 0.5 * x)),
    "attention written out": lambda: Attends(lambda q, k, v: (q @ k.mT / 2).softmax(-1) @ v),
    "attention in one operator": lambda: Attends(attention()),
    "attention to the past": lambda: Attends(attention(is_causal=True, scale=0.3)),
    "attention with a mask": lambda: Attends(lambda q, k, v: attention(attn_mask=hides(q))(q, k, v)),
    "attention with a mask of truths": lambda: Attends(lambda q, k, v: attention(attn_mask=hides(q) == 0)(q, k, v)),
    "token and place": HasToken,
    "border of ones": lambda: nn.ConstantPad2d((1, 0, 2, 0), 1.0),
    "parts side by side": lambda: Change(
        lambda x: torch.cat([x.unbind(1)[2], x.chunk(2, 2)[1].flatten(1, 2), x.split([1, 5], dim=1 + 1)[1].mean(1)], 1)
    ),
}


@pytest.mark.parametrize("name", BENT)
def test_relevance_is_conserved_with_what_is_absorbed_and_its_loss_has_the_right_slope(name: str):
    network = network_with(BENT[name])
    x, u = torch.randn(2, 1, 6, 6, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    heatmap_pass = HeatmapPass(network, x, ["1"], biases=True)
    for epsilon, relative in [(0.0, False), (0.05, False), (0.05, True)]:
        heatmaps = heatmap_pass(x, u, epsilon=epsilon, relative=relative)
        torch.testing.assert_close(heatmaps.logits, network(x), check_stride=False)
        total = heatmaps.maps["input"].flatten(1).sum(1) + heatmaps.absorbed[:, 0]
        torch.testing.assert_close(total, (u * network(x)).sum(1))
        by_module = sum(found.flatten(1).sum(1) for found in heatmaps.biases.values())
        torch.testing.assert_close(by_module, heatmaps.absorbed[:, 0])
        targets = {layer: torch.randn_like(m) for layer, m in heatmaps.maps.items()}

        def loss(epsilon=epsilon, relative=relative, targets=targets) -> Tensor:
            found = heatmap_pass(x, u, epsilon=epsilon, relative=relative)
            distance = sum((found.maps[layer] - target).square().mean() for layer, target in targets.items())
            return distance + found.absorbed.square().mean()

        assert_gradient_is_the_slope(network, loss, tensors=3)


def test_detached_rules_change_no_value_but_cost_the_slope():
    network = network_with(nn.SiLU)
    x, u = torch.randn(2, 1, 6, 6, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    heatmap_pass = HeatmapPass(network, x)
    exact, detached = heatmap_pass(x, u), heatmap_pass(x, u, exact=False)
    assert torch.equal(exact.maps["input"], detached.maps["input"])
    assert exact.logits.requires_grad
    assert not detached.logits.requires_grad
    slopes = [
        torch.autograd.grad(found.maps["input"].square().sum(), network[0].weight)[0] for found in (exact, detached)
    ]
    assert not torch.allclose(*slopes)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("softplus", nn.Softplus),
        ("detach", lambda: Change(torch.detach)),
        ("upsample_nearest2d", lambda: nn.Upsample(scale_factor=2)),
    ],
)
def test_operator_without_rule_is_refused_by_name_and_place(name: str, make):
    with pytest.raises(UsageError, match=rf"{name}.*module '2' has no relevance rule.*conv2d.*lrp/rules"):
        HeatmapPass(network_with(make), torch.rand(1, 1, 6, 6, dtype=torch.float64))


def test_division_by_an_activation_is_refused():
    network = network_with(lambda: Change(lambda x: x / (1 + x.mean((2, 3), keepdim=True))))
    with pytest.raises(UsageError, match=r"aten.div.Tensor.*second value that depends on the radiograph"):
        HeatmapPass(network, torch.rand(1, 1, 6, 6, dtype=torch.float64))


class TokensFirst(nn.Module):
    """PyTorch's own attention turns its tokens to the front."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1, 2)
        x = self.attention(x, x, x, need_weights=False)[0]
        return self.activation(x.transpose(0, 1)).transpose(0, 1)


def test_tokens_first_are_refused_only_where_radiographs_are_told_apart():
    network = network_with(TokensFirst)
    x, u = torch.randn(2, 1, 6, 6, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    heatmap_pass = HeatmapPass(network, x)
    for epsilon in (0.0, 0.05):
        target = torch.randn_like(x)

        def loss(epsilon=epsilon, target=target) -> Tensor:
            found = heatmap_pass(x, u, epsilon=epsilon)
            torch.testing.assert_close(found.logits, network(x))
            return (found.maps["input"] - target).square().mean()

        assert_gradient_is_the_slope(network, loss, tensors=3)
    with pytest.raises(UsageError, match=r"In module '2.attention'.*first dimension is not the radiographs"):
        HeatmapPass(network, x, biases=True)
    for options in ({"relative": True, "epsilon": 0.1}, {"epsilon": torch.tensor([0.1, 0.2])}):
        with pytest.raises(UsageError, match=r"In module '2.activation'.*one ε for all"):
            heatmap_pass(x, u, **options)


def test_what_a_rule_does_not_cover_is_refused():
    x = torch.rand(2, 1, 6, 6, dtype=torch.float64)
    for make, words in [
        (lambda: nn.InstanceNorm2d(4, track_running_stats=True), "In module '2': .*track_running_stats"),
        (lambda: Change(lambda x: torch.einsum("bchw,bcwv->bcv", x, x)), "In module '2': .*as a matrix product"),
        (lambda: Change(lambda x: torch.matmul(x, torch.ones(6, dtype=x.dtype))), "In module '2': .*second dimension"),
    ]:
        network = network_with(make)
        with pytest.raises(UsageError, match=words):
            HeatmapPass(network, x)(x, torch.ones(2, 2, dtype=torch.float64))


def test_positions_kept_by_a_pool_are_refused_as_values():
    network = network_with(lambda: Change(lambda x: nn.functional.adaptive_max_pool2d(x, 2, True)[1] * 1.0))
    with pytest.raises(UsageError, match=r"positions kept by the pool in module '2'"):
        HeatmapPass(network, torch.rand(1, 1, 6, 6, dtype=torch.float64))


def test_padding_by_reflection_is_refused():
    network = network_with(lambda: nn.ReflectionPad2d(1))
    with pytest.raises(UsageError, match=r"aten.pad.default.*'reflect'.*'constant'"):
        HeatmapPass(network, torch.rand(1, 1, 6, 6, dtype=torch.float64))
