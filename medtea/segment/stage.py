"""Train the lung segmenter on given masks, then a cleaned and checked mask for every radiograph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from monai.losses import DiceCELoss
from pydantic import Field as Bound
from torch import Tensor, nn

from medtea.core.errors import ConfigError, DataError, nearest
from medtea.core.names import Field, IndexArtefact, LungsArtefact, Role, Split
from medtea.core.progress import track
from medtea.core.seeds import named_seed, numpy_generator
from medtea.core.settings import StrictSettings
from medtea.core.tracking import metric_name
from medtea.core.work import Work, read_array, write_array, write_csv, write_json, write_weights
from medtea.data.augment import AugmentSettings
from medtea.data.bank import Bank, bank_fields, make_bank
from medtea.data.index import read_index, rows
from medtea.data.loader import Batch, Loader
from medtea.metrics.intervals import bootstrap_by_patient
from medtea.metrics.overlap import dice, hausdorff95, surface_dice, surface_distance
from medtea.segment.checks import CheckSettings, implausible
from medtea.segment.cleanup import clean_mask
from medtea.training.loop import LoopSettings, train
from medtea.training.networks import build_segmenter
from medtea.training.predict import predict_masks

Array = np.ndarray[Any, Any]


class Settings(StrictSettings):
    """How lungs are found.

    Attributes:
        hospitals: Whose given masks to learn from; empty: every hospital that is not external. An external
            hospital's masks are never learnt from, only measured against.
        channels: Of the U-Net, a level each.
        copies: Augmented copies per radiograph.
        threshold: Lung from this probability on.
        tolerance_px: Of the normalised surface distance: outlines so many pixels of the grid apart agree.
        augment: How far the copies differ.
        loop: How the network is trained.
        checks: What a plausible mask looks like.
    """

    hospitals: tuple[str, ...] = ()
    channels: tuple[int, ...] = (16, 32, 64, 128)
    copies: int = Bound(4, ge=1)
    threshold: float = Bound(0.5, gt=0, lt=1)
    tolerance_px: float = Bound(2.0, ge=0)
    augment: AugmentSettings = AugmentSettings(rotation_degrees=10.0, shift=0.06, zoom=0.15)
    loop: LoopSettings = LoopSettings(epochs=12, batch_size=16, learning_rate=3e-3)
    checks: CheckSettings = CheckSettings()


class SegmenterTask:
    """Dice plus cross-entropy on lung pixels."""

    def __init__(self, network: nn.Module) -> None:
        """Train `network`."""
        self.network = network
        self._criterion = DiceCELoss(sigmoid=True)

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch."""
        return self._criterion(self.network(batch.radiograph), batch[Field.LUNG_MASK])  # type: ignore[no-any-return]


SEES = frozenset({Field.RADIOGRAPH, Field.LUNG_MASK})


def run(work: Work, settings: Settings, index: IndexArtefact, *, splits: pd.DataFrame | None = None) -> LungsArtefact:
    """Leave a lung mask for every radiograph, with its Dice where a mask was given and its reason where it failed.

    Args:
        work: The run.
        settings: How lungs are found.
        index: The radiographs.
        splits: The index with the roles and splits by which to learn, where those of the index are about something
            else: when nothing but the segmenter is trained.

    Raises:
        ConfigError: a hospital is not there or is external, or the radiographs cannot be halved once per level.
        DataError: no radiograph of the chosen hospitals has a given mask.
    """
    stage = work.stage("segment", settings, [index])
    lungs = LungsArtefact(stage.folder)
    if stage.is_finished:
        return lungs
    table = read_index(index.index) if splits is None else splits
    radiographs = read_array(index.radiographs)
    given = read_array(index.given_masks)
    _check(settings, table, size=radiographs.shape[-1])
    usable = table["has_mask"] & table["role"].ne(Role.EXTERNAL)
    if settings.hospitals:
        usable &= table["hospital"].isin(settings.hospitals)
    learning = rows(usable & table["split"].ne(Split.TEST))
    if len(learning) == 0:
        raise DataError(
            "segment.hospitals: no radiograph of these hospitals has a lung mask to learn from. "
            f"Hospitals with masks: {', '.join(sorted(table.loc[table['has_mask'], 'hospital'].unique())) or 'none'}."
        )
    bank = make_bank(
        stage.folder / "bank",
        radiographs=radiographs,
        lung_masks=given,
        rows=learning,
        copies=settings.copies,
        settings=settings.augment,
        seed=named_seed(work.seed, "segment"),
    )
    network = build_segmenter(settings.channels, named_seed(work.seed, "segmenter")).to(work.device)
    with work.tracker.child("segmenter", settings.model_dump(mode="json")) as tracked:
        is_training = table["split"].to_numpy()[learning] == Split.TRAIN
        train(
            SegmenterTask(network),
            training=_loader(work, bank, table, settings, np.flatnonzero(is_training), shuffled=True),
            validation=_loader(work, bank, table, settings, np.flatnonzero(~is_training), shuffled=False),
            settings=settings.loop,
            folder=stage.folder,
            name="segmenter",
            log=tracked.metrics,
        )
        write_weights(lungs.segmenter, network)
        found = predict_masks(network, radiographs, np.arange(len(table)))
        masks, listing = checked(found, settings, table, radiographs, given)
        write_array(lungs.lung_masks, masks)
        write_csv(lungs.masks, listing, list(listing[0]))
        metrics = by_hospital(pd.DataFrame(listing), table, learning, seed=work.seed)
        metrics["tolerance_px"] = settings.tolerance_px
        write_json(lungs.metrics, metrics)
        tracked.metrics(
            {
                metric_name("dice", row["hospital"]): row["dice"]
                for row in metrics["hospitals"]
                if row["dice"] is not None
            }
        )
    stage.finish(implausible=sum(not row["plausible"] for row in listing), radiographs=len(listing))
    return lungs


def _check(settings: Settings, table: pd.DataFrame, *, size: int) -> None:
    own = set(table.loc[table["role"].ne(Role.EXTERNAL), "hospital"])
    for hospital in settings.hospitals:
        if hospital not in own:
            raise ConfigError(
                f"segment.hospitals: '{hospital}' is external or has no radiograph. {nearest(hospital, own)}"
            )
    levels = len(settings.channels)
    step = 2 ** (levels - 1)
    if size % step:
        raise ConfigError(
            f"segment.channels: {levels} levels halve the radiograph {levels - 1} times, and ingest.size {size} is no "
            f"multiple of {step}. Set ingest.size: {size - size % step}."
        )


def _loader(
    work: Work, bank: Bank, table: pd.DataFrame, settings: Settings, entries: Array, *, shuffled: bool
) -> Loader:
    return Loader(
        bank_fields(bank),
        asks=SEES,
        entries=entries,
        rows=bank.rows,
        names=table["radiograph"].to_numpy()[bank.rows],
        batch_size=settings.loop.batch_size,
        generator=numpy_generator(work.seed, "segment/order") if shuffled else None,
        device=work.device,
    )


def checked(
    probabilities: Array,
    settings: Settings,
    table: pd.DataFrame,
    radiographs: Array,
    given: Array,
    *,
    clean: bool = True,
) -> tuple[Array, list[dict[str, object]]]:
    """A cleaned mask per radiograph, and the row that says what is known of it; without `clean` the mask as it is."""
    masks = np.zeros(probabilities.shape, dtype=np.uint8)
    listing: list[dict[str, object]] = []
    for row in track(np.arange(len(table)), "checking masks"):
        masks[row] = clean_mask(probabilities[row], threshold=settings.threshold) if clean else probabilities[row]
        reason = implausible(masks[row], np.asarray(radiographs[row], dtype=np.float32), settings.checks)
        pair = (masks[row : row + 1], given[row : row + 1])
        measured = bool(table["has_mask"].iloc[row])
        listing.append(
            {
                "radiograph": table["radiograph"].iloc[row],
                "hospital": table["hospital"].iloc[row],
                "plausible": not reason,
                "reason": reason,
                "dice": _text(dice(*pair)) if measured else "",
                "surface_distance_px": _text(surface_distance(*pair)) if measured else "",
                "surface_dice": _text(surface_dice(*pair, tolerance=settings.tolerance_px)) if measured else "",
                "hausdorff95_px": _text(hausdorff95(*pair)) if measured else "",
            }
        )
    return masks, listing


def _text(value: Array) -> str:
    """One value with four digits, or nothing where there is no answer."""
    return f"{value.item():.4f}" if np.isfinite(value).all() else ""


MEASURES = ("dice", "surface_dice", "surface_distance_px", "hausdorff95_px")
"""Columns of masks.csv that compare a mask with a given one."""


def by_hospital(listing: pd.DataFrame, table: pd.DataFrame, learning: Array, *, seed: int) -> dict[str, Any]:
    """How masks compare with given ones, per hospital, on radiographs the segmenter did not learn from; its failures.

    `estimates` are means with an interval by patient. Where no lung was found Dice and surface Dice are 0 and count,
    and distances have no answer: their n says on how many they rest, `empty` how often that was so.
    """
    unseen = np.ones(len(table), dtype=bool)
    unseen[learning] = False
    found = []
    for hospital, part in listing.groupby("hospital", sort=True):
        measured = part[unseen[part.index] & part["dice"].ne("")]
        reasons = part.loc[~part["plausible"], "reason"].str.replace(r"\d+%?", "N", regex=True).value_counts()
        found.append(
            {
                "hospital": hospital,
                "radiographs": len(part),
                "implausible": int((~part["plausible"]).sum()),
                "reasons": {str(reason): int(count) for reason, count in reasons.items()},
                "measured": len(measured),
                "dice": _mean(measured["dice"]),
                "surface_distance_px": _mean(measured["surface_distance_px"]),
                "empty": int(measured["hausdorff95_px"].eq("").sum()),
                "estimates": {
                    name: bootstrap_by_patient(
                        table["patient"].iloc[measured.index].tolist(),
                        pd.to_numeric(measured[name], errors="coerce").to_numpy(dtype=np.float64),
                        generator=numpy_generator(seed, f"segment/intervals/{hospital}"),
                    ).to_json()
                    for name in MEASURES
                },
            }
        )
    return {"hospitals": found, "measured_on": "radiographs with a given mask that the segmenter did not learn from"}


def _mean(texts: pd.Series[str]) -> float | None:
    values = pd.to_numeric(texts, errors="coerce").dropna()
    return float(values.mean()) if len(values) else None
