"""docs/ingest.md is true: its tables are those of the settings, the facts and the tests."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from oracles.made_dicom import made_dataset
from oracles.truth_table import ROWS

from medtea.core.settings import parse
from medtea.data.choices import Accept, Choices
from medtea.data.dicom.stored import PACKAGES
from medtea.data.facts import Facts
from medtea.data.views import DESCRIPTIONS

DOCS = Path(__file__).parents[1] / "docs"


def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_ingest", DOCS / "write_ingest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text() -> str:
    return (DOCS / "ingest.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_code() -> None:
    assert text() == writer().page(), "docs/ingest.md is behind: run `python docs/write_ingest.py`"


def test_a_page_without_a_place_for_a_table_is_said_to_be_so(tmp_path: Path) -> None:
    module = writer()
    module.PAGE = tmp_path / "ingest.md"
    module.PAGE.write_text("<!-- accept -->\n<!-- end of accept -->\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="0 places for the table 'choices'"):
        module.page()


@pytest.mark.parametrize("described", [Accept, Choices, Facts])
def test_every_setting_and_fact_is_described(described: type) -> None:
    names = getattr(described, "model_fields", None) or described.__dataclass_fields__
    assert list(writer().attributes(described)) == list(names)


def test_every_row_of_the_truth_table_is_printed_once() -> None:
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \| \d+ of \d+", text(), re.MULTILINE)]
    assert numbers == list(range(1, len(ROWS) + 1))


def test_the_packages_and_the_descriptions_told_are_those_there_are() -> None:
    assert [package for package, _ in PACKAGES.values() if package not in text()] == []
    told = re.findall(r"[A-Z]\w+Description|ProtocolName", text().partition("**The view**")[2])
    assert tuple(told[: len(DESCRIPTIONS)]) == DESCRIPTIONS


def test_the_yaml_is_read_by_the_real_settings() -> None:
    (section,) = re.findall(r"^```yaml\n(.*?)^```$", text(), re.DOTALL | re.MULTILINE)
    content = yaml.safe_load(section)["ingest"]["reading"]
    assert parse(Choices, content).model_dump(exclude_unset=True) == content


def test_the_example_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", text(), re.DOTALL | re.MULTILINE)
    dataset = made_dataset()
    dataset.ViewPosition = "PA"
    dataset.save_as(tmp_path / "x", enforce_file_format=True)
    names = {"path": tmp_path / "x", "mask": np.ones((20, 24), dtype=bool)}
    exec(compile(code, "ingest.md", "exec"), names)  # our own document's text
    assert names["reading"].facts.view == "PA"
