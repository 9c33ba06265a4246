"""The tables beside the index: row i tells of radiograph i, in the facts' own types."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd

from medtea.data.acquisition import write_facts
from medtea.data.facts import Facts


def test_the_facts_come_back_by_radiograph_and_what_is_unknown_is_missing(tmp_path: Path) -> None:
    read = [Facts(), Facts(voi="window 2 of 3", lossy=True, bits_stored=12, row_spacing_mm=0.14, field_box="rows 1-9")]
    write_facts(tmp_path / "reading.parquet", ["r000001", "r000002"], [one.columns() for one in read])
    table = pd.read_parquet(tmp_path / "reading.parquet")
    assert list(table.columns) == ["radiograph", *(one.name for one in fields(Facts))]
    for (_, row), facts, name in zip(table.iterrows(), read, ["r000001", "r000002"], strict=True):
        assert row["radiograph"] == name
        told = {key: None if pd.isna(value) else value for key, value in row.drop("radiograph").items()}
        assert told == asdict(facts)
