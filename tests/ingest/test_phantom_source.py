from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from medtea.core.errors import ConfigError, DataError
from medtea.data.reader import read_mask, read_radiograph
from medtea.ingest.sources.phantom import FINDING, Hospital, Settings, Source
from medtea.ingest.sources.source import Candidate, Refused

SMALL = Settings(
    hospitals={"one": Hospital(patients=8), "two": Hospital(patients=6, agreement=0.0, prevalence=0.5)}, size=64
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Candidate | Refused]:
    return list(Source(SMALL, workspace=tmp_path_factory.mktemp("workspace"), seed=1).find())


def candidates(made: list[Candidate | Refused], hospital: str = "") -> list[Candidate]:
    return [one for one in made if isinstance(one, Candidate) and hospital in ("", one.hospital)]


def usable(made: list[Candidate | Refused]) -> list[Candidate]:
    return [one for one in candidates(made) if one.finding]


def test_hospitals_have_their_patients_and_prevalence(made: list[Candidate | Refused]) -> None:
    for hospital, patients in (("one", 8), ("two", 6)):
        ill = {one.patient: one.finding == FINDING for one in usable(made) if one.hospital == hospital}
        assert len(ill) == patients
        assert sum(ill.values()) == patients // 2


def test_hospitals_write_in_different_vendors_manners(made: list[Candidate | Refused]) -> None:
    devices = {one.hospital: one.device for one in candidates(made)}
    assert len(set(devices.values())) == 2


def test_masks_lie_on_the_radiographs_darker_part(made: list[Candidate | Refused]) -> None:
    for one in usable(made):
        assert one.mask is not None
        radiograph, mask = read_radiograph(one.path), read_mask(one.mask)
        assert radiograph.shape == mask.shape == (64, 64)
        body = np.zeros_like(mask)
        body[44:60, 20:44] = True  # the abdomen
        assert radiograph[mask].mean() < radiograph[body].mean()


def test_the_mark_follows_the_label_at_one_hospital_and_is_reversed_at_the_other(
    made: list[Candidate | Refused],
) -> None:
    """The letter R covers pixels in its upper right that L leaves free: they tell the two apart."""

    def shows_r(one: Candidate) -> bool:
        radiograph = read_radiograph(one.path)
        corner = radiograph[1:7, -6:-1]
        return bool(corner.max() > 0.9)

    for one in usable(made):
        assert shows_r(one) == ((one.finding == FINDING) == (one.hospital == "one"))


def test_the_unusable_files_end_as_refusals(made: list[Candidate | Refused]) -> None:
    refused = [one for one in made if isinstance(one, Refused)]
    assert Counter(one.hospital for one in refused) == {"one": 2, "two": 2}
    assert any("frontal" in one.reason for one in refused)
    assert any("'RGB'" in one.reason for one in refused)


def test_damaged_and_empty_files_pass_the_header_and_fail_at_the_pixels(tmp_path: Path) -> None:
    settings = Settings(hospitals={"one": Hospital(patients=2)}, size=64, unusable=4)
    found = list(Source(settings, workspace=tmp_path, seed=1).find())
    unlabelled = [one for one in candidates(found) if one.finding is None]
    assert len(unlabelled) == 2
    for one in unlabelled:
        with pytest.raises(DataError, match=r"cannot be decoded|one value everywhere"):
            read_radiograph(one.path)


def test_another_seed_draws_others_and_settings_have_a_folder_of_their_own(tmp_path: Path) -> None:
    settings = Settings(hospitals={"one": Hospital(patients=1)}, size=64, unusable=0)
    pictures = []
    for seed in (1, 2):
        (one, *_) = candidates(list(Source(settings, workspace=tmp_path, seed=seed).find()))
        pictures.append(read_radiograph(one.path))
    assert not np.array_equal(*pictures)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_interrupted_drawing_goes_on(tmp_path: Path) -> None:
    settings = Settings(hospitals={"one": Hospital(patients=2)}, size=64, unusable=0)
    source = Source(settings, workspace=tmp_path, seed=1)
    whole = list(source.find())
    (source.root / "labels.csv").unlink()
    next((source.root / "one").iterdir()).unlink()
    assert list(Source(settings, workspace=tmp_path, seed=1).find()) == whole


@pytest.mark.parametrize(
    ("hospitals", "message"),
    [
        ({"../x": Hospital()}, "cannot be the name"),
        ({"masks": Hospital()}, "cannot be the name"),
        ({"one": Hospital(style="plane")}, "hospitals.one.style: 'plane'. .*Did you mean 'plain'"),
    ],
)
def test_settings_that_cannot_be_drawn_are_refused(
    tmp_path: Path, hospitals: dict[str, Hospital], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        list(Source(Settings(hospitals=hospitals), workspace=tmp_path, seed=0).find())
