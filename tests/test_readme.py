"""The README is true: its commands parse, its listings are the program's own, its YAML is read by the real settings."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from medtea import cli
from medtea.core.errors import ConfigError, UsageError
from medtea.core.settings import read_yaml
from medtea.distil.methods import tea
from medtea.sweep import write_tables

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DATA = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def commands(text: str, program: str) -> list[list[str]]:
    """The words after `program` of every fenced shell line that starts with it."""
    lines = [line for block in blocks(text, "bash") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line and line[0] == program]


def program() -> dict[str, Any]:
    """The program's commands by name."""
    return typer.main.get_command(cli.app).commands


def parse(words: list[str]) -> None:
    """Parse a command line as the program would, without running it; raises where it does not fit."""
    name, *arguments = words
    if name not in program():
        raise UsageError(f"No such command '{name}'.")
    program()[name].make_context(name, arguments)


# ---- the checks themselves can fail


@pytest.mark.parametrize("words", [["walk", "x.yaml"], ["run"], ["run", "x.yaml", "--where", "y"], ["demo", "x.yaml"]])
def test_a_command_that_does_not_exist_is_seen(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing|unexpected"):  # typer's own kinds are not public
        parse(words)


def test_fenced_commands_are_found_without_their_comments() -> None:
    assert commands("```bash\nmedtea run a.yaml  # why\nmake test\n```\n", "medtea") == [["run", "a.yaml"]]


# ---- and the README passes them


def test_the_readme_shows_commands_of_both_programs() -> None:
    assert len(commands(README, "medtea")) >= 4
    assert {"demo", "test"} <= {words[0] for words in commands(README, "make")}


@pytest.mark.parametrize("words", commands(README, "medtea") + commands(DATA, "medtea"), ids=" ".join)
def test_every_command_shown_is_one_that_the_program_takes(words: list[str]) -> None:
    parse(words)


@pytest.mark.parametrize("words", commands(README, "make"), ids=" ".join)
def test_every_target_of_make_shown_is_one_that_the_makefile_has(words: list[str]) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert set(words) <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_the_table_of_commands_is_the_programs_own_help() -> None:
    rows = re.findall(r"^\| `medtea (\w+)` \| (.+) \|$", README, re.MULTILINE)
    listed = dict(rows)
    assert len(listed) == len(rows), "one row each"
    own = {name: (command.help or "").partition("\n\n")[0] for name, command in program().items()}
    assert listed == {name: " ".join(text.split()) for name, text in own.items()}


def test_all_there_is_to_choose_from_is_named() -> None:
    """That the table is that of the files themselves is held by test_docs."""
    part = README.partition("<!-- methods -->")[2].partition("<!-- end of methods -->")[0]
    named = set(re.findall(r"`(\w+)`", part))
    there = set()
    for what in ("methods", "teachers", "sets", "sources", "probes", "networks"):
        answer = CliRunner().invoke(cli.app, ["list", what])
        assert answer.exit_code == 0
        there |= {line.split()[0] for line in answer.stdout.splitlines()}
    assert named == there


def test_every_config_shown_is_there_and_its_data_folder_is_said_before() -> None:
    shown = [words[1] for words in commands(README, "medtea") if words[0] == "run" and words[1].startswith("configs/")]
    assert "configs/coloured_mnist.yaml" in shown
    for name in shown:
        content = (REPOSITORY / name).read_text(encoding="utf-8")
        before = README.partition(f"medtea run {name}")[0]
        assert [one for one in re.findall(r"\$\{(\w+)\}", content) if f"export {one}=" not in before] == []


def test_what_several_seeds_leave_is_told() -> None:
    part = README.partition("## A table of methods and seeds")[2].partition("\n## ")[0]
    for name in ("table.html", "table.md", "table.json"):
        assert f"`{name}`" in part
        assert name in inspect.getsource(write_tables)


@pytest.mark.parametrize("text", blocks(README, "yaml"))
def test_every_yaml_is_read_by_the_real_settings(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.delenv("MEDTEA_DATA", raising=False)
    with pytest.raises(ConfigError, match="MEDTEA_DATA is not set"):
        cli.load(path, [])
    monkeypatch.setenv("MEDTEA_DATA", str(tmp_path))
    _, settings = cli.load(path, [])
    given = read_yaml(path)["ingest"]
    assert settings.ingest.source == given["source"]
    assert list(settings.ingest.external) == given["external"]


def test_the_settings_that_the_readme_overrides_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_DATA", str(tmp_path))
    shown = re.findall(r"--set\s+([\w.]+=[\w.]+)", README)
    assert len(shown) >= 5
    cli.load(Path("tb_cross_hospital"), shown)


def test_what_is_said_of_tea_is_what_its_file_declares() -> None:
    assert set(tea.Method.sees) == {"radiograph", "teacher_heatmap", "teacher_head"}
    words, layers = get_args(tea.Settings.model_fields["layers"].annotation)
    assert layers == tuple[str, ...]
    told = set(re.findall(r"layers:\s+(\w+)", README))
    assert told == {"without_deepest", "input"}
    assert told <= set(get_args(words))
