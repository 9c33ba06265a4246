"""Writes zennit.json: heatmaps of a small network by zennit, to which medtea's are compared without zennit.

    python -m pip install --no-deps --target SOMEWHERE zennit
    PYTHONPATH=SOMEWHERE:tests python tests/lrp/recorded/record_zennit.py

zennit imports two classes of torchvision, which must not be installed beside medtea; empty ones stand in for them.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import types
from pathlib import Path

import torch
from oracles.lrp_closed_form import closed_form_network, closed_form_radiographs
from torch import Tensor, nn

STAND_IN = types.ModuleType("torchvision.models.resnet")
STAND_IN.Bottleneck, STAND_IN.BasicBlock = type("Bottleneck", (), {}), type("BasicBlock", (), {})
for name in ("torchvision", "torchvision.models"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["torchvision.models.resnet"] = STAND_IN

from zennit.attribution import Gradient  # noqa: E402
from zennit.composites import NameMapComposite  # noqa: E402
from zennit.rules import Epsilon, Pass, ZBox, ZPlus  # noqa: E402

# Keeps 0 / 0 away and shows in no digit that is compared.
STABILISER = 1e-14


def maps(network: nn.Sequential, first: object, convolution: object, linear: object, logit: int) -> list[float]:
    rules = [
        (["0"], first),
        (["3"], convolution),
        (["6"], linear),
        (["8"], Epsilon(epsilon=STABILISER)),  # no ε at the output layer
        ([str(i) for i, m in enumerate(network) if isinstance(m, nn.ReLU)], Pass()),
    ]

    def from_logit(output: Tensor) -> Tensor:
        return output * nn.functional.one_hot(torch.tensor(logit), output.shape[1])

    with Gradient(network, composite=NameMapComposite(rules)) as attributor:
        _, relevance = attributor(closed_form_radiographs(), from_logit)
    return relevance.flatten().tolist()


def main() -> None:
    epsilon, plus, box = Epsilon(epsilon=0.05), ZPlus(stabilizer=STABILISER), ZBox(-1.0, 1.0, stabilizer=STABILISER)
    biased, unbiased = closed_form_network(), closed_form_network(biased_convolutions=False)
    exact = Epsilon(epsilon=STABILISER)
    found = {
        "zennit": importlib.metadata.version("zennit"),
        "torch": torch.__version__.partition("+")[0],
        "epsilon 0": maps(biased, exact, exact, exact, 1),
        "epsilon 0.05": maps(biased, epsilon, epsilon, epsilon, 1),
        "z_plus": maps(unbiased, plus, plus, exact, 0),
        "z_plus and box": maps(unbiased, box, plus, exact, 0),
    }
    Path(__file__).with_name("zennit.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
