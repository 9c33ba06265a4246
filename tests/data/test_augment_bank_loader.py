"""Copies move radiograph and mask together, the bank keeps them, and the loader hands out what was asked for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from medtea.core.errors import ConfigError, RecordError, UsageError
from medtea.core.names import Field
from medtea.core.settings import parse
from medtea.core.work import read_array, write_array
from medtea.data.augment import AugmentSettings, augmentation, augmented_copy
from medtea.data.bank import Bank, HeatmapWriter, bank_fields, batches_of_entries, make_bank
from medtea.data.loader import Batch, Loader, StoredHeatmaps
from medtea.data.lungs import lungs_only

Array = np.ndarray[Any, Any]
SIZE = 48
STILL: dict[str, Any] = {
    "rotation_degrees": 0.0,
    "shift": 0.0,
    "zoom": 0.0,
    "gamma": (1.0, 1.0),
    "noise": 0.0,
    "blur_pixels": 0.0,
}


def lungs() -> Array:
    """Two ellipses, well off the border."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    ellipses = [((x - centre) / 0.13) ** 2 + ((y - 0.5) / 0.27) ** 2 < 1 for centre in (0.3, 0.68)]
    return (ellipses[0] | ellipses[1]).astype(np.uint8)


def radiographs(count: int) -> Array:
    generator = np.random.default_rng(1)
    return ndimage.gaussian_filter(generator.random((count, SIZE, SIZE)), (0, 2, 2)).astype(np.float16)


def copies_of(image: Array, mask: Array, count: int, **settings: Any) -> list[tuple[Array, Array]]:
    transforms = augmentation(AugmentSettings(**(STILL | settings)), SIZE, 5)
    found = [augmented_copy(transforms, {"radiograph": image, "lung_mask": mask}) for _ in range(count)]
    return [(one["radiograph"], one["lung_mask"]) for one in found]


# --- augmentation


def test_nothing_moves_when_every_range_is_0() -> None:
    image = radiographs(1)[0]
    for copy, mask in copies_of(image, lungs(), 4):
        # float16 and the blur of least width (0.1 pixels) leave less than a grey value of 8 bits
        assert np.abs(copy.astype(float) - image.astype(float)).max() < 1 / 255
        assert (mask == lungs()).all()


@pytest.mark.parametrize("moved", [{"shift": 0.1}, {"zoom": 0.2}, {"rotation_degrees": 15.0}, "default"])
def test_a_radiograph_equal_to_its_mask_stays_so_but_for_the_rim(moved: dict[str, Any] | str) -> None:
    geometry = ("rotation_degrees", "shift", "zoom")
    ranges = moved if isinstance(moved, dict) else {name: AugmentSettings().model_dump()[name] for name in geometry}
    mask, around = lungs(), np.ones((3, 3))
    changed = 0
    for copy, moved_mask in copies_of(mask.astype(np.float32), mask, 6, **ranges):
        # of the four pixels that bilinear weighs the nearest has at least a quarter
        assert np.abs(copy - moved_mask).max() <= 0.75 + 1e-5
        rim = ndimage.binary_dilation(moved_mask, around) ^ ndimage.binary_erosion(moved_mask, around)
        assert np.abs(copy - moved_mask)[~rim].max() < 1e-5
        changed += int((moved_mask != mask).sum())
    assert changed > 0, "it did move"


def test_copies_shift_along_both_axes_and_no_further_than_allowed() -> None:
    mask = lungs()
    before = np.array(ndimage.center_of_mass(mask))
    after = [ndimage.center_of_mass(moved) for _, moved in copies_of(mask.astype(np.float32), mask, 24, shift=0.1)]
    shifts = np.array(after) - before
    assert (np.abs(shifts) <= 0.1 * SIZE + 0.5).all()
    assert (shifts.std(axis=0) > 1).all(), "rows and columns"


def test_copies_zoom_along_both_axes() -> None:
    mask = lungs()
    spans = [
        [np.ptp(np.flatnonzero(moved.any(axis=axis))) for axis in (0, 1)]
        for _, moved in copies_of(mask.astype(np.float32), mask, 16, zoom=0.2)
    ]
    assert (np.std(spans, axis=0) > 1).all()


def test_grey_values_stay_in_0_to_1_and_the_mask_stays_0_or_1_in_their_own_kinds() -> None:
    settings = {"noise": 0.5, "gamma": (0.2, 4.0), "blur_pixels": 2.0, "rotation_degrees": 15.0}
    for copy, mask in copies_of(radiographs(1)[0], lungs(), 8, **settings):
        assert (copy.dtype, mask.dtype) == (np.float16, np.uint8)
        assert 0 <= copy.min() <= copy.max() <= 1
        assert set(np.unique(mask)) == {0, 1}


def test_contrast_and_brightness_change_exposure_by_no_more_than_asked_and_nothing_else() -> None:
    image = (0.4 + 0.2 * radiographs(1)[0]).astype(np.float32)  # nothing is clipped
    slopes, shifts = [], []
    for copy, _ in copies_of(image, lungs(), 16, contrast=0.3, brightness=0.1):
        slope, offset = np.polyfit(image.ravel(), copy.ravel(), 1)
        # the blur of least width, on in some copies, leaves about a thousandth
        assert np.abs(slope * image + offset - copy).max() < 5e-3
        slopes.append(slope)
        shifts.append(copy.mean() - image.mean())
    assert 0.69 < min(slopes) < 0.9
    assert 1.1 < max(slopes) < 1.31
    assert -0.101 < min(shifts) < -0.03
    assert 0.03 < max(shifts) < 0.101


def test_a_teacher_on_the_lungs_own_grey_scale_is_shown_the_same_at_any_exposure() -> None:
    image, mask = (0.4 + 0.2 * radiographs(1)[0]).astype(np.float32), lungs()
    shown = [
        lungs_only(torch.from_numpy(copy)[None, None], torch.from_numpy(mask)[None, None].float())
        for copy in (image, 0.7 * image + 0.1)
    ]
    torch.testing.assert_close(*shown)


def test_no_copy_is_mirrored_since_left_is_not_right() -> None:
    mask = lungs()
    mask[:, SIZE // 2 :] = 0
    for _, moved in copies_of(mask.astype(np.float32), mask, 30, **AugmentSettings().model_dump()):
        assert moved[:, SIZE // 2 + 6 :].sum() == 0


@pytest.mark.parametrize(
    ("setting", "value"),
    [("shift", -0.1), ("noise", -1), ("gamma", [0, 1]), ("gamma", [2, 1]), ("zoom", 1), ("blur_pixels", -1)],
)
def test_a_range_that_cannot_be_drawn_from_is_refused_with_its_name(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^augment\.{setting}: .* is not allowed"):
        parse(AugmentSettings, {setting: value}, "augment")


# --- the bank


def bank_in(folder: Path, *, seed: int = 0, copies: int = 3, rows: tuple[int, ...] = (4, 1, 3)) -> Bank:
    masks = np.stack([np.roll(lungs(), step, axis=0) for step in range(5)])
    return make_bank(
        folder,
        radiographs=radiographs(5),
        lung_masks=masks,
        rows=np.array(rows),
        copies=copies,
        settings=AugmentSettings(),
        seed=seed,
    )


def test_copy_0_is_the_radiograph_and_the_mask_themselves(tmp_path: Path) -> None:
    bank = bank_in(tmp_path)
    assert bank.rows.tolist() == [4, 1, 3]
    for entry, row in enumerate(bank.rows):
        assert (bank.array("radiograph")[entry, 0] == radiographs(5)[row]).all()
        assert (bank.array("lung_mask")[entry, 0] == np.roll(lungs(), row, axis=0)).all()


def test_the_other_copies_differ_from_it_and_from_one_another(tmp_path: Path) -> None:
    images = bank_in(tmp_path).array("radiograph")
    assert len({image.tobytes() for image in images.reshape(-1, SIZE, SIZE)}) == 9


def test_the_same_seed_gives_the_same_bank_and_another_seed_another(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one = bank_in(tmp_path / "one")
    torch.manual_seed(1)  # the global generators have no say
    same, other = bank_in(tmp_path / "same"), bank_in(tmp_path / "other", seed=1)
    for name in ("radiograph", "lung_mask"):
        assert (one.array(name) == same.array(name)).all()
        assert (one.array(name)[:, 0] == other.array(name)[:, 0]).all()
        assert not (one.array(name)[:, 1:] == other.array(name)[:, 1:]).all()


def test_a_twin_is_changed_exactly_as_its_radiograph() -> None:
    image = np.random.default_rng(1).random((SIZE, SIZE)).astype(np.float32)
    transforms = augmentation(AugmentSettings(noise=0.1), SIZE, 0)
    for _ in range(8):
        found = augmented_copy(transforms, {"radiograph": image, "lung_mask": image > 0.5, "twin": image})
        np.testing.assert_array_equal(found["twin"], found["radiograph"])
        assert not np.array_equal(found["twin"], image)


def test_one_copy_is_enough(tmp_path: Path) -> None:
    assert bank_in(tmp_path, copies=1).array("radiograph").shape == (3, 1, SIZE, SIZE)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_maps_come_back_from_half_precision_to_a_thousandth(tmp_path: Path, size: float) -> None:
    bank = bank_in(tmp_path, copies=2)
    maps = np.random.default_rng(0).standard_normal((3, 2, 1, 6, 6)).astype(np.float32) * size
    writer = HeatmapWriter(bank, 2, {"stage.1": (1, 6, 6)}, {"stage.1": 4 * float(np.abs(maps).max())})
    for copy in range(2):
        for part in batches_of_entries(3, 2):
            writer.write(part, copy, {"stage.1": maps[part, copy]})
    writer.close()
    assert bank.layers == ["stage.1"]
    stored, scale = bank.heatmap("stage.1")
    assert stored.dtype == np.float16
    # float16 has 11 bits: 2^-11 = 0.0005 relative, down to 6e-5 of the scale; what is fainter keeps 6e-8 of it
    np.testing.assert_allclose(stored.astype(np.float64) * scale, maps, rtol=1e-3, atol=6e-8 * scale)


def test_a_bank_whose_maps_were_not_closed_has_none(tmp_path: Path) -> None:
    bank = bank_in(tmp_path)
    HeatmapWriter(bank, 1, {"input": (1, SIZE, SIZE)}, {"input": 1.0})
    with pytest.raises(RecordError, match=r"heatmap_scales\.json' is missing"):
        _ = bank.layers


@pytest.mark.parametrize(("entries", "size"), [(0, 4), (1, 4), (8, 4), (9, 4)])
def test_slices_cover_every_entry_once(entries: int, size: int) -> None:
    parts = list(batches_of_entries(entries, size))
    assert [entry for part in parts for entry in range(entries)[part]] == list(range(entries))
    assert all(part.stop - part.start <= size for part in parts)


# --- the loader


def numbered(entries: int = 7, copies: int = 3) -> dict[Field, Array]:
    """Every value says where it stands: entry + copy / 10."""
    places = np.arange(entries)[:, None] + np.arange(copies) / 10
    return {
        Field.RADIOGRAPH: np.broadcast_to(places[..., None, None], (entries, copies, 2, 2)).copy(),
        Field.LUNG_MASK: np.ones((entries, copies, 2, 2), dtype=np.uint8),
        Field.LABEL: np.arange(entries, dtype=np.float32),
        Field.TEACHER_LOGIT: places,
        Field.HOSPITAL: np.zeros(entries, dtype=np.float32),
    }


def loader_of(*asks: Field, entries: Array | None = None, **kinds: Any) -> Loader:
    arrays = kinds.pop("arrays", None) or numbered()
    count = len(next(iter(arrays.values())))
    return Loader(
        arrays,
        asks=frozenset(asks),
        entries=np.arange(count) if entries is None else entries,
        rows=kinds.pop("rows", 100 + np.arange(count)),
        batch_size=kinds.pop("batch_size", 3),
        **kinds,
    )


def heatmaps() -> StoredHeatmaps:
    places = numbered()[Field.TEACHER_LOGIT][..., None, None, None]
    return StoredHeatmaps({"input": (places, 2.0), "stem": (-places, 4.0)})


def test_in_order_copy_0_of_every_entry_comes_once() -> None:
    loader = loader_of(Field.RADIOGRAPH, Field.LABEL, Field.TEACHER_LOGIT)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert len(loader) == 3
    assert torch.cat([batch[Field.LABEL] for batch in batches]).tolist() == list(range(7))
    assert torch.cat([batch.radiograph[:, 0, 0, 0] for batch in batches]).tolist() == list(range(7))
    assert batches[0].radiograph.shape == (3, 1, 2, 2)
    assert batches[0].radiograph.dtype == torch.float32
    assert batches[0][Field.TEACHER_LOGIT].shape == (3,)
    assert np.concatenate([batch.rows for batch in batches]).tolist() == list(range(100, 107))


def test_only_the_entries_named_come_and_each_brings_its_own_row() -> None:
    (batch,) = loader_of(Field.LABEL, entries=np.array([5, 2]))
    assert batch[Field.LABEL].tolist() == [5, 2]
    assert batch.rows.tolist() == [105, 102]


def test_a_shuffled_epoch_has_every_entry_once_in_another_order_each_time() -> None:
    arrays = numbered(entries=12)
    loader = loader_of(Field.LABEL, arrays=arrays, generator=np.random.default_rng(0))
    epochs = [torch.cat([batch[Field.LABEL] for batch in loader]).tolist() for _ in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_shuffled_epoch_leaves_out_what_does_not_fill_a_batch_and_none_for_ever() -> None:
    loader = loader_of(Field.LABEL, generator=np.random.default_rng(0))
    epochs = [torch.cat([batch[Field.LABEL] for batch in loader]).tolist() for _ in range(20)]
    assert all(len(set(epoch)) == len(epoch) == 6 for epoch in epochs)
    assert {label for epoch in epochs for label in epoch} == set(range(7))


def test_fewer_entries_than_a_batch_are_one_batch() -> None:
    loader = loader_of(Field.LABEL, entries=np.arange(2), batch_size=32, generator=np.random.default_rng(0))
    assert [len(batch) for batch in loader] == [2]
    assert len(loader_of(Field.LABEL, entries=np.arange(0))) == 0


def test_all_fields_of_a_radiograph_come_from_the_same_copy_of_the_same_entry() -> None:
    asks = (Field.RADIOGRAPH, Field.LABEL, Field.TEACHER_LOGIT, Field.TEACHER_HEATMAP)
    loader = loader_of(*asks, heatmaps=heatmaps(), generator=np.random.default_rng(0))
    copies = set()
    for batch in (batch for _ in range(10) for batch in loader):
        place = batch.radiograph[:, 0, 0, 0]
        torch.testing.assert_close(batch[Field.TEACHER_LOGIT], place)
        torch.testing.assert_close(batch.teacher_heatmaps["input"][:, 0, 0, 0], 2 * place)
        torch.testing.assert_close(batch.teacher_heatmaps["stem"][:, 0, 0, 0], -4 * place)
        assert torch.equal(place.floor(), batch[Field.LABEL])
        assert (batch.rows - 100 == batch[Field.LABEL].numpy()).all()
        copies |= {round(10 * float(copy)) for copy in place - place.floor()}
    assert copies == {0, 1, 2}, "every copy is drawn"


def test_copies_are_drawn_even_when_heatmaps_alone_are_asked_for() -> None:
    loader = loader_of(Field.TEACHER_HEATMAP, heatmaps=heatmaps(), generator=np.random.default_rng(0))
    found = torch.cat([batch.teacher_heatmaps["input"].flatten() for _ in range(5) for batch in loader]) / 2
    assert len({round(10 * float(value)) % 10 for value in found}) == 3


def test_the_state_of_the_order_generator_brings_the_same_epochs_again() -> None:
    loader = loader_of(Field.RADIOGRAPH, generator=np.random.default_rng(0))
    list(loader)
    assert loader.generator is not None
    state = loader.generator.bit_generator.state
    epochs = [[batch.radiograph.tolist() for batch in loader] for _ in range(2)]
    fresh = loader_of(Field.RADIOGRAPH, generator=np.random.default_rng(9))
    assert fresh.generator is not None
    fresh.generator.bit_generator.state = state
    assert [[batch.radiograph.tolist() for batch in fresh] for _ in range(2)] == epochs


def test_an_epoch_can_be_entered_at_any_batch_without_changing_what_follows() -> None:
    def two_epochs(start: int) -> list[Any]:
        loader = loader_of(Field.RADIOGRAPH, batch_size=2, generator=np.random.default_rng(0))
        return [[batch.radiograph.tolist() for batch in epoch] for epoch in (loader.epoch(start), loader)]

    whole = two_epochs(0)
    assert len(whole[0]) == 3
    for start in (1, 2, 3):
        first, second = two_epochs(start)
        assert first == whole[0][start:]
        assert second == whole[1]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_shares_of_a_batch_are_the_batch(parts: int) -> None:
    def loader() -> Loader:
        arrays = numbered(entries=13)
        asks, generator = (Field.RADIOGRAPH, Field.LABEL), np.random.default_rng(0)
        return loader_of(*asks, arrays=arrays, batch_size=6, generator=generator, names=map(str, range(13)))

    whole = list(loader())
    shares = [list(loader().shared(part, parts)) for part in range(parts)]
    for number, batches in enumerate(zip(*shares, strict=True)):
        assert {len(batch) for batch in batches} == {6 // parts}
        radiographs = torch.cat([batch.radiograph for batch in batches])
        assert torch.equal(radiographs, whole[number].radiograph), "the same radiographs and the same copies"
        assert {batch.names for batch in batches} == {whole[number].names}, "messages name the whole batch"
        assert [int(name) for name in whole[number].names] == whole[number][Field.LABEL].tolist()


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(
        ConfigError, match=r"^batch_size: 3 radiographs cannot be shared equally by 2 processes\. Set a"
    ):
        loader_of(Field.LABEL, generator=generator).shared(0, 2)
    with pytest.raises(ConfigError, match=r"^batch_size: 1 radiographs cannot be shared equally"):
        loader_of(Field.LABEL, entries=np.arange(1), batch_size=8, generator=generator).shared(0, 2)
    cut = loader_of(Field.LABEL, batch_size=32, generator=generator).shared(1, 2)
    assert [len(batch) for batch in cut] == [3], "seven radiographs are fewer than a batch: six are shared"


def test_a_loader_that_is_sent_takes_the_place_of_a_mapped_file_along_and_not_its_content(tmp_path: Path) -> None:
    arrays = {name: np.repeat(array, 300, axis=0) for name, array in numbered().items()}
    maps = np.repeat(heatmaps().maps["input"][0], 300, axis=0)
    write_array(tmp_path / "maps.npy", maps)
    for name, array in arrays.items():
        write_array(tmp_path / f"{name}.npy", array)

    def loader(opened: Callable[[str], Array]) -> Loader:
        fields = {field: opened(field) for field in arrays}
        stored = StoredHeatmaps({"input": (opened("maps"), 2.0)})
        asks, generator = (*arrays, Field.TEACHER_HEATMAP), np.random.default_rng(0)
        return loader_of(*asks, arrays=fields, heatmaps=stored, generator=generator)

    mapped = loader(lambda name: read_array(tmp_path / f"{name}.npy"))
    held = loader(lambda name: np.load(tmp_path / f"{name}.npy"))
    sent = pickle.dumps(mapped)
    assert len(sent) < 0.6 * len(pickle.dumps(held))
    assert len(sent) < 100_000
    for batch, other in zip(pickle.loads(sent), held, strict=True):
        assert torch.equal(batch.radiograph, other.radiograph)
        assert torch.equal(batch.teacher_heatmaps["input"], other.teacher_heatmaps["input"])
    part = loader(lambda name: read_array(tmp_path / f"{name}.npy")[: 7 * 300 - 1])
    assert next(iter(pickle.loads(pickle.dumps(part)))).names, "of a part of a file, the part is sent"


def test_a_batch_is_a_copy_so_that_changing_it_leaves_the_bank_alone() -> None:
    arrays = {name: array.astype(np.float32) for name, array in numbered().items()}
    stored = StoredHeatmaps({"input": (np.ones((7, 3, 1, 2, 2), dtype=np.float32), 8.0)})
    for batch in loader_of(Field.RADIOGRAPH, Field.LABEL, Field.TEACHER_HEATMAP, arrays=arrays, heatmaps=stored):
        for tensor in (batch.radiograph, batch[Field.LABEL], batch.teacher_heatmaps["input"]):
            tensor.zero_()
    assert (stored.maps["input"][0] == 1).all()
    assert (arrays[Field.LABEL] == np.arange(7)).all()
    assert arrays[Field.RADIOGRAPH].any()


ASKED: dict[Field, Callable[[Batch], Any]] = {
    Field.RADIOGRAPH: lambda batch: batch.radiograph,
    Field.LABEL: lambda batch: batch[Field.LABEL],
    Field.LUNG_MASK: lambda batch: batch[Field.LUNG_MASK],
    Field.HOSPITAL: lambda batch: batch[Field.HOSPITAL],
    Field.TEACHER_LOGIT: lambda batch: batch[Field.TEACHER_LOGIT],
    Field.TEACHER_HEATMAP: lambda batch: batch.teacher_heatmaps,
}


@pytest.mark.parametrize("one", sorted(ASKED))
def test_nothing_is_handed_out_that_was_not_asked_for(one: Field) -> None:
    batch = next(iter(loader_of(one, heatmaps=heatmaps())))
    assert len(ASKED[one](batch)) > 0
    for other in ASKED.keys() - {one}:
        with pytest.raises(UsageError, match=f"^'{other}' was not asked for, so it may not be seen"):
            ASKED[other](batch)


def test_the_teachers_head_never_travels_in_a_batch() -> None:
    batch = next(iter(loader_of(Field.RADIOGRAPH, Field.TEACHER_HEAD)))
    with pytest.raises(UsageError, match=r"'teacher_head' was not asked for.*this batch has: radiograph\."):
        batch[Field.TEACHER_HEAD]


def test_asking_for_what_the_data_does_not_hold_is_refused_by_name() -> None:
    arrays = {Field.RADIOGRAPH: numbered()[Field.RADIOGRAPH]}
    with pytest.raises(UsageError, match="Asked to see label, teacher_heatmap, which this data does not hold"):
        loader_of(Field.LABEL, Field.TEACHER_HEATMAP, arrays=arrays)


def test_a_loader_over_a_bank_reads_its_fields_from_disk(tmp_path: Path) -> None:
    bank = bank_in(tmp_path)
    (batch,) = loader_of(Field.RADIOGRAPH, Field.LUNG_MASK, arrays=bank_fields(bank), rows=bank.rows)
    assert batch.rows.tolist() == [4, 1, 3]
    assert torch.equal(batch.radiograph[0, 0], torch.from_numpy(radiographs(5)[4]).float())
    assert set(batch[Field.LUNG_MASK].unique().tolist()) == {0.0, 1.0}
