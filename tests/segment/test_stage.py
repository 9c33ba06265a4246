from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles.made_run import LOOP, index_row, made_index, silent_work

from medtea.core.errors import ConfigError, DataError
from medtea.core.names import IndexArtefact, LungsArtefact
from medtea.core.work import Work, read_json
from medtea.segment.checks import CheckSettings
from medtea.segment.stage import Settings, by_hospital, run
from medtea.training.loop import LoopSettings

TINY = Settings(channels=(4, 8), copies=1, loop=LoopSettings(**LOOP))


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return silent_work(tmp_path)


def rows() -> list[dict[str, object]]:
    """North: 8 to learn from, 2 to select on, 2 to measure; south is external; west has no masks."""
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    north = [index_row(number, split=split) for number, split in enumerate(splits)]
    south = [index_row(20 + n, hospital="south", role="external", split="test") for n in range(3)]
    west = [index_row(30 + n, hospital="west", role="extra", has_mask=False) for n in range(2)]
    return [*north, *south, *west]


def learnt_from(lungs: LungsArtefact) -> list[int]:
    return np.load(lungs.folder / "bank" / "rows.npy").tolist()  # type: ignore[no-any-return]


def test_every_radiograph_gets_a_mask_and_a_line(work: Work) -> None:
    index = made_index(work, rows())
    lungs = run(work, TINY, index)
    masks = np.load(lungs.lung_masks)
    assert masks.shape == (17, 64, 64)
    assert masks.dtype == np.uint8
    assert set(np.unique(masks)) <= {0, 1}
    listing = pd.read_csv(lungs.masks, keep_default_na=False)
    assert listing["radiograph"].tolist() == [row["radiograph"] for row in rows()]
    assert listing["plausible"].eq(listing["reason"].eq("")).all(), "a reason stands where a mask failed, only there"


def test_an_external_hospitals_masks_are_never_learnt_from(work: Work) -> None:
    index = made_index(work, rows())
    assert learnt_from(run(work, TINY, index)) == list(range(10))


def test_what_an_external_hospital_holds_does_not_move_the_segmenter(tmp_path: Path) -> None:
    weights = []
    for name in ("one", "two"):
        work = silent_work(tmp_path / name)
        index = made_index(work, rows())
        if name == "two":
            for path in (index.radiographs, index.given_masks):
                array = np.load(path)
                array[12:15] = 1 - array[12:15]
                np.save(path, array)
        weights.append(run(work, TINY, index).segmenter.read_bytes())
    assert weights[0] == weights[1]


def test_dice_is_measured_only_where_the_segmenter_did_not_learn(work: Work) -> None:
    lungs = run(work, TINY, made_index(work, rows()))
    found = {row["hospital"]: row for row in read_json(lungs.metrics)["hospitals"]}
    assert {name: row["measured"] for name, row in found.items()} == {"north": 2, "south": 3, "west": 0}
    assert {name: row["radiographs"] for name, row in found.items()} == {"north": 12, "south": 3, "west": 2}
    listing = pd.read_csv(lungs.masks)
    # by hand: the mean over the two test radiographs, rows 10 and 11
    assert found["north"]["dice"] == pytest.approx(listing["dice"].iloc[10:12].mean())
    assert found["south"]["dice"] == pytest.approx(listing["dice"].iloc[12:15].mean())
    assert found["west"]["dice"] is None, "no mask was given there: no answer, not 0"
    assert listing["dice"].iloc[15:].isna().all()


def test_only_chosen_hospitals_are_learnt_from(work: Work) -> None:
    extra = [index_row(40 + n, hospital="east", role="extra") for n in range(4)]
    index = made_index(work, [*rows(), *extra])
    lungs = run(work, TINY.model_copy(update={"hospitals": ("east",)}), index)
    assert learnt_from(lungs) == [17, 18, 19, 20]
    found = {row["hospital"]: row["measured"] for row in read_json(lungs.metrics)["hospitals"]}
    assert found["north"] == 12, "all of a hospital that was not learnt from is unseen"
    assert found["east"] == 0


def test_a_finished_segmenter_is_not_trained_again(work: Work) -> None:
    index = made_index(work, rows())
    before = run(work, TINY, index)
    stamp = before.segmenter.stat().st_mtime_ns
    again = run(work, TINY, IndexArtefact(index.folder))
    assert again.segmenter.stat().st_mtime_ns == stamp
    assert work.ran == ["ingest", "segment"]


def test_implausible_masks_are_counted_by_reason(work: Work) -> None:
    # Nothing is larger than all of the image, so that every mask fails, each with its own per cent.
    settings = TINY.model_copy(update={"checks": CheckSettings(area=(0.999, 1.0))})
    lungs = run(work, settings, made_index(work, rows()))
    north = read_json(lungs.metrics)["hospitals"][0]
    assert north["implausible"] == 12
    assert sum(north["reasons"].values()) == 12
    assert all("%" not in reason for reason in north["reasons"]), "one reason, whatever the number in it"


def test_without_a_mask_to_learn_from_the_hospitals_with_masks_are_named(work: Work) -> None:
    index = made_index(work, rows())
    with pytest.raises(DataError, match=r"no radiograph of these hospitals has a lung mask.*: north, south"):
        run(work, TINY.model_copy(update={"hospitals": ("west",)}), index)


@pytest.mark.parametrize("name", ["nort", "south"])
def test_an_unknown_or_external_hospital_is_refused(work: Work, name: str) -> None:
    index = made_index(work, rows())
    with pytest.raises(ConfigError, match=rf"segment.hospitals: '{name}' is external or has no radiograph. .*north"):
        run(work, TINY.model_copy(update={"hospitals": ("north", name)}), index)


def test_a_size_that_cannot_be_halved_is_said_before_training(work: Work) -> None:
    index = made_index(work, rows())
    settings = TINY.model_copy(update={"channels": (2,) * 8})
    # seven halvings need a multiple of 128
    with pytest.raises(ConfigError, match=r"ingest.size 64 is no multiple of 128"):
        run(work, settings, index)


def test_the_mean_has_no_answer_without_a_surface() -> None:
    listing = pd.DataFrame(
        {
            "hospital": ["a", "a", "a"],
            "patient": ["p", "q", "r"],
            "plausible": [True, False, True],
            "reason": ["", "no lung was found", ""],
            "dice": ["0.5000", "0.0000", "1.0000"],
            "surface_dice": ["0.6000", "0.0000", "0.9000"],
            "surface_distance_px": ["2.0000", "", "1.0000"],
            "hausdorff95_px": ["4.0000", "", "2.0000"],
        }
    )
    (found,) = by_hospital(listing, listing, np.array([], dtype=int), seed=0)["hospitals"]
    assert found["dice"] == 0.5, "an empty mask counts as a dice of 0"
    assert found["surface_distance_px"] == 1.5, "and has no distance"
    assert found["reasons"] == {"no lung was found": 1}
    assert found["empty"] == 1
    estimates = found["estimates"]
    assert (estimates["dice"]["value"], estimates["dice"]["n"]) == (0.5, 3)
    assert estimates["dice"]["low"] < 0.5 < estimates["dice"]["high"]
    assert estimates["surface_dice"]["value"] == pytest.approx(0.5)
    assert (estimates["hausdorff95_px"]["value"], estimates["hausdorff95_px"]["n"]) == (3.0, 2)
