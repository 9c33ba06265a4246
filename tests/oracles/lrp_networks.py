"""Small networks of every family that medtea.lrp covers, in float64, with batch statistics that are not 0 and 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from monai.networks.nets import DenseNet, ResNet
from torch import Tensor, nn


class Family(NamedTuple):
    """A network, a radiograph batch for it, and two of its hidden layers."""

    network: nn.Module
    radiograph: Tensor
    layers: tuple[str, ...]


class Block(nn.Module):
    """Residual block that downsamples by average pooling and adds in place."""

    def __init__(self, inside: int, outside: int, side: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(side)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.skip = nn.Conv2d(inside, outside, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        y = self.conv2(self.relu(self.norm1(self.conv1(x))))
        y += self.skip(x)
        return self.relu(y)


def plain() -> Family:
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(36, 5),
        nn.ReLU(),
        nn.Linear(5, 2),
    )
    return Family(network, torch.rand(3, 1, 9, 9), ("1", "5", "8"))


def small_resnet() -> Family:
    network = nn.Sequential()
    network.add_module("stem", nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()))
    network.add_module("stage1", Block(3, 4, 1))
    network.add_module("stage2", Block(4, 5, 2))
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    network.add_module("head", nn.Linear(5, 3))
    return Family(network, torch.rand(3, 2, 8, 8), ("stem", "stage1", "stage2"))


def monai_resnet() -> Family:
    network = ResNet(
        "basic", [1, 1, 1, 1], [3, 4, 4, 6], spatial_dims=2, n_input_channels=1, conv1_t_size=3, num_classes=1
    )
    return Family(network, torch.rand(2, 1, 32, 32), ("conv1", "layer1", "layer3"))


def monai_densenet() -> Family:
    network = DenseNet(2, 1, 2, init_features=4, growth_rate=2, block_config=(2, 1), bn_size=2)
    return Family(network, torch.rand(2, 1, 16, 16), ("features.denseblock1", "features.transition1"))


def volume() -> Family:
    network = nn.Sequential(
        nn.Conv3d(1, 2, 3, stride=2, padding=1),
        nn.BatchNorm3d(2),
        nn.ReLU(),
        nn.MaxPool3d(2, 1),
        nn.AvgPool3d(2, 1),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(2, 2),
    )
    return Family(network, torch.rand(2, 1, 6, 6, 6), ("2",))


def signal() -> Family:
    network = nn.Sequential(
        nn.Conv1d(1, 3, 3, stride=2),
        nn.ReLU(),
        nn.MaxPool1d(2, 1),
        nn.AvgPool1d(2),
        nn.AdaptiveAvgPool1d(2),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    return Family(network, torch.rand(2, 1, 17), ("1",))


FAMILIES: dict[str, Callable[[], Family]] = {
    f.__name__: f for f in (plain, small_resnet, monai_resnet, monai_densenet, volume, signal)
}


def build(name: str, seed: int = 1) -> Family:
    """A family by name, in float64 and eval mode."""
    torch.manual_seed(seed)
    made = FAMILIES[name]()
    network = made.network.double().eval()
    scatter_statistics(network)
    return Family(network, made.radiograph.double(), made.layers)


def scatter_statistics(network: nn.Module) -> None:
    """Batch norms as if trained: weights, biases and running statistics away from 0 and 1."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, 0.1, 0.4)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.2, 0.6)
