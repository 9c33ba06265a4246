from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from medtea.core.errors import DataError
from medtea.data.levels import Levels
from medtea.ingest.quality import field_box, fit, fit_mask, prepare, scale_of


def made_picture(rows: int = 60, columns: int = 48) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 0.9, (rows, columns)).astype(np.float32)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_borders_are_cut_off(value: float) -> None:
    inside = made_picture(60, 48)
    framed = np.full((80, 60), value, dtype=np.float32)
    framed[5:65, 9:57] = inside
    framed[0, 0] = 1 - value  # the picture spans the whole range; one speck does not save its line
    np.testing.assert_array_equal(framed[field_box(framed)], inside)


def test_a_black_and_a_white_border_may_cross() -> None:
    framed = np.zeros((80, 60), dtype=np.float32)
    framed[:, :6] = 1.0
    framed[10:70, 6:54] = made_picture(60, 48)
    rows, columns = field_box(framed)
    assert (rows.start, rows.stop) == (10, 70)
    assert (columns.start, columns.stop) == (6, 54)


def test_a_picture_without_border_stays_whole() -> None:
    assert field_box(made_picture()) == (slice(0, 60), slice(0, 48))


def test_at_most_a_third_goes_at_each_edge() -> None:
    dark = np.zeros((90, 90), dtype=np.float32)
    dark[45, 45] = 1.0
    rows, columns = field_box(dark)
    assert (rows.start, rows.stop) == (columns.start, columns.stop) == (30, 60)


def test_scaling_is_unchanged_by_a_change_of_brightness_and_contrast() -> None:
    picture = made_picture()
    darker = picture * 0.3 + 0.2
    scaled = scale_of(picture).of(picture)
    np.testing.assert_allclose(scale_of(darker).of(darker), scaled, atol=1e-5)  # float32
    assert scaled.min() == 0
    assert scaled.max() == 1


def test_an_empty_picture_cannot_be_scaled() -> None:
    with pytest.raises(DataError, match="Percentiles 1 and 99 of the pixels are equal"):
        scale_of(np.zeros((50, 50), dtype=np.float32))


def test_reducing_averages_over_the_area() -> None:
    rows, columns = np.mgrid[0:128, 0:128]
    checkers = ((rows + columns) % 2).astype(np.float32)
    np.testing.assert_allclose(fit(checkers, 32), 0.5, atol=0.02)


@pytest.mark.parametrize("side", [131, 260, 517])
def test_a_large_picture_is_reduced_as_the_filter_alone_would(side: int) -> None:
    rows, columns = np.mgrid[0:side, 0 : side + 40]
    picture = (0.5 + 0.25 * np.sin(rows / side * 9) + 0.25 * np.cos(columns / side * 7)).astype(np.float32)
    alone = np.asarray(Image.fromarray(picture).resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(fit(picture, 16), alone, atol=0.02)  # two averages of a smooth picture


def test_what_is_left_at_the_edges_is_not_lost_and_counts_as_no_more_than_a_whole_block() -> None:
    # 133 = 33 blocks of 4 and one line, which alone is bright; the last of 16 pixels covers 8.3 lines and its
    # neighbours' halves. As one line it would weigh about a twelfth there, as a whole block about a third.
    picture = np.zeros((133, 133), dtype=np.float32)
    picture[-1] = 1
    assert 1 / 20 < fit(picture, 16)[-1].mean() < 1 / 3
    assert (fit(picture, 16)[:-2] == 0).all()


def test_fitting_keeps_a_ramp_and_the_order_of_axes() -> None:
    ramp = np.tile(np.linspace(0, 1, 90, dtype=np.float32)[:, None], (1, 40))
    fitted = fit(ramp, 30)
    assert fitted.shape == (30, 30)
    np.testing.assert_allclose(fitted.mean(axis=1), (np.arange(30) + 0.5) / 30, atol=0.02)


def test_padding_keeps_the_sides_ratio_and_stretching_fills() -> None:
    white = np.ones((80, 40), dtype=np.float32)
    padded = fit(white, 40, "pad")
    np.testing.assert_array_equal(padded[:, 12:28], 1)
    np.testing.assert_array_equal(padded[:, :8], 0)
    np.testing.assert_array_equal(fit(white, 40, "stretch"), 1)


@pytest.mark.parametrize("how", ["stretch", "pad"])
def test_a_mask_lands_where_its_radiograph_lands(how: str) -> None:
    disc = np.add.outer(np.arange(-60, 60) ** 2, np.arange(-40, 40) ** 2) < 900
    fitted, mask = fit(disc.astype(np.float32), 48, how), fit_mask(disc, 48, how)  # type: ignore[arg-type]
    agree = (fitted > 0.5) == mask
    assert agree.mean() > 0.97
    assert abs(np.argwhere(mask).mean(axis=0) - np.argwhere(fitted > 0.5).mean(axis=0)).max() < 0.5


@pytest.mark.parametrize("how", ["stretch", "pad"])
@pytest.mark.parametrize("falls", [False, True])
def test_levels_are_prepared_as_their_pixels_are(how: str, falls: bool) -> None:
    places = np.full((311, 205), 500, dtype=np.uint16)
    places[20:280, 9:200] = np.random.default_rng(0).integers(600, 4000, (260, 191))
    table = np.linspace(0, 1, 4096, dtype=np.float32)
    levels = Levels(places, 1 - table if falls else table)
    of_levels, _ = prepare(levels, None, size=32, how=how)  # type: ignore[arg-type]
    of_pixels, _ = prepare(levels.pixels, None, size=32, how=how)  # type: ignore[arg-type]
    # the percentiles are the same but for the last bits: numpy subtracts neighbours in 32 bits
    np.testing.assert_allclose(of_levels, of_pixels, atol=1e-6)


def test_the_mask_is_cropped_with_its_radiograph() -> None:
    framed, mask = np.zeros((80, 60), dtype=np.float32), np.zeros((80, 60), dtype=bool)
    framed[10:70, 6:54] = made_picture(60, 48)
    mask[10:70, 6:54] = True
    radiograph, fitted = prepare(framed, mask, size=32)
    assert radiograph.shape == (32, 32)
    assert fitted.all()


def test_without_a_mask_comes_an_empty_one_and_a_wrong_one_is_refused() -> None:
    assert not prepare(made_picture(), None, size=32)[1].any()
    with pytest.raises(DataError, match="The mask has 10 x 10 pixels and its radiograph 60 x 48"):
        prepare(made_picture(), np.ones((10, 10), dtype=bool), size=32)
