"""Every rule: its map is gradient × input at ε = 0, and weights get the slope of a loss on its maps."""

from __future__ import annotations

import pytest
import torch
from oracles.lrp_networks import scatter_statistics
from oracles.lrp_slopes import assert_gradient_is_the_slope
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


@pytest.mark.parametrize("name", ["silu", "gelu", "softmax", "layer_norm", "leaky_relu", "detach", "instance_norm"])
def test_operator_without_rule_is_refused_by_name_and_place(name: str):
    made = {
        "silu": nn.SiLU,
        "gelu": nn.GELU,
        "softmax": lambda: nn.Softmax(1),
        "layer_norm": lambda: nn.LayerNorm(6),
        "leaky_relu": nn.LeakyReLU,
        "detach": lambda: Change(torch.detach),
        "instance_norm": lambda: nn.InstanceNorm2d(4),
    }
    network = network_with(made[name])
    with pytest.raises(UsageError, match=rf"{name}.*module '2' has no relevance rule.*conv2d.*rules.py"):
        HeatmapPass(network, torch.rand(1, 1, 6, 6, dtype=torch.float64))


def test_product_of_two_activations_is_refused():
    network = network_with(lambda: Change(lambda x: x * x.mean((2, 3), keepdim=True)))
    with pytest.raises(UsageError, match=r"aten.mul.Tensor.*second value that depends on the radiograph"):
        HeatmapPass(network, torch.rand(1, 1, 6, 6, dtype=torch.float64))


def test_positions_kept_by_a_pool_are_refused_as_values():
    network = network_with(lambda: Change(lambda x: nn.functional.adaptive_max_pool2d(x, 2, True)[1] * 1.0))
    with pytest.raises(UsageError, match=r"positions kept by the pool in module '2'"):
        HeatmapPass(network, torch.rand(1, 1, 6, 6, dtype=torch.float64))


def test_padding_by_reflection_is_refused():
    network = network_with(lambda: nn.ReflectionPad2d(1))
    with pytest.raises(UsageError, match=r"aten.pad.default.*'reflect'.*'constant'"):
        HeatmapPass(network, torch.rand(1, 1, 6, 6, dtype=torch.float64))
