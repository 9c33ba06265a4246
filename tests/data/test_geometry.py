"""Where the pixels lie: upright, cropped to the field, square; and how far apart they are."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.made_dicom import made_dataset, made_words
from pydicom.dataset import FileDataset

from medtea.core.errors import DataError
from medtea.data.choices import Choices
from medtea.data.dicom.spacing import spacing_of
from medtea.data.geometry import Geometry, Turn, turn_to_upright
from medtea.data.pixels import read_dataset

PLAIN = Choices(unwindowed="range")
LEFT = {"L": (1, 0), "R": (-1, 0), "F": (0, 1), "H": (0, -1)}
"""Where a step in each direction leads: to the patient's left, to the feet."""
FRONTAL = [
    (rows, columns) for rows, columns in itertools.product("LRFH", repeat=2) if (rows in "LR") != (columns in "LR")
]


def stored_in(orientation: tuple[str, str], upright: np.ndarray) -> np.ndarray:
    """The upright picture as it is stored when rows and columns run so, one pixel after the next."""
    along_row, along_column = (LEFT[direction] for direction in orientation)
    feet, left = upright.shape
    stored = np.zeros((feet, left) if along_row[0] else (left, feet), dtype=upright.dtype)
    # Who walks to the right starts at the leftmost pixel, number -1; the same from the feet to the head.
    start_left, start_feet = -("R" in orientation), -("H" in orientation)
    for row, column in np.ndindex(*stored.shape):
        lefts = start_left + column * along_row[0] + row * along_column[0]
        feets = start_feet + column * along_row[1] + row * along_column[1]
        stored[row, column] = upright[feets, lefts]
    return stored


@pytest.mark.parametrize("orientation", FRONTAL, ids="\\".join)
def test_whatever_way_it_is_stored_rows_run_to_the_left_and_columns_to_the_feet(orientation: tuple[str, str]) -> None:
    upright = made_words(12)
    dataset = made_dataset(stored_in(orientation, upright))
    dataset.PatientOrientation = list(orientation)
    reading = read_dataset(dataset, PLAIN)
    expected = read_dataset(made_dataset(upright), PLAIN).pixels
    np.testing.assert_array_equal(reading.pixels, expected)
    mask = stored_in(orientation, upright) > 2000
    np.testing.assert_array_equal(reading.geometry.place(mask), upright > 2000)


@pytest.mark.parametrize(
    ("orientation", "done"),
    [
        (["L", "F"], "none needed"),
        (["R", "F"], "mirrored left-right"),
        (["L", "H"], "mirrored top-bottom"),
        (["R", "H"], "turned by 180 degrees"),
        # rows run to the feet, columns to the right: the head is on the left, so a quarter turn clockwise lifts it up
        (["F", "R"], "turned by 90 degrees clockwise"),
        (["H", "L"], "turned by 90 degrees counter-clockwise"),
        (["LF", "FR"], "none needed"),  # oblique: the first letter is the principal direction
        (["L", "R"], "unusable"),
        (["A", "F"], "unusable"),
        (["X", "Y"], "unusable"),
        (["L"], "unusable"),
        (None, "unknown"),
    ],
)
def test_what_was_done_to_bring_it_upright_is_told(orientation: list[str] | None, done: str) -> None:
    dataset = made_dataset()
    dataset.ViewPosition = "PA"
    if orientation:
        dataset.PatientOrientation = orientation
    assert read_dataset(dataset).facts.orientation == done


def test_a_mirrored_image_may_be_left_as_it_is_and_is_told() -> None:
    dataset = made_dataset()
    dataset.PatientOrientation = ["R", "F"]
    reading = read_dataset(dataset, Choices(orientation="flag"))
    assert reading.facts.orientation == "not done: mirrored left-right"
    np.testing.assert_array_equal(reading.pixels, read_dataset(made_dataset()).pixels)


def test_the_detectors_flip_and_rotation_are_told_and_not_undone() -> None:
    dataset = made_dataset()
    dataset.FieldOfViewHorizontalFlip, dataset.FieldOfViewRotation = "YES", "90"
    reading = read_dataset(dataset)
    assert (reading.facts.detector_flip, reading.facts.detector_rotation) == (True, 90)
    np.testing.assert_array_equal(reading.pixels, read_dataset(made_dataset()).pixels)


@given(st.booleans(), st.booleans(), st.booleans())
def test_a_turn_loses_no_pixel(transpose: bool, rows: bool, columns: bool) -> None:
    picture = np.arange(12).reshape(3, 4)
    assert sorted(Turn(transpose, rows, columns).of(picture).ravel()) == list(range(12))


def test_every_frontal_orientation_has_a_turn_of_its_own() -> None:
    assert len({turn_to_upright(orientation) for orientation in FRONTAL}) == 8


# ---- the field


def with_shape(kind: str, shape: str, **elements: object) -> FileDataset:
    """60 x 50, with a shutter or collimator."""
    dataset = made_dataset(made_words(12, (60, 50)))
    put_shape(dataset, kind, shape, **elements)
    return dataset


def put_shape(dataset: FileDataset, kind: str, shape: str, **elements: object) -> None:
    setattr(dataset, f"{kind}Shape", shape)
    for name, value in elements.items():
        setattr(dataset, name, value)


def rectangle(kind: str, upper: int, lower: int, left: int, right: int) -> dict[str, object]:
    names = ("UpperHorizontalEdge", "LowerHorizontalEdge", "LeftVerticalEdge", "RightVerticalEdge")
    return {f"{kind}{name}": value for name, value in zip(names, (upper, lower, left, right), strict=True)}


@pytest.mark.parametrize("kind", ["Shutter", "Collimator"])
def test_a_rectangle_is_cropped_to_and_its_edges_belong_to_it(kind: str) -> None:
    dataset = with_shape(kind, "RECTANGULAR", **rectangle(kind, 11, 50, 6, 45))
    reading = read_dataset(dataset, PLAIN)
    whole = read_dataset(made_dataset(made_words(12, (60, 50))), PLAIN).pixels
    np.testing.assert_array_equal(reading.pixels, whole[10:50, 5:45])
    assert (reading.facts.field, reading.facts.field_box) == (kind.lower(), "rows 11-50, columns 6-45")
    mask = np.zeros((60, 50), dtype=bool)
    mask[10, 5] = True
    assert np.argwhere(reading.geometry.place(mask)).tolist() == [[0, 0]]


def test_shutter_and_collimator_together_leave_what_both_leave() -> None:
    dataset = with_shape("Shutter", "RECTANGULAR", **rectangle("Shutter", 11, 60, 1, 50))
    put_shape(dataset, "Collimator", "RECTANGULAR", **rectangle("Collimator", -20, 50, 6, 500))
    facts = read_dataset(dataset).facts
    assert (facts.field, facts.field_box) == ("shutter and collimator", "rows 11-50, columns 6-50")


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_outside_of_a_circle_it_is_dark_whatever_the_polarity(photometric: str) -> None:
    elements = {"CenterOfCircularShutter": [31, 26], "RadiusOfCircularShutter": 20}
    dataset = with_shape("Shutter", "CIRCULAR", **elements)
    dataset.PhotometricInterpretation = photometric
    dataset.ShutterPresentationValue = 65_535
    reading = read_dataset(dataset, PLAIN)
    rows, columns = np.mgrid[1:61, 1:51]  # as the header counts
    inside = ((rows - 31) ** 2 + (columns - 26) ** 2 <= 400)[10:51, 5:46]
    assert reading.pixels.shape == (41, 41)
    assert (reading.pixels[~inside] == 0).all()
    assert reading.pixels[inside].mean() > 0.4


def test_outside_of_a_polygon_it_is_dark() -> None:
    elements = {"VerticesOfThePolygonalShutter": [1, 1, 1, 50, 60, 1]}  # the upper left half
    reading = read_dataset(with_shape("Shutter", "POLYGONAL", **elements), PLAIN)
    assert reading.pixels.shape == (60, 50)
    assert (reading.pixels[40:, 40:] == 0).all()
    assert (reading.pixels[:20, :20] > 0).mean() > 0.99


def test_the_percentiles_are_those_of_the_field() -> None:
    words = made_words(12, (60, 50))
    words[:10] = 4095
    dataset = made_dataset(np.where(words == 4095, 4095, words // 4))
    put_shape(dataset, "Collimator", "RECTANGULAR", **rectangle("Collimator", 11, 60, 1, 50))
    assert read_dataset(dataset).facts.voi_high < 1024


@pytest.mark.parametrize(
    "box",
    [
        (907, 1299, -184, 184),  # a real header's, whose edges are no pixels
        (30, 35, 1, 50),
        (50, 10, 1, 50),
        (200, 300, 1, 50),
    ],
)
def test_edges_that_no_chest_fits_into_are_not_believed(box: tuple[int, int, int, int]) -> None:
    reading = read_dataset(with_shape("Collimator", "RECTANGULAR", **rectangle("Collimator", *box)))
    assert (reading.pixels.shape, reading.facts.field, reading.facts.field_box) == ((60, 50), "implausible", None)


def test_edges_that_are_missing_or_a_shape_without_edges_limit_nothing() -> None:
    assert read_dataset(with_shape("Shutter", "RECTANGULAR", ShutterLeftVerticalEdge=5)).facts.field == "whole"
    assert read_dataset(with_shape("Shutter", "CIRCULAR")).facts.field == "whole"


def test_the_whole_image_is_kept_where_that_is_chosen() -> None:
    dataset = with_shape("Shutter", "RECTANGULAR", **rectangle("Shutter", 11, 50, 6, 45))
    reading = read_dataset(dataset, Choices(field="keep"))
    assert (reading.pixels.shape, reading.facts.field) == ((60, 50), "whole")


# ---- square pixels, and their distance


def test_unequal_pixels_are_made_square_as_fine_as_the_finer_side() -> None:
    dataset = made_dataset(np.tile(np.arange(20)[:, None] * 100, (1, 30)))
    dataset.PixelAspectRatio = ["2", "1"]
    reading = read_dataset(dataset, PLAIN)
    assert reading.pixels.shape == (40, 30)
    assert reading.geometry.place(np.ones((20, 30), dtype=bool)).all()
    # rows 2k and 2k + 1 lie a quarter of the old distance above and below the old row k
    assert reading.pixels[20, 0] == pytest.approx((10 - 0.25) * 100 / 4095)
    assert reading.facts.resampled
    assert reading.facts.row_spacing_mm is None


def test_unequal_spacing_is_resampled_after_the_turn_and_told() -> None:
    dataset = made_dataset(made_words(12))
    dataset.PixelSpacing, dataset.PatientOrientation = [0.2, 0.4], ["F", "R"]
    reading = read_dataset(dataset)  # 20 x 24 stored: upright 24 x 20, rows 0.4 apart, columns 0.2
    assert reading.pixels.shape == (48, 20)
    facts = reading.facts
    assert (facts.aspect, facts.row_spacing_mm, facts.column_spacing_mm) == (2, 0.2, 0.2)
    assert read_dataset(dataset, Choices(aspect="keep")).pixels.shape == (24, 20)


@pytest.mark.parametrize("ratio", [[0, 1], [1, 100], [1], [1.005, 1]])
def test_a_ratio_that_cannot_be_meant_or_is_as_good_as_one_changes_nothing(ratio: list[float]) -> None:
    dataset = made_dataset()
    dataset.add_new("PixelAspectRatio", "DS", ratio)  # DS to have the last one at all; IS is the Standard's
    assert read_dataset(dataset).pixels.shape == (20, 24)


CALIBRATED, DETECTOR = {"PixelSpacing": [0.15, 0.15]}, {"ImagerPixelSpacing": [0.2, 0.2]}
FACTOR = {"EstimatedRadiographicMagnificationFactor": 1.25}
DISTANCES = {"DistanceSourceToDetector": 1800, "DistanceSourceToPatient": 1500}


@pytest.mark.parametrize(
    ("elements", "millimetres", "source"),
    [
        (CALIBRATED | DETECTOR | FACTOR, 0.15, "PixelSpacing"),
        (DETECTOR, 0.2, "ImagerPixelSpacing"),
        (DETECTOR | FACTOR | DISTANCES, 0.16, "ImagerPixelSpacing / EstimatedRadiographicMagnificationFactor"),
        (
            DETECTOR | DISTANCES,
            0.2 / 1.2,
            "ImagerPixelSpacing / (DistanceSourceToDetector / DistanceSourceToPatient)",
        ),
        (DETECTOR | {"EstimatedRadiographicMagnificationFactor": 0.5}, 0.2, "ImagerPixelSpacing"),
        # repeated, it is the detector's still, unless somebody says that it was calibrated
        (
            {"PixelSpacing": [0.2, 0.2]} | DETECTOR | FACTOR,
            0.16,
            "ImagerPixelSpacing / EstimatedRadiographicMagnificationFactor",
        ),
        (
            {"PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "GEOMETRY"} | DETECTOR | FACTOR,
            0.2,
            "PixelSpacing",
        ),
        ({"NominalScannedPixelSpacing": [0.1, 0.1]}, 0.1, "NominalScannedPixelSpacing"),
        ({"PixelSpacing": [0, 0]} | DETECTOR, 0.2, "ImagerPixelSpacing"),
        ({"PixelSpacing": [900, 900]}, None, "unknown"),
        ({}, None, "unknown"),
    ],
)
def test_the_spacing_is_that_in_the_patient_as_far_as_the_header_tells(
    elements: dict[str, object], millimetres: float | None, source: str
) -> None:
    dataset = made_dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    spacing = spacing_of(dataset)
    assert spacing.source == source
    assert spacing.rows == spacing.columns == (None if millimetres is None else pytest.approx(millimetres))
    assert math.isclose(spacing.magnification or 1, 0.2 / (millimetres or 1)) or "Imager" not in source


def test_damaged_geometry_is_no_geometry() -> None:
    dataset = made_dataset()
    dataset.add_new("PixelSpacing", "LO", "Doe")
    dataset.add_new("ShutterShape", "CS", "RECTANGULAR")
    for keyword in rectangle("Shutter", 1, 1, 1, 1):
        dataset.add_new(keyword, "LO", "Doe")
    facts = read_dataset(dataset).facts
    assert (facts.field, facts.spacing_source) == ("whole", "unknown")


def test_a_mask_on_another_grid_is_refused() -> None:
    with pytest.raises(DataError, match="The mask has 4 x 4 pixels and its radiograph 20 x 24"):
        Geometry.whole((20, 24)).place(np.ones((4, 4), dtype=bool))
