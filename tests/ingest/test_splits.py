from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtea.core.errors import ConfigError, DataError
from medtea.core.names import Role, Split
from medtea.ingest.splits import split_patients

ROLES = {"a": Role.TRAIN, "b": Role.TRAIN, "x": Role.EXTERNAL, "e": Role.EXTRA}


def made(counts: dict[str, int], per_patient: int = 2) -> tuple[list[str], list[str], list[int | None]]:
    patients, hospitals, labels = [], [], []
    for hospital, count in counts.items():
        for number in range(count * per_patient):
            patients.append(f"{hospital}{number % count}")
            hospitals.append(hospital)
            labels.append((number % count) % 2)
    return patients, hospitals, labels


def test_external_is_all_test_and_shares_hold_in_every_stratum() -> None:
    patients, hospitals, labels = made({"a": 100, "x": 30, "e": 20})
    splits = split_patients(patients, hospitals, labels, roles=ROLES, seed=1, validation=0.1, test=0.2)
    of_patient = dict(zip(patients, splits, strict=True))
    for label in (0, 1):
        stratum = Counter(of_patient[f"a{number}"] for number in range(100) if number % 2 == label)
        assert stratum == {Split.TRAIN: 35, Split.VALIDATION: 5, Split.TEST: 10}
    assert {split for split, hospital in zip(splits, hospitals, strict=True) if hospital == "x"} == {Split.TEST}
    assert {split for split, hospital in zip(splits, hospitals, strict=True) if hospital == "e"} == set(Split)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abe"), st.sampled_from([0, 1, None])), max_size=60),
    seed=st.integers(0, 5),
)
def test_no_patient_is_on_two_sides(rows: list[tuple[int, str, int | None]], seed: int) -> None:
    patients, hospitals = [f"p{number}" for number, _, _ in rows], [hospital for _, hospital, _ in rows]
    splits = split_patients(patients, hospitals, [label for _, _, label in rows], roles=ROLES, seed=seed)
    assert len(splits) == len(rows)
    assert len(set(zip(patients, splits, strict=True))) == len(set(patients))


def test_the_split_depends_on_the_order_of_patients_not_on_their_pseudonyms() -> None:
    patients, hospitals, labels = made({"a": 40, "b": 30})
    names = {
        patient: f"p{number:012x}" for number, patient in enumerate(np.random.default_rng(0).permutation(patients))
    }
    renamed = [names[patient] for patient in patients]
    one, other = (split_patients(ids, hospitals, labels, roles=ROLES, seed=4) for ids in (patients, renamed))
    assert one == other


def test_another_hospital_changes_nothing_for_this_one() -> None:
    alone = split_patients(*made({"a": 40}), roles=ROLES, seed=4)
    both = split_patients(*made({"a": 40, "b": 30}), roles=ROLES, seed=4)
    assert both[: len(alone)] == alone


def test_one_seed_gives_one_split_and_another_another() -> None:
    first, again, other = (split_patients(*made({"a": 60}), roles=ROLES, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_small_strata_have_one_patient_on_each_side() -> None:
    splits = split_patients(*made({"a": 6}, per_patient=1), roles=ROLES, seed=0, validation=0.05, test=0.05)
    assert Counter(splits) == {Split.TRAIN: 2, Split.VALIDATION: 2, Split.TEST: 2}


def test_a_patient_at_an_external_hospital_too_is_refused_with_the_mend() -> None:
    with pytest.raises(DataError, match=r"Patient p2 \(1 in all\) .*set ingest.patient_ids: per_hospital"):
        split_patients(["p1", "p2", "p2"], ["a", "a", "x"], [0, 1, 1], roles=ROLES, seed=0)


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0.2), (0.5, 0.5)])
def test_shares_that_leave_nothing_are_refused(validation: float, test: float) -> None:
    with pytest.raises(ConfigError, match="together below 1"):
        split_patients(["p"], ["a"], [1], roles=ROLES, seed=0, validation=validation, test=test)


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="differ in length"):
        split_patients(["p"], ["a"], [], roles=ROLES, seed=0)
