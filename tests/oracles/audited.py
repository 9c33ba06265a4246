"""Small radiographs whose label shows where it is put, and networks that read some pixels by construction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from medtea.audit.asked import AuditedGroup, AuditedNetwork
from medtea.data.marks import Mark

Array = np.ndarray[Any, Any]
SIZE, COUNT = 32, 60
LETTER = Mark("L", corner="top left").pixels(SIZE, SIZE)


def lungs() -> Array:
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    mask[10:26, 5:13] = mask[10:26, 19:27] = 1
    return mask


def group_of(*, corner_tells: bool, patients: int = COUNT, count: int = COUNT) -> AuditedGroup:
    """Radiographs whose label shows in the lungs, and, if it is to tell, under the letter in the corner as well."""
    generator = np.random.default_rng(2)
    labels = np.arange(count) % 2
    radiographs = (0.2 + 0.05 * generator.random((count, SIZE, SIZE))).astype(np.float32)
    radiographs[:, lungs() > 0] += 0.2 * labels[:, None]
    if corner_tells:
        radiographs[:, LETTER] += 0.1 * labels[:, None]
    return AuditedGroup(
        "alpha",
        radiographs,
        np.repeat(lungs()[None], count, axis=0),
        labels,
        [f"p{number % patients}" for number in range(count)],
    )


def reads(pixels: Array, *, gain: float = 40.0, threshold: float = 0.5, lungs_only: bool = False) -> AuditedNetwork:
    """A network whose logit is gain x (mean of some pixels - threshold), and which looks at nothing else."""
    linear = nn.Linear(SIZE * SIZE, 1)
    weight = pixels.astype(np.float32).reshape(1, -1)
    linear.weight.data = torch.from_numpy(gain * weight / max(float(weight.sum()), 1.0))
    linear.bias.data = torch.tensor([-gain * threshold])
    return AuditedNetwork("student", nn.Sequential(nn.Flatten(), linear).eval(), sees_lungs_only=lungs_only)


CORNER, LUNGS = reads(LETTER), reads(lungs(), threshold=0.325)
BLIND = reads(np.zeros((SIZE, SIZE)))


def elsewhere(group: AuditedGroup) -> AuditedGroup:
    """The same radiographs, a little brighter, as those of other patients at a hospital not seen."""
    brighter = (group.radiographs + 0.01).astype(np.float32)
    patients = [f"q{patient}" for patient in group.patients]
    return replace(group, name="beta", hospital="beta", is_seen=False, radiographs=brighter, patients=patients)
