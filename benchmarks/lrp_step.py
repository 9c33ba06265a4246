"""What a training step on heatmaps costs, in steps of ordinary training (ERM) on the same network and batch.

Each case is timed in pairs with an ERM step beside it, in one process, the order turned round from pair to pair: a
machine that slows down slows both. The number is the median of the pairs' ratios, of process CPU time and of wall
time. A step is loss, backward and AdamW; the teacher's maps are stored, as in training, so their cost is not in it.

    python benchmarks/lrp_step.py                  # small_resnet at 64 pixels, a minute or two on two cores
    python benchmarks/lrp_step.py --large          # and MONAI's ResNet-18 and DenseNet-121 at 224 pixels: long

docs/performance.md says what each number means.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from medtea.core.work import provenance, read_json, write_json
from medtea.lrp import HeatmapPass, heatmap_energy_distance
from medtea.training.networks import BACKBONES, build_classifier

Step = Callable[[], None]
EXACT = 0.01
SMALL = (("small_resnet", 64, 32),)
LARGE = (("resnet18", 224, 8), ("densenet121", 224, 8))
CASES = {
    "input": "TEA, input map, ε = 0",
    "layers": "TEA, input and 5 hidden maps, ε = 0",
    "input, exact ε": f"TEA, input map, exact ε = {EXACT}",
    "layers, exact ε": f"TEA, input and 5 hidden maps, exact ε = {EXACT}",
    "autograd": "autograd's double backward, gradient x input",
}
COLUMNS = "| network | pixels | batch | step | CPU time, in ERM steps | wall time, in ERM steps | ms (wall) |"


def steps(name: str, size: int, batch: int) -> dict[str, Step]:
    """ERM and the cases, each on a network of its own with the same weights, in training mode."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, 1, size, size, generator=generator)
    label = (torch.arange(batch) % 2).float()[:, None]
    cotangent = torch.ones(batch, 1)

    def fresh() -> tuple[torch.nn.Module, Callable[[torch.Tensor], None]]:
        network = build_classifier(name, 0).train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)

        def update(loss: torch.Tensor) -> None:
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()

        return network, update

    def heatmaps(layers: tuple[str, ...], epsilon: float) -> Step:
        network, update = fresh()
        heatmap_pass = HeatmapPass(network, x, layers)
        with torch.no_grad():
            stored = heatmap_pass(x, cotangent, epsilon=epsilon).maps
        teacher = {layer: torch.randn(found.shape, generator=generator) for layer, found in stored.items()}
        assert len(teacher) == 1 + len(layers)

        def step() -> None:
            found = heatmap_pass(x, cotangent, epsilon=epsilon).maps
            update(torch.stack([heatmap_energy_distance(found[layer], teacher[layer]) for layer in teacher]).mean())

        return step

    def erm() -> Step:
        network, update = fresh()
        return lambda: update(binary_cross_entropy_with_logits(network(x), label))

    def autograd() -> Step:
        network, update = fresh()
        teacher = torch.randn(x.shape, generator=generator)

        def step() -> None:
            shown = x.clone().requires_grad_()
            gradient = torch.autograd.grad(network(shown).sum(), shown, create_graph=True)[0]
            update(heatmap_energy_distance(shown * gradient, teacher))

        return step

    layers = BACKBONES[name].layers
    return {
        "erm": erm(),
        "input": heatmaps((), 0.0),
        "layers": heatmaps(layers, 0.0),
        "input, exact ε": heatmaps((), EXACT),
        "layers, exact ε": heatmaps(layers, EXACT),
        "autograd": autograd(),
    }


def timed(step: Step) -> tuple[float, float]:
    """Seconds of process CPU time and of wall time."""
    cpu, wall = time.process_time(), time.perf_counter()
    step()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(case: Step, erm: Step, pairs: int) -> dict[str, float]:
    """Medians over interleaved pairs of one step of each; the first of either warms up and is not counted."""
    case(), erm()
    ratios: list[tuple[float, float]] = []
    seconds: list[float] = []
    for pair in range(pairs):
        order = (case, erm) if pair % 2 else (erm, case)
        times = {step: timed(step) for step in order}
        ratios.append((times[case][0] / times[erm][0], times[case][1] / times[erm][1]))
        seconds.append(times[case][1])
    cpu, wall = ([pair[kind] for pair in ratios] for kind in (0, 1))
    quarters = statistics.quantiles(cpu, n=4)
    return {
        "cpu_ratio": statistics.median(cpu),
        "cpu_ratio_low": quarters[0],
        "cpu_ratio_high": quarters[2],
        "wall_ratio": statistics.median(wall),
        "wall_seconds": statistics.median(seconds),
    }


def rows(found: dict[str, Any]) -> list[str]:
    """The results as lines of a Markdown table."""
    lines = [COLUMNS, "| --- | ---: | ---: | --- | ---: | ---: | ---: |"]
    for row in found["results"]:
        cpu = f"{row['cpu_ratio']:.2f} ({row['cpu_ratio_low']:.2f} to {row['cpu_ratio_high']:.2f})"
        place = f"| {row['network']} | {row['pixels']} | {row['batch']} | {CASES[row['case']]} "
        lines.append(f"{place}| {cpu} | {row['wall_ratio']:.2f} | {1000 * row['wall_seconds']:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--large", action="store_true", help="also ResNet-18 and DenseNet-121 at 224 pixels")
    parser.add_argument("--pairs", type=int, default=20, help="interleaved pairs per case")
    parser.add_argument("--to", type=Path, default=Path("runs/benchmarks/lrp_step.json"), help="where the JSON goes")
    asked = parser.parse_args()
    if asked.pairs < 2:
        parser.error("--pairs: a median with its quartiles needs at least 2")
    found: dict[str, Any] = {"made_with": provenance(), "pairs": asked.pairs, "results": []}
    for name, size, batch in SMALL + (LARGE if asked.large else ()):
        built = steps(name, size, batch)
        for case in CASES:
            numbers = measure(built[case], built["erm"], asked.pairs)
            found["results"].append({"network": name, "pixels": size, "batch": batch, "case": case, **numbers})
            print(f"{name}, {size} px, {CASES[case]}: {numbers['cpu_ratio']:.2f} ERM steps", flush=True)
    write_json(asked.to, found)
    print("\n".join(["", *rows(read_json(asked.to)), "", f"{asked.pairs} pairs per case; written to {asked.to}"]))


if __name__ == "__main__":
    main()
