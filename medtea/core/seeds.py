"""One seed becomes named, independent generators, so that adding a consumer changes no other's numbers."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def named_seed(seed: int, name: str) -> int:
    """A 63-bit seed for `name`: the same for the same pair, unrelated between names."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(seed: int, name: str) -> np.random.Generator:
    """NumPy's generator for one named purpose."""
    return np.random.default_rng(named_seed(seed, name))


def torch_generator(seed: int, name: str) -> torch.Generator:
    """Torch's CPU generator for one named purpose."""
    return torch.Generator().manual_seed(named_seed(seed, name))
