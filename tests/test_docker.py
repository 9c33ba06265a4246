"""The images' recipes and the compose file: no engine runs here, so what can be read off them is held."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import mlflow_server

from medtea.ingest.pacs.settings import Own

REPOSITORY = Path(__file__).parents[1]
COMPOSE = REPOSITORY / "docker" / "compose.yaml"
DOCKERFILES = sorted((REPOSITORY / "docker").glob("*.Dockerfile"))


def compose_command() -> list[str] | None:
    """The compose program of this machine: Docker's plugin, or the stand-alone one that Debian packages."""
    if shutil.which("docker"):
        command = ["docker", "compose"]
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    return ["docker-compose"] if shutil.which("docker-compose") else None


def compose_config(tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = compose_command()
    if command is None:
        pytest.skip("neither `docker compose` nor `docker-compose` is installed")
    path = f"{Path(shutil.which(command[0]) or '').parent}:/usr/bin:/bin"
    return subprocess.run(
        [*command, "-f", str(COMPOSE), "config"],
        env={"PATH": path, "HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return services


def instructions(dockerfile: Path) -> list[str]:
    """A Dockerfile's instructions, one a line, without comments."""
    text = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_compose_accepts_the_file_and_sees_a_run_that_waits_for_a_healthy_server(tmp_path: Path) -> None:
    result = compose_config(tmp_path, {"MEDTEA_DATA": str(tmp_path)})
    assert result.returncode == 0, result.stderr
    seen = yaml.safe_load(result.stdout)["services"]
    # the archive is of a profile, which the plug-in leaves out and the stand-alone program shows
    assert set(seen) - {"orthanc"} == {"mlflow", "medtea"}
    assert seen["medtea"]["depends_on"]["mlflow"]["condition"] == "service_healthy"
    assert "healthcheck" in seen["mlflow"]


def test_compose_without_data_says_what_to_name(tmp_path: Path) -> None:
    result = compose_config(tmp_path, {})
    assert result.returncode != 0
    assert "name the folder that holds the radiographs" in result.stderr


def test_the_radiographs_are_mounted_read_only_and_only_runs_are_written() -> None:
    data, runs = services()["medtea"]["volumes"]
    assert data.endswith(":/data:ro")
    assert runs == "runs:/runs"
    assert services()["medtea"]["environment"]["MEDTEA_DATA"] == "/data"


def test_the_server_is_published_to_this_machine_alone() -> None:
    assert all(port.startswith("127.0.0.1:") for port in services()["mlflow"]["ports"])


def test_the_archive_to_practise_on_is_asked_for_by_name_locked_and_kept() -> None:
    archive = services()["orthanc"]
    assert archive["profiles"] == ["pacs"], "nobody gets one without asking"
    assert all(port.startswith("127.0.0.1:") for port in archive["ports"])
    environment = archive["environment"]
    assert environment["ORTHANC__AUTHENTICATION_ENABLED"] == "true"
    assert "medtea" in json.loads(environment["ORTHANC__REGISTERED_USERS"])
    own = Own()
    assert json.loads(environment["ORTHANC__DICOM_MODALITIES"]) == {"medtea": [own.ae_title, "medtea", own.port]}
    volumes = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["volumes"]
    assert [volume.partition(":")[0] in volumes for volume in archive["volumes"]] == [True]


def test_the_run_reports_to_a_name_that_the_server_answers_to() -> None:
    hosts = next(a for a in services()["mlflow"]["command"] if a.startswith("--allowed-hosts=")).partition("=")[2]
    address = services()["medtea"]["environment"]["MLFLOW_TRACKING_URI"]
    assert address.removeprefix("http://") in hosts.split(",")


@pytest.mark.slow
def test_a_real_server_takes_the_compose_files_arguments_and_answers_to_the_services_name(tmp_path: Path) -> None:
    arguments = [a for a in services()["mlflow"]["command"] if not a.startswith(("--host=", "--port="))]
    arguments = [a.replace("/runs", str(tmp_path)) for a in arguments]

    def status(host: str, address: str) -> int:
        request = urllib.request.Request(
            f"{address}/api/2.0/mlflow/experiments/search",
            data=json.dumps({"max_results": 1}).encode(),
            headers={"Host": host, "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    with mlflow_server(arguments, log=tmp_path / "server.log") as (address, _):
        assert status("mlflow:5000", address) == 200
        assert status("somewhere.example", address) == 403


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_ends_as_a_user_without_rights(dockerfile: Path) -> None:
    lines = instructions(dockerfile)
    user = [number for number, line in enumerate(lines) if line.startswith("USER ")]
    assert lines[user[-1]] == "USER medtea"
    assert not any(line.startswith(("RUN ", "COPY ", "ADD ")) for line in lines[user[-1] :])


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_installs_the_pinned_versions_and_copies_what_exists(dockerfile: Path) -> None:
    lines = instructions(dockerfile)
    installs = [line for line in lines if "pip install" in line]
    assert all("constraints.txt" in line for line in installs)
    kept = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in lines:
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (REPOSITORY / source).exists(), f"{source} is copied and does not exist"
                assert source in kept, f"{source} is copied and .dockerignore leaves it out"


def test_both_images_are_there() -> None:
    assert {path.name for path in DOCKERFILES} == {"cpu.Dockerfile", "gpu.Dockerfile"}
