"""Images from a real Orthanc by every protocol: the same as from a folder, once each, from whom was asked alone."""

from __future__ import annotations

import logging
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from oracles.made_archives import ACCESSION, PATIENT, certificate, change, made_images, made_labels, quick, told
from oracles.made_run import silent_work, tiny_config, write_config
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]
from rich.console import Console
from servers import NO_ORTHANC, Orthanc, free_port, has_orthanc, orthanc

from medtea import cli
from medtea.core.errors import ConfigError, DataError
from medtea.core.names import IndexArtefact
from medtea.core.settings import parse
from medtea.data.dicom_files import VENDORS
from medtea.data.index import read_index
from medtea.ingest.pacs import fetch as fetching
from medtea.ingest.pacs.cache import LIST, file_name
from medtea.ingest.pacs.check import look
from medtea.ingest.pacs.protocol import Instance
from medtea.ingest.pacs.receiver import Listener
from medtea.ingest.pacs.settings import Dimse, Manners, Own
from medtea.ingest.sources import pacs
from medtea.ingest.sources.source import Candidate, Refused
from medtea.ingest.stage import Settings, run

pytestmark = pytest.mark.skipif(not has_orthanc(), reason=NO_ORTHANC)
WAYS = ("dicomweb", "get", "move")
COUNT = 8


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def own_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hospitals' radiographs in six manners, with a lateral view, a hand and a CT among them; and labels."""
    root = tmp_path_factory.mktemp("files")
    uids = made_images(root / "tree" / "north", count=COUNT, hospital="north")
    uids += made_images(root / "tree" / "southern", count=COUNT, hospital="southern")
    change(root / "tree" / "north" / "000", ViewPosition="LL")
    change(root / "tree" / "north" / "001", BodyPartExamined="HAND")
    change(root / "tree" / "north" / "002", BodyPartExamined="")
    change(root / "tree" / "north" / "003", Modality="CT")
    made_labels(root / "labels.csv", uids)
    return root


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, files: Path, own_port: int) -> Iterator[dict[str, Orthanc]]:
    """An archive for each hospital, filled by C-STORE."""
    folder = tmp_path_factory.mktemp("orthanc")
    us = {"us": ["MEDTEA", "127.0.0.1", own_port]}
    with (
        orthanc(folder / "north", ae_title="NORTH", DicomModalities=us) as north,
        orthanc(folder / "southern", ae_title="SOUTH", DicomModalities=us) as southern,
    ):
        north.fill(sorted((files / "tree" / "north").iterdir()))
        southern.fill(sorted((files / "tree" / "southern").iterdir()))
        yield {"north": north, "southern": southern}


def asked(server: Orthanc, way: str) -> dict[str, Any]:
    """The settings of one hospital."""
    if way == "dicomweb":
        return {"protocol": "dicomweb", "url": server.url}
    return {
        "protocol": "dimse",
        "host": "127.0.0.1",
        "port": server.dicom_port,
        "ae_title": server.ae_title,
        "retrieve": way,
    }


def options(folder: Path, hospitals: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"hospitals": hospitals, "cache": str(folder / "cache"), "manners": quick(), **settings}


def source(folder: Path, hospitals: dict[str, Any], **settings: Any) -> pacs.Source:
    content = options(folder, hospitals, **settings)
    return pacs.Source(parse(pacs.Settings, content), workspace=folder / "run" / "source", seed=0)


def received(folder: Path, hospital: str) -> list[Path]:
    return sorted((folder / "cache" / hospital).glob("*.dcm"))


def settings_of(name: str, content: dict[str, Any], **given: Any) -> Settings:
    labels = {
        "positive": ["Nodules"],
        "negative": ["Normal"],
        "train": ["southern"],
        "external": ["north"],
        "size": 32,
        "patient_ids": "per_hospital",
    }
    return parse(Settings, {"source": name, "options": content, **labels, **given}, "ingest")


def reasons(index: IndexArtefact) -> list[str]:
    """Why files were refused; an archive's files have other digests."""
    return sorted(pd.read_csv(index.refused)["reason"])


# ---- the same as from a folder


@pytest.mark.parametrize("way", WAYS)
def test_an_archive_gives_the_index_that_the_folder_of_its_files_gives(
    way: str, files: Path, servers: dict[str, Orthanc], own_port: int, tmp_path: Path
) -> None:
    # two hospitals of one config, the second by the way under test; nothing but the wanted is asked for
    tree = tmp_path / "tree"
    shutil.copytree(files / "tree", tree)
    for other in ("001", "003"):
        (tree / "north" / other).unlink()
    labels = str(files / "labels.csv")
    shutil.copy(labels, tree)
    expected = run(silent_work(tmp_path / "one"), settings_of("dicom_tree", {"root": str(tree)}))
    hospitals = {"southern": asked(servers["southern"], way), "north": asked(servers["north"], "dicomweb")}
    content = options(tmp_path, hospitals, labels=labels, own={"port": own_port, "address": "127.0.0.1"})
    found = run(silent_work(tmp_path / "two"), settings_of("pacs", content))

    assert reasons(found) == reasons(expected)
    pd.testing.assert_frame_equal(*(read_index(one.index).drop(columns="file") for one in (expected, found)))
    np.testing.assert_array_equal(*(np.load(one.radiographs) for one in (expected, found)))
    assert expected.flow.read_text() == found.flow.read_text()
    refusals = [[line.split(",", 1)[1] for line in one.refused.read_text().splitlines()] for one in (expected, found)]
    assert refusals[0] == refusals[1]
    assert len(refusals[0]) == 2, "the lateral view, below the heading"
    assert len(read_index(found.index)) == 2 * COUNT - 3

    # the files carry the UIDs nowhere in their names, and only their owner may look
    for path in (tmp_path / "cache").rglob("*"):
        assert told(path.relative_to(tmp_path).as_posix()) == []
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "cache" / "north").stat().st_mode) == 0o700


@pytest.mark.parametrize("way", WAYS)
def test_the_pixels_and_header_that_arrive_are_those_that_were_sent(
    way: str, files: Path, servers: dict[str, Orthanc], own_port: int, tmp_path: Path
) -> None:
    one = source(tmp_path, {"southern": asked(servers["southern"], way)}, own={"port": own_port})
    one.receive()
    for path in (files / "tree" / "southern").iterdir():
        sent = pydicom.dcmread(path)
        arrived = pydicom.dcmread(tmp_path / "cache" / "southern" / file_name(sent.SOPInstanceUID))
        assert arrived.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID, "in the stored transfer syntax"
        assert arrived.PixelData == sent.PixelData
        assert {e.tag: e.value for e in arrived if not e.tag.is_private} == {e.tag: e.value for e in sent}


def test_a_finished_query_asks_nobody_again_until_it_is_told_to(files: Path, tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc") as server:
        server.fill(sorted((files / "tree" / "southern").iterdir())[:3])
        hospitals = {"southern": asked(server, "dicomweb")}
        first = source(tmp_path, hospitals)
        listing, fingerprint = list(first.find()), first.fingerprint()
        times = [path.stat().st_mtime_ns for path in received(tmp_path, "southern")]
        server.fill(sorted((files / "tree" / "southern").iterdir())[3:5])
        unchanged = source(tmp_path, hospitals)
        assert list(unchanged.find()) == listing
        assert unchanged.fingerprint() == fingerprint
        unchanged.receive(again=True)  # nothing to do: it has seen to its images already
        grown = source(tmp_path, hospitals)
        grown.receive(again=True)
        assert len(received(tmp_path, "southern")) == 5
        assert set(times) <= {path.stat().st_mtime_ns for path in received(tmp_path, "southern")}, "none twice"
        assert grown.fingerprint() != fingerprint
    assert len(list(source(tmp_path, hospitals).find())) == 5, "with the archive gone, what is here is enough"


def test_a_finished_ingest_needs_the_images_no_more(files: Path, servers: dict[str, Orthanc], tmp_path: Path) -> None:
    hospitals = {"southern": asked(servers["southern"], "dicomweb")}
    content = options(tmp_path, hospitals, labels=str(files / "labels.csv"))
    given = settings_of("pacs", content, external=[])
    run(silent_work(tmp_path / "run"), given)
    shutil.rmtree(tmp_path / "cache")
    others = content | {"manners": quick(retries=0), "cache": str(tmp_path / "cache2")}
    for options_now in (content, others):
        again = silent_work(tmp_path / "run")
        run(again, settings_of("pacs", options_now, external=[]))
        assert again.ran == [], "how gently it is asked, and where to, makes no other images"
        assert not Path(options_now["cache"]).exists()
    again = silent_work(tmp_path / "run")
    run(again, settings_of("pacs", content | {"query": {"limit": 6}}, external=[]))
    assert again.ran == ["ingest"]
    assert len(received(tmp_path, "southern")) == 6


# ---- the query


@pytest.mark.parametrize("way", ["dicomweb", "get"])
@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"modality": ["CR"]}, [number for number in range(COUNT) if VENDORS[number % 6].modality == "CR"]),
        ({"since": "2012-06-15", "until": "2014-06-15"}, [2, 3, 4]),
        ({"since": "2016-06-16"}, [7]),
        ({"until": "2010-06-15"}, [0]),
        ({"body_part": ["chest"]}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"body_part": ["ABDOMEN"]}, []),
    ],
)
def test_a_query_brings_what_it_matches(
    way: str, query: dict[str, Any], numbers: list[int], files: Path, servers: dict[str, Orthanc], tmp_path: Path
) -> None:
    one = source(tmp_path, {"southern": asked(servers["southern"], way)}, query=query)
    one.receive()
    tree = files / "tree" / "southern"
    expected = {file_name(pydicom.dcmread(tree / f"{number:03d}").SOPInstanceUID) for number in numbers}
    assert {path.name for path in received(tmp_path, "southern")} == expected


@pytest.mark.parametrize("way", ["dicomweb", "get"])
def test_a_list_of_patients_or_accessions_brings_these_alone(
    way: str, servers: dict[str, Orthanc], tmp_path: Path
) -> None:
    table = tmp_path / "wanted.csv"
    rows = [f"{PATIENT}-1,", f",{ACCESSION}4", f"{PATIENT}-5,{ACCESSION}5", f"{PATIENT}-6,{ACCESSION}0", "nobody,"]
    table.write_text("\n".join(["patient_id,accession_number", *rows, f"{PATIENT}-1,"]))
    one = source(tmp_path, {"southern": asked(servers["southern"], way)}, query={"listed_in": str(table)})
    one.receive()
    patients = {pydicom.dcmread(path).PatientID for path in received(tmp_path, "southern")}
    assert patients == {f"{PATIENT}-{number}" for number in (1, 4, 5)}, "a row's two columns hold together"


def test_a_limit_takes_so_many_and_more_later_takes_no_image_twice(servers: dict[str, Orthanc], tmp_path: Path) -> None:
    hospitals = {"southern": asked(servers["southern"], "dicomweb")}
    assert len(list(source(tmp_path, hospitals, query={"limit": 3}).find())) == 3
    first = {path.name: path.stat().st_mtime_ns for path in received(tmp_path, "southern")}
    assert len(list(source(tmp_path, hospitals, query={"limit": 5}).find())) == 5
    second = {path.name: path.stat().st_mtime_ns for path in received(tmp_path, "southern")}
    assert len(second) == 5
    assert first.items() <= second.items()
    assert len(list(source(tmp_path, hospitals, query={"limit": 3}).find())) == 3, "the cache may hold more than wanted"


def test_a_hospital_may_have_a_query_of_its_own(servers: dict[str, Orthanc], tmp_path: Path) -> None:
    hospitals = {name: asked(server, "get") for name, server in servers.items()}
    hospitals["north"]["query"] = {"limit": 1}
    source(tmp_path, hospitals).receive()
    assert (len(received(tmp_path, "north")), len(received(tmp_path, "southern"))) == (1, COUNT)


# ---- what goes wrong


@pytest.mark.slow
def test_an_archive_that_stops_loses_nothing_and_the_next_hospital_is_asked_all_the_same(
    files: Path, servers: dict[str, Orthanc], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with orthanc(tmp_path / "orthanc") as server:
        server.fill(sorted((files / "tree" / "southern").iterdir()))
        hospitals = {"failing": asked(server, "dicomweb"), "north": asked(servers["north"], "get")}
        write, count = pacs.Shelf.path, iter(range(10_000))

        def path_then_stop(self: Any, uid: str) -> Path:
            if self.folder.name == "failing" and next(count) == 3:
                server.stop()
            return write(self, uid)

        monkeypatch.setattr(pacs.Shelf, "path", path_then_stop)
        with pytest.raises(
            DataError, match=r"failing: [1-7] of 8 images are missing\. The connection failed"
        ) as caught:
            source(tmp_path, hospitals, manners=quick(parallel=1)).receive()
        monkeypatch.undo()
        assert "start again to go on" in str(caught.value)
        assert "north" not in str(caught.value)
        assert len(received(tmp_path, "north")) == COUNT - 2
        before = {path: path.stat().st_mtime_ns for path in received(tmp_path, "failing")}
        assert 1 <= len(before) < COUNT
        used = source(tmp_path, hospitals, offline=True).find()
        reasons = [one.reason for one in used if isinstance(one, Refused) and one.hospital == "failing"]
        assert reasons == ["The image was not received from the archive."] * (COUNT - len(before))

        server.start()
        source(tmp_path, hospitals).receive()
        after = {path: path.stat().st_mtime_ns for path in received(tmp_path, "failing")}
        assert len(after) == COUNT
        assert before.items() <= after.items(), "nothing is received twice"


def test_nobody_there_is_said_with_the_hospital_and_soon(tmp_path: Path) -> None:
    port = free_port()
    dimse = {"protocol": "dimse", "host": "127.0.0.1", "port": port, "ae_title": "NOBODY"}
    hospitals = {"web": {"protocol": "dicomweb", "url": f"http://127.0.0.1:{port}"}, "dimse": dimse}
    started = time.monotonic()
    with pytest.raises(DataError, match=r"web: the search was not answered .* dimse: the search was not") as caught:
        source(tmp_path, hospitals).receive()
    assert "Check host and port" in str(caught.value)
    assert time.monotonic() - started < 10


def test_a_wrong_ae_title_names_the_mend(servers: dict[str, Orthanc], tmp_path: Path) -> None:
    hospital = asked(servers["north"], "get") | {"ae_title": "SOMEONE"}
    with pytest.raises(DataError, match=r"north: .*its own AE title is another one: check ae_title"):
        source(tmp_path, {"north": hospital}).receive()


def test_a_move_to_someone_the_archive_does_not_know_names_the_mend(
    servers: dict[str, Orthanc], tmp_path: Path
) -> None:
    own = {"ae_title": "STRANGER", "port": free_port(), "address": "127.0.0.1"}
    with pytest.raises(
        DataError, match=r"north: 6 of 6 images are missing.*port \d+ so far: is our AE title 'STRANGER' entered"
    ):
        source(tmp_path, {"north": asked(servers["north"], "move")}, own=own).receive()


def test_a_move_that_cannot_reach_us_says_which_port(servers: dict[str, Orthanc], tmp_path: Path) -> None:
    own = {"port": free_port(), "address": "127.0.0.1"}  # not the one that the archive knows
    hospital = {"north": asked(servers["north"], "move")}
    with pytest.raises(DataError, match=rf"Nothing has arrived at port {own['port']} so far"):
        source(tmp_path, hospital, own=own, manners=quick(retries=0)).receive()
    assert source(tmp_path, hospital, own=own, offline=True).archives()[0].digest
    assert received(tmp_path, "north") == []


def test_dicom_over_tls_verifies_the_certificate(files: Path, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    tls = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(cert),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(cert),
        "DicomTlsRemoteCertificateRequired": False,
    }
    with orthanc(tmp_path / "orthanc", **tls) as server:
        server.put(files / "tree" / "southern" / "000")
        hospital = asked(server, "get")
        for unverified in (hospital, hospital | {"tls": True}):
            with pytest.raises(
                DataError, match=r"cannot be reached, or ended the connection\. Check host and port, and"
            ):
                source(tmp_path, {"southern": unverified}, manners=quick(timeout_seconds=3)).receive()
        source(tmp_path, {"southern": hospital | {"tls": True, "ca_file": str(cert)}}).receive()
    assert len(received(tmp_path, "southern")) == 1


def test_a_wrong_password_names_the_variable_and_never_the_value(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    users = {"reader": "right-horse"}
    with orthanc(tmp_path / "orthanc", RegisteredUsers=users) as server:
        server.fill(sorted((files / "tree" / "southern").iterdir())[:2])
        hospital = asked(server, "dicomweb") | {"user_variable": "SOUTH_USER", "password_variable": "SOUTH_PASSWORD"}
        with pytest.raises(ConfigError, match="southern: the environment variable SOUTH_USER is not set"):
            source(tmp_path, {"southern": hospital}).receive()
        monkeypatch.setenv("SOUTH_USER", "reader")
        monkeypatch.setenv("SOUTH_PASSWORD", "wrong-horse")
        with caplog.at_level(logging.DEBUG), pytest.raises(DataError, match="SOUTH_USER and SOUTH_PASSWORD") as caught:
            source(tmp_path, {"southern": hospital}).receive()
        assert "horse" not in str(caught.value) + caplog.text
        with pytest.raises(DataError, match=r"who we are \(HTTP 401\)\. Name the environment variables"):
            source(tmp_path, {"southern": asked(server, "dicomweb")}).receive()
        monkeypatch.setenv("SOUTH_PASSWORD", "right-horse")
        assert len(list(source(tmp_path, {"southern": hospital}).find())) == 2


@pytest.mark.parametrize("way", ["dicomweb", "get", "move"])
def test_an_image_that_the_archive_lists_and_has_no_more_is_refused_with_its_reason(
    way: str, servers: dict[str, Orthanc], own_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_instances, studies = fetching.find_instances, list[str]()

    def with_one_gone(connection: Any, study: str, *, query: Any) -> list[Instance]:
        studies.append(study)
        listed = find_instances(connection, study, query=query)
        if study != min(studies):
            return listed
        return [Instance(one.study, one.series, "1.2.3.4", one.kind) for one in listed]

    monkeypatch.setattr(fetching, "find_instances", with_one_gone)
    hospital = {"southern": asked(servers["southern"], way)}
    own = {"port": own_port, "address": "127.0.0.1"}
    one = source(tmp_path, hospital, own=own, manners=quick(parallel=1, retries=0))
    listing = list(one.find())
    (refused,) = [one for one in listing if isinstance(one, Refused)]
    assert re.match("The server lists the image and does|The archive could not do", refused.reason)
    assert sum(isinstance(one, Candidate) for one in listing) == COUNT - 1
    assert one.where(refused.file) == tmp_path / "cache" / "southern" / file_name("1.2.3.4")


# ---- killed, and started again

INGEST = [sys.executable, "-m", "medtea.cli", "ingest"]


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_where_it_was(files: Path, tmp_path: Path) -> None:
    uids = made_images(tmp_path / "many", count=40, hospital="many", rows=128)
    with orthanc(tmp_path / "orthanc") as server:
        server.fill(sorted((tmp_path / "many").iterdir()))
        content = options(tmp_path, {"many": asked(server, "dicomweb")}, labels=str(made_labels(tmp_path / "l", uids)))
        content["manners"] = quick(requests_per_second=60, parallel=2)
        labels = {"positive": ["Nodules"], "negative": ["Normal"], "train": ["many"], "external": [], "size": 32}
        config = write_config(tmp_path / "c.yaml", tiny_config(source="pacs", options=content, **labels))
        command = [*INGEST, str(config), "--to", str(tmp_path / "run"), "--no-tracking"]
        seen: dict[Path, int] = {}
        for least in (1, 20):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 120
            while len(received(tmp_path, "many")) < least and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
            now = {path: path.stat().st_mtime_ns for path in received(tmp_path, "many")}
            assert least <= len(now) < 40
            assert seen.items() <= now.items(), "nothing is received twice"
            seen = now
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert ended.returncode == 0, ended.stderr
    now = {path: path.stat().st_mtime_ns for path in received(tmp_path, "many")}
    assert len(now) == 40
    assert seen.items() <= now.items()
    assert not list((tmp_path / "cache").rglob("*.partial")), "what was half-written is gone"
    assert "40 files found, 40 accepted, 0 refused" in ended.stderr
    assert len(read_index(IndexArtefact(tmp_path / "run" / "ingest").index)) == 40


def test_two_programs_do_not_receive_into_one_cache_at_a_time(servers: dict[str, Orthanc], tmp_path: Path) -> None:
    one = source(tmp_path, {"north": asked(servers["north"], "dicomweb")})
    archive = one.archives()[0]
    with (
        pacs.Shelf(one.cache, "north", archive.digest).open(),
        pytest.raises(ConfigError, match="Another medtea is receiving from 'north'"),
    ):
        one.receive()


# ---- our own port


def test_the_port_takes_what_was_asked_for_from_whom_was_asked_alone(files: Path, tmp_path: Path) -> None:
    def send(path: Path, *, calling: str, called: str, port: int, host: str = "127.0.0.1") -> int | str:
        dataset = pydicom.dcmread(path)
        entity = AE(calling)
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        entity.add_requested_context(CTImageStorage)
        association = entity.associate(host, port, ae_title=called)
        if not association.is_established:
            return "rejected" if association.is_rejected else "ended"
        contexts = {str(context.abstract_syntax) for context in association.accepted_contexts}
        assert CTImageStorage not in contexts
        status = association.send_c_store(dataset)
        association.release()
        return int(status.Status)

    paths = sorted((files / "tree" / "southern").iterdir())
    wanted = pydicom.dcmread(paths[0])
    taken: list[bytes] = []
    instance = Instance("1.2", "1.3", str(wanted.SOPInstanceUID), "")
    own, manners = Own(port=free_port(), address="127.0.0.1"), Manners(timeout_seconds=5)
    hospital = Dimse(protocol="dimse", host="127.0.0.1", ae_title="SOUTH", retrieve="move")
    us: dict[str, Any] = {"calling": "SOUTH", "called": "MEDTEA", "port": own.port}
    with Listener(hospital, own, manners) as listener, listener.expecting(instance, taken.append):
        assert send(paths[1], **us) == 0x0124, "nobody asked for it"
        assert send(paths[0], **us | {"calling": "OTHER"}) == "rejected"
        assert send(paths[0], **us | {"called": "OTHER"}) == "rejected"
        assert taken == []
        assert send(paths[0], **us) == 0
    assert len(taken) == 1
    assert pydicom.dcmread(BytesIO(taken[0])).PixelData == wanted.PixelData
    elsewhere = hospital.model_copy(update={"host": "127.0.0.2"})
    with Listener(elsewhere, own, manners) as listener, listener.expecting(instance, taken.append):
        assert send(paths[0], **us) == "ended", "another address is not even spoken to"
    entity = AE("SOUTH")
    entity.add_requested_context(Verification)
    assert not entity.associate("127.0.0.1", own.port).is_established, "afterwards nobody listens"


def test_a_port_that_is_taken_is_said(servers: dict[str, Orthanc], tmp_path: Path) -> None:
    own = {"port": servers["north"].dicom_port}
    with pytest.raises(ConfigError, match=r"own\.port: port \d+ .*Is another program using it"):
        source(tmp_path, {"north": asked(servers["north"], "move")}, own=own).receive()


# ---- the first look, and the command line


def test_a_look_counts_and_receives_nothing(servers: dict[str, Orthanc], tmp_path: Path) -> None:
    ways = {"north": asked(servers["north"], "dicomweb"), "southern": asked(servers["southern"], "get")}
    one = source(tmp_path, ways)
    north, southern = (look(archive, one.cache) for archive in one.archives())
    assert (north.answers, north.studies, north.instances, north.looked_into) == (True, COUNT - 1, COUNT - 1, 5)
    assert (southern.answers, southern.studies, southern.instances, southern.wanted) == (True, COUNT, COUNT, 5)
    assert (southern.received, southern.problem) == (0, "")
    assert not (tmp_path / "cache").exists()
    one.receive()
    assert [look(archive, one.cache).received for archive in one.archives()] == [COUNT - 2, COUNT]


def medtea(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["medtea", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr()
    return int(end.value.code or 0), printed.out, printed.err


def test_the_commands_check_fetch_and_ingest_by_the_users_own_file(
    servers: dict[str, Orthanc], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(cli.pacs, "out", Console(width=200))  # so that no cell of the table is broken
    labels = {"positive": ["Nodules"], "negative": ["Normal"], "train": ["southern"], "external": [], "size": 32}
    config = write_config(tmp_path / "c.yaml", tiny_config(**labels))
    code, _, err = medtea(monkeypatch, capsys, "pacs", "check", config)
    assert (code, "source is not 'pacs'. Add --from pacs" in err) == (2, True)
    code, _, err = medtea(monkeypatch, capsys, "pacs", "check", config, "--from", "pacs")
    assert (code, "medtea/pacs.yaml of your configuration folder" in err) == (2, True)
    code, _, err = medtea(monkeypatch, capsys, "pacs", "check", config, "--from", "pac")
    assert (code, "Did you mean 'pacs'?" in err) == (2, True)

    content = options(tmp_path, {"southern": asked(servers["southern"], "get")}, query={"since": "2012-01-01"})
    write_config(tmp_path / "config" / "medtea" / "pacs.yaml", content)
    code, out, _ = medtea(monkeypatch, capsys, "pacs", "check", config, "--from", "pacs")
    assert code == 0
    (row,) = [line for line in out.splitlines() if "southern" in line]
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "southern",
        "dimse",
        "yes",
        "6",
        "6",
        "5 of 5 studies",
        "0",
    ]
    code, out, _ = medtea(monkeypatch, capsys, "pacs", "fetch", config, "--from", "pacs")
    assert (code, out) == (0, "southern: 6 images wanted, 6 here, 0 missing, 0 not to be had\n")
    to = ["--to", tmp_path / "run", "--no-tracking"]
    code, _, err = medtea(monkeypatch, capsys, "ingest", config, "--from", "pacs", *to)
    assert "6 files found, " in err

    write_config(
        tmp_path / "config" / "medtea" / "pacs.yaml",
        options(tmp_path, {"gone": asked(servers["north"], "get") | {"port": free_port()}}),
    )
    code, out, err = medtea(monkeypatch, capsys, "pacs", "check", config, "--from", "pacs")
    assert code == 2
    assert "gone: The archive cannot be reached" in out
    assert "1 of 1 hospitals would give nothing" in err


# ---- patients


def leaks(folder: Path) -> list[str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert paths
    return [
        f"{path.name}: {told(path.read_bytes().decode('latin-1'))}"
        for path in paths
        if told(path.read_bytes().decode("latin-1"))
    ]


@pytest.mark.slow
def test_nothing_of_a_patient_is_logged_printed_or_left_in_the_run(
    files: Path,
    servers: dict[str, Orthanc],
    own_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = tmp_path / f"{PATIENT}.csv"
    table.write_text("\n".join(["patient_id", *(f"{PATIENT}-{number}" for number in range(COUNT))]))
    content = options(
        tmp_path,
        {"north": asked(servers["north"], "dicomweb"), "southern": asked(servers["southern"], "move")},
        query={"listed_in": "${WANTED}"},
        labels=str(files / "labels.csv"),
        own={"port": own_port, "address": "127.0.0.1"},
    )
    monkeypatch.setenv("WANTED", str(table))
    labels = {
        "positive": ["Nodules"],
        "negative": ["Normal"],
        "train": ["southern"],
        "external": ["north"],
        "size": 32,
        "patient_ids": "per_hospital",
    }
    config = write_config(tmp_path / "c.yaml", tiny_config(source="pacs", options=content, **labels))
    with caplog.at_level(logging.DEBUG):
        code, out, err = medtea(monkeypatch, capsys, "pacs", "check", config)
        assert code == 0, out + err
        code, more, said = medtea(monkeypatch, capsys, "ingest", config, "--to", tmp_path / "run")
    assert code == 0, said
    assert "14 files found, 13 accepted, 1 refused" in said
    assert told(out + err + more + said) == []
    assert told(caplog.text) == []
    assert leaks(tmp_path / "run") == []
    assert leaks(tmp_path / "cache"), "the search itself finds what is there"
    assert (tmp_path / "cache" / "north" / LIST).is_file()
