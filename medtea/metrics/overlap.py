"""How well a predicted mask covers a given one, image by image."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from medtea.core.errors import DataError


def dice(predicted: ArrayLike, given: ArrayLike) -> NDArray[np.float64]:
    """Dice coefficient 2 |P and G| / (|P| + |G|) per image.

    Args:
        predicted: Masks, (batch, height, width) or (batch, 1, height, width); what is not 0 is inside.
        given: Same shape.

    Returns:
        (batch,) values in [0, 1]. NaN where the given mask is empty: there is nothing to compare with. An empty
        prediction of a given mask is 0, a failure that counts.

    Raises:
        DataError: shapes differ.
    """
    found, truth = _pair(predicted, given)
    both = (found & truth).sum(axis=(1, 2))
    sizes = found.sum(axis=(1, 2)) + truth.sum(axis=(1, 2))
    return np.where(truth.any(axis=(1, 2)), 2 * both / np.maximum(sizes, 1), np.nan)


def surface_distance(predicted: ArrayLike, given: ArrayLike) -> NDArray[np.float64]:
    """Mean symmetric surface distance per image, in pixels of the grid.

    Every border pixel of either mask is measured to the nearest border pixel of the other; the mean runs over the
    border pixels of both. A border pixel is inside its mask with a 4-neighbour outside; the image's edge counts as
    outside.

    Args:
        predicted: Masks, (batch, height, width) or (batch, 1, height, width); what is not 0 is inside.
        given: Same shape.

    Returns:
        (batch,) values >= 0. NaN where either mask is empty: it has no surface.

    Raises:
        DataError: shapes differ.
    """
    found, truth = _pair(predicted, given)
    return np.array([_one_distance(a, b) for a, b in zip(found, truth, strict=True)], dtype=np.float64)


def surface_dice(predicted: ArrayLike, given: ArrayLike, *, tolerance: float) -> NDArray[np.float64]:
    """Normalised surface distance per image: the share of both outlines that lies within `tolerance` of the other one.

    Args:
        predicted: Masks, (batch, height, width) or (batch, 1, height, width); what is not 0 is inside.
        given: Same shape.
        tolerance: In pixels of the grid; what lies that far apart is as good as agreeing.

    Returns:
        (batch,) values in [0, 1]. NaN where the given mask is empty; 0 where the prediction of a given mask is.

    Raises:
        DataError: shapes differ.

    References:
        Nikolov et al., J Med Internet Res 23(7), 2021 (surface Dice); MONAI's compute_surface_dice.
    """
    found, truth = _pair(predicted, given)
    values = np.where(truth.any(axis=(1, 2)), 0.0, np.nan)
    both = truth.any(axis=(1, 2)) & found.any(axis=(1, 2))
    if both.any():
        pair = (_channelled(found[both]), _channelled(truth[both]))
        with _quiet():
            values[both] = compute_surface_dice(*pair, [tolerance], include_background=True).numpy()[:, 0]
    return values


def hausdorff95(predicted: ArrayLike, given: ArrayLike) -> NDArray[np.float64]:
    """95th percentile of the distance from one outline to the other, the larger of both ways, in pixels of the grid.

    Args:
        predicted: Masks, (batch, height, width) or (batch, 1, height, width); what is not 0 is inside.
        given: Same shape.

    Returns:
        (batch,) values >= 0. NaN where either mask is empty: it has no outline.

    Raises:
        DataError: shapes differ.

    References:
        Huttenlocher et al., IEEE TPAMI 15(9), 1993; MONAI's compute_hausdorff_distance.
    """
    found, truth = _pair(predicted, given)
    values = np.full(len(truth), np.nan)
    both = truth.any(axis=(1, 2)) & found.any(axis=(1, 2))
    if both.any():
        pair = (_channelled(found[both]), _channelled(truth[both]))
        with _quiet():
            distances = compute_hausdorff_distance(*pair, include_background=True, percentile=95)
        values[both] = distances.numpy()[:, 0]
    return values


@contextmanager
def _quiet() -> Iterator[None]:
    # MONAI 1.6 warns of an argument that it hands on itself.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
        yield


def _channelled(masks: NDArray[np.bool_]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(masks[:, None])).float()


def _one_distance(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    if not found.any() or not truth.any():
        return float("nan")
    first, second = (mask & ~binary_erosion(mask) for mask in (found, truth))
    there, back = distance_transform_edt(~second)[first], distance_transform_edt(~first)[second]
    return float(np.concatenate([there, back]).mean())


def _pair(predicted: ArrayLike, given: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    found, truth = np.asarray(predicted) != 0, np.asarray(given) != 0
    if found.shape != truth.shape:
        raise DataError(f"Predicted masks have the shape {found.shape}, given masks {truth.shape}; they must agree.")
    if found.ndim == 4 and found.shape[1] == 1:
        found, truth = found[:, 0], truth[:, 0]
    if found.ndim != 3:
        raise DataError(
            f"Masks have the shape {found.shape}; give (batch, height, width) or (batch, 1, height, width)."
        )
    return found, truth
