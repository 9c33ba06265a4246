"""What a prediction costs: a student, its plain backbone, and a segmenter before the same classifier.

A student trained on heatmaps is its backbone and nothing more. That is checked first: the weights of a student that
was trained for one step through a heatmap pass are loaded into a fresh backbone, and the logits must be the same bit
for bit. Then a batch is predicted by each in turn; the number is the median over rounds of x / backbone.

    python benchmarks/inference.py             # a minute or two on two cores
    python benchmarks/inference.py --quick     # seconds, to see that it works

docs/performance.md says what each number means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lrp_step import Subject, Training
from measuring import SEED, Step, alternate, finish, parsed, parser, ratios, spread, table
from torch import nn

from medtea.segment.stage import Settings
from medtea.training.networks import build_classifier, build_segmenter

SUBJECTS = (Subject("resnet18", 224, 8), Subject("densenet121", 224, 8))
QUICK = (Subject("small_resnet", 32, 2),)


def size(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def measured(subject: Subject, rounds: int) -> dict[str, Any]:
    """The student's and the two networks' time, in that of the plain backbone."""
    training = Training(subject, torch.device("cpu"), subject.layers)
    with torch.enable_grad():
        training.heatmaps()
    student = training.network.eval()
    plain = build_classifier(subject.name, SEED).eval()
    plain.load_state_dict(student.state_dict())
    segmenter = build_segmenter(Settings().channels, SEED).eval()
    x = training.x
    if type(student) is not type(plain) or not torch.equal(student(x), plain(x)):
        raise SystemExit(f"{subject.name}: the student's logits are not those of the plain backbone")
    steps: dict[str, Step] = {
        "student": lambda: student(x),
        "backbone": lambda: plain(x),
        "segmented": lambda: plain(x * (segmenter(x) > 0)),
    }
    found = alternate(steps, rounds)
    return {
        "network": subject.name,
        "pixels": subject.pixels,
        "batch": subject.batch,
        "same_logits": True,
        "backbone_ms": 1000 * ratios(found, "backbone", "backbone")["wall_seconds"] / subject.batch,
        "student": ratios(found, "student", "backbone") | {"parameters": size(student)},
        "segmented": ratios(found, "segmented", "backbone") | {"parameters": size(plain) + size(segmenter)},
        "parameters": size(plain),
    }


COLUMNS = {
    "network": "left",
    "pixels": "right",
    "batch": "right",
    "backbone, ms a radiograph": "right",
    "student / backbone": "right",
    "student's logits": "left",
    "segmenter and classifier / backbone": "right",
    "parameters": "right",
    "with segmenter": "right",
}


def rows(found: dict[str, Any]) -> list[str]:
    """The results as a Markdown table."""
    lines = [
        [
            row["network"],
            str(row["pixels"]),
            str(row["batch"]),
            f"{row['backbone_ms']:.1f}",
            spread(row["student"]),
            "the backbone's, bit for bit" if row["same_logits"] else "differ",
            spread(row["segmented"]),
            f"{row['parameters']:,}",
            f"{row['segmented']['parameters']:,}",
        ]
        for row in found["results"]
    ]
    return table(COLUMNS, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parsed(parser(__doc__ or "", "inference"), arguments)
    results = []
    for subject in QUICK if asked.quick else SUBJECTS:
        print(f"{subject.name}, {subject.pixels} pixels, batch {subject.batch}: {asked.rounds} rounds", flush=True)
        results.append(measured(subject, asked.rounds))
    finish(asked, rows, results)


if __name__ == "__main__":
    main()
