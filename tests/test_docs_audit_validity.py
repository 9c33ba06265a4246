"""docs/audit_validity.md holds the tables of its record, and the record's numbers become the verdicts that it says."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from medtea.audit.policy import Policy, Verdict
from medtea.core.work import read_json

DOCS = Path(__file__).parents[1] / "docs"
ONE = Policy(
    background_relevance=None, lungs_removed=0.5, background_swap=0.4, planted_mark=None, score_site=None
)  # two probes judge


@pytest.fixture(scope="module")
def writer() -> Iterator[ModuleType]:
    """docs/write_audit_validity.py as a module."""
    spec = importlib.util.spec_from_file_location("write_audit_validity", DOCS / "write_audit_validity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["write_audit_validity"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["write_audit_validity"]


def answer(probe: str, low: float | None, high: float | None, *, void: bool = False) -> dict[str, Any]:
    middle = None if low is None or high is None else (low + high) / 2
    return {"probe": probe, "judged": [middle, low, high], "void": void}


def unit(agreement: float | None, seed: int, *answers: dict[str, Any]) -> dict[str, Any]:
    truth = {"letter": {"follows": 0.9, "absent": 0.8, "reversed": 0.7 if agreement in (None, 0.5) else 0.2}}
    mark = "none" if agreement is None else "letter"
    return {"data": "phantom", "mark": mark, "agreement": agreement, "seed": seed, "truth": truth} | {
        "answers": list(answers),
        "seconds": {"cpu": 36.0},
    }


def test_the_thresholds_are_those_at_which_most_verdicts_are_right(writer: ModuleType) -> None:
    def removed(agreement: float | None, low: float, high: float) -> dict[str, Any]:
        return unit(agreement, 0, answer("lungs_removed", low, high))

    clean = [removed(None, 0.1, 0.4), removed(0.5, 0.2, 0.3)]
    reliant = [removed(0.95, 0.6, 0.9), removed(1.0, 0.7, 0.8)]
    partly = removed(0.8, 0.0, 0.1)  # neither
    # from 0.4 on both clean ones pass, below 0.6 both reliant ones fail
    assert writer.best([*clean, *reliant, partly], "lungs_removed") == (0.4, 0.6)
    assert writer.best([*clean, *reliant], "background_swap") is None
    # a clean one at 0.65 to 0.75 must not fail: from 0.65 on one reliant one is given up, from 0.7 on the other as well
    assert writer.best([*clean, *reliant, removed(0.5, 0.65, 0.75)], "lungs_removed") == (0.65, 0.7)
    # that a second clean one would pass from 0.62 on is not worth the reliant one at 0.6
    assert writer.best([*clean, *reliant, removed(0.5, 0.5, 0.62)], "lungs_removed") == (0.5, 0.6)
    assert writer.best([*clean, *reliant, removed(0.5, 0.85, 0.95)], "lungs_removed") is None
    assert writer.best(clean, "lungs_removed") is None


def test_planted_mark_is_held_against_networks_that_learned_the_letters_it_stamps(writer: ModuleType) -> None:
    clean, other = unit(None, 0, answer("planted_mark", -0.2, 0.0)), unit(0.95, 0, answer("planted_mark", 0.05, 0.1))
    known = unit(0.95, 0, answer("planted_mark", 1.0, 2.0)) | {"mark": "known"}
    assert writer.best([clean, other, known], "planted_mark") == (0.0, 1.0)  # other ones are not counted
    assert writer.best([clean, other], "planted_mark") is None


def test_stored_numbers_become_the_verdicts_of_an_audit(writer: ModuleType) -> None:
    def by(*answers: dict[str, Any]) -> Verdict:
        return writer.verdict_by(unit(0.95, 1, *answers), ONE)  # type: ignore[no-any-return]

    low, high = answer("lungs_removed", 0.1, 0.3), answer("lungs_removed", 0.6, 0.8)
    assert by(low, answer("background_swap", 0.1, 0.2)) is Verdict.PASS
    assert by(low, answer("background_swap", 0.3, 0.5)) is Verdict.NO_ANSWER
    assert by(high, answer("background_swap", 0.1, 0.2)) is Verdict.FAIL
    assert by(answer("lungs_removed", 0.6, 0.8, void=True)) is Verdict.NO_ANSWER
    assert by(answer("lungs_removed", None, None)) is Verdict.NO_ANSWER
    # a probe that the policy does not judge has no say
    assert by(low, answer("planted_mark", 5.0, 6.0)) is Verdict.PASS


def test_the_tables_count_networks_of_other_seeds_than_those_the_thresholds_were_chosen_on(writer: ModuleType) -> None:
    high, low = answer("lungs_removed", 0.6, 0.8), answer("lungs_removed", 0.1, 0.2)
    units = [unit(0.95, seed, high if seed != 2 else low) for seed in range(4)]
    units += [unit(None, seed, low) for seed in range(4)]
    lines = writer.rows({"units": units, "selection_seeds": [0]}, ONE)
    # of seeds 1, 2 and 3 two fail; Wilson's interval of 2 of 3 is 0.21 to 0.94, of 0 of 3 it is 0 to 0.56
    assert "| phantoms | 95 % | 3 | 2 | 1 | 0 | 0.67 (0.21 to 0.94) | 1 of 1 | 0.67 (0.21 to 0.94) |" in lines
    assert "| phantoms | no mark | 3 | 0 | 3 | 0 | 0.00 (0.00 to 0.56) | 0 of 1 | 0.00 (0.00 to 0.56) |" in lines
    # means of 0.15 thrice, and of 0.7, 0.15, 0.7; of nine pairs six and three halves are right; 0.2 to 0.6 on seed 0
    probe = "| `lungs_removed` | 0.15 (0.15 to 0.15) | 0.52 (0.15 to 0.70) |  |  | 0.83 | 0.20 to 0.60 | 0.5 | "
    assert probe + "0.67 (0.21 to 0.94) | 0.00 (0.00 to 0.56) |" in lines
    assert "| phantoms | letter | 95 % | 4 | 0.90 | 0.80 | 0.20 | 0.70 (0.70 to 0.70) |" in lines


def test_the_page_has_the_tables_of_the_record(writer: ModuleType) -> None:
    page = (DOCS / "audit_validity.md").read_text(encoding="utf-8")
    record = read_json(writer.RESULTS)
    assert page == writer.filled(page, record, writer.policy_of()), "behind: run `python docs/write_audit_validity.py`"


def test_the_shipped_thresholds_are_among_the_best_on_the_seeds_they_were_chosen_on(writer: ModuleType) -> None:
    record = read_json(writer.RESULTS)
    chosen_on = [
        one for one in record["units"] if one["seed"] in record["selection_seeds"] and one["data"] in writer.DATA
    ]
    low, high = writer.best(chosen_on, "lungs_removed")
    assert low <= writer.policy_of().lungs_removed < high


def test_a_folder_without_units_is_refused(writer: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"run benchmarks/audit_validity\.py first"):
        writer.gathered(tmp_path)
