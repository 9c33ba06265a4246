from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from oracles.made_report import (
    flow_frame,
    metrics_json,
    outcomes_json,
    pictures_npz,
    refused_frame,
    segmenter_json,
    write_tables,
)
from oracles.made_run import NoSettings, silent_work
from rich.console import Console

from medtea.core.errors import RecordError
from medtea.core.names import IndexArtefact, LungsArtefact, OutcomesArtefact, ReportArtefact, ScoresArtefact
from medtea.core.work import Work, write_json
from medtea.report.stage import Settings, page_of, print_table, run


def stages(work: Work, pictures: dict[str, Any] | None = None) -> dict[str, Any]:
    """The artefacts that the report reads, as the stages before it write them."""
    made = {name: work.stage(name, NoSettings()) for name in ("ingest", "segment", "evaluate", "audit")}
    index, lungs = IndexArtefact(made["ingest"].folder), LungsArtefact(made["segment"].folder)
    scores, outcomes = ScoresArtefact(made["evaluate"].folder), OutcomesArtefact(made["audit"].folder)
    write_tables(index, lungs, scores)
    flow_frame().to_csv(index.flow, index=False)
    refused_frame().to_csv(index.refused, index=False)
    write_json(lungs.metrics, segmenter_json())
    write_json(scores.metrics, metrics_json())
    write_json(outcomes.outcomes, outcomes_json())
    np.savez(outcomes.pictures, **(pictures or {}))
    for stage in made.values():
        stage.finish()
    return {"index": index, "lungs": lungs, "scores": scores, "outcomes": outcomes}


def report(work: Work, artefacts: dict[str, Any], **settings: Any) -> ReportArtefact:
    return run(work, Settings(**settings), settings_of_run={"seed": 0, "title": "ö"}, **artefacts)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return silent_work(tmp_path)


def test_page_table_and_figures_are_left(work: Work) -> None:
    artefact = report(work, stages(work, pictures_npz()), title="Three hospitals", notes=("A limit.",))
    assert page_of(work.folder) == artefact.page
    page = artefact.page.read_text()
    assert "Three hospitals" in page
    assert "A limit." in page
    table = artefact.markdown.read_text()
    assert table.startswith("# Three hospitals")
    assert "title: ö" in table
    assert "- seed: 0" in table
    figures = artefact.folder / "figures"
    names = ("forest", "slope", "montage", "montage_1", "montage_2", "mean_maps", "failures")
    written = {path.name for path in figures.iterdir()}
    assert {f"{name}.svg" for name in names} <= written
    assert {path.stem for path in figures.glob("*.csv")} == {path.stem for path in figures.glob("*.svg")}
    for path in figures.glob("*.svg"):
        tree = ElementTree.fromstring(path.read_text())
        assert tree.tag == "{http://www.w3.org/2000/svg}svg", "a file of its own that a browser opens"
        assert tree[0].text, "with a title"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportArtefact, dict[str, Any], list[str]]:
    """A report without pictures, what it was made from, and the names of what was logged."""
    work, logged = silent_work(tmp_path_factory.mktemp("plain")), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work.tracker, "artefact", lambda path: logged.append(path.name))
        artefacts = stages(work)
        return report(work, artefacts), artefacts, logged


def test_figures_are_logged_with_page_and_table(plain: tuple[ReportArtefact, dict[str, Any], list[str]]) -> None:
    assert plain[2] == ["report.html", "report.md", "report.json", "figures"]


def test_without_pictures_there_is_no_montage(plain: tuple[ReportArtefact, dict[str, Any], list[str]]) -> None:
    stems = {path.stem for path in plain[0].figures.iterdir()}
    assert {"forest", "slope", "failures"} <= stems
    assert not [stem for stem in stems if stem.startswith(("montage", "mean_maps"))]


def test_a_finished_report_is_written_again_only_for_new_words(work: Work) -> None:
    artefacts = stages(work)
    first = report(work, artefacts).page.stat().st_mtime_ns
    assert report(work, artefacts).page.stat().st_mtime_ns == first
    assert report(work, artefacts, title="Another").page.stat().st_mtime_ns != first


def test_the_digests_of_what_was_read_stand_on_the_page(
    plain: tuple[ReportArtefact, dict[str, Any], list[str]],
) -> None:
    table = plain[0].markdown.read_text()
    for artefact in plain[1].values():
        assert f"- digest of {artefact.folder.name}: {artefact.digest[:16]}" in table


def test_metrics_of_another_version_are_refused(work: Work) -> None:
    artefacts = stages(work)
    content = metrics_json()
    del content["scores"]
    artefacts["scores"].metrics.write_text(json.dumps(content))
    with pytest.raises(RecordError, match=r"evaluate/metrics.json has no field 'scores'"):
        report(work, artefacts)


def test_the_table_is_shown_in_the_terminal(work: Work) -> None:
    artefacts = stages(work)
    console = Console(width=120, record=True)
    print_table(artefacts["scores"], artefacts["outcomes"], console.print)
    shown = console.export_text()
    assert "logit_distil" in shown
    assert "IID" in shown
    assert "OOD" in shown
