"""Pseudonyms: a keyed one-way code in the place of a patient's number (HMAC-SHA256).

The key is not kept in the run folder: whoever has only the run cannot try patient numbers one by one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from medtea.core.errors import ConfigError

VARIABLE = "MEDTEA_KEY"
SHORTEST_KEY = 16  # characters
DIGITS = 12  # hexadecimal, 48 bits: among a million patients two share a pseudonym with probability 0.2 %


class Pseudonyms:
    """The same key gives the same pseudonyms; without it they cannot be found by trying."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def patient(self, raw: str, *, hospital: str = "") -> str:
        """A letter p and 12 hexadecimal digits.

        Args:
            raw: PatientID as the source has it; spaces at the ends do not count.
            hospital: Given where hospitals number their patients independently: the same number at another one is
                then another patient.
        """
        return self._code("p", hospital, raw)

    def study(self, raw: str, *, hospital: str = "") -> str:
        """A letter s and 12 hexadecimal digits, as for a patient."""
        return self._code("s", hospital, raw)

    def radiograph(self, raw: str, *, hospital: str = "") -> str:
        """A letter r and 12 hexadecimal digits, as for a patient, for a name that others gave an image."""
        return self._code("r", hospital, raw)

    def device(self, kind: str, raw: str, *, hospital: str = "") -> str:
        """A letter d and 12 hexadecimal digits for a station's name or a detector's number; `kind` keeps them apart."""
        return self._code("d", hospital, f"{kind}/{raw.strip()}")

    def file(self, path: str) -> str:
        """A letter f and 12 hexadecimal digits for a file's path within its folder."""
        return self._code("f", "", path)

    def secret(self, what: str) -> str:
        """64 hexadecimal digits that follow from the key and give it away to nobody: a seed for others' generators."""
        return hmac.new(self._key, f"secret/{what}".encode(), hashlib.sha256).hexdigest()

    def number(self, what: str, raw: str) -> int:
        """A number of 64 bits for something that is drawn once for each patient."""
        return int(hmac.new(self._key, f"number/{what}/{raw}".encode(), hashlib.sha256).hexdigest()[:16], 16)

    @property
    def key_in_hexadecimal(self) -> str:
        """The key itself, for a process of our own and for nothing that is written."""
        return self._key.hex()

    @property
    def key_digest(self) -> str:
        """Tells keys apart in a record, and gives none away."""
        return hmac.new(self._key, b"which key", hashlib.sha256).hexdigest()[:8]

    def _code(self, kind: str, hospital: str, raw: str) -> str:
        # Lengths keep ("ab", "c") and ("a", "bc") apart.
        text = f"{kind}/{len(hospital)}/{hospital}/{raw.strip()}"
        return kind + hmac.new(self._key, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:DIGITS]


def pseudonyms(environment: Mapping[str, str] | None = None) -> Pseudonyms:
    """Pseudonyms with the user's key: MEDTEA_KEY, or the file medtea/key in the user's configuration folder.

    The file is made at first use, readable by its owner alone.

    Raises:
        ConfigError: the key is too short, or the file cannot be used or is readable by others.
    """
    environment = os.environ if environment is None else environment
    given = environment.get(VARIABLE, "")
    if given:
        return Pseudonyms(_checked(given.encode(), f"The environment variable {VARIABLE}"))
    path = key_file(environment)
    try:
        _make(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError("The key file medtea/key can be read by others. Set its mode to 600 (chmod 600).")
        return Pseudonyms(_checked(path.read_bytes().strip(), "The key file medtea/key"))
    except OSError as problem:
        raise ConfigError(
            f"The key file medtea/key in your configuration folder cannot be used ({type(problem).__name__}). "
            f"Set {VARIABLE} to a secret of at least {SHORTEST_KEY} characters."
        ) from None


def key_file(environment: Mapping[str, str]) -> Path:
    """Where the key lies: $XDG_CONFIG_HOME/medtea/key, by default ~/.config/medtea/key."""
    folder = environment.get("XDG_CONFIG_HOME") or ""
    return (Path(folder) if folder else Path.home() / ".config") / "medtea" / "key"


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Written aside and linked into place: of two runs that start together, both read the key of the first.
    part = path.with_name(f".key-{secrets.token_hex(8)}")
    if path.exists():
        return
    try:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        os.link(part, path)
    except FileExistsError:
        return
    finally:
        part.unlink(missing_ok=True)


def _checked(key: bytes, where: str) -> bytes:
    if len(key) < SHORTEST_KEY:
        raise ConfigError(f"{where} holds {len(key)} characters; a key has at least {SHORTEST_KEY}.")
    return key
