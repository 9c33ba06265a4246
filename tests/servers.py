"""Servers that tests start for themselves, on loopback ports, and end again."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE

START_SECONDS = 90  # an MLflow server is up after 7 to 40 s on two busy cores


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def mlflow_server(arguments: Sequence[str], *, log: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A real `mlflow server` with these arguments: its address, and a function that ends it before its time."""
    port = free_port()
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # spares 235 MB
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "mlflow", "server", *arguments, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=environment, cwd=log.parent, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}", lambda: _end(process)
    finally:
        _end(process)


def _wait_for(address: str | urllib.request.Request, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError("the server ended before it answered")
        try:
            urllib.request.urlopen(address, timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"no answer within {START_SECONDS} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and the worker that it started, which share a process group of their own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


ORTHANC = shutil.which("Orthanc")
ORTHANC_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
NO_ORTHANC = "Orthanc with its DICOMweb plug-in is not installed (Debian: orthanc, orthanc-dicomweb)"


def has_orthanc() -> bool:
    return ORTHANC is not None and ORTHANC_DICOMWEB.is_file()


class Orthanc:
    """A real PACS of its own folder and loopback ports; it can be stopped and started again on the same ones."""

    def __init__(self, folder: Path, *, ae_title: str = "ORTHANC", **settings: object) -> None:
        self.folder, self.ae_title = folder, ae_title
        self.http_port, self.dicom_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        users = settings.get("RegisteredUsers")
        self.login = next(iter(users.items())) if isinstance(users, dict) else None
        self.settings = {
            "Name": ae_title,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": users is not None,
            "DicomPort": self.dicom_port,
            "DicomAet": ae_title,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomAlwaysAllowStore": True,
            "Plugins": [str(ORTHANC_DICOMWEB)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **settings,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def start(self) -> None:
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(self.settings))
        with (self.folder / "orthanc.log").open("ab") as out:
            self.process = subprocess.Popen(
                [str(ORTHANC), str(path)], stdout=out, stderr=out, cwd=self.folder, start_new_session=True
            )
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}/system")
        if self.login:
            given = base64.b64encode(":".join(self.login).encode()).decode()
            request.add_header("Authorization", f"Basic {given}")
        _wait_for(request, self.process)

    def stop(self) -> None:
        if self.process is not None:
            _end(self.process)

    def fill(self, files: Iterable[Path]) -> None:
        """Send the files by C-STORE."""
        entity = AE("SENDER")
        datasets = [dcmread(path) for path in files]
        for kind, syntax in {(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in datasets}:
            entity.add_requested_context(kind, syntax)
        association = entity.associate("127.0.0.1", self.dicom_port, ae_title=self.ae_title)
        assert association.is_established
        for dataset in datasets:
            assert association.send_c_store(dataset).Status == 0
        association.release()


@contextmanager
def orthanc(folder: Path, **settings: object) -> Iterator[Orthanc]:
    """A started Orthanc, ended afterwards."""
    server = Orthanc(folder, **settings)  # type: ignore[arg-type]
    try:
        server.start()
        yield server
    finally:
        server.stop()
