"""What may stand in the settings of an archive, and what is never quoted back."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from oracles.made_run import tiny_config, write_config

from medtea import cli
from medtea.core.errors import ConfigError, DataError
from medtea.core.settings import parse
from medtea.ingest.pacs.cache import LIST, Shelf, default_cache
from medtea.ingest.pacs.fetch import Archive, credentials, listed
from medtea.ingest.pacs.protocol import Instance
from medtea.ingest.pacs.settings import Dicomweb, Manners, Own, Query
from medtea.ingest.sources import pacs

WEB = {"protocol": "dicomweb", "url": "https://pacs.example/dicom-web"}
DIMSE = {"protocol": "dimse", "host": "pacs.example", "ae_title": "PACS"}


def settings(hospital: dict[str, Any], **more: Any) -> pacs.Settings:
    return parse(pacs.Settings, {"hospitals": {"north": hospital}, **more}, "ingest.options")


@pytest.mark.parametrize(
    "secret",
    [
        {"url": "https://reader:hunter2@pacs.example/dicom-web"},
        {"url": "https://hunter2@pacs.example"},
        {"url": "https://pacs.example/dicom-web?token=hunter2"},
        {"url": "https://pacs.example/dicom-web#hunter2"},
        {"password_variable": "hunter2", "user_variable": "READER"},
        {"token_variable": "hunter2"},
        {"password": "hunter2"},
        {"token": "hunter2"},
    ],
)
def test_a_password_in_the_config_is_refused_and_not_quoted(
    secret: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"environment variable|no such setting") as caught:
        settings(WEB | secret)
    assert "hunter2" not in str(caught.value)
    config = write_config(
        tmp_path / "c.yaml", tiny_config(source="pacs", options={"hospitals": {"north": WEB | secret}})
    )
    with pytest.raises(ConfigError) as caught:
        cli.walk(config, tmp_path / "run", [], no_tracking=True, until="ingest")
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("PACS_URL", "https://reader:hunter2@pacs.example")
    hidden = {"hospitals": {"north": WEB | {"url": "${PACS_URL}"}}}
    config = write_config(tmp_path / "c.yaml", tiny_config(source="pacs", options=hidden))
    with pytest.raises(ConfigError, match="url holds a user, a password") as caught:
        cli.walk(config, tmp_path / "run", [], no_tracking=True, until="ingest")
    assert "hunter2" not in str(caught.value) + (tmp_path / "run" / "settings.yaml").read_text()


@pytest.mark.parametrize(
    ("hospital", "said"),
    [
        ({"protocol": "dicomwep"}, r"north.*dicomweb"),
        (WEB | {"url": "pacs.example"}, "http:// or https://"),
        (WEB | {"user_variable": "PACS_USER"}, "go together"),
        (WEB | {"user_variable": "U", "password_variable": "P", "token_variable": "T"}, "in the place of"),
        (DIMSE | {"ae_title": "SEVENTEEN_LETTERS"}, "at most 16"),
        (DIMSE | {"ae_title": "BACK\\SLASH"}, "pattern"),
        (DIMSE | {"ae_title": "   "}, "pattern"),
        (DIMSE | {"port": 0}, "greater than or equal to 1"),
        (DIMSE | {"tls": True, "retrieve": "move"}, "tls goes with retrieve: get"),
        (DIMSE | {"ca_file": "x.pem"}, "ca_file is for tls: true"),
        (DIMSE | {"ae_titel": "X"}, "Did you mean 'ae_title'"),
        (WEB | {"query": {"since": "2020-02-01", "until": "2020-01-01"}}, "swap them"),
        (WEB | {"query": {"modality": ["CT"]}}, "CR"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_place(hospital: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        settings(hospital)
    assert str(caught.value).startswith("ingest.options.hospitals")


@pytest.mark.parametrize("name", ["../north", "a/b", ".hidden", "masks", "", "x" * 64])
def test_a_hospitals_name_is_a_folders(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a hospital's name"):
        parse(pacs.Settings, {"hospitals": {name: WEB}})


def test_a_cache_in_the_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it lies in the run folder"):
        pacs.Source(settings(WEB, cache=tmp_path / "run" / "c"), workspace=tmp_path / "run" / "source", seed=0)


def test_a_cache_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o755)
    (tmp_path / "cache").chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"), Shelf(tmp_path / "cache", "north", "q").open():
        pass
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="folder cannot be used"), Shelf(tmp_path / "file", "north", "q").open():
        pass


def test_the_cache_is_by_default_in_the_users_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "medtea" / "pacs"
    assert default_cache({}).parts[-3:] == (".cache", "medtea", "pacs")
    assert pacs.Source(settings(WEB), workspace=tmp_path / "run" / "source", seed=0).cache == tmp_path / "medtea/pacs"


def test_a_password_over_plain_http_leaves_this_machine_only_when_it_may() -> None:
    known = {"PACS_USER": "u", "PACS_PASSWORD": "p"}
    named = {"user_variable": "PACS_USER", "password_variable": "PACS_PASSWORD"}

    def given(url: str, **more: Any) -> dict[str, str]:
        return credentials("north", Dicomweb(protocol="dicomweb", url=url, **named, **more), known)

    assert given("https://pacs.example") == given("http://127.0.0.1:8042") == {"user": "u", "password": "p"}
    assert given("http://pacs.example", unencrypted=True) == {"user": "u", "password": "p"}
    with pytest.raises(ConfigError, match=r"hospitals\.north\.url: over http://"):
        given("http://pacs.example")


# ---- the list of accession and patient numbers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("number\n1\n", "no column accession_number or patient_id"),
        ("patient_id\n", "lists nothing"),
        ("patient_id\n\n \n", "lists nothing"),
        ("patient_id\n1\nQX77*\n", r"line 3 holds \* \?"),
        ("patient_id,accession_number\n1,A\\B\n", "line 2 holds"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_and_not_quoted(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "QX77.csv").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        listed(tmp_path / "QX77.csv")
    assert "QX77" not in str(caught.value)


def test_a_list_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"listed_in: the CSV cannot be read \(FileNotFoundError\)"):
        listed(tmp_path / "none.csv")


def test_a_row_of_the_list_is_one_search_and_no_row_is_searched_twice(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("accession_number,patient_id,note\nA1,P1,x\nA1,P1,y\n,P2,\nA3,,\n")
    assert listed(tmp_path / "l.csv") == [
        {"AccessionNumber": "A1", "PatientID": "P1"},
        {"PatientID": "P2"},
        {"AccessionNumber": "A3"},
    ]


def archive(**query: Any) -> Archive:
    return Archive(
        "north", parse(pacs.Settings, {"hospitals": {"n": WEB}}).hospitals["n"], Query(**query), Own(), Manners()
    )


def test_the_searches_of_a_query_are_these() -> None:
    assert list(archive(since="2020-01-31").searches()) == [
        {"StudyDate": "20200131-", "ModalitiesInStudy": "CR"},
        {"StudyDate": "20200131-", "ModalitiesInStudy": "DX"},
    ]
    assert list(archive(until="2020-01-31", modality=("DX",)).searches()) == [
        {"StudyDate": "-20200131", "ModalitiesInStudy": "DX"}
    ]


def test_another_archive_query_or_list_is_another_list_of_wanted_images(tmp_path: Path) -> None:
    table = tmp_path / "l.csv"
    table.write_text("patient_id\n1\n")
    first = archive(listed_in=table).digest
    assert first == archive(listed_in=table).digest
    table.write_text("patient_id\n2\n")
    assert len({first, archive(listed_in=table).digest, archive().digest, archive(limit=3).digest}) == 4


# ---- the cache


def test_a_shelf_remembers_and_what_is_asked_again_keeps_its_files(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "cache", "north", "q")
    assert (shelf.is_listed, shelf.wanted(), shelf.missing(), shelf.received()) == (False, [], [], set())
    one, two, three = (Instance("1.2", "1.3", f"1.4.{number}", "") for number in range(3))
    with shelf.open() as opened:
        assert opened.unlisted_studies() is None
        opened.add_studies(["1.9", "1.2"])
        assert opened.unlisted_studies() == ["1.2", "1.9"]
        opened.add_instances("1.2", [one, two, three])
        assert opened.unlisted_studies() == ["1.9"]
        assert not shelf.is_listed
        opened.add_instances("1.9", [])
        opened.finish_listing()
        opened.write(one.uid, b"one")
        opened.give_up({two.uid: "It is gone."})
    assert shelf.is_listed
    assert shelf.wanted() == [(one, ""), (two, "It is gone."), (three, "")]
    assert shelf.missing() == [three]
    assert stat.S_IMODE(shelf.folder.stat().st_mode) == 0o700
    assert Shelf(tmp_path / "cache", "north", "another").wanted() == []
    with shelf.open() as opened:
        opened.write(one.uid, b"another")
        opened.forget_answers()
    assert shelf.path(one.uid).read_bytes() == b"one", "what is there is not written again"
    assert not shelf.is_listed
    assert shelf.missing() == [two, three]


def test_a_damaged_list_says_what_to_remove(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "cache", "north", "q")
    with shelf.open() as opened:
        opened.finish_listing()
    (shelf.folder / LIST).write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match=rf"Remove the file {LIST}"):
        shelf.wanted()
    with pytest.raises(DataError, match=rf"Remove the file {LIST}"), shelf.open():
        pass
