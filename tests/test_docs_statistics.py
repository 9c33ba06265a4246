"""docs/statistics.md holds the table of its result file, and a row of it comes out again."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medtea.core.work import read_json

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def writer() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("write_statistics", DOCS / "write_statistics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["write_statistics"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["write_statistics"]


def test_the_page_has_the_tables_of_the_results(writer: ModuleType) -> None:
    page = (DOCS / "statistics.md").read_text(encoding="utf-8")
    assert page == writer.filled(page, read_json(writer.RESULTS)), "behind: run `python docs/write_statistics.py`"


def test_the_results_are_of_two_thousand_studies_and_the_page_counts_what_is_missing(writer: ModuleType) -> None:
    found = read_json(writer.RESULTS)
    assert found["studies"] == writer.STUDIES == 2000
    made = [writer.Setting(*(row[name] for name in ("most", "prevalence", "n", "auroc"))) for row in found["results"]]
    assert made == list(writer.SETTINGS[: len(made)])
    missing = f"{len(writer.SETTINGS) - len(made)} of {len(writer.SETTINGS)} settings are not measured yet"
    assert (missing in writer.told(found)) == (made != list(writer.SETTINGS))


def test_simulated_radiographs_are_as_the_page_says(writer: ModuleType) -> None:
    setting = writer.Setting(6, 0.2, 5000, 0.8)
    shift = np.sqrt(2) * norm.ppf(0.8)
    study = writer.drawn(setting, np.random.default_rng(0), shift, shift)
    assert study.labels.mean() == pytest.approx(0.2, abs=0.03)
    assert roc_auc_score(study.labels, study.scores) == pytest.approx(0.8, abs=0.02)
    rest = [scores - shift * study.labels for scores in (study.scores, study.others)]
    assert [one.std() for one in rest] == pytest.approx([1, 1], abs=0.05)
    assert np.corrcoef(*rest)[0, 1] == pytest.approx(writer.BETWEEN, abs=0.05)
    same = study.patients[1:] == study.patients[:-1]
    pairs = np.stack([rest[0][1:][same], rest[0][:-1][same]])
    assert np.corrcoef(pairs)[0, 1] == pytest.approx(writer.WITHIN, abs=0.06)
    assert set(np.unique(study.patients, return_counts=True)[1]) == set(range(1, 7))


def test_a_row_outside_93_to_97_percent_is_bold(writer: ModuleType) -> None:
    assert writer._cell({"held": 0.9296, "without": 0}) == "93.0"
    assert writer._cell({"held": 0.9294, "without": 3}) == "**92.9** (3 none)"
    assert writer._cell({"held": None, "without": 2000}) == "none"


@pytest.mark.slow
def test_a_row_comes_out_again(writer: ModuleType) -> None:
    setting = writer.Setting(1, 0.2, 60, 0.8)
    recorded = read_json(writer.RESULTS)["results"][list(writer.SETTINGS).index(setting)]
    found = writer.measured(setting, writer.STUDIES)
    for name, one in recorded["intervals"].items():
        # Another machine's rounding may turn a study or two.
        assert found["intervals"][name]["held"] == pytest.approx(one["held"], abs=0.002), name
