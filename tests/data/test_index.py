"""The index goes there and back, and refuses a patient who is both learnt from and tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medtea.core.errors import DataError, RecordError
from medtea.data.index import COLUMNS, read_index, refuse_leaks, rows, write_index


def index_of(*given: dict[str, Any]) -> pd.DataFrame:
    """An index of given rows; what a row leaves out is filled in, each patient on their own."""
    filled = [
        {
            "radiograph": f"r{number:06d}",
            "hospital": "alpha",
            "patient": f"p{number}",
            "study": f"s{number}",
            "view": "PA",
            "device": "unknown",
            "label": 1,
            "has_mask": False,
            "role": "train",
            "split": "train",
            "group": "alpha",
            "file": f"{number:012x}",
            "digest": f"{number:064x}",
        }
        | row
        for number, row in enumerate(given)
    ]
    return pd.DataFrame(filled)


def test_there_and_back_changes_nothing_and_keeps_a_missing_label_missing(tmp_path: Path) -> None:
    index = index_of({"label": 1}, {"label": pd.NA, "has_mask": True}, {"label": 0, "hospital": "Kraków"})
    write_index(tmp_path / "index.parquet", index)
    back = read_index(tmp_path / "index.parquet")
    pd.testing.assert_frame_equal(back, index.astype(COLUMNS))
    assert back["label"].isna().tolist() == [False, True, False]
    assert back["label"].dtype == "Int8"


def test_rows_keep_their_order_and_are_counted_from_0(tmp_path: Path) -> None:
    index = index_of({}, {}, {}).iloc[[2, 0, 1]]
    write_index(tmp_path / "index.parquet", index)
    back = read_index(tmp_path / "index.parquet")
    assert back["radiograph"].tolist() == ["r000002", "r000000", "r000001"]
    assert back.index.tolist() == [0, 1, 2]


def test_a_column_that_is_not_known_is_not_kept(tmp_path: Path) -> None:
    write_index(tmp_path / "index.parquet", index_of({}).assign(path="/doe/john.dcm"))
    assert list(read_index(tmp_path / "index.parquet").columns) == list(COLUMNS)
    assert b"john" not in (tmp_path / "index.parquet").read_bytes()


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks the columns label, split"):
        write_index(tmp_path / "index.parquet", index_of({}).drop(columns=["label", "split"]))


def test_an_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="id stands twice"):
        write_index(tmp_path / "index.parquet", index_of({}, {"radiograph": "r000000"}))
    assert not (tmp_path / "index.parquet").exists()


@pytest.mark.parametrize("content", [None, b"", b"PAR1 not really PAR1", "cut"])
def test_a_missing_or_damaged_index_says_the_mend(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "index.parquet"
    if content == "cut":
        write_index(path, index_of({}, {}))
        path.write_bytes(path.read_bytes()[:-200])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(RecordError, match=r"'index.parquet' is missing or damaged .*; remove the ingest folder"):
        read_index(path)


def test_another_table_is_no_index(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "index.parquet")
    with pytest.raises(RecordError, match="missing or damaged"):
        read_index(tmp_path / "index.parquet")


@pytest.mark.parametrize(
    "leak",
    [
        # within a hospital: learnt from, and tested on
        [{"patient": "p7f", "split": "train"}, {"patient": "p7f", "split": "test"}],
        # selection counts as seen
        [{"patient": "p7f", "split": "val"}, {"patient": "p7f", "split": "test"}],
        # across hospitals: an external hospital is all test
        [{"patient": "p7f"}, {"patient": "p7f", "hospital": "beta", "role": "external", "split": "test"}],
        # an external hospital is tested on, whatever its split says
        [{"patient": "p7f"}, {"patient": "p7f", "hospital": "beta", "role": "external", "split": "train"}],
        # across training hospitals
        [{"patient": "p7f"}, {"patient": "p7f", "hospital": "beta", "split": "test"}],
    ],
)
def test_a_patient_who_is_learnt_from_and_tested_on_is_refused_by_pseudonym_only(
    leak: list[dict[str, Any]], tmp_path: Path
) -> None:
    index = index_of({}, *leak, {"split": "test"})
    with pytest.raises(DataError, match=r"Patient p7f .*set ingest\.patient_ids: per_hospital") as caught:
        refuse_leaks(index)
    told = str(caught.value)
    for column in ("radiograph", "study", "file", "digest"):
        assert not [value for value in index[column] if value in told]
    with pytest.raises(DataError, match="Patient p7f"):
        write_index(tmp_path / "index.parquet", index)
    assert not (tmp_path / "index.parquet").exists()


def test_a_patient_may_come_back_on_the_same_side() -> None:
    refuse_leaks(
        index_of(
            {"patient": "a", "split": "train"},
            {"patient": "a", "split": "val"},
            {"patient": "b", "split": "test"},
            {"patient": "b", "hospital": "beta", "role": "external", "split": "test"},
        )
    )


def test_rows_are_the_places_where_it_is_true() -> None:
    table = index_of({}, {"label": 0}, {}).set_axis([9, 4, 7])
    assert rows(table["label"].eq(1)).tolist() == [0, 2]
    assert rows(table["label"].eq(5)).dtype == np.int64
