"""What becomes of a radiograph with burned-in text, declared by a tag or seen on the border (data.border_text)."""

from __future__ import annotations

from typing import Literal

from pydicom.dataset import Dataset

from medtea.core.errors import DataError
from medtea.data.border_text import text_on_border
from medtea.data.levels import Picture
from medtea.ingest.acquisition import DECLARED, text_in

TextPolicy = Literal["flag", "refuse", "ignore"]


def says_burned_in(dataset: Dataset) -> bool:
    """Whether BurnedInAnnotation or RecognizableVisualFeatures is YES; missing or NO says little."""
    return any(text_in(dataset, name).upper() == "YES" for name in ("BurnedInAnnotation", "RecognizableVisualFeatures"))


def judged(picture: Picture, said: str, policy: TextPolicy) -> str:
    """What `text_on_border` of a radiograph is: "declared" by a tag, else what its border looks like.

    Args:
        picture: (rows, columns), before it is reduced to the run's size.
        said: DECLARED, or anything else.
        policy: "ignore" looks at nothing.

    Raises:
        DataError: the policy is "refuse", and text is declared or seen.
    """
    if policy == "ignore":
        return said
    found = DECLARED if said == DECLARED else text_on_border(picture).word
    if policy == "refuse" and found in (DECLARED, "text"):
        how = "The header declares burned-in text." if found == DECLARED else "Something on the border looks like text."
        raise DataError(f"{how} Set ingest.burned_in: flag to keep such radiographs.")
    return found
