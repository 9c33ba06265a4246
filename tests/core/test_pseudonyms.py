from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from medtea.core.errors import ConfigError
from medtea.core.pseudonyms import Pseudonyms, key_file, pseudonyms

KEY = b"a key of sixteen characters or more"


def test_the_same_patient_has_one_pseudonym_and_others_have_others() -> None:
    one = Pseudonyms(KEY)
    assert one.patient("Doe1") == one.patient(" Doe1 ") == Pseudonyms(KEY).patient("Doe1")
    assert len({one.patient(f"{number}") for number in range(5000)}) == 5000
    assert re.fullmatch("p[0-9a-f]{12}", one.patient("Doe1"))
    assert re.fullmatch("s[0-9a-f]{12}", one.study("Doe1"))
    assert one.study("Doe1")[1:] != one.patient("Doe1")[1:]


def test_another_key_gives_another_pseudonym() -> None:
    other = Pseudonyms(b"another key of enough characters")
    assert Pseudonyms(KEY).patient("Doe1") != other.patient("Doe1")
    assert Pseudonyms(KEY).key_digest != other.key_digest


def test_hospitals_that_number_independently_are_kept_apart() -> None:
    one = Pseudonyms(KEY)
    assert one.patient("1", hospital="a") != one.patient("1", hospital="b")
    assert one.patient("bc", hospital="a") != one.patient("c", hospital="ab")


def test_the_value_is_hmac_sha256_by_hand() -> None:
    # printf 'p/0//Doe1' | openssl dgst -sha256 -hmac 'a key of sixteen characters or more'
    assert Pseudonyms(KEY).patient("Doe1") == "pdb5837d0f768"


def test_the_environment_variable_comes_first(tmp_path: Path) -> None:
    environment = {"MEDTEA_KEY": KEY.decode(), "XDG_CONFIG_HOME": str(tmp_path)}
    assert pseudonyms(environment).patient("x") == Pseudonyms(KEY).patient("x")
    assert not list(tmp_path.iterdir())


def test_the_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    first, second = pseudonyms(environment), pseudonyms(environment)
    assert first.patient("x") == second.patient("x")
    path = key_file(environment)
    assert path == tmp_path / "medtea" / "key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["key"]


def test_without_a_configuration_folder_it_lies_under_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert key_file({}) == tmp_path / ".config" / "medtea" / "key"


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    pseudonyms(environment)
    key_file(environment).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        pseudonyms(environment)


def test_short_keys_and_unusable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MEDTEA_KEY holds 5 characters; a key has at least 16"):
        pseudonyms({"MEDTEA_KEY": "short"})
    (tmp_path / "medtea").write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match=r"cannot be used .*Set MEDTEA_KEY"):
        pseudonyms({"XDG_CONFIG_HOME": str(tmp_path)})
