from __future__ import annotations

import os
from pathlib import Path

import pytest
import SimpleITK as sitk  # noqa: N813
from oracles.made_sources import made_picture, made_table, write_table

from medtea.core.errors import ConfigError
from medtea.ingest.decode import state_of
from medtea.ingest.sources.source import Candidate, Refused
from medtea.ingest.sources.table import Settings, Source

SHARED = Path(os.environ.get("MEDTEA_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def found(settings: Settings) -> list[Candidate | Refused]:
    return list(Source(settings, workspace=Path("unused"), seed=0).find())


def test_a_row_becomes_a_candidate(tmp_path: Path) -> None:
    first = found(Settings(path=made_table(tmp_path / "t")))[0]
    assert isinstance(first, Candidate)
    assert (first.hospital, first.patient, first.view, first.finding) == ("alpha", "alpha/Doe1", "PA", "Normal")
    assert first.path == (tmp_path / "t/images/alpha-0.png").resolve()
    assert first.masks == ((tmp_path / "t/masks/alpha-0.png").resolve(),)
    assert (first.study, first.device) == (None, "unknown")


def test_only_the_hospitals_asked_for(tmp_path: Path) -> None:
    path = made_table(tmp_path / "t")
    assert {one.hospital for one in found(Settings(path=path, hospitals=("beta",)))} == {"beta"}
    with pytest.raises(ConfigError, match=r"no hospital 'betta'. .*Did you mean 'beta'"):
        found(Settings(path=path, hospitals=("betta",)))


def test_columns_can_be_called_otherwise_and_left_out(tmp_path: Path) -> None:
    made_table(tmp_path / "t")
    path = tmp_path / "t" / "other.csv"
    path.write_text("picture;x\n".replace(";", ",") + "images/alpha-0.png,alpha\n")
    only = {"patient": None, "finding": None, "view": None, "mask": None}
    (one,) = found(Settings(path=path, image="picture", hospital="x", **only))
    assert isinstance(one, Candidate)
    assert (one.patient, one.finding, one.view, one.mask) == (None, None, "unknown", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "imagee"}, "image: the table has no column 'imagee'. .*Did you mean 'image'"),
        ({"patient": "pid"}, "patient: .*Set patient: null if there is none"),
    ],
)
def test_a_missing_column_is_named_with_its_setting(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        found(Settings(path=made_table(tmp_path / "t"), **changes))


def test_an_absent_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="path: the table cannot be read"):
        found(Settings(path=tmp_path / "absent.csv"))


def test_paths_out_of_the_tables_folder_are_refused(tmp_path: Path) -> None:
    made_table(tmp_path / "t")
    (tmp_path / "outside.png").write_bytes(b"x")
    (tmp_path / "t" / "link.png").symlink_to(tmp_path / "outside.png")
    rows = [
        {"image": image, "hospital": "alpha"}
        for image in ("../outside.png", str(tmp_path / "outside.png"), "link.png", "absent.png", "a\0b", "")
    ]
    reasons = [
        one.reason for one in found(Settings(path=write_table(tmp_path / "t", rows))) if isinstance(one, Refused)
    ]
    assert len(reasons) == 6
    assert all("outside its own folder" in reason for reason in reasons[:3])
    assert "does not exist" in reasons[3]


def test_a_lateral_a_missing_hospital_and_a_second_mention_are_refused(tmp_path: Path) -> None:
    made_table(tmp_path / "t")
    one = {"image": "images/alpha-0.png", "hospital": "alpha"}
    rows = [one, one, {"image": "images/alpha-1.png", "hospital": ""}]
    rows.append({"image": "images/alpha-2.png", "hospital": "alpha", "view": "Left lateral"})
    result = found(Settings(path=write_table(tmp_path / "t", rows)))
    reasons = [one.reason for one in result if isinstance(one, Refused)]
    assert [isinstance(one, Candidate) for one in result] == [True, False, False, False]
    assert "second time" in reasons[0]
    assert "no hospital" in reasons[1]
    assert "PA or AP" in reasons[2]


@pytest.mark.skipif(not (SHARED / "data/cxr/manifest.csv").is_file(), reason="the shared radiographs are not here")
def test_the_shared_radiographs_are_all_found() -> None:
    result = found(Settings(path=SHARED / "data/cxr/manifest.csv"))
    assert len(result) == 2647
    assert all(isinstance(one, Candidate) for one in result)


def test_a_row_may_name_a_mask_of_each_lung(tmp_path: Path) -> None:
    made_table(tmp_path / "t")
    row = {"image": "images/alpha-0.png", "hospital": "alpha", "mask": "masks/alpha-0.png | masks/alpha-2.png"}
    settings = Settings(path=write_table(tmp_path / "t", [row]))
    (one,) = found(settings)
    assert isinstance(one, Candidate)
    assert [mask.name for mask in one.masks] == ["alpha-0.png", "alpha-2.png"]
    before = Source(settings, workspace=tmp_path, seed=0).fingerprint()
    (tmp_path / "t/masks/alpha-2.png").write_bytes(b"other")
    assert Source(settings, workspace=tmp_path, seed=0).fingerprint() != before


def test_a_change_of_the_pixels_beside_their_header_is_noticed(tmp_path: Path) -> None:
    made_table(tmp_path / "t")
    sitk.WriteImage(sitk.GetImageFromArray(made_picture(1)), str(tmp_path / "t" / "x.mhd"))
    settings = Settings(path=write_table(tmp_path / "t", [{"image": "x.mhd", "hospital": "alpha"}]))
    before = Source(settings, workspace=tmp_path, seed=0).fingerprint(), state_of(tmp_path / "t" / "x.mhd")
    (tmp_path / "t" / "x.raw").write_bytes(made_picture(2).tobytes())
    os.utime(tmp_path / "t" / "x.raw", ns=(0, 0))
    after = Source(settings, workspace=tmp_path, seed=0).fingerprint(), state_of(tmp_path / "t" / "x.mhd")
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert state_of(settings.path)[0] == settings.path.stat().st_size
