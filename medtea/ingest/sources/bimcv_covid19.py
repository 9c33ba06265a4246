"""BIMCV-COVID19+ and -COVID19-: radiographs of patients tested for COVID-19 in hospitals of the Valencia region.

Vayá et al., arXiv 2006.01174, 2020. Distributed by BIMCV under a research use agreement.

Labels are what a network found in the Spanish reports, per session: "COVID 19" is what the report says, not what the
test said; "COVID 19 uncertain" stands beside it; "unchanged" points to an earlier report. Which of 11 hospitals a
patient was at is not told. Pictures hold stored values without a window, and are dark where dense when the JSON beside
them says MONOCHROME1. + and - were collected apart: do not let the collection tell the label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from medtea.core.errors import DataError
from medtea.ingest.csv_rows import Row, csv_rows
from medtea.ingest.image_sets import About, ImageSet, Picture, SetSettings, listed
from medtea.ingest.labels import SEVERAL

NAME = re.compile(r"(sub-S\w+?)_(ses-E\w+?)_")
LARGEST_JSON = 1 << 22  # bytes; the largest hold a VOI table of 65,536 entries in words
PHOTOMETRIC, MAKER, MODEL = "00280004", "00080070", "00081090"


class Settings(SetSettings):
    """Where the set is."""


class Source(ImageSet):
    """.../sub-S03047/ses-E06083/mod-rx/*_vp-pa_cr.png with *.json; labels in derivatives/labels/*.tsv at any depth."""

    hospital = "valencia"
    suffixes = (".png",)

    def rows(self) -> Mapping[str, Row]:
        """By session; one without a radiograph has only CT."""
        rows = {}
        for path in self.files():
            if path.suffix == ".tsv" and path.parts[-3:-1] == ("derivatives", "labels"):
                for row in csv_rows(self.root / path, ("ReportID", "Labels"), what="labels", delimiter="\t"):
                    rows[row["ReportID"]] = row
        return rows

    def is_image(self, image: PurePath) -> bool:
        """In a folder mod-rx."""
        return super().is_image(image) and image.parent.name == "mod-rx"

    def row_key(self, image: PurePath) -> str:
        """The session in the name."""
        named = NAME.match(image.name)
        return named[2] if named else ""

    def about(self, image: Picture) -> About:
        """Patient, session and view stand in the name: vp-pa, vp-ap, vp-lateral, or no vp at all."""
        named = NAME.match(image.path.name)
        if named is None:
            raise DataError("The name holds no subject and session as the set's names do.")
        view = re.search(r"_vp-([a-z]+)", image.path.name)
        header = self._header(image.path)
        return About(
            patient=named[1],
            study=named[2],
            view=view[1] if view else "",
            finding=SEVERAL.join(listed(image.row.get("Labels", ""))) or None,
            device=f"{_first(header, MAKER)} {_first(header, MODEL)}".strip() or "unknown",
            is_inverted=_first(header, PHOTOMETRIC) == "MONOCHROME1",
        )

    def _header(self, image: PurePath) -> dict[str, Any]:
        path = (self.root / image).with_suffix(".json")
        if not path.is_file() or path.is_symlink() or path.stat().st_size > LARGEST_JSON:
            return {}
        try:
            header = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            raise DataError("The JSON beside the picture, which says its polarity, cannot be read.") from None
        return header if isinstance(header, dict) else {}


def _first(header: dict[str, Any], tag: str) -> str:
    """The first value of an element in DICOM's JSON, "" where there is none."""
    element = header.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]).strip(" '") if isinstance(values, list) and values else ""
