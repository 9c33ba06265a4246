"""The command line as a user meets it: what it prints, and with which exit code it ends."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from oracles.made_run import tiny_config, write_config
from oracles.made_sources import made_table, write_table

from medtea import cli
from medtea.audit.policy import Policy
from medtea.cli import audit
from medtea.cli.configs import models_of, own_configs
from medtea.core.settings import read_yaml
from medtea.core.work import write_json

REPOSITORY = Path(__file__).parents[1]
CONFIGS = sorted(path.stem for path in (REPOSITORY / "configs").glob("*.yaml") if path.stem != "audit_policy")
DATA_FOLDERS = {
    name: sorted(set(re.findall(r"\$\{(\w+)\}", (REPOSITORY / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))))
    for name in CONFIGS
}
"""The environment variables that each config names its data's folder by."""
COMMANDS = ("run", "demo", "check", "list", "where", "dicomize", "sync", "pacs", *cli.WINGS)


@dataclass
class Ended:
    code: int
    out: str
    err: str


Medtea = Callable[..., Ended]


@pytest.fixture
def medtea(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Medtea:
    """The program's own entry, in this process: what it printed and how it ended."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")
    for variable in {"MLFLOW_TRACKING_URI", *itertools.chain(*DATA_FOLDERS.values())}:
        monkeypatch.delenv(variable, raising=False)

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["medtea", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return Ended(int(end.value.code or 0), printed.out, printed.err)

    return call


def refused(ended: Ended) -> str:
    """The one message of a call that was refused."""
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert ended.err.startswith("medtea: ")
    assert ended.err.count("\n") == 1, "one line"
    return ended.err


def test_help_fits_one_screen(medtea: Medtea) -> None:
    ended = medtea("--help")
    assert ended.code == 0
    lines = ended.out.rstrip().splitlines()
    assert len(lines) <= 40
    assert max(len(line) for line in lines) <= 100
    for command in COMMANDS:
        assert any(line.startswith(f"│ {command} ") for line in lines), f"{command} is in the listing"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(medtea: Medtea, command: str) -> None:
    ended = medtea(command, "--help")
    assert ended.code == 0
    assert ended.out.count("\n") <= 40


def test_no_command_shows_the_help(medtea: Medtea) -> None:
    ended = medtea()
    assert "Usage: medtea" in ended.out + ended.err


def test_an_unknown_setting_is_one_line_with_the_nearest(medtea: Medtea) -> None:
    message = refused(medtea("check", "demo", "--set", "teach.copys=2"))
    assert "teach.copys: no such setting." in message
    assert "Did you mean 'copies'?" in message


def test_a_wrong_value_is_one_line_with_what_is_allowed(medtea: Medtea) -> None:
    message = refused(medtea("check", "demo", "--set", "distil.1.loop.epochs=none at all"))
    assert "distil.1.loop.epochs: 'none at all' is not allowed; input should be a valid integer" in message


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("distil.7.method=erm", "'7' is no position in a list of 3"),
        ("teach.copies", "has no '='"),
        ("pipeline=cross_hospitl", "Did you mean 'cross_hospital'?"),
        ("distil.0.method=taе", "is not known"),  # a Cyrillic letter
        ("distil.0.name=erm", "two networks have one name"),
        ("distil.0.name=segmenter", "two networks have one name"),
        ("teach.network=small_resnt", "Did you mean 'small_resnet'?"),
        ("audit.probes={planted_marc: {}}", "Did you mean 'planted_mark'?"),
        ("distil.0.options.layer=input", "Did you mean 'layers'?"),
        ("device=gpu", "device: 'gpu' is not allowed"),
        ("distil=[]", "at least 1 item"),
        ("ingest.options.hospitals.northgate.stile=soft", "Did you mean 'style'?"),
    ],
)
def test_a_wrong_setting_is_one_line(medtea: Medtea, assignment: str, said: str) -> None:
    assert said in refused(medtea("check", "demo", "--set", assignment))


@pytest.mark.parametrize("name", [name for name in CONFIGS if DATA_FOLDERS[name]])
def test_a_missing_data_folder_says_how_to_set_it(medtea: Medtea, name: str) -> None:
    (variable,) = DATA_FOLDERS[name]
    for command in ("check", "run"):
        message = refused(medtea(command, name))
        assert f"{variable} is not set" in message
        assert f"export {variable}=/path/to/data" in message


def test_configs_with_data_of_their_own_are_there() -> None:
    assert set(itertools.chain(*DATA_FOLDERS.values())) >= {"MEDTEA_DATA", "MEDTEA_MNIST"}


def test_a_data_folder_that_is_not_there_is_said(
    medtea: Medtea, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDTEA_DATA", str(tmp_path / "nowhere"))
    message = refused(medtea("run", "tb_cross_hospital", "--no-tracking", "--to", tmp_path / "run"))
    assert "path: the table cannot be read (FileNotFoundError)" in message


def test_an_unknown_config_names_the_nearest(medtea: Medtea) -> None:
    message = refused(medtea("check", "demmo"))
    assert "There is no config 'demmo'" in message
    assert "Did you mean 'demo'?" in message
    assert all(name in message for name in CONFIGS)


def test_an_unknown_command_or_option_is_refused(medtea: Medtea) -> None:
    for wrong in (["rum", "demo"], ["run"], ["run", "demo", "--fast"]):
        ended = medtea(*wrong)
        assert ended.code == 2
        assert "Traceback" not in ended.err


def test_a_run_folder_that_is_a_file_is_said(medtea: Medtea, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refused(medtea("run", "demo", "--no-tracking", "--to", tmp_path / "file"))
    assert "The run folder cannot be made (FileExistsError)" in message


def test_a_wing_that_the_pipeline_lacks_is_said(medtea: Medtea, tmp_path: Path) -> None:
    assert "cross_hospital has no wing 'plant'" in refused(medtea("plant", "demo", "--to", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", CONFIGS)
def test_check_prints_every_default_and_can_be_read_back(
    medtea: Medtea, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in DATA_FOLDERS[name]:
        monkeypatch.setenv(variable, "/somewhere")
    ended = medtea("check", name)
    assert ended.code == 0
    content = yaml.safe_load(ended.out)
    assert content["teach"]["epsilon_relative"] is False, "a default that no config names"
    named = read_yaml(REPOSITORY / "configs" / f"{name}.yaml").get("teach", {})
    assert content["teach"]["loop"]["weight_decay"] == named.get("loop", {}).get("weight_decay", 1e-4)
    tea = next(student for student in content["distil"] if student["method"] == "tea")
    assert tea["options"]["copy_head"] is True, "and one of a method"
    assert "/somewhere" not in ended.out, "a path belongs to one machine"
    (tmp_path / "filled.yaml").write_text(ended.out)
    assert medtea("check", tmp_path / "filled.yaml").out == ended.out


def test_settings_can_be_overridden(medtea: Medtea) -> None:
    ended = medtea("check", "demo", "--set", "seed=7", "--set", "distil.1.loop.epochs=2", "--set", "report.task=a: b")
    assert ended.code == 2  # YAML reads "a: b" as a mapping
    ended = medtea("check", "demo", "--set", "seed=7", "--set", "distil.1.loop.epochs=2")
    content = yaml.safe_load(ended.out)
    assert (content["seed"], content["distil"][1]["loop"]["epochs"]) == (7, 2)


@pytest.mark.parametrize(
    ("what", "entries"),
    [
        ("methods", {"tea", "erm", "logit_distil"}),
        ("sources", {"phantom", "table", "dicom_tree", "pacs"}),
        ("probes", {"background_relevance", "lungs_removed", "planted_mark"}),
        ("sets", {"coloured_mnist", "waterbirds", "coco_on_places"}),
        ("teachers", {"masked_classifier", "debiased_twin"}),
        ("networks", {"small_resnet", "resnet18", "densenet121"}),
        ("configs", set(CONFIGS)),
    ],
)
def test_list_names_each_entry_with_a_sentence(medtea: Medtea, what: str, entries: set[str]) -> None:
    ended = medtea("list", what)
    assert ended.code == 0
    found = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert found.keys() >= entries
    assert all(len(about) > 10 for about in found.values())


def test_what_cannot_be_listed_names_the_nearest(medtea: Medtea) -> None:
    assert "Did you mean 'methods'?" in refused(medtea("list", "method"))


def test_dicomize_says_per_hospital_what_became_of_its_rows(medtea: Medtea, tmp_path: Path) -> None:
    path = made_table(tmp_path / "t")
    with path.open("a") as file:
        file.write("images/none.png,beta,x,PA,Normal,\n")
    ended = medtea("dicomize", path, tmp_path / "out")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "alpha: 3 written, 0 kept, 0 refused; Aster Imaging Aster 12, MONOCHROME2, 12 bits, Explicit VR Little Endian",
        "beta: 3 written, 0 kept, 1 refused; Borealis Radiology Plate 10, MONOCHROME1, 10 bits, RLE Lossless",
        "  1 refused: The file that the table names does not exist.",
    ]
    again = medtea("dicomize", path, tmp_path / "out", "--hospital", "alpha").out
    assert again.startswith("alpha: 0 written, 3 kept, 0 refused;")
    assert "beta" not in again


def test_dicomize_takes_the_folder_of_a_manifest(medtea: Medtea, tmp_path: Path) -> None:
    made_table(tmp_path / "t").rename(tmp_path / "t" / "manifest.csv")
    assert "alpha: 3 written" in medtea("dicomize", tmp_path / "t", tmp_path / "out").out


def test_dicomize_refuses_in_one_line(medtea: Medtea, tmp_path: Path) -> None:
    assert "the table cannot be read" in refused(medtea("dicomize", tmp_path / "none" / "t.csv", tmp_path / "out"))
    path = made_table(tmp_path / "t")
    assert "lie in each other" in refused(medtea("dicomize", path, tmp_path / "t" / "out"))
    assert "Did you mean 'alpha'" in refused(medtea("dicomize", path, tmp_path / "out", "--hospital", "alpa"))


def test_where_finds_a_refused_file_again(medtea: Medtea, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    table = write_table(tmp_path / "t", [{"image": "zimmer.png", "hospital": "northgate", "patient_id": "1"}])
    options = {"path": str(table)}
    config = write_config(tmp_path / "c.yaml", tiny_config(source="table", options=options, external=[]))
    message = refused(medtea("ingest", config, "--to", tmp_path / "run", "--no-tracking"))
    assert "zimmer" not in message
    name = (tmp_path / "run" / "ingest" / "refused.csv").read_text().splitlines()[1].partition(",")[0]
    assert medtea("where", config, name, "--to", tmp_path / "run").out.strip() == str(tmp_path / "t" / "zimmer.png")
    assert "is no file of this source" in refused(medtea("where", config, "0" * 12, "--to", tmp_path / "run"))


def test_a_file_of_predictions_becomes_a_page_that_shows_names_as_text(medtea: Medtea, tmp_path: Path) -> None:
    lines = ["patient,hospital,label,score,split,sex,remark"]
    for number in range(60):
        hospital, split = ("north", "val" if number % 3 else "test") if number % 2 else ("<script>x</script>", "test")
        score = 0.3 + 0.01 * (number % 40) + 0.2 * (number // 2 % 2)
        lines.append(f"Zimmermann {number},{hospital},{number // 2 % 2},{score},{split},{'MF'[number % 2]},Beekeeper")
    path = tmp_path / "Zimmermann.csv"
    path.write_text("\n".join(lines))
    run = tmp_path / "run"
    asked = ["--train", "north", "--external", "<script>x</script>", "--set", "evaluate.replicates=100"]
    ended = medtea("evaluate", "--scores", path, *asked, "--to", run, "--no-tracking")
    assert ended.code == 0, ended.err
    assert "The page:" in ended.out
    page = (run / "report" / "report.html").read_text()
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert "<script>x" not in page
    assert "is the word of whoever gave the file" in page
    assert "nobody looked for radiographs that are nearly one picture" in page
    for claim in ("Heatmaps show", "The loader hands over", "No two radiographs", "plausible lung mask"):
        assert claim not in page, claim
    for file in run.rglob("*"):
        if file.is_file() and file.name != "settings.yaml":  # the user's own, which knows where the file is
            assert not [word for word in (b"Zimmermann", b"Beekeeper") if word in file.read_bytes()], file.name
    assert "Zimmermann" not in ended.out + ended.err
    assert "Nothing to do" in medtea("evaluate", "--scores", path, *asked, "--to", run, "--no-tracking").out


def test_the_two_ways_to_evaluate_are_not_mixed(medtea: Medtea, tmp_path: Path) -> None:
    assert "Give either CONFIG" in refused(medtea("evaluate"))
    assert "Give either CONFIG" in refused(medtea("evaluate", "demo", "--scores", "a.csv"))
    assert "go with CONFIG" in refused(medtea("evaluate", "--scores", "a.csv", "--model", "a.onnx"))
    assert "go with --scores" in refused(medtea("evaluate", "demo", "--train", "north"))
    missing = refused(medtea("evaluate", "--scores", tmp_path / "a.csv", "--to", tmp_path / "run", "--no-tracking"))
    assert "scores: the file cannot be read (FileNotFoundError)" in missing
    wrong = medtea("evaluate", "--scores", "a.csv", "--set", "scores.scal=logit", "--to", tmp_path / "run")
    assert "Did you mean 'scale'?" in refused(wrong)


def test_a_models_settings_lie_beside_it_and_join_those_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("size: 224\nchannels: 3\n")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "preprocessing.yaml").write_text("range: [0, 255]\n")
    config = tiny_config()
    config["evaluate"]["models"] = [{"path": "first.onnx"}]
    path = write_config(tmp_path / "tiny.yaml", config)
    given = models_of(path, [str(tmp_path / "net.onnx"), f"rival={tmp_path / 'bundle'}"])
    _, settings = cli.load(path, given)
    assert [(one.name, one.size, one.channels, one.range) for one in settings.evaluate.models] == [
        ("first", None, 1, (0, 1)),
        ("net", 224, 3, (0, 1)),
        ("rival", None, 1, (0, 255)),
    ]
    assert models_of(path, []) == []


def test_an_audit_is_planned_without_running_anything(medtea: Medtea, tmp_path: Path) -> None:
    answer = medtea("audit", "demo", "--plan", "--quick", "--to", tmp_path / "run")
    assert answer.code == 0
    assert "background_swap" in answer.out
    assert "together" in answer.out
    assert "at most 20 radiographs" in answer.out
    assert not (tmp_path / "run").exists()


def test_the_policy_that_comes_along_is_the_default_and_another_is_taken(
    medtea: Medtea, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Policy(**read_yaml(REPOSITORY / "configs" / "audit_policy.yaml")) == Policy()
    strict = tmp_path / "strict.yaml"
    strict.write_text("planted_mark: 0.03\nscore_site: null\n", encoding="utf-8")
    answer = medtea("audit", "demo", "--plan", "--policy", strict)
    assert re.search(r"planted_mark .* 0\.03 ", answer.out)
    assert re.search(r"score_site .* not judged ", answer.out)
    strict.write_text("planted_marks: 0.03\n", encoding="utf-8")
    assert "planted_mark" in refused(medtea("audit", "demo", "--plan", "--policy", strict))
    monkeypatch.setenv("MEDTEA_MNIST", str(tmp_path))
    assert "has no audit" in refused(medtea("audit", "coloured_mnist", "--plan"))


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ({"teacher": "pass", "tea": "pass"}, 0),
        ({"teacher": "pass", "erm": "fail", "tea": "no answer"}, 1),
        ({"teacher": "pass", "tea": "no answer"}, 2),
        ({}, 2),
    ],
)
def test_an_audit_ends_with_the_worst_networks_verdict(
    verdicts: dict[str, str], code: int, medtea: Medtea, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = {"outcomes": [], "verdicts": verdicts, "policy": {}, "skipped": []}

    def walk(*_: object, folder: Path, until: str, **__: object) -> None:
        assert until == "audit"
        write_json(folder / "audit" / "outcomes.json", written)

    monkeypatch.setattr(audit, "walk_pipeline", walk)
    answer = medtea("audit", "demo", "--to", tmp_path / "run")
    assert answer.code == code
    assert all(name in answer.out for name in verdicts)


def test_sync_without_a_run_is_refused(medtea: Medtea, tmp_path: Path) -> None:
    assert "holds no tracked run" in refused(medtea("sync", tmp_path, "http://127.0.0.1:9"))


def test_markup_in_a_message_stays_text(medtea: Medtea) -> None:
    assert "[bold]teach[/]" in refused(medtea("check", "demo", "--set", "[bold]teach[/].copies=2"))


def test_the_wheels_configs_are_the_repositorys(medtea: Medtea) -> None:
    assert {path.stem for path in own_configs()} == set(CONFIGS)
    assert all(read_yaml(path)["pipeline"] for path in own_configs())


def test_an_error_of_ours_ends_the_program_itself_with_2(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "medtea.cli", "check", "demo", "--set", "sead=1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=120,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("medtea: sead: no such setting.")
    assert "Traceback" not in ended.stderr


def test_ctrl_c_ends_with_130_and_a_short_message(tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", tiny_config())
    process = subprocess.Popen(
        [sys.executable, "-m", "medtea.cli", "run", str(config), "--to", str(tmp_path / "run"), "--no-tracking"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MEDTEA_KEY": "a key for tests only"},
        # a job that a shell started in the background ignores Ctrl-C, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "segment").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.rstrip().endswith("medtea: stopped. What is finished stays; the same command goes on from there.")
    assert "Traceback" not in err
    assert (tmp_path / "run" / "ingest" / "record.json").is_file()
