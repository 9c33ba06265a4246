"""BrixIA: 4,703 radiographs of COVID-19 patients at ASST Spedali Civili, Brescia, with a score of severity; DICOM.

Signoroni et al., Medical Image Analysis 71, 2021. Distributed by the University of Brescia under a research use
agreement, not to be passed on.

All patients have COVID-19. The Brixia score is the sum of six zones' 0 to 3, by one of 50 radiologists on duty: list
"Brixia 0", "Brixia 1", ... under ingest.positive and ingest.negative to divide it. Half are bedside AP; score and
device go together.
"""

from __future__ import annotations

from collections.abc import Mapping

from medtea.core.errors import ConfigError
from medtea.ingest.csv_rows import Row
from medtea.ingest.image_sets import About, ImageSet, Picture, SetSettings

COLUMNS = ("Filename", "StudyId", "Subject", "BrixiaScoreGlobal")


class Settings(SetSettings):
    """Where the set is."""


class Source(ImageSet):
    """dicom_clean/*.dcm; metadata_global_v2.csv, with semicolons, or _v1, with commas, in the root or in data."""

    hospital = "brescia"
    suffixes = (".dcm",)
    has_headers = True
    has_row_per_image = True

    def rows(self) -> Mapping[str, Row]:
        """By Filename."""
        names = ("{}metadata_global_v2.csv", ";"), ("{}metadata_global_v1.csv", ",")
        for name, delimiter in names:
            for folder in ("", "data/"):
                if (self.root / name.format(folder)).is_file():
                    table = self.table(name.format(folder), columns=COLUMNS, delimiter=delimiter)
                    return {row["Filename"]: row for row in table}
        raise ConfigError("root: the set's table 'metadata_global_v2.csv' is not there. Give the folder that holds it.")

    def about(self, image: Picture) -> About:
        """View and device are the header's."""
        finding = f"COVID-19|Brixia {image.row['BrixiaScoreGlobal'].removesuffix('.0')}"
        return About(patient=image.row["Subject"], view="", finding=finding, study=image.row["StudyId"])
