"""A bay lists its files, loads one by name, and knows what to say of each."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from medtea.audit import probes
from medtea.core import bay
from medtea.core.errors import ConfigError
from medtea.distil import methods
from medtea.ingest import sources
from medtea.teach import teachers

BAYS = [probes, methods, sources, teachers]


@pytest.fixture
def made_bay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    folder = tmp_path / "made_bay"
    folder.mkdir()
    (folder / "__init__.py").write_text("CONTRACT = 'form'\n")
    (folder / "form.py").write_text('"""The contract."""\n')
    (folder / "zebra.py").write_text('"""Stripes.\n\nMore of them.\n"""\n')
    (folder / "ape.py").write_text("THREE = 3\n")
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n")
    (folder / "notes.txt").write_text("no module")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("made_bay")
    for name in [name for name in sys.modules if name.startswith("made_bay")]:
        del sys.modules[name]


def test_the_entries_are_the_files_but_for_the_contract_in_order_and_none_is_imported(made_bay: ModuleType) -> None:
    assert bay.names(made_bay) == ["ape", "broken", "zebra"]
    assert "made_bay.broken" not in sys.modules


def test_a_new_file_is_an_entry_by_itself(made_bay: ModuleType) -> None:
    (Path(made_bay.__path__[0]) / "newt.py").write_text('"""New."""\n')
    assert "newt" in bay.names(made_bay)
    assert bay.summary(bay.load(made_bay, "newt", "zoo.animal")) == "New."


def test_an_entry_is_loaded_by_name(made_bay: ModuleType) -> None:
    assert bay.load(made_bay, "ape", "zoo.animal").THREE == 3


@pytest.mark.parametrize("name", ["zebr", "form", "", "../ape", "zebra.ape"])
def test_an_unknown_name_is_refused_with_where_it_was_written_and_what_is_allowed(
    made_bay: ModuleType, name: str
) -> None:
    with pytest.raises(ConfigError, match=r"^zoo\.animal: '.*' is not known\. Allowed: ape, broken, zebra\."):
        bay.load(made_bay, name, "zoo.animal")


def test_the_nearest_name_is_offered(made_bay: ModuleType) -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'zebra'\?$"):
        bay.load(made_bay, "zebr", "zoo.animal")


def test_the_summary_is_the_first_line_and_empty_without_a_docstring(made_bay: ModuleType) -> None:
    assert bay.summary(bay.load(made_bay, "zebra", "zoo.animal")) == "Stripes."
    assert bay.summary(bay.load(made_bay, "ape", "zoo.animal")) == ""


@pytest.mark.parametrize("one", BAYS, ids=lambda one: one.__name__)
def test_our_own_bays_have_a_contract_and_entries(one: ModuleType) -> None:
    assert (Path(one.__path__[0]) / f"{one.CONTRACT}.py").is_file()
    assert bay.names(one)
