"""Which patients are trained on, selected with and tested on: seeded, and no patient on both sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from medtea.core.errors import ConfigError, DataError
from medtea.core.names import Role, Split
from medtea.core.seeds import numpy_generator

Label = int | None


def split_patients(
    patients: Sequence[str],
    hospitals: Sequence[str],
    labels: Sequence[Label],
    *,
    roles: Mapping[str, Role],
    seed: int,
    validation: float = 0.15,
    test: float = 0.2,
) -> list[Split]:
    """The split of every radiograph, in the order given.

    Patients of an external hospital are all tested on. The others are divided within each stratum, that is hospital
    (of the patient's first radiograph) and label (positive if one of the patient's radiographs is). A stratum has its
    own random numbers, so that another hospital more or less changes nothing for this one. Patients are taken in
    the order of their first radiograph: the result depends on no pseudonym, and on no key therefore.

    Args:
        patients: One pseudonym per radiograph.
        hospitals: One hospital per radiograph.
        labels: 1, 0 or None per radiograph.
        roles: What each hospital is for.
        seed: The run's seed.
        validation: Share of a stratum's patients; at least one of three or more, if above 0.
        test: The same for testing.

    Raises:
        ConfigError: the shares are negative or leave nothing to train on.
        DataError: a patient is at an external hospital and at one that is not.
    """
    if validation < 0 or test < 0 or validation + test >= 1:
        raise ConfigError(f"validation and test are {validation:g} and {test:g}; both at least 0, together below 1.")
    if not len(patients) == len(hospitals) == len(labels):
        raise DataError("Patients, hospitals and labels differ in length; there is one of each per radiograph.")
    external = [roles[hospital] == Role.EXTERNAL for hospital in hospitals]
    _refuse_both_sides(patients, external)
    split_of: dict[str, Split] = {}
    for (hospital, label), members in _strata(patients, hospitals, labels).items():
        if roles[hospital] == Role.EXTERNAL:
            split_of.update(dict.fromkeys(members, Split.TEST))
            continue
        generator = numpy_generator(seed, f"split/{hospital}/{label}")
        shuffled = [members[place] for place in generator.permutation(len(members))]
        tested, chosen = _count(test, len(members)), _count(validation, len(members))
        split_of.update(dict.fromkeys(shuffled, Split.TRAIN))
        split_of.update(dict.fromkeys(shuffled[:tested], Split.TEST))
        split_of.update(dict.fromkeys(shuffled[tested : tested + chosen], Split.VALIDATION))
    return [split_of[patient] for patient in patients]


def _count(share: float, patients: int) -> int:
    at_least = 1 if share > 0 and patients >= 3 else 0
    return max(at_least, round(share * patients))


def _strata(
    patients: Sequence[str], hospitals: Sequence[str], labels: Sequence[Label]
) -> dict[tuple[str, Label], list[str]]:
    home: dict[str, str] = {}
    positive: dict[str, Label] = {}
    for patient, hospital, label in zip(patients, hospitals, labels, strict=True):
        home.setdefault(patient, hospital)
        known = positive.get(patient)
        positive[patient] = label if known is None else known if label is None else max(known, label)
    strata = defaultdict(list)
    for patient, hospital in home.items():
        strata[hospital, positive[patient]].append(patient)
    return strata


def _refuse_both_sides(patients: Sequence[str], external: Sequence[bool]) -> None:
    outside = {patient for patient, is_external in zip(patients, external, strict=True) if is_external}
    inside = {patient for patient, is_external in zip(patients, external, strict=True) if not is_external}
    shared = outside & inside
    both = [patient for patient in dict.fromkeys(patients) if patient in shared]
    if both:
        raise DataError(
            f"Patient {both[0]} ({len(both)} in all) is at an external hospital and at another one: the external test "
            "would not be external. Leave one of the hospitals out, or, if they number their patients independently, "
            "set ingest.patient_ids: per_hospital."
        )
