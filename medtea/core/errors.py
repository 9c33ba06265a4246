"""The ways a user can be told no. Every message says what is wrong, where, what is allowed and what to do.

No message carries a patient's name, number, date or free text, and none carries a file name, which may hold them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MedteaError(Exception):
    """What medtea raises on purpose: the command line prints its text alone, without a traceback."""


class ConfigError(MedteaError):
    """A setting is unknown, has a value that is not allowed, or contradicts another."""


class DataError(MedteaError):
    """Radiographs, masks, labels or arrays are not what the computation needs."""


class RecordError(MedteaError):
    """A run folder's record is missing, damaged or belongs to something else."""


class UsageError(MedteaError):
    """A command or function was called in a way that cannot be answered."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The sentence that lists what is allowed and names the nearest: "Allowed: a, b. Did you mean 'a'?"."""
    names = sorted(allowed)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"Allowed: {', '.join(names)}.{hint}"
