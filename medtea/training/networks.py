"""Backbones by name: radiograph or scene to logits, and the segmenter. MONAI's where MONAI has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from monai.networks.nets import DenseNet121, EfficientNetBN, SEResNet50, UNet, resnet18, resnet34, resnet50
from torch import Tensor, nn

from medtea.core.errors import ConfigError, nearest
from medtea.core.names import StudentArtefact, TeacherArtefact
from medtea.core.work import read_json, read_weights
from medtea.training.zero_shot import ZeroShot


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2016); the resolution stays."""

    def __init__(self, before: int, after: int) -> None:
        """From `before` to `after` channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, h, w) to (batch, after, h, w)."""
        inner = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(inner + self.shortcut(x))  # type: ignore[no-any-return]


class SmallResNet(nn.Module):
    """A residual network of four stages for radiographs of 64 to 160 pixels.

    Resolution is halved by average pooling, never by a stride: a strided convolution sees some pixels more often
    than others, and its heatmaps show a chequerboard.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128), *, channels: int = 1, logits: int = 1) -> None:
        """Channels of the four stages; the stem has those of the first."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        before = (widths[0], *widths[:-1])
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(nn.AvgPool2d(2), ResidualBlock(b, a)) for b, a in zip(before, widths, strict=True)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(widths[-1], logits)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, K) logits."""
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))
        return self.head(self.pool(x).flatten(1))  # type: ignore[no-any-return]


class SmallCNN(nn.Module):
    """Three stages of one convolution, ReLU and max pooling, for images of 28 pixels; no batch norm.

    Without biases its relevance at any layer sums to the logit, exactly.
    """

    def __init__(
        self, widths: tuple[int, int, int] = (32, 64, 128), *, channels: int = 3, logits: int = 10, bias: bool = True
    ) -> None:
        """Channels of the three stages."""
        super().__init__()
        self.stage1, self.stage2, self.stage3 = (
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=bias), nn.ReLU(), nn.MaxPool2d(2))
            for before, after in pairwise((channels, *widths))
        )
        self.pool = nn.AdaptiveAvgPool2d(3)
        self.head = nn.Linear(widths[-1] * 9, logits, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, K) logits."""
        return self.head(self.pool(self.stage3(self.stage2(self.stage1(x)))).flatten(1))  # type: ignore[no-any-return]


def _efficientnet(name: str, channels: int, logits: int) -> nn.Module:
    """MONAI's, without drop-connect: a heatmap pass does not see it, and every method trains the same network."""
    network: nn.Module = EfficientNetBN(
        name, pretrained=False, spatial_dims=2, in_channels=channels, num_classes=logits
    )
    for module in network.modules():
        if hasattr(module, "drop_connect_rate"):
            setattr(module, "drop_connect_rate", 0.0)  # noqa: B010  # mypy takes a module's attributes for tensors
    return network


def _resnet(build: Callable[..., nn.Module], channels: int, logits: int) -> nn.Module:
    return build(spatial_dims=2, n_input_channels=channels, num_classes=logits, conv1_t_stride=2)


@dataclass(frozen=True)
class Backbone:
    """How to build a classifier, which hidden layers TEA matches, and where its last linear layer is.

    `build` takes the image's channels and the number of logits.
    """

    build: Callable[[int, int], nn.Module]
    layers: tuple[str, ...]
    head: str
    about: str


BACKBONES: dict[str, Backbone] = {
    "small_resnet": Backbone(
        lambda channels, logits: SmallResNet(channels=channels, logits=logits),
        ("stem", "stage1", "stage2", "stage3", "stage4"),
        "head",
        "residual, 16-32-64-128 channels, average pooling: 64 to 160 pixels, CPU",
    ),
    "small_cnn": Backbone(
        lambda channels, logits: SmallCNN(channels=channels, logits=logits),
        ("stage1", "stage2", "stage3"),
        "head",
        "32-64-128 channels with biases, no batch norm: 28 pixels, CPU",
    ),
    "tiny_cnn": Backbone(
        lambda channels, logits: SmallCNN((16, 32, 64), channels=channels, logits=logits),
        ("stage1", "stage2", "stage3"),
        "head",
        "16-32-64 channels, a quarter of the work of small_cnn: 28 pixels, CPU",
    ),
    "tiny_cnn_bias_free": Backbone(
        lambda channels, logits: SmallCNN((16, 32, 64), channels=channels, logits=logits, bias=False),
        ("stage1", "stage2", "stage3"),
        "head",
        "the same without a bias, so that a heatmap sums to its logit: 28 pixels, CPU",
    ),
    "resnet18": Backbone(
        lambda channels, logits: _resnet(resnet18, channels, logits),
        ("act", "layer1", "layer2", "layer3", "layer4"),
        "fc",
        "MONAI ResNet-18 with the usual stem of stride 2: 224 pixels, GPU",
    ),
    "resnet34": Backbone(
        lambda channels, logits: _resnet(resnet34, channels, logits),
        ("act", "layer1", "layer2", "layer3", "layer4"),
        "fc",
        "MONAI ResNet-34 with the usual stem of stride 2: 224 pixels, GPU",
    ),
    "resnet50": Backbone(
        lambda channels, logits: _resnet(resnet50, channels, logits),
        ("act", "layer1", "layer2", "layer3", "layer4"),
        "fc",
        "MONAI ResNet-50 with the usual stem of stride 2: 224 pixels, GPU",
    ),
    "seresnet50": Backbone(
        lambda channels, logits: SEResNet50(spatial_dims=2, in_channels=channels, num_classes=logits),
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        "last_linear",
        "MONAI SE-ResNet-50, its gates no part of the relevance: 224 pixels, GPU",
    ),
    "efficientnet_b0": Backbone(
        lambda channels, logits: _efficientnet("efficientnet-b0", channels, logits),
        ("_blocks.0", "_blocks.1", "_blocks.2", "_blocks.4", "_blocks.6"),
        "_fc",
        "MONAI EfficientNet-B0, smooth activations, so a step on heatmaps costs more: 224 pixels, GPU",
    ),
    "densenet121": Backbone(
        lambda channels, logits: DenseNet121(spatial_dims=2, in_channels=channels, out_channels=logits),
        (
            "features.relu0",
            "features.denseblock1",
            "features.denseblock2",
            "features.denseblock3",
            "features.denseblock4",
        ),
        "class_layers.out",
        "MONAI DenseNet-121: 224 pixels, GPU",
    ),
}


ZERO_SHOT = "zero_shot"
"""On a card, the network of an image-text model; no backbone that could be asked for."""


def backbone(name: str) -> Backbone:
    """The backbone of that name.

    Raises:
        ConfigError: no such backbone; names the nearest.
    """
    if name not in BACKBONES:
        raise ConfigError(f"network: '{name}' is not known. {nearest(name, BACKBONES)}")
    return BACKBONES[name]


def build_classifier(
    name: str, seed: int, *, channels: int = 1, logits: int = 1, width: int | None = None
) -> nn.Module:
    """A fresh classifier; one seed gives the same weights each time, and the global generator is left alone.

    Args:
        name: A backbone.
        seed: Of the initial weights.
        channels: Of the image: one of a radiograph, three of a scene.
        logits: One for two classes, else one a class.
        width: Features that the last layer is to take, for instance the teacher's; where the backbone has another
            number, a linear layer without bias brings it there (TEA: a 1x1 convolution, which before a mean over the
            image is the same).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = backbone(name).build(channels, logits)
        head = head_of(network, name)
        if width is not None and width != head.in_features:
            adapted = nn.Sequential(
                nn.Linear(head.in_features, width, bias=False),
                nn.Linear(width, logits, bias=head.bias is not None),
            )
            network.set_submodule(backbone(name).head, adapted)
        return network


def shape_of(network: nn.Module, name: str) -> dict[str, int]:
    """What `build_classifier` must be told, beside the name, to build this network again."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    head = head_of(network, name)
    return {"channels": first.in_channels, "logits": head.out_features, "width": head.in_features}


def load_classifier(artefact: TeacherArtefact | StudentArtefact, device: torch.device) -> nn.Module:
    """The trained classifier that an artefact holds, in evaluation mode.

    A backbone is built again from its name and the card's `shape`, a network that came trained from the card's `given`.
    """
    weights = artefact.teacher if isinstance(artefact, TeacherArtefact) else artefact.student
    card = read_json(artefact.card)
    is_given = card["network"] == ZERO_SHOT
    network = ZeroShot(**card["given"]) if is_given else build_classifier(card["network"], 0, **card["shape"])
    read_weights(weights, network)
    return network.to(device).eval()


def build_segmenter(channels: tuple[int, ...], seed: int) -> nn.Module:
    """MONAI's residual U-Net (Kerfoot et al. 2018) from one channel to one lung logit per pixel."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = UNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=channels,
            strides=(2,) * (len(channels) - 1),
            num_res_units=2,
        )
    return network


def head_of(network: nn.Module, name: str) -> nn.Linear:
    """The last linear layer of the backbone called `name`, behind what adapts its width if that was asked for."""
    head = network.get_submodule("head" if name == ZERO_SHOT else backbone(name).head)
    if isinstance(head, nn.Sequential):
        head = head[-1]
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"network: the head of '{name}' is a {type(head).__name__}, TEA needs a linear layer.")
    return head
