"""What a training step on heatmaps costs, in steps of ordinary training (ERM) on the same network and batch.

Every case is timed beside an ERM step, in one process, the order turned round from round to round: a machine that
slows down slows both. The number is the median over rounds of case / ERM, of process CPU time and of wall time, and
the ratio of the peaks of memory. A step is loss, backward and AdamW; the teacher's maps are stored, as in training,
so their cost is not in it.

    python benchmarks/lrp_step.py                          # all networks; says first how long it will take
    python benchmarks/lrp_step.py --networks resnet18      # one of them
    OMP_NUM_THREADS=1 python benchmarks/lrp_step.py        # on one thread
    python benchmarks/lrp_step.py --quick                  # seconds, to see that it works

docs/performance.md says what each number means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from measuring import (
    SEED,
    Step,
    alternate,
    finish,
    held_bytes,
    parsed,
    parser,
    peak_bytes,
    ratios,
    spread,
    table,
    timed,
)
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from medtea.lrp import HeatmapPass, heatmap_energy_distance, one_logit, random_mix
from medtea.training.networks import BACKBONES, build_classifier

EXACT = 0.01
FEW, SOME, MANY = 2, 10, 30
CASES = {
    "input": "TEA, input map, ε = 0",
    "layers": "TEA, input and hidden maps, ε = 0",
    "input, exact ε": f"TEA, input map, exact ε = {EXACT}",
    "layers, exact ε": f"TEA, input and hidden maps, exact ε = {EXACT}",
    "input, detached ε": f"TEA, input map, detached ε = {EXACT}",
    "autograd": "autograd's double backward, gradient x input",
}
SIDE_BY_SIDE = (
    ("input", "erm", "layers"),
    ("input, exact ε", "erm", "layers, exact ε"),
    ("input, detached ε", "erm", "autograd"),
)
"""Timed in one round each: every case is a neighbour of the ERM step."""

AIMED_AT = ("resnet18", "densenet121")
TIME_TO_REACH = {"input": 1.6, "layers": 2.2, "input, exact ε": 2.4, "layers, exact ε": 2.4}
MEMORY_TO_REACH = {"input": 1.5}
CLASSES_TO_REACH = 1.05

EXPECTED = 23.0
"""ERM steps that a round of everything takes, about: for the estimate alone."""


@dataclass(frozen=True)
class Subject:
    """A network to be measured, and what it is fed."""

    name: str
    pixels: int
    batch: int
    classes: int = 1

    @property
    def layers(self) -> tuple[str, ...]:
        """The hidden layers whose maps are matched."""
        return BACKBONES[self.name].layers

    @property
    def channels(self) -> int:
        """Three of a scene, one of a radiograph."""
        return 3 if self.name == "small_cnn" else 1

    def build(self) -> nn.Module:
        """The network with fresh weights, the same each time, in training mode."""
        return build_classifier(self.name, SEED, channels=self.channels, logits=self.classes).train()

    def radiographs(self) -> Tensor:
        """A batch of noise: the time of a step does not depend on what it sees."""
        generator = torch.Generator().manual_seed(SEED)
        return torch.rand(self.batch, self.channels, self.pixels, self.pixels, generator=generator)


SUBJECTS = (
    Subject("small_cnn", 28, 128, 10),
    Subject("small_resnet", 64, 32),
    Subject("resnet18", 224, 8),
    Subject("densenet121", 224, 8),
)
QUICK = (Subject("small_cnn", 28, 4, 10), Subject("small_resnet", 16, 2))


class Training:
    """One network in training, with its optimiser, by one case's loss."""

    def __init__(self, subject: Subject, device: torch.device, layers: tuple[str, ...] | None = None) -> None:
        """With `layers` a HeatmapPass and stored teacher maps too; () is the input map alone."""
        self.subject, self.network = subject, subject.build().to(device)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=1e-4)
        self.x = subject.radiographs().to(device)
        self.label = (torch.arange(subject.batch) % max(subject.classes, 2)).to(device)
        self.generator = torch.Generator().manual_seed(SEED)
        self.teacher: dict[str, Tensor] = {"input": self.noise(self.x)}
        if layers is not None:
            self.heatmap_pass = HeatmapPass(self.network, self.x, layers)
            with torch.no_grad():
                found = self.heatmap_pass(self.x, self.cotangent()).maps
            self.teacher = {layer: self.noise(heatmap) for layer, heatmap in found.items()}
            assert list(self.teacher) == ["input", *layers]

    def noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator).to(like.device)

    def cotangent(self) -> Tensor:
        """The logit where there is one; otherwise a ±1 mix of all logits, drawn anew for every step."""
        batch, classes = self.subject.batch, self.subject.classes
        mix = random_mix(batch, classes, self.generator) if classes > 1 else one_logit(batch, classes)
        return mix.to(self.x.device)

    def update(self, loss: Tensor) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    def erm(self) -> None:
        logits = self.network(self.x)
        if self.subject.classes == 1:
            self.update(binary_cross_entropy_with_logits(logits[:, 0], self.label.float()))
        else:
            self.update(cross_entropy(logits, self.label))

    def heatmaps(self, epsilon: float = 0.0, exact: bool = True) -> None:
        found = self.heatmap_pass(self.x, self.cotangent(), epsilon=epsilon, exact=exact).maps
        wanted = self.teacher
        self.update(torch.stack([heatmap_energy_distance(found[layer], wanted[layer]) for layer in wanted]).mean())

    def autograd(self) -> None:
        shown = self.x.clone().requires_grad_()
        chosen = (self.network(shown) * self.cotangent()).sum()
        gradient = torch.autograd.grad(chosen, shown, create_graph=True)[0]
        self.update(heatmap_energy_distance(shown * gradient, self.teacher["input"]))

    def memory(self, step: Step) -> dict[str, int]:
        """The step's own peak, and with it what is held from step to step."""
        peak = peak_bytes(step, self.x.device)
        return {
            "peak_bytes": peak,
            "total_bytes": peak + held_bytes(self.network, self.optimiser, [self.x, *self.teacher.values()]),
        }

    def check(self) -> None:
        """Numbers that are not finite, or denormal, are computed at another speed."""
        assert all(bool(torch.isfinite(parameter).all()) for parameter in self.network.parameters())


def costs(subject: Subject, rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """Every case against ERM."""
    erm, autograd = Training(subject, device), Training(subject, device)
    of_input, of_layers = Training(subject, device, ()), Training(subject, device, subject.layers)
    steps: dict[str, tuple[Training, Step]] = {
        "erm": (erm, erm.erm),
        "input": (of_input, of_input.heatmaps),
        "layers": (of_layers, of_layers.heatmaps),
        "input, exact ε": (of_input, lambda: of_input.heatmaps(EXACT)),
        "layers, exact ε": (of_layers, lambda: of_layers.heatmaps(EXACT)),
        "input, detached ε": (of_input, lambda: of_input.heatmaps(EXACT, exact=False)),
        "autograd": (autograd, autograd.autograd),
    }
    numbers: dict[str, dict[str, float]] = {}
    for group in SIDE_BY_SIDE:
        found = alternate({case: steps[case][1] for case in group}, rounds)
        for case in group:
            if case != "erm":
                numbers[case] = ratios(found, case, "erm")
                print(f"{subject.name}: {CASES[case]}: {numbers[case]['cpu_ratio']:.2f} ERM steps", flush=True)
    usual = erm.memory(erm.erm)
    rows = []
    for case in CASES:
        training, step = steps[case]
        used = training.memory(step)
        training.check()
        compared = {
            "peak_ratio": used["peak_bytes"] / usual["peak_bytes"],
            "total_ratio": used["total_bytes"] / usual["total_bytes"],
        }
        place = {"network": subject.name, "pixels": subject.pixels, "batch": subject.batch, "classes": subject.classes}
        rows.append({**place, "maps": len(training.teacher), "case": case, **numbers[case], **used, **compared})
        print(f"{subject.name}: {CASES[case]}: {compared['peak_ratio']:.2f} of ERM's peak of memory", flush=True)
    return rows


def costs_of_classes(subject: Subject, rounds: int, device: torch.device) -> dict[str, Any]:
    """TEA's step with 2, 10 and 30 logits against ERM's with as many, and with 30 against 2."""
    steps: dict[str, Step] = {}
    for classes in (FEW, SOME, MANY):
        of_classes = replace(subject, classes=classes)
        steps[f"erm {classes}"] = Training(of_classes, device).erm
        steps[f"tea {classes}"] = Training(of_classes, device, ()).heatmaps
    order = (f"erm {FEW}", f"tea {FEW}", f"tea {MANY}", f"erm {MANY}", f"erm {SOME}", f"tea {SOME}")
    found = alternate({name: steps[name] for name in order}, rounds)
    row: dict[str, Any] = {
        "network": subject.name,
        "pixels": subject.pixels,
        "batch": subject.batch,
        "over_erm": {str(classes): ratios(found, f"tea {classes}", f"erm {classes}") for classes in (FEW, SOME, MANY)},
        "many_over_few": ratios(found, f"tea {MANY}", f"tea {FEW}"),
    }
    print(f"{subject.name}: {MANY} classes: {row['many_over_few']['cpu_ratio']:.2f} times {FEW} classes", flush=True)
    return row


# ---- tables

COSTS = {
    "network": "left",
    "pixels": "right",
    "batch": "right",
    "step": "left",
    "CPU time / ERM": "right",
    "wall time / ERM": "right",
    "to reach": "left",
    "peak memory / ERM": "right",
    "to reach ": "left",
    "all memory / ERM": "right",
    "ms": "right",
    "MiB": "right",
}
CLASSES = {
    "network": "left",
    **{f"{classes} classes / ERM": "right" for classes in (FEW, SOME, MANY)},
    f"{MANY} classes / {FEW} classes": "right",
    "to reach": "left",
}


def verdict(value: float, bar: float | None) -> str:
    """Whether a number, to the two places that are shown, is as low as it should be."""
    return "" if bar is None else f"≤ {bar}: {'reached' if round(value, 2) <= bar else 'missed'}"


def rows(found: dict[str, Any]) -> list[str]:
    """The results as two Markdown tables."""
    lines = []
    for row in found["results"]["costs"]:
        aimed = row["network"] in AIMED_AT
        lines.append(
            [
                row["network"],
                str(row["pixels"]),
                str(row["batch"]),
                CASES[row["case"]].replace("hidden maps", f"{row['maps'] - 1} hidden maps"),
                spread(row),
                f"{row['wall_ratio']:.2f}",
                verdict(judged(found, row), TIME_TO_REACH.get(row["case"]) if aimed else None),
                f"{row['peak_ratio']:.2f}",
                verdict(row["peak_ratio"], MEMORY_TO_REACH.get(row["case"]) if aimed else None),
                f"{row['total_ratio']:.2f}",
                f"{1000 * row['wall_seconds']:.0f}",
                f"{row['peak_bytes'] / 2**20:.0f}",
            ]
        )
    of_classes = [
        [
            row["network"],
            *(f"{row['over_erm'][str(classes)]['cpu_ratio']:.2f}" for classes in (FEW, SOME, MANY)),
            spread(row["many_over_few"]),
            verdict(judged(found, row["many_over_few"]), CLASSES_TO_REACH),
        ]
        for row in found["results"]["classes"]
    ]
    return [*table(COSTS, lines), "", *table(CLASSES, of_classes)]


def judged(found: dict[str, Any], numbers: dict[str, float]) -> float:
    """On a CPU its time, which a busy machine disturbs least; beside a GPU the CPU mostly waits."""
    return numbers["cpu_ratio" if found["device"] == "cpu" else "wall_ratio"]


def estimate(subject: Subject, rounds: int, device: torch.device) -> float:
    """Seconds that a subject will take, from one ERM step of it."""
    training = Training(subject, device)
    training.erm()
    seconds = timed(training.erm)[1]
    return (rounds + 3) * EXPECTED * seconds + (120 if subject.name == "densenet121" else 20)


def main(arguments: Sequence[str] | None = None) -> None:
    made = parser(__doc__ or "", "lrp_step")
    made.add_argument("--networks", nargs="+", choices=[subject.name for subject in SUBJECTS], help="only these")
    made.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to measure")
    asked = parsed(made, arguments)
    device = torch.device(asked.device)
    subjects = [one for one in (QUICK if asked.quick else SUBJECTS) if not asked.networks or one.name in asked.networks]
    seconds = sum(estimate(subject, asked.rounds, device) for subject in subjects)
    print(f"{', '.join(subject.name for subject in subjects)}: about {1 + seconds / 60:.0f} minutes", flush=True)
    measures: dict[str, Callable[[Subject], Any]] = {
        "costs": lambda subject: costs(subject, asked.rounds, device),
        "classes": lambda subject: [costs_of_classes(subject, asked.rounds, device)],
    }
    results = {name: [row for subject in subjects for row in measure(subject)] for name, measure in measures.items()}
    finish(asked, rows, results, device=asked.device)


if __name__ == "__main__":
    main()
