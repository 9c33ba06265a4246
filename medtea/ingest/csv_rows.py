"""Rows of a CSV as mappings of the columns asked for: plain or gzipped, with whatever is missing named."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

from medtea.core.errors import ConfigError, nearest

Row = dict[str, str]
LONGEST_FIELD = 1 << 20  # characters: reports stand in some tables


def csv_rows(path: Path, columns: Sequence[str], *, what: str, delimiter: str = ",") -> Iterator[Row]:
    """The rows of a CSV in UTF-8 with a header line, spaces at the ends of values removed.

    Args:
        path: The file; one whose name ends in .gz is unpacked.
        columns: What each row holds; other columns are not kept.
        what: The setting or file that the table stands for, for the messages.
        delimiter: Between values.

    Raises:
        ConfigError: the file cannot be read, or lacks a column.
    """
    csv.field_size_limit(LONGEST_FIELD)
    opened = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", restkey="", delimiter=delimiter)
            known = [name.strip() for name in reader.fieldnames or [] if name]
            reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            for column in columns:
                if column not in known:
                    raise ConfigError(f"{what}: the table has no column '{column}'. {nearest(column, known)}")
            for row in reader:
                yield {column: (row[column] or "").strip() for column in columns}
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as problem:
        raise ConfigError(
            f"{what}: the table cannot be read ({type(problem).__name__}); give a CSV in UTF-8."
        ) from None
