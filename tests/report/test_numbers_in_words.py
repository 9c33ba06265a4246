"""What the sections of calibration, net benefit, hospitals and subgroups say in words."""

from __future__ import annotations

from typing import Any

import pytest
from oracles.made_report import contents

from medtea.report.blocks import Points, flat
from medtea.report.sections import calibration, decision_curve, heterogeneity, sites, subgroups
from medtea.report.tables import Table


def words(section: Any, made: Any = None) -> str:
    blocks = flat(section.blocks(made or contents(one_class="south")))
    said = [sentence for one in blocks if isinstance(one, Points) for sentence in one.sentences]
    said += [str(getattr(one, "text", "")) for one in blocks]
    return " ".join(said)


@pytest.mark.parametrize(
    ("unseen", "said"),
    [
        (0, "No hospital was left unseen"),
        (1, "cannot be known from one"),
        (2, "there is none for a third hospital"),
        (3, "So few say little"),
        (6, "expected within the interval"),
    ],
)
def test_few_hospitals_are_said_to_say_little(unseen: int, said: str) -> None:
    assert said in heterogeneity._how_many([{"over": "ood", "hospitals": [{}] * unseen}])


def test_thresholds_are_told_as_ranges() -> None:
    at = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert decision_curve._ranges(at, [0.1, 0.2, 0.3, 0.5]) == "0.1 to 0.3, 0.5"
    assert decision_curve._ranges(at, []) == ""
    assert decision_curve._ranges(at, at) == "0.1 to 0.5"


def test_what_has_no_answer_is_told_with_its_reason() -> None:
    said = words(calibration)
    assert "erm at south has no slope and no curve: one class only." in said
    assert "no loss has fixed" in said, "what the scores of a student of heatmaps are worth"
    assert "Recalibration of tea" in said
    assert "one class only" in words(heterogeneity)


def test_the_hospital_alone_stands_beside_every_method() -> None:
    tables = [one for one in flat(sites.blocks(contents())) if isinstance(one, Table)]
    assert [table.rows[0][0].text for table in tables] == ["hospital alone"] * 2
    assert [row[0].text for row in tables[0].rows[1:]] == ["teacher", "tea", "erm", "logit_distil"]
    assert "its score is the prevalence among the training radiographs" in words(sites)


def test_subgroups_are_told_without_a_cause() -> None:
    said = words(subgroups)
    assert "the lowest of" in said
    assert "too small to be shown" in said
    assert "portable is not known of any of the" in said
    for cause in ("because", "due to", "caused", "leads to", "effect of"):
        assert cause not in said
