"""The networks that medtea.lrp promises to work on: MONAI's own classes made narrow, and plain ones; in float64.

`NARROW` are small enough for finite differences, `FULL` have the width that is used.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from monai.networks.blocks import ResidualUnit
from monai.networks.blocks.squeeze_and_excitation import SEResNetBottleneck
from monai.networks.nets import (
    BasicUNet,
    DenseNet,
    DenseNet121,
    EfficientNet,
    EfficientNetBN,
    ResNet,
    SENet,
    SEResNet50,
    ViT,
    resnet18,
    resnet50,
)
from oracles.lrp_networks import Family
from torch import Tensor, nn

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)


class AlexNetLike(nn.Module):
    """One ReLU module used throughout, in place, and dropout between the linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1)
        self.conv3 = nn.Conv2d(6, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.dropout = nn.Dropout(0.5)
        self.hidden = nn.Linear(45, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.relu(self.conv2(x))
        x = self.pool(self.relu(self.conv3(x)))
        x = self.relu(self.hidden(self.dropout(torch.flatten(x, 1))))
        return self.head(self.dropout(x))


class VggLike(nn.Module):
    """Functional ReLU and pooling, batch norm, and one convolution used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.twice = nn.Conv2d(6, 6, 3, padding=1)
        self.hidden, self.head, self.dropout_rate = nn.Linear(24, 7), nn.Linear(7, 2), 0.3

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(self.norm2(self.conv2(x)).relu(), 2)
        x = F.relu(self.twice(x), inplace=True)
        x = torch.relu(self.twice(x))
        x = F.adaptive_avg_pool2d(x, 2)
        x = F.dropout(torch.relu(self.hidden(x.flatten(1))), self.dropout_rate, self.training)
        return self.head(x)


class UnetEncoder(nn.Module):
    """The way down of MONAI's BasicUNet (instance norm, LeakyReLU), pooled, with a linear head."""

    def __init__(self) -> None:
        super().__init__()
        unet = BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=(4, 4, 6, 6, 8, 4))
        self.conv_0, self.down_1, self.down_2 = unet.conv_0, unet.down_1, unet.down_2
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.down_2(self.down_1(self.conv_0(x))).mean((2, 3)))


def alexnet() -> Family:
    return Family(AlexNetLike(), torch.rand(2, 1, 32, 32), ("conv1", "pool"))


def vgg() -> Family:
    return Family(VggLike(), torch.rand(2, 1, 16, 16), ("norm1", "twice"))


def narrow_resnet18() -> Family:
    network = ResNet("basic", [2, 2, 2, 2], [4, 4, 6, 6], spatial_dims=2, n_input_channels=1, num_classes=2)
    return Family(network, torch.rand(2, 1, 32, 32), ("layer1", "layer3"))


def narrow_resnet50() -> Family:
    network = ResNet("bottleneck", [2, 2, 2, 1], [2, 2, 3, 3], spatial_dims=2, n_input_channels=1, num_classes=3)
    return Family(network, torch.rand(2, 1, 32, 32), ("layer1", "layer4"))


def narrow_densenet() -> Family:
    network = DenseNet(2, 1, 2, init_features=4, growth_rate=2, block_config=(2, 2, 2, 1), bn_size=2)
    return Family(network, torch.rand(2, 1, 32, 32), ("features.denseblock1", "features.transition2"))


def narrow_seresnet() -> Family:
    network = SENet(
        2, 1, "se_resnet_bottleneck", (1, 1, 1, 1), groups=1, reduction=4, dropout_prob=None, inplanes=4,
        downsample_kernel_size=1, input_3x3=False, num_classes=2,
    )  # fmt: skip
    # The class has the stages' widths fixed; its own method makes narrower ones.
    network.inplanes = 4
    for i, planes in enumerate((2, 2, 3, 3), start=1):
        stage = network._make_layer(SEResNetBottleneck, planes, 1, groups=1, reduction=4, stride=1 if i == 1 else 2)
        setattr(network, f"layer{i}", stage)
    network.last_linear = nn.Linear(12, 2)
    return Family(network, torch.rand(2, 1, 32, 32), ("layer0", "layer2"))


def narrow_efficientnet() -> Family:
    blocks = ["r1_k3_s11_e1_i32_o16_se0.25", "r2_k3_s22_e6_i16_o24_se0.25", "r1_k5_s22_e6_i24_o32_se0.25"]
    network = EfficientNet(blocks, 2, 1, 2, width_coefficient=0.25, image_size=32, depth_divisor=4)
    return Family(network, torch.rand(2, 1, 32, 32), ("_blocks.0", "_blocks.1"))


def unet() -> Family:
    return Family(UnetEncoder(), torch.rand(2, 1, 16, 16), ("conv_0", "down_1"))


def unet_of_residual_units() -> Family:
    """MONAI UNet's way down: residual units with stride, instance norm and PReLU."""
    network = nn.Sequential(
        ResidualUnit(2, 1, 4, strides=2),
        ResidualUnit(2, 4, 6, strides=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    return Family(network, torch.rand(2, 1, 16, 16), ("0", "1"))


def narrow_vit() -> Family:
    network = ViT(
        in_channels=1, img_size=(64, 64), patch_size=(16, 16), hidden_size=12, mlp_dim=16, num_layers=2, num_heads=3,
        classification=True, num_classes=2, post_activation=None, spatial_dims=2, qkv_bias=True,
    )  # fmt: skip
    return Family(network, torch.rand(2, 1, 64, 64), ("patch_embedding", "blocks.0"))


def narrow_resnet3d() -> Family:
    network = ResNet("basic", [1, 1, 1, 1], [3, 4, 4, 5], spatial_dims=3, n_input_channels=1, num_classes=2)
    return Family(network, torch.rand(2, 1, 16, 16, 16), ("layer1", "layer2"))


def narrow_densenet3d() -> Family:
    network = DenseNet(3, 1, 2, init_features=4, growth_rate=2, block_config=(2, 1), bn_size=2)
    return Family(network, torch.rand(2, 1, 16, 16, 16), ("features.denseblock1", "features.transition1"))


def full_resnet18() -> Family:
    network = resnet18(spatial_dims=2, n_input_channels=1, num_classes=2)
    return Family(network, torch.rand(2, 1, 64, 64), ("conv1", "layer3"))


def full_resnet50() -> Family:
    network = resnet50(spatial_dims=2, n_input_channels=1, num_classes=2)
    return Family(network, torch.rand(2, 1, 32, 32), ("conv1", "layer3"))


def full_densenet121() -> Family:
    network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=2)
    return Family(network, torch.rand(2, 1, 64, 64), ("features.denseblock1", "features.transition3"))


def full_seresnet50() -> Family:
    network = SEResNet50(spatial_dims=2, in_channels=1, num_classes=2)
    return Family(network, torch.rand(2, 1, 64, 64), ("layer0", "layer2"))


def full_efficientnet_b0() -> Family:
    network = EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=1, num_classes=2)
    return Family(network, torch.rand(2, 1, 64, 64), ("_blocks.1", "_blocks.4"))


def full_vit_b16() -> Family:
    """Two of the twelve blocks: they are all alike."""
    network = ViT(
        in_channels=1, img_size=(64, 64), patch_size=(16, 16), num_layers=2, classification=True, num_classes=2,
        post_activation=None, spatial_dims=2,
    )  # fmt: skip
    return Family(network, torch.rand(2, 1, 64, 64), ("patch_embedding", "blocks.0"))


NARROW: dict[str, Callable[[], Family]] = {
    f.__name__: f
    for f in (
        alexnet, vgg, narrow_resnet18, narrow_resnet50, narrow_densenet, narrow_seresnet, narrow_efficientnet,
        unet, unet_of_residual_units, narrow_vit, narrow_resnet3d, narrow_densenet3d,
    )
}  # fmt: skip

FULL: dict[str, Callable[[], Family]] = {
    f.__name__: f
    for f in (
        full_resnet18, full_resnet50, full_densenet121, full_seresnet50, full_efficientnet_b0, full_vit_b16,
    )
}  # fmt: skip

ONLY_RELU = frozenset(
    {"alexnet", "vgg", "narrow_resnet18", "narrow_resnet50", "narrow_densenet", "narrow_resnet3d", "narrow_densenet3d",
     "full_resnet18", "full_resnet50", "full_densenet121"}
)  # fmt: skip
"""Networks whose map at ε = 0 is gradient × input by autograd: nothing but linear operators, ReLU and pools."""


def build(name: str, seed: int = 1) -> Family:
    """A network by name, in float64 and eval mode, with no parameter where it was initialised to 0 or 1."""
    torch.manual_seed(seed)
    made = (NARROW | FULL)[name]()
    network = made.network.double()
    scatter(network)
    settle(network, made.radiograph.double())
    return Family(network.eval(), made.radiograph.double(), made.layers)


def scatter(network: nn.Module) -> None:
    """Norms and biases as if trained, and biases everywhere, so that what they absorb can be seen."""
    for module in network.modules():
        bias = getattr(module, "bias", None)
        if isinstance(module, NORMS):
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, 0.1, 0.4)
        elif isinstance(bias, nn.Parameter):
            nn.init.uniform_(bias, -0.1, 0.1)
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.4)
    for name, parameter in network.named_parameters():
        if name.endswith(("cls_token", "position_embeddings")):
            nn.init.normal_(parameter, std=0.3)


def settle(network: nn.Module, radiograph: Tensor) -> None:
    """Running statistics as of another batch, so that a signal comes through however deep the network is."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.rand(8, *radiograph.shape[1:], dtype=radiograph.dtype))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.num_batches_tracked.zero_()


def without_chance(network: nn.Module) -> nn.Module:
    """Dropout and dropped connections off, so that train mode draws nothing."""
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for rate in ("drop_connect_rate", "dropout_rate"):
            if hasattr(module, rate):
                setattr(module, rate, 0.0)
    return network


def logits_of(network: nn.Module, radiograph: Tensor) -> Tensor:
    """The network's logits; a ViT returns them in a tuple."""
    found = network(radiograph)
    return found[0] if isinstance(found, tuple) else found
