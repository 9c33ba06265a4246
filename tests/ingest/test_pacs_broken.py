"""A DICOMweb server that answers badly: slowly, with something else, or not to the end. No Orthanc is needed."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest
from oracles.made_archives import change, made_images, quick, told
from pydicom.uid import CTImageStorage

from medtea.core.errors import DataError, MedteaError
from medtea.core.settings import parse
from medtea.ingest.pacs.crew import Pace
from medtea.ingest.sources import pacs
from medtea.ingest.sources.source import Candidate, Refused

Twist = Callable[[Any, bytes, str], None]
COUNT = 7


class Archive:
    """As much of DICOMweb as medtea asks for, with a twist for the requests whose path ends in a word."""

    def __init__(self, files: Path) -> None:
        self.images = {str(pydicom.dcmread(path).SOPInstanceUID): path.read_bytes() for path in sorted(files.iterdir())}
        self.twists: list[tuple[str, int, Twist]] = []
        self.requests: list[tuple[float, str]] = []
        self.encodings: set[str] = set()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/dicom-web"

    def twist(self, ending: str, twist: Twist, times: int = 10_000) -> None:
        self.twists.append((ending, times, twist))

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        with self.lock:
            self.requests.append((time.monotonic(), handler.path))
            self.encodings.add(handler.headers.get("Accept-Encoding", ""))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            chosen = self._twist(path)
        try:
            body, kind = self.body(path, parse_qs(urlsplit(handler.path).query))
            chosen(handler, body, kind)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with self.lock:
                self.at_once -= 1

    def _twist(self, path: str) -> Twist:
        for place, (ending, times, twist) in enumerate(self.twists):
            if path.endswith(ending) and times > 0:
                self.twists[place] = (ending, times - 1, twist)
                return twist
        return send

    def body(self, path: str, options: dict[str, list[str]]) -> tuple[bytes, str]:
        parts = path.removeprefix("/dicom-web/").split("/")
        uids = list(self.images)
        if parts[-1] == "studies":
            start = int(options.get("offset", ["0"])[0])
            rows = [{"0020000D": value(f"{uid}.1")} for uid in uids[start:]]
        elif parts[-1] == "series":
            rows = [{"0020000E": value(f"{parts[1]}.2"), "00080060": value("DX")}]
        elif parts[-1] == "instances":
            rows = [{"00080018": value(parts[1].removesuffix(".1"))}]
        else:
            return multipart(self.images[parts[-1]]), 'multipart/related; type="application/dicom"; boundary=edge'
        return json.dumps(rows).encode(), "application/dicom+json"

    def end(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def value(text: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [text]}


def multipart(file: bytes) -> bytes:
    return b"\r\n--edge\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--edge--\r\n"


def send(handler: Any, body: bytes, kind: str, status: int = 200, length: int | None = None, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, text in headers.items():
        handler.send_header(name.replace("_", "-"), text)
    handler.end_headers()
    handler.wfile.write(body)
    if length is not None:
        handler.close_connection = True


def instead(body: bytes, kind: str = "application/dicom+json", **options: Any) -> Twist:
    return lambda handler, _, __: send(handler, body, kind, **options)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "files"
    made_images(folder, count=COUNT)
    for path in folder.iterdir():  # short UIDs leave room for those of series and study
        number = int(path.name)
        change(path, SOPInstanceUID=f"1.2.826.0.1.3680043.{number + 1}")
        dataset = pydicom.dcmread(path)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(path)
    return folder


@pytest.fixture
def archive(files: Path) -> Iterator[Archive]:
    made = Archive(files)
    yield made
    made.end()


def source(folder: Path, url: str, hospital: dict[str, Any] | None = None, **manners: Any) -> pacs.Source:
    content = {
        "hospitals": {"north": {"protocol": "dicomweb", "url": url, **(hospital or {})}},
        "cache": folder / "cache",
        "manners": quick(**manners),
    }
    return pacs.Source(parse(pacs.Settings, content), workspace=folder / "run" / "source", seed=0)


def received(folder: Path) -> int:
    return len(list((folder / "cache" / "north").glob("*.dcm")))


def some_image(archive: Archive) -> str:
    return list(archive.images)[2]


def test_the_archive_of_these_tests_is_read_when_it_answers_well(archive: Archive, tmp_path: Path) -> None:
    found = list(source(tmp_path, archive.url).find())
    assert [type(one) for one in found] == [Candidate] * COUNT
    assert archive.most_at_once <= 2
    assert archive.encodings == {"identity"}, "a server that packs images takes ten times longer"


@pytest.mark.parametrize(
    ("twist", "said"),
    [
        (instead(b"<html>Log in, Zimmermann</html>", "text/html"), "something else than DICOM JSON"),
        (instead(b'{"studies": 3}'), "something else than DICOM JSON"),
        (instead(b"[1, 2]"), "something else than DICOM JSON"),
        (instead(b'[{"0020000D": {"vr": "UI", "Value": ["../../zimmermann"]}}]'), "something else than DICOM JSON"),
        (instead(b'[{"0020000D": {"vr": "UI"}}]'), "something else than DICOM JSON"),
        (instead(b"\xff\xfe\x00", "application/dicom+json"), "something else than DICOM JSON"),
        (instead(b"", status=404), "refuses the search .HTTP 404."),
        (instead(b"", status=400), "refuses the search .HTTP 400."),
        (instead(b"", status=302, Location="http://127.0.0.1:9/zimmermann"), "redirects .HTTP 302."),
        (instead(b"", status=403), "who we are .HTTP 403."),
        (instead(b"", status=503), "answers HTTP 503"),
        (instead(b"[", length=500), "The answer was cut"),
    ],
)
def test_a_search_that_is_answered_with_something_else_is_said(
    twist: Twist, said: str, archive: Archive, tmp_path: Path
) -> None:
    archive.twist("studies", twist)
    with pytest.raises(DataError, match=f"north: the search was not answered to its end.*{said}") as caught:
        source(tmp_path, archive.url).receive()
    assert told(str(caught.value)) == []
    assert received(tmp_path) == 0


@pytest.mark.parametrize("ending", ["studies", "series", "instances"])
def test_what_fails_once_is_asked_again(ending: str, archive: Archive, tmp_path: Path) -> None:
    for twist in (instead(b"", status=503), instead(b"[{", length=100), instead(b"", status=429, Retry_After="0")):
        archive.twist(ending, twist, times=1)
    source(tmp_path, archive.url, retries=3, parallel=1).receive()
    assert received(tmp_path) == COUNT


def cut(handler: Any, body: bytes, kind: str) -> None:
    send(handler, body[:-900], kind, length=len(body))


def unclosed(handler: Any, body: bytes, kind: str) -> None:
    # no length, no last boundary: only the format itself says that something is missing
    handler.protocol_version = "HTTP/1.0"
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.end_headers()
    handler.wfile.write(body[:-900])
    handler.close_connection = True


@pytest.mark.parametrize("twist", [cut, unclosed, instead(b"", status=502)])
def test_an_image_that_is_cut_once_is_asked_for_again(twist: Twist, archive: Archive, tmp_path: Path) -> None:
    archive.twist(some_image(archive), twist, times=1)
    found = list(source(tmp_path, archive.url).find())
    assert [type(one) for one in found] == [Candidate] * COUNT
    assert sum(path.endswith(some_image(archive)) for _, path in archive.requests) == 2


@pytest.mark.parametrize("twist", [cut, unclosed])
def test_an_image_that_is_always_cut_is_missing_and_the_others_are_received(
    twist: Twist, archive: Archive, tmp_path: Path
) -> None:
    archive.twist(some_image(archive), twist)
    with pytest.raises(DataError, match=rf"north: 1 of {COUNT} images are missing\. The answer was cut") as caught:
        source(tmp_path, archive.url).receive()
    assert told(str(caught.value)) == []
    assert received(tmp_path) == COUNT - 1
    asked = len(archive.requests)
    archive.twists.clear()
    source(tmp_path, archive.url).receive()
    assert received(tmp_path) == COUNT
    assert len(archive.requests) == asked + 1, "the one image, and no search"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda archive: list(archive.images.values())[3], "another image than the one"),
        (lambda _: b"<html>Zimmermann</html>", "no DICOM file"),
        (lambda _: b"", "no DICOM file"),
        (
            lambda archive: archive.images[some_image(archive)] + b"\0" * (3 << 20),
            "larger than manners.image_megabytes",
        ),
    ],
)
def test_something_else_than_the_image_is_refused_and_not_kept(
    make: Callable[[Archive], bytes], said: str, archive: Archive, tmp_path: Path
) -> None:
    kind = 'multipart/related; type="application/dicom"; boundary=edge'
    archive.twist(some_image(archive), instead(multipart(make(archive)), kind))
    found = list(source(tmp_path, archive.url, image_megabytes=2).find())
    (refused,) = [one for one in found if isinstance(one, Refused)]
    assert said in refused.reason
    assert told(refused.reason) == []
    assert (len(found), received(tmp_path)) == (COUNT, COUNT - 1)
    asked = len(archive.requests)
    assert list(source(tmp_path, archive.url, image_megabytes=2).find()) == found
    assert len(archive.requests) == asked, "it is not asked for again"
    archive.twists.clear()
    source(tmp_path, archive.url, image_megabytes=2).receive(again=True)
    assert received(tmp_path) == COUNT, "unless everything is"


def test_an_image_of_another_kind_is_refused(archive: Archive, tmp_path: Path) -> None:
    uid = some_image(archive)
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(archive.images[uid]))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    buffer = pydicom.filebase.DicomBytesIO()
    dataset.save_as(buffer)
    archive.images[uid] = buffer.getvalue()
    found = list(source(tmp_path, archive.url).find())
    (refused,) = [one for one in found if isinstance(one, Refused)]
    assert "none of CR, DX and secondary capture" in refused.reason


def test_a_server_that_fails_at_one_image_gives_the_others(archive: Archive, tmp_path: Path) -> None:
    archive.twist(some_image(archive), instead(b"", status=500))
    found = list(source(tmp_path, archive.url).find())
    assert [one.reason for one in found if isinstance(one, Refused)] == ["The server answers HTTP 500."]


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_gives_no_image_at_all_is_left_and_nothing_is_given_up(
    status: int, archive: Archive, tmp_path: Path
) -> None:
    for uid in archive.images:
        archive.twist(uid, instead(b"", status=status))
    one = source(tmp_path, archive.url, retries=0)
    with pytest.raises(DataError, match=rf"north: {COUNT} of {COUNT} images are missing.*HTTP {status}"):
        one.receive()
    archive.twists.clear()
    one.receive()
    assert received(tmp_path) == COUNT


def test_a_slow_server_is_not_waited_for_longer_than_said(archive: Archive, tmp_path: Path) -> None:
    archive.twist("studies", lambda *_: time.sleep(3))
    started = time.monotonic()
    with pytest.raises(DataError, match=r"No answer within 0\.3 s"):
        source(tmp_path, archive.url, timeout_seconds=0.3).receive()
    assert time.monotonic() - started < 3


def test_an_image_that_drips_is_not_waited_for_longer_than_said(archive: Archive, tmp_path: Path) -> None:
    def drip(handler: Any, body: bytes, kind: str) -> None:
        send(handler, body[:100], kind, length=len(body))
        for start in range(100, len(body), 10):
            time.sleep(0.1)
            handler.wfile.write(body[start : start + 10])

    archive.twist(some_image(archive), drip)
    started = time.monotonic()
    with pytest.raises(DataError, match=r"1 of 7 images are missing\. The answer was not whole within 1 s"):
        source(tmp_path, archive.url, image_seconds=1, retries=0).receive()
    assert time.monotonic() - started < 4
    assert received(tmp_path) == COUNT - 1


def test_a_server_that_ignores_pages_does_not_ask_for_ever(archive: Archive, tmp_path: Path) -> None:
    everything, kind = archive.body("/dicom-web/studies", {})
    archive.twist("studies", instead(everything, kind))
    source(tmp_path, archive.url).receive()
    assert received(tmp_path) == COUNT
    assert sum("studies?" in path for _, path in archive.requests) == 4, "a page and an empty one, CR and DX"


def test_a_retry_after_is_kept_to_as_far_as_the_longest_wait(archive: Archive, tmp_path: Path) -> None:
    archive.twist("studies", instead(b"", status=429, Retry_After="3600"), times=1)
    started = time.monotonic()
    source(tmp_path, archive.url, longest_wait_seconds=0.5).receive()
    assert 0.5 <= time.monotonic() - started < 5


def test_requests_are_no_faster_and_no_more_at_a_time_than_said(archive: Archive, tmp_path: Path) -> None:
    source(tmp_path, archive.url, requests_per_second=40, parallel=3).receive()
    times = sorted(at for at, _ in archive.requests)
    assert len(times) == 4 + 3 * COUNT
    assert times[-1] - times[0] >= (len(times) - 1) / 40 - 0.1
    assert archive.most_at_once <= 3


def test_the_pace_is_kept_over_threads() -> None:
    pace, turns = Pace(100), []

    def take() -> None:
        for _ in range(5):
            pace()
            turns.append(time.monotonic())

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(turns) - min(turns) >= 19 / 100 - 0.02


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography makes the certificate")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "archive of a test")])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*plain))
    return folder / "cert.pem", folder / "key.pem"


def test_a_certificate_is_verified_and_the_hospitals_own_authority_can_be_named(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    archive.server.socket = context.wrap_socket(archive.server.socket, server_side=True)
    url = archive.url.replace("http://", "https://")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
    with pytest.raises(DataError, match=r"certificate cannot be verified.*ca_file"):
        source(tmp_path, url).receive()
    source(tmp_path, url, {"ca_file": str(cert)}).receive()
    assert received(tmp_path) == COUNT
    with pytest.raises(MedteaError, match="ca_file: there is no such file"):
        source(tmp_path / "other", url, {"ca_file": str(tmp_path / "none.pem")}).receive()


def test_a_password_goes_out_as_basic_and_a_token_as_bearer(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def note(handler: Any, body: bytes, kind: str) -> None:
        sent.append(handler.headers.get("Authorization", ""))
        send(handler, body, kind)

    archive.twist("studies", note)
    monkeypatch.setenv("USER_NAME", "Jörg")
    monkeypatch.setenv("SECRET", "a secret")
    source(tmp_path / "1", archive.url, {"user_variable": "USER_NAME", "password_variable": "SECRET"}).receive()
    source(tmp_path / "2", archive.url, {"token_variable": "SECRET"}).receive()
    assert set(sent) == {"Basic SsO2cmc6YSBzZWNyZXQ=", "Bearer a secret"}  # base64 of Jörg:a secret in UTF-8
