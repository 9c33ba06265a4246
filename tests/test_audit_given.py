"""medtea audit MODEL DATA: anybody's network on a folder or a table, with and without labels and masks."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.audited import SIZE, group_of, lungs
from oracles.made_given import Fussy, Tiny, exported, onnx_file, torchscript
from oracles.made_sources import write_table
from PIL import Image

from medtea import cli
from medtea.cli import audit, given_audits, screen
from medtea.core.settings import read_yaml, to_yaml
from medtea.core.work import read_json

REPOSITORY = Path(__file__).parents[1]
Medtea = Callable[..., tuple[int, str, str]]


@pytest.fixture
def medtea(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Medtea:
    """The program's own entry: exit code, and what it printed."""
    monkeypatch.setattr(screen.out, "_width", 160)  # pytest-xdist sets COLUMNS before the console is made
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests only")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["medtea", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return call


def made(root: Path, count: int = 24) -> Path:
    """Radiographs of two hospitals whose label shows in lungs and corner, with masks and a table beside them."""
    group = group_of(corner_tells=True, count=count)
    rows = []
    for number in range(count):
        name = f"{('north', 'south')[number % 4 // 2]}/Zimmer{number:03d}.png"
        for folder, picture in ((root, group.radiographs[number]), (root / "masks", lungs())):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(folder / name)
        finding = "Tuberculosis" if group.labels[number] else "Normal"
        rows.append({"image": name, "hospital": name[:5], "patient_id": f"p{number}", "finding": finding})
        rows[-1] |= {"mask": f"masks/{name}"}
    return write_table(root, rows)


def outcomes(folder: Path) -> dict[str, Any]:
    written: dict[str, Any] = read_json(folder / "audit" / "outcomes.json")
    return written


def test_an_onnx_file_is_asked_for_scores_without_labels_and_the_rest_is_skipped_with_the_reason(
    medtea: Medtea, tmp_path: Path
) -> None:
    made(tmp_path / "data").unlink()
    onnx_file(tmp_path / "tiny.onnx", Tiny(), size=SIZE)
    code, out, err = medtea("audit", "tiny.onnx", "data", "--no-tracking")
    assert code == 2, err
    written = outcomes(tmp_path / "runs" / "audit_tiny")
    reasons = {row["probe"]: row["reason"] for row in written["skipped"]}
    assert "runtime gives scores alone" in reasons["background_relevance"]
    assert reasons["background_swap"] == "It needs labels of both classes."
    assert {row["probe"] for row in written["outcomes"]} == {"lungs_removed", "planted_mark"}
    without = next(row for row in written["outcomes"] if row["probe"] == "lungs_removed")
    assert without["estimate"]["value"] is None, "no label, no AUROC"
    assert 0 < without["details"]["rank kept"]["value"] <= 1
    assert (without["verdict"], without["group"]) == ("no answer", "north")
    assert "without labels no AUROC is known" in without["sentence"]
    page = (tmp_path / "runs" / "audit_tiny" / "report" / "report.html").read_text()
    assert "Audit: does it take shortcuts?" in page
    for words in (
        "AUROC with its 95 % interval",
        "Proof of the split",
        "Nothing to compare",
        "No hospital was kept away",
    ):
        assert words not in page, "nothing was evaluated"
    assert re.search(r"networks asked.{0,80}tiny", page, re.DOTALL)
    for text in (out, err, page):
        assert "Zimmer" not in text
    assert "background relevance" in out
    assert "Nothing to do" in medtea("audit", "tiny.onnx", "data", "--no-tracking")[1]


def test_an_exported_program_is_asked_everything_with_labels_and_ends_with_its_verdict(
    medtea: Medtea, tmp_path: Path
) -> None:
    table = made(tmp_path / "data")
    exported(tmp_path / "tiny.pt2", Tiny())
    trusted = ("--set", "models.0.trust_program=true")
    asked = ("--positive", "Tuberculosis", "--negative", "Normal", "--no-tracking", "--to", "run")
    code, _, err = medtea("audit", "net=tiny.pt2", table, *asked, *trusted)
    written = outcomes(tmp_path / "run")
    assert {row["method"] for row in written["outcomes"]} == {"net"}, err
    assert {row["group"] for row in written["outcomes"]} == {"north", "south", "all hospitals"}
    assert written["skipped"] == []
    assert code == {"pass": 0, "fail": 1, "no answer": 2}[written["verdicts"]["net"]]
    with np.load(tmp_path / "run" / "audit" / "pictures.npz") as arrays:
        assert arrays["0/heatmap/net"].shape[1:] == (SIZE, SIZE)
    assert pd.read_csv(tmp_path / "run" / "segment" / "masks.csv")["plausible"].all()


def test_what_does_not_fit_is_one_line_before_a_radiograph_is_read(medtea: Medtea, tmp_path: Path) -> None:
    made(tmp_path / "data")
    onnx_file(tmp_path / "three.onnx", Tiny(channels=3), size=SIZE)
    onnx_file(tmp_path / "any.onnx", Tiny())
    torchscript(tmp_path / "fussy.pt", Fussy())
    broken = Tiny()
    broken.head.weight.data.fill_(float("nan"))
    onnx_file(tmp_path / "broken.onnx", broken, size=SIZE)
    for arguments, said in (
        (("three.onnx", "data"), "takes 3 x 32 x 32 (channels, rows, columns) and would be shown 1 x 32 x 32"),
        (("any.onnx", "data"), "Nothing says how many pixels the network takes."),
        (("broken.onnx", "data"), "gives no finite number"),
        (("fussy.pt", "data"), "trust_program: true"),
        (("fussy.pt", "data", "--set", "models.0.trust_program=true", "--set", "ingest.size=64"), "fails on images of"),
        (("none.onnx", "data"), "nothing lies at its path"),
        (("any.onnx", "nowhere"), "DATA: nothing lies at its path"),
        (("demo", "--masks", "given"), "go with MODEL DATA"),
        (("any.onnx", "data", "--from", "phantom"), "--from goes with CONFIG"),
    ):
        code, out, err = medtea("audit", *arguments, "--no-tracking", "--to", "run")
        assert (code, out) == (2, "")
        assert err.startswith("medtea: ")
        assert err.count("\n") == 1
        assert said in err
        assert not (tmp_path / "run").exists()


def test_no_radiograph_and_masks_of_another_size_are_one_line(medtea: Medtea, tmp_path: Path) -> None:
    onnx_file(tmp_path / "tiny.onnx", Tiny(), size=SIZE)
    (tmp_path / "empty").mkdir()
    code, _, err = medtea("audit", "tiny.onnx", "empty", "--no-tracking", "--to", "run")
    assert code == 2
    assert err.splitlines()[-1] == "medtea: None of the 0 files found can be used. Is the path right?"
    made(tmp_path / "data", count=4).unlink()
    for mask in (tmp_path / "data" / "masks").rglob("*.png"):
        Image.fromarray(lungs()[:20] * 255).save(mask)
    code, _, err = medtea("audit", "tiny.onnx", "data", "--no-tracking", "--to", "run")
    assert code == 2
    assert re.search(r"None of the 4 files found can be used. The first reason: .*mask", err.splitlines()[-1])


def test_a_plan_says_what_can_be_asked_and_reads_no_pixel(medtea: Medtea, tmp_path: Path) -> None:
    table = made(tmp_path / "data")
    onnx_file(tmp_path / "tiny.onnx", Tiny(), size=SIZE)
    code, out, err = medtea("audit", "tiny.onnx", table, "--plan", "--positive", "Tuberculosis", "--negative", "Normal")
    assert code == 0, err
    assert re.search(r"background_relevance .* no: tiny: It needs a network that heatmaps can be had of", out)
    assert re.search(r"background_swap .* yes", out)
    assert re.search(r"together *│ *22 ", out), "3 + 6 + 13 + 0: what needs heatmaps does not count"
    assert "Found: north 12, south 12." in out
    assert not (tmp_path / "runs").exists()
    out = medtea("audit", "tiny.onnx", table, "--plan", "--masks", "none")[1]
    assert re.search(r"planted_mark .* no: there are no lung masks", out)
    assert re.search(r"together *│ *0 ", out)


def test_the_commands_of_the_guide_are_understood(
    medtea: Medtea, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is taken to the point where it would begin; the networks and radiographs are made ones."""
    text = (REPOSITORY / "docs" / "audit.md").read_text(encoding="utf-8")
    lines = [
        line
        for block in re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]
    assert len(lines) == 6
    made(tmp_path / "radiographs").rename(tmp_path / "table.csv")
    onnx_file(tmp_path / "network.onnx", Tiny(), size=SIZE)
    config = read_yaml(REPOSITORY / "configs" / "demo.yaml")
    (tmp_path / "experiment.yaml").write_text(to_yaml(config))
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "audit_policy.yaml").write_bytes(
        (REPOSITORY / "configs" / "audit_policy.yaml").read_bytes()
    )
    begun: list[Any] = []

    class BegunError(Exception):
        pass

    def begin(_: object, settings: Any, **__: object) -> None:
        begun.append(settings)
        raise BegunError

    monkeypatch.setattr(audit, "walk_pipeline", begin)
    # of the run and the bundle, which are long in the making, only that they are opened is left out
    monkeypatch.setattr(given_audits, "given_network", lambda *_, **__: None)
    for line in lines:
        words = shlex.split(line)[1:]
        if "--plan" in words:
            if "network.onnx" not in words:
                assert medtea(*words)[0] == 0
            continue
        if "runs/demo/distil/erm" in words:
            words += ["--set", "ingest.size=32"]
        monkeypatch.setattr(sys, "argv", ["medtea", *words])
        with pytest.raises(BegunError):
            cli.main()
    assert [len(getattr(one, "models", ())) for one in begun] == [0, 1, 1, 2]
    assert begun[2].ingest.positive == ("Tuberculosis",)
    assert [one.name for one in begun[3].models] == ["erm", "rival"]
