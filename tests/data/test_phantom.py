from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage

from medtea.core.errors import UsageError
from medtea.data.phantom import STYLES, HospitalStyle, Phantom, draw_mark, draw_phantom, plain_anatomy


def drawn(seed: int = 0, *, diseased: bool = False, style: str = "plain", mark: str | None = None) -> Phantom:
    return draw_phantom(np.random.default_rng(seed), size=128, diseased=diseased, style=STYLES[style], mark=mark)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", range(5))
def test_disease_changes_nothing_outside_the_lungs(seed: int, style: str) -> None:
    healthy, diseased = drawn(seed, style=style), drawn(seed, diseased=True, style=style)
    np.testing.assert_array_equal(healthy.lung_mask, diseased.lung_mask)
    changed = healthy.radiograph != diseased.radiograph
    assert not changed[~healthy.lung_mask].any()
    assert changed[healthy.lung_mask].mean() > 0.5


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("corner", ["top left", "top right", "bottom left", "bottom right"])
def test_a_mark_touches_no_lung_and_changes_nothing_else(style: str, corner: str) -> None:
    look = HospitalStyle(**{**vars(STYLES[style]), "mark_corner": corner})
    for seed in range(25):
        for sign in ("L", "R", "box"):
            one, other = (
                draw_phantom(np.random.default_rng(seed), size=64, diseased=False, style=look, mark=mark)
                for mark in (sign, None)
            )
            assert not (one.mark_pixels & one.lung_mask).any()
            np.testing.assert_array_equal(one.radiograph[~one.mark_pixels], other.radiograph[~one.mark_pixels])
            assert not other.mark_pixels.any()


@pytest.mark.parametrize("style", STYLES)
def test_the_rim_covers_no_lung(style: str) -> None:
    rim = round(STYLES[style].border * 128)
    for seed in range(40):
        lungs = drawn(seed, style=style).lung_mask
        inside = lungs[rim : 128 - rim, rim : 128 - rim]
        assert inside.sum() == lungs.sum()


def test_one_seed_draws_one_phantom_and_another_another() -> None:
    first, again = (drawn(7, diseased=True, mark="R").radiograph for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (drawn(7).lung_mask != drawn(8).lung_mask).any()


def test_the_same_patient_at_two_hospitals_has_the_same_lungs() -> None:
    np.testing.assert_array_equal(drawn(3, style="hard").lung_mask, drawn(3, style="soft").lung_mask)


def test_lungs_are_two_without_the_heart_and_darker_than_the_body() -> None:
    for seed in range(30):
        phantom = drawn(seed)
        pieces, count = ndimage.label(phantom.lung_mask)
        sizes = np.sort(np.bincount(pieces.ravel())[1:])[::-1]
        assert count >= 2
        assert sizes[1] > 0.4 * sizes[0]
        assert sizes[:2].sum() > 0.98 * phantom.lung_mask.sum()
        assert 0.12 < phantom.lung_mask.mean() < 0.35
        ring = ndimage.binary_dilation(phantom.lung_mask, iterations=6) & ~phantom.lung_mask
        assert phantom.radiograph[phantom.lung_mask].mean() < phantom.radiograph[ring].mean() - 0.1


def test_grey_values_stay_in_the_unit_range() -> None:
    for style in STYLES:
        radiograph = drawn(1, diseased=True, style=style, mark="box").radiograph
        assert radiograph.dtype == np.float32
        assert 0 <= radiograph.min() < radiograph.max() <= 1


@pytest.mark.parametrize(("agreement", "positive_share"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.0)])
def test_agreement_is_the_share_of_marks_that_follow_the_label(agreement: float, positive_share: float) -> None:
    generator = np.random.default_rng(0)
    marks = [draw_mark(generator, diseased=True, agreement=agreement, positive="R", negative="L") for _ in range(1000)]
    # Binomial, n = 1000: four standard deviations are 0.063 at a half, and 0 at the ends.
    assert abs(marks.count("R") / 1000 - positive_share) <= 4 * np.sqrt(agreement * (1 - agreement) / 1000)


def test_full_agreement_gives_the_healthy_the_other_mark_or_none() -> None:
    generator = np.random.default_rng(0)
    assert draw_mark(generator, diseased=False, agreement=1.0, positive="R", negative="L") == "L"
    assert draw_mark(generator, diseased=False, agreement=1.0, positive="R", negative=None) is None


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="share in"):
        draw_mark(np.random.default_rng(0), diseased=True, agreement=1.5, positive="R", negative="L")
    with pytest.raises(UsageError, match="at least 32"):
        draw_phantom(np.random.default_rng(0), size=16, diseased=True)


def test_the_plain_patient_is_upright_and_always_the_same() -> None:
    assert plain_anatomy() == plain_anatomy()
    assert plain_anatomy().tilt == 0


def test_disease_shows_to_who_looks_only_at_the_lungs() -> None:
    """A plain statistic, the lungs' grey after a wide blur is taken off, separates the groups a little or more."""

    def roughness(phantom: Phantom) -> float:
        lungs = ndimage.binary_erosion(phantom.lung_mask, iterations=4)
        fine = ndimage.gaussian_filter(phantom.radiograph, 1.5) - ndimage.gaussian_filter(phantom.radiograph, 6)
        return float(fine[lungs].std())

    healthy = [roughness(drawn(seed)) for seed in range(60)]
    diseased = [roughness(drawn(seed + 1000, diseased=True)) for seed in range(60)]
    auroc = np.mean(np.array(diseased)[:, None] > np.array(healthy)[None, :])
    assert auroc > 0.75


def test_a_phantom_is_drawn_in_an_instant() -> None:
    drawn()
    begin = time.process_time()
    for seed in range(10):
        draw_phantom(np.random.default_rng(seed), size=256, diseased=True)
    assert (time.process_time() - begin) / 10 < 0.1  # about 0.015 on an idle core
