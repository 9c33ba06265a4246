"""Tiny networks in every kind of file that a given network can come in, made by code: all compute the same score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn

SIZE = 32


class Tiny(nn.Module):
    """A convolution, a mean over the image, and `logits` numbers."""

    def __init__(self, *, channels: int = 1, logits: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.conv = nn.Conv2d(channels, 4, 3)
            self.head = nn.Linear(4, logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


class Fussy(nn.Module):
    """Takes one size of image alone, as a network with a linear layer on its pixels does."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(SIZE * SIZE, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


class Several(nn.Module):
    """Returns features and scores by name."""

    def __init__(self) -> None:
        super().__init__()
        self.tiny = Tiny()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"features": x.flatten(1), "scores": self.tiny(x)}


def torchscript(path: Path, network: nn.Module, channels: int = 1) -> Path:
    example = torch.rand(2, channels, SIZE, SIZE)
    torch.jit.trace(network.eval(), example, strict=False).save(path)
    return path


def exported(path: Path, network: nn.Module, channels: int = 1, *, batch: int | None = None) -> Path:
    """An ExportedProgram of any batch, or of one alone."""
    example = (torch.rand(batch or 2, channels, SIZE, SIZE),)
    shapes = None if batch else ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(network.eval(), example, dynamic_shapes=shapes), path)
    return path


def onnx_file(path: Path, network: Tiny, *, batch: int | str = "batch", size: int | str = "size") -> Path:
    """Tiny as ONNX, node by node."""
    weights = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    channels, logits = weights["conv.weight"].shape[1], weights["head.weight"].shape[0]
    nodes = [
        helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "head.weight", "head.bias"], ["scores"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, channels, size, size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, logits])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


DENSENET = {
    "spatial_dims": 2,
    "in_channels": "@channels",
    "out_channels": 1,
    "init_features": 4,
    "growth_rate": 2,
    "block_config": [1, 1],
}


def bundle(folder: Path, network: nn.Module, *, safe: bool = True, **described: object) -> Path:
    """A MONAI bundle whose network is a small DenseNet."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    config = {"channels": 1, "network_def": {"_target_": "DenseNet", **DENSENET, **described}}
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    if safe:
        save_file(network.state_dict(), folder / "models" / "model.safetensors")
    else:
        torch.save({"model": network.state_dict()}, folder / "models" / "model.pt")
    return folder
