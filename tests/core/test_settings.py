"""Settings are typed, strict and finite; every fault is one line with the place, the value and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, field_validator

from medtea.core.errors import ConfigError
from medtea.core.settings import StrictSettings, expand, override, parse, read_yaml, to_yaml


class Loop(StrictSettings):
    epochs: int = Field(20, ge=1)
    learning_rate: float = Field(1e-3, gt=0)


class Student(StrictSettings):
    method: str
    loop: Loop = Loop()


class Hospital(StrictSettings):
    patients: int = 3


class Experiment(StrictSettings):
    seed: int = 0
    noise: float = 0.0
    loop: Loop = Loop()
    distil: tuple[Student, ...] = ()
    hospitals: dict[str, Hospital] = Field(default_factory=dict)
    spare: list[Student] | None = None
    sign: str = "L"

    @field_validator("sign")
    @classmethod
    def _known_sign(cls, sign: str) -> str:
        if sign not in ("L", "R"):
            raise ValueError("a sign is 'L' or 'R'")
        return sign


def fault(content: dict[str, Any], place: str = "") -> str:
    with pytest.raises(ConfigError, match=r"\S") as caught:
        parse(Experiment, content, place)
    return str(caught.value)


def yaml_fault(folder: Path, text: str) -> str:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"\S") as caught:
        read_yaml(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "place", "nearest"),
    [
        ({"sead": 1}, "sead", "seed"),
        ({"loop": {"epoch": 1}}, "loop.epoch", "epochs"),
        ({"distil": [{"method": "tea"}, {"method": "erm", "lop": {}}]}, "distil.1.lop", "loop"),
        ({"distil": [{"method": "tea", "loop": {"epoch": 2}}]}, "distil.0.loop.epoch", "epochs"),
        ({"hospitals": {"montgomery": {"patient": 1}}}, "hospitals.montgomery.patient", "patients"),
        ({"spare": [{"method": "tea", "loop": {"epoch": 2}}]}, "spare.0.loop.epoch", "epochs"),
    ],
)
def test_an_unknown_setting_names_its_place_and_the_nearest(content: dict[str, Any], place: str, nearest: str) -> None:
    assert fault(content).startswith(f"{place}: no such setting. Allowed: ")
    assert fault(content).endswith(f"Did you mean '{nearest}'?")


def test_an_unknown_setting_lists_what_is_allowed_there_and_not_elsewhere() -> None:
    assert fault({"distil": [{"method": "tea", "loop": {"epoch": 2}}]}).count("seed") == 0
    assert "Allowed: epochs, learning_rate." in fault({"distil": [{"method": "tea", "loop": {"epoch": 2}}]})


def test_a_hospital_may_be_called_like_a_setting() -> None:
    assert "Allowed: patients." in fault({"hospitals": {"loop": {"patient": 1}}})


def test_the_place_of_the_section_stands_before_the_place_within_it() -> None:
    assert fault({"sead": 1}, "distil.tea.options").startswith("distil.tea.options.sead: no such setting.")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"loop": {"epochs": 0}}, "loop.epochs: 0 is not allowed; input should be greater than or equal to 1."),
        ({"distil": [{"method": 3}]}, "distil.0.method: 3 is not allowed; input should be a valid string."),
        ({"loop": 3}, "loop: 3 is not allowed; write 'setting: value' lines below it."),
        ({"sign": "X"}, "sign: 'X' is not allowed; a sign is 'L' or 'R'."),
        ({"distil": [{}]}, "distil.0.method: this setting is needed and has no default."),
        ({1: 2}, "1: 1 is not allowed; keys should be strings."),
    ],
)
def test_a_wrong_value_is_one_line_with_place_value_and_what_is_allowed(content: dict[Any, Any], line: str) -> None:
    assert fault(content) == line


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_since_no_record_could_hold_it(value: float) -> None:
    assert fault({"noise": value}) == f"noise: {value!r} is not allowed; input should be a finite number."


def test_every_fault_has_its_own_line() -> None:
    lines = fault({"sead": 1, "loop": {"epochs": 0, "epoch": 2}}).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == ["loop.epoch", "loop.epochs", "sead"]


def test_a_long_value_is_cut() -> None:
    assert len(fault({"loop": ["long"] * 1000})) < 200


def test_settings_that_are_not_a_mapping_are_said_to_be_so() -> None:
    with pytest.raises(ConfigError, match=r"^The config: \[\] is not allowed; write 'setting: value' lines below it"):
        parse(Experiment, [])  # type: ignore[arg-type]


def test_settings_are_frozen_and_defaults_are_written_down() -> None:
    settings = parse(Experiment, {"distil": [{"method": "tea"}]})
    assert settings.model_dump()["distil"][0]["loop"] == {"epochs": 20, "learning_rate": 1e-3}
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 1


def test_there_and_back_through_yaml_changes_nothing(tmp_path: Path) -> None:
    settings = parse(Experiment, {"distil": [{"method": "tea"}], "noise": 0.25, "hospitals": {"Kraków": {}}})
    path = tmp_path / "study.yaml"
    path.write_text(to_yaml(settings.model_dump(mode="json")), encoding="utf-8")
    assert parse(Experiment, read_yaml(path)) == settings
    assert path.read_text(encoding="utf-8").startswith("seed:"), "in the order of the settings"


def test_a_variable_is_replaced_wherever_it_stands() -> None:
    content = {"a": "${DATA}/x", "b": [{"c": "${DATA}-${DATA}"}], "d": 3, "e": None}
    assert expand(content, {"DATA": "/there"}) == {"a": "/there/x", "b": [{"c": "/there-/there"}], "d": 3, "e": None}


@pytest.mark.parametrize("environment", [{}, {"MEDTEA_SHARED": ""}])
def test_a_missing_variable_says_how_to_set_it(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"variable MEDTEA_SHARED is not set.*export MEDTEA_SHARED=/path/to/data"):
        expand({"ingest": ["${MEDTEA_SHARED}/tb"]}, environment)


def test_variables_come_from_the_environment_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTEA_TEST_FOLDER", "here")
    assert expand("${MEDTEA_TEST_FOLDER}") == "here"


def test_assignments_reach_into_mappings_and_lists_and_are_read_as_yaml() -> None:
    content = {"distil": [{"method": "tea"}, {"method": "erm"}], "seed": 0, "audit": None}
    changed = override(
        content,
        ["distil.1.loop.epochs=2", "seed=7", "audit.pictures=0", "distil.0={method: erm}", "new=[1, a]", "sign=a=b"],
    )
    assert changed == {
        "distil": [{"method": "erm"}, {"method": "erm", "loop": {"epochs": 2}}],
        "seed": 7,
        "audit": {"pictures": 0},
        "new": [1, "a"],
        "sign": "a=b",
    }
    assert content == {"distil": [{"method": "tea"}, {"method": "erm"}], "seed": 0, "audit": None}, "a copy is changed"


def test_an_assignment_to_one_use_of_an_alias_leaves_the_other_alone(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("loop: &usual {epochs: 3}\ndistil:\n- {method: tea, loop: *usual}\n- {method: erm, loop: *usual}\n")
    changed = override(read_yaml(path), ["distil.0.loop.epochs=9"])
    assert [student["loop"]["epochs"] for student in changed["distil"]] == [9, 3]
    assert changed["loop"] == {"epochs": 3}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("seed", r"--set 'seed' has no '='\. Write --set section\.key=value\."),
        ("=3", r"--set '=3' has no '='"),
        ("distil.2.method=erm", r"--set distil\.2\.method: '2' is no position in a list of 1 \(0 is the first\)"),
        ("distil.1=erm", r"--set distil\.1: '1' is no position in a list of 1"),
        ("distil.first=erm", r"--set distil\.first: 'first' is no position in a list of 1"),
        ("distil.²=erm", r"'²' is no position"),
        ("seed.x=1", r"--set seed\.x: 'seed' is a single value, it has no part 'x'"),
        ("seed.x.y=1", r"--set seed\.x\.y: 'seed' is a single value, it has no part 'x'"),
        ("seed=[1", r"--set seed: the value '\[1' is not YAML"),
        ("seed=2024-13-45", r"--set seed: the value '2024-13-45' is not YAML"),
    ],
)
def test_an_assignment_that_cannot_be_made_says_why(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override({"distil": [{"method": "tea"}], "seed": 0}, [assignment])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 0\nloop: {epochs: 2\n", "'study.yaml' is not YAML at line 3, column 1: "),
        ("seed: 0\n\tloop: 1\n", "'study.yaml' is not YAML at line 2, column 1: "),
        ("seed: 0\nname: \x07\n", "'study.yaml' is not YAML at line 2: a character that YAML does not allow."),
        ("seed: 0\nname: !!python/object:os.system {}\n", "'study.yaml' is not YAML at line 2, column 7: "),
        ("date: 2024-13-45\n", "'study.yaml' is not YAML: month must be in 1..12."),
        ("", "'study.yaml' holds no sections."),
        ("- seed\n", "'study.yaml' holds no sections."),
    ],
)
def test_a_fault_of_the_yaml_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    found = yaml_fault(tmp_path, text)
    assert found.startswith(message)
    assert "Traceback" not in found
    assert "\n" not in found


def test_a_config_that_is_not_there_or_is_no_text_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(FileNotFoundError\)\. Give a YAML file"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "picture.yaml")
