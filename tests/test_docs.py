"""The documents are true: links lead somewhere, the guides' files work as they stand, columns are those of a run."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from oracles import made_report
from oracles.made_batches import small_network
from oracles.made_sources import made_picture
from PIL import Image
from pydantic import BaseModel
from torch import nn
from typer.testing import CliRunner
from yaml import safe_load

import medtea
from medtea import cli, lrp
from medtea.audit import probes
from medtea.audit.asked import AuditedGroup, AuditedNetwork
from medtea.core import bay
from medtea.core.errors import ConfigError, UsageError
from medtea.core.names import Field
from medtea.core.settings import parse, read_yaml, to_yaml
from medtea.core.work import provenance, read_json, write_json, write_text
from medtea.data import volumes
from medtea.data.index import COLUMNS, read_index
from medtea.data.loader import Loader
from medtea.data.pictures import JSRT_SUFFIX
from medtea.distil import methods
from medtea.distil.methods import tea
from medtea.distil.methods.method import Context
from medtea.ingest import sources
from medtea.ingest.image_sets import ImageSet, SetSettings
from medtea.ingest.labels import UNMATCHED, LabelSettings, label_of
from medtea.ingest.pacs import settings as pacs_settings
from medtea.ingest.sources import dicom_tree, pacs, several, table
from medtea.ingest.sources.source import Candidate, Refused, file_digest
from medtea.ingest.stage import Settings as IngestSettings
from medtea.lrp import cotangents
from medtea.plant.stage import Settings as PlantSettings
from medtea.report import sections
from medtea.report.markdown import markdown_of
from medtea.report.sections.section import read_sections
from medtea.scenes import sets
from medtea.training.loop import LoopSettings, train
from medtea.training.networks import BACKBONES, build_classifier, head_of

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    files = [link.partition("#")[0] for link in LINK.findall(prose) if "://" not in link]
    assert [file for file in files if file and not (page.parent / file).exists()] == []


def test_every_decision_is_listed_once_under_its_number() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    listed = re.findall(r"^(\d+)\. \[.+\]\((.+)\)$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [name for _, name in listed] == pages
    assert [int(number) for number, _ in listed] == [int(name[:4]) for name in pages] == list(range(1, len(pages) + 1))
    for number, name in listed:
        assert (folder / name).read_text(encoding="utf-8").startswith(f"# {number}. ")


# ---- the guides: their files, put into the bays as the reader would

BAYS = {"add_a_method": methods, "add_a_source": sources, "add_a_probe": probes, "add_a_section": sections}
FILE = re.compile(r"^Write `(medtea/[\w/]+)/(\w+)\.py`:\n\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
YAML = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def text_of(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


@pytest.fixture
def guides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """Every guide's file as a module of its bay; gone from there after the test."""
    loaded = {}
    for page, package in BAYS.items():
        folder, name, code = FILE.findall(text_of(page))[0]
        assert folder == package.__name__.replace(".", "/")
        assert name not in bay.names(package), "the guide's example has become a real file; choose another"
        place = tmp_path / "bays" / page
        place.mkdir(parents=True)
        (place / f"{name}.py").write_text(code, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(place)])
        importlib.invalidate_caches()
        loaded[page] = bay.load(package, name, page)
    yield loaded
    for module in loaded.values():
        package, _, name = module.__name__.rpartition(".")
        sys.modules.pop(module.__name__)
        delattr(sys.modules[package], name)


def made_folders(root: Path) -> Path:
    """Pictures of two hospitals with two findings, all with a mask of two lungs; and one file that is in no folder."""
    number = 0
    for hospital, patients in (("alpha", 14), ("beta", 4)):
        for finding in ("Normal", "Tuberculosis"):
            for folder in (root / hospital / finding, root / "masks" / hospital / finding):
                folder.mkdir(parents=True)
            for _ in range(patients):
                number += 1
                picture = made_picture(number, 40, 40)
                lungs = np.zeros((40, 40), dtype=np.uint8)
                lungs[8:32, 5:17] = lungs[8:32, 23:35] = 255
                name = f"{hospital}/{finding}/{number:03d}.png"
                Image.fromarray(picture).save(root / name)
                Image.fromarray(lungs).save(root / "masks" / name)
    (root / "alpha" / "notes.txt").write_text("Doe")
    return root


@pytest.mark.parametrize("page", BAYS)
def test_a_guides_file_is_listed_with_its_first_line(page: str, guides: dict[str, ModuleType]) -> None:
    name = guides[page].__name__.rpartition(".")[2]
    assert name in bay.names(BAYS[page])
    assert bay.summary(guides[page]).endswith(".")


def test_the_guides_method_learns_from_what_it_declares(guides: dict[str, ModuleType], tmp_path: Path) -> None:
    module = guides["add_a_method"]
    torch.manual_seed(0)
    pictures = np.random.default_rng(0).random((16, 1, 32, 32)).astype(np.float32) / 2
    label = (np.arange(16) % 2).astype(np.float32)
    pictures[label == 1] += 0.5
    network = build_classifier("small_resnet", 0)
    method = module.Method(network, head_of(network, "small_resnet"), module.Settings(), Context())

    def loader(generator: np.random.Generator | None) -> Loader:
        fields = {Field.RADIOGRAPH: pictures, Field.LABEL: label, Field.LUNG_MASK: pictures}
        every = np.arange(16)
        return Loader(fields, asks=method.sees, entries=every, rows=every, batch_size=8, generator=generator)

    batch = next(iter(loader(None)))
    with pytest.raises(UsageError, match="was not asked for"):
        batch[Field.LUNG_MASK]
    # at logit 0 the loss is log 2 whatever the label, and so whatever the smoothing
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    assert method.loss(batch).item() == pytest.approx(np.log(2))
    history = train(
        method,
        training=loader(np.random.default_rng(1)),
        validation=loader(None),
        settings=LoopSettings(epochs=3, batch_size=8),
        folder=tmp_path,
        name="guide",
        log=lambda *_: None,
    )
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_the_guides_source_keeps_the_contract(guides: dict[str, ModuleType], tmp_path: Path) -> None:
    module = guides["add_a_source"]
    root = made_folders(tmp_path / "folders")
    source = module.Source(module.Settings(root=root), workspace=tmp_path / "work", seed=0)
    found = list(source.find())
    candidates = [one for one in found if isinstance(one, Candidate)]
    refused = [one for one in found if isinstance(one, Refused)]
    assert (len(candidates), len(refused)) == (36, 1)
    assert {(one.hospital, one.finding) for one in candidates} == {
        (hospital, finding) for hospital in ("alpha", "beta") for finding in ("Normal", "Tuberculosis")
    }
    assert all(one.mask is not None and one.mask.is_file() for one in candidates)
    assert "Doe" not in refused[0].reason
    assert "notes" not in refused[0].reason
    assert source.where(refused[0].file) == root / "alpha" / "notes.txt"
    assert source.where(file_digest(Path("elsewhere"))) is None
    before = source.fingerprint()
    assert list(source.find()) == found
    (root / "masks" / "alpha" / "Normal" / "001.png").unlink()
    assert source.fingerprint() != before
    with pytest.raises(ConfigError, match="root: there is no such folder"):
        list(module.Source(module.Settings(root=tmp_path / "none"), workspace=tmp_path, seed=0).find())


class ReadsOnePixel(nn.Module):
    """The logit is one pixel, ten times."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.place, self.weight = (row, column), nn.Parameter(torch.tensor(10.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x[:, :, self.place[0], self.place[1]]


def test_the_guides_probe_tells_who_reads_the_frame(guides: dict[str, ModuleType]) -> None:
    module = guides["add_a_probe"]
    probe = module.Probe(module.Settings(width=0.1))
    radiographs = np.random.default_rng(0).random((6, 40, 40)).astype(np.float32)
    radiographs[:, 0, 0] = 1
    masks = np.zeros(radiographs.shape, dtype=np.uint8)
    masks[:, 1:30, 10:30] = 1  # reaches into the frame, whose lung pixels are not to change
    group = AuditedGroup("here", radiographs, masks, np.arange(6) % 2, [f"p{i}" for i in range(6)])

    def change(row: int, column: int) -> float:
        network = AuditedNetwork("by hand", ReadsOnePixel(row, column), sees_lungs_only=False)
        return float(probe.ask(network, group, np.random.default_rng(0)).estimate.value)

    # the corner goes from 1 to the mean outside, about 0.5: sigmoid(10) - sigmoid(5) is about 0.007
    assert change(0, 0) == pytest.approx(0.0067, abs=0.003)
    assert change(20, 20) == change(2, 15) == 0


def test_the_guides_section_stands_in_the_report(guides: dict[str, ModuleType]) -> None:
    made = made_report.contents()
    (section,) = [one for one in read_sections(made) if one.anchor == "left_out"]
    text = markdown_of("Title", "", [section])
    assert "| east | 3 | implausible lung mask |" in text
    assert guides["add_a_section"].blocks(dataclasses.replace(made, written={})) == []


@pytest.mark.parametrize("page", [page for page in BAYS if page != "add_a_section"])
def test_a_guides_yaml_is_read_by_the_real_settings(
    page: str, guides: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = guides[page].__name__.rpartition(".")[2]
    monkeypatch.setenv("MEDTEA_DATA", str(tmp_path))
    (text,) = YAML.findall(text_of(page))
    path = tmp_path / "experiment.yaml"
    ingest = (
        "" if "ingest:" in text else "ingest: {source: phantom, positive: [A], negative: [B], train: [northgate]}\n"
    )
    path.write_text(ingest + text, encoding="utf-8")
    _, settings = cli.load(path, [])
    assert name in str(settings)


def test_a_wrong_option_of_a_guides_method_is_named(guides: dict[str, ModuleType]) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'smoothing'"):
        parse(guides["add_a_method"].Settings, {"smothing": 0.1}, "distil.smoothed_erm.options")


# ---- data.md: its tables are the columns that a run writes


def columns_in(heading: str) -> list[str]:
    """The first column of the first table below a heading of data.md."""
    part = text_of("data").partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    return re.findall(r"^\| `(\S+)` \|", part, re.MULTILINE)


def test_the_columns_of_a_table_and_of_labels_are_those_that_the_sources_read() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (`(\w+)`|none) \|", text_of("data"), re.MULTILINE)
    defaults = {name: field.default for name, field in table.Settings.model_fields.items()}
    assert {option: column or None for option, _, column in rows} == {
        option: default for option, default in defaults.items() if option not in {"path", "hospitals"}
    }
    assert tuple(columns_in("DICOM: `ingest.source: dicom_tree`")) == dicom_tree.LABEL_COLUMNS


def test_the_public_sets_are_told_with_their_hospitals_and_own_options() -> None:
    part = text_of("data").partition("\n### Public sets: one source each\n")[2].partition("\n### ")[0]
    told = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \| (.+) \|$", part, re.MULTILINE)}
    modules = {name: bay.load(sources, name, "source") for name in bay.names(sources)}
    public = {name: module for name, module in modules.items() if issubclass(module.Source, ImageSet)}
    assert {name: row[0] for name, row in told.items()} == {
        name: module.Source.hospital for name, module in public.items()
    }
    for name, module in public.items():
        own = {option for option in module.Settings.model_fields if option not in SetSettings.model_fields}
        assert set(re.findall(r"`(\w+)`", told[name][2])) == own, name
    (example,) = YAML.findall(part)
    read = yaml_section(example)
    assert set(read["options"]["parts"][0]) == {"source", "options"}
    assert parse(several.Settings, read["options"])
    assert set(read) <= set(IngestSettings.model_fields)


def yaml_section(text: str) -> dict[str, Any]:
    """The section `ingest` of an example, its options unchecked."""
    content = safe_load(text)
    section: dict[str, Any] = content.get("ingest", content)
    return section


def test_the_formats_told_are_those_that_are_read() -> None:
    part = text_of("data").partition("\n### Formats\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| ([\w, ]+) \| (.+?) \|", part, re.MULTILINE)
    told = {suffix for kind, names in rows for suffix in re.findall(r"`(\S+?)`", names)}
    assert told == {*volumes.SUFFIXES, JSRT_SUFFIX}
    named = {kind for kinds, _ in rows[1:] for kind in kinds.split(", ")}
    assert named == {"DICOM", "PNG", "JPEG", "TIFF", "NIfTI", "MetaImage", "NRRD", "raw JSRT"}


def test_the_settings_of_labels_are_told(tmp_path: Path) -> None:
    heading = "Labels from a CSV: `ingest.labels`"
    assert columns_in(heading) == list(LabelSettings.model_fields)
    part = text_of("data").partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    example = safe_load(YAML.findall(part)[0])
    assert parse(LabelSettings, example["labels"]).findings == ("Edema",)
    assert label_of("no Edema", example["positive"], example["negative"]) == 0
    assert tuple(columns_in("ingest/labels_unmatched.csv")) == UNMATCHED


@pytest.fixture
def tiny_run(guides: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The whole way with the three guides' files in it, as small as it can be."""
    monkeypatch.setenv("MEDTEA_DATA", str(tmp_path))
    monkeypatch.setenv("MEDTEA_KEY", "a key for tests alone")
    made_folders(tmp_path / "folders")
    config = tmp_path / "experiment.yaml"
    config.write_text(TINY, encoding="utf-8")
    cli.walk(config, tmp_path / "run", [], no_tracking=True)
    return tmp_path / "run"


TINY = """
ingest:
  source: finding_folders
  options: {root: "${MEDTEA_DATA}/folders"}
  positive: [Tuberculosis]
  negative: [Normal]
  train: [alpha]
  external: [beta]
  size: 32
segment:
  channels: [4, 8]
  copies: 1
  loop: {epochs: 2, batch_size: 8}
  checks: {area: [0, 1], balance: 0, border: 1, black: 1, fragment: 1}
teach:
  copies: 1
  loop: {epochs: 1, batch_size: 8}
distil:
  - method: smoothed_erm
    loop: {epochs: 1, batch_size: 8}
  - method: erm
    loop: {epochs: 1, batch_size: 8}
evaluate: {replicates: 100}
audit:
  probes:
    frame_removed: {width: 0.15}
  pictures: 1
"""


def test_a_run_with_the_guides_files_writes_what_data_md_says(tiny_run: Path) -> None:
    index = read_index(tiny_run / "ingest" / "index.parquet")
    assert columns_in("ingest/index.parquet") == list(COLUMNS) == list(index.columns)
    acquisition = pd.read_parquet(tiny_run / "ingest" / "acquisition.parquet")
    assert columns_in("ingest/acquisition.parquet") == list(acquisition.columns)
    tables = (
        "ingest/refused.csv",
        "ingest/duplicates.csv",
        "ingest/flow.csv",
        "segment/masks.csv",
        "evaluate/scores.csv",
        "audit/outcomes.csv",
    )
    for name in tables:
        assert columns_in(name) == list(pd.read_csv(tiny_run / name).columns), name
    history = pd.read_csv(tiny_run / "distil" / "smoothed_erm" / "history.csv")
    assert columns_in("distil/NAME/history.csv") == list(history.columns)
    assert columns_in("ingest/refused.csv") == [field.name for field in dataclasses.fields(Refused)]

    hidden = [f"heatmap_{layer}.npy" for layer in BACKBONES["small_resnet"].layers]
    said = [name for name in columns_in("teach/") if name not in ("heatmap_LAYER.npy", "twin.npy", "cotangent.npy")]
    assert sorted(path.name for path in (tiny_run / "teach" / "bank").iterdir()) == sorted([*said, *hidden])

    stages = ["ingest", "segment", "teach", "distil/smoothed_erm", "distil/erm", "evaluate", "audit", "report"]
    assert all((tiny_run / stage / "record.json").is_file() for stage in stages)
    pages = text_of("data") + text_of("the_way")
    unsaid = [
        path.name
        for stage in stages
        for path in (tiny_run / stage).iterdir()
        if path.name not in {"record.json", "started.json", "checkpoint.pt"} and path.name not in pages
    ]
    assert unsaid == []

    card = read_json(tiny_run / "distil" / "smoothed_erm" / "card.json")
    assert card["sees"] == ["label", "radiograph"]
    assert card["options"] == {"smoothing": 0.1}
    assert set(pd.read_csv(tiny_run / "audit" / "outcomes.csv")["probe"]) == {"frame_removed"}


# ---- the_way.md: its settings


WINGS = tuple(cli.WINGS)


@pytest.mark.parametrize("wing", WINGS)
def test_the_settings_told_of_a_wing_are_its_own(wing: str) -> None:
    section = re.findall(rf"^## {wing}: .*?(?=^## |\Z)", text_of("the_way"), re.DOTALL | re.MULTILINE)
    assert len(section) == 1
    told = re.findall(r"`(\w+)`", re.sub(r"(?s).*\*\*Settings\*\*:(.*?)(\*\*|\n- |\n\n).*|.*", r"\1", section[0]))
    assert set(told) <= set(importlib.import_module(f"medtea.{wing}.stage").Settings.model_fields)
    assert told


def test_the_wings_are_told_in_the_order_of_the_house() -> None:
    assert tuple(re.findall(r"^## (\w+): ", text_of("the_way"), re.MULTILINE)) == WINGS
    assert tuple(name for name in re.findall(r"^(\w+) ", medtea.__doc__ or "", re.MULTILINE) if name in WINGS) == WINGS


def table_below(page: str, column: str) -> list[str]:
    """What the first column of the table with this heading names."""
    lines = text_of(page).partition(f"\n| {column} |")[2].partition("\n\n")[0].splitlines()
    return [line.split("`")[1] for line in lines[2:]]


def test_the_marks_told_are_the_kinds_there_are() -> None:
    assert table_below("the_way", "`plant.kind`") == list(get_args(PlantSettings.model_fields["kind"].annotation))


def test_the_options_told_of_tea_are_all_it_has() -> None:
    assert table_below("the_way", "option") == list(tea.Settings.model_fields)


def test_every_set_is_told_of_and_the_options_told_are_its_own() -> None:
    section = text_of("the_way").partition("## scenes: ")[2].partition("\n## ")[0]
    told = {f"**{bay.summary(bay.load(sets, name, 'set')).partition(':')[0]}**" for name in bay.names(sets)}
    assert [name for name in told if name not in section] == []
    options = set(re.findall(r"`options\.(\w+)", section)) | {"bias", "environments", "unbiased"}
    assert options <= set(bay.load(sets, "coloured_mnist", "set").Settings.model_fields)
    assert [name for name in options if f"`{name}`" not in section and f"`options.{name}" not in section] == []


# ---- pacs.md: its settings, its hospitals and its commands


@pytest.mark.parametrize(("heading", "model"), [("`query`", pacs_settings.Query), ("`manners`", pacs_settings.Manners)])
def test_the_settings_of_an_archive_told_are_all_there_are(heading: str, model: type[BaseModel]) -> None:
    assert table_below("pacs", heading) == list(model.model_fields)


def test_the_hospitals_told_of_are_read_and_every_setting_of_one_is_told() -> None:
    hospitals = [yaml.safe_load(text) for text in YAML.findall(text_of("pacs"))]
    assert len(hospitals) == 2
    read = [parse(pacs.Settings, {"hospitals": one}).hospitals for one in hospitals]
    assert [type(*one.values()) for one in read] == [pacs_settings.Dicomweb, pacs_settings.Dimse]
    page = text_of("pacs") + (REPOSITORY / "configs" / "pacs_example.yaml").read_text(encoding="utf-8")
    models = (pacs.Settings, pacs_settings.Dicomweb, pacs_settings.Dimse, pacs_settings.Own)
    named = {name for model in models for name in model.model_fields} - {"token_variable", "address"}
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", page)] == []
    own = pacs_settings.Own()
    assert f"`{own.ae_title}`" in page
    assert f"({own.port})" in page


def test_the_commands_told_of_an_archive_are_the_programs() -> None:
    told = [line.split()[1:] for line in re.findall(r"^medtea .*$", text_of("pacs"), re.MULTILINE)]
    assert told == [
        ["ingest", "CONFIG", "--from", "pacs"],
        *(["pacs", "check", "CONFIG"], ["ingest", "CONFIG"]),
        ["pacs", "fetch", "CONFIG"],
    ]
    for words in told:
        name = [word for word in words if word.islower()][: 2 if words[0] == "pacs" else 1]
        answer = CliRunner().invoke(cli.app, [*name, "--help"])
        assert answer.exit_code == 0
        assert all(word in answer.stdout for word in words if word.startswith("--"))


# ---- methods.md, and the short tables: what the files themselves say

WRITTEN = ("docs/methods.md", "README.md", "docs/the_way.md")


@pytest.mark.parametrize("page", WRITTEN)
def test_what_there_is_to_choose_from_is_told_as_it_is(page: str) -> None:
    written = {path.relative_to(REPOSITORY).as_posix(): text for path, text in write_methods().pages().items()}
    assert set(written) == set(WRITTEN)
    found = (REPOSITORY / page).read_text(encoding="utf-8")
    assert found == written[page], f"{page} is behind: run `python docs/write_methods.py`"


def write_methods() -> ModuleType:
    return loaded(DOCS / "write_methods.py")


def rows_of(page: str, heading: str) -> dict[str, list[str]]:
    """By name the further cells of the table below a heading of methods.md."""
    part = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \[?`(\w+)`(?:\]\(\S+\))? \| (.*) \|$", part, re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in rows}


def test_what_each_method_is_said_to_see_is_what_it_declares() -> None:
    headings = re.findall(r"^## (.+)$", text_of("methods"), re.MULTILINE)
    groups = [rows_of(text_of("methods"), heading) for heading in headings[: headings.index("Settings worth tuning")]]
    told = {name: cells for group in groups for name, cells in group.items()}
    assert sum(map(len, groups)) == len(told), "a method is in one group"
    declared = {name: set(bay.load(methods, name, "method").Method.sees) for name in bay.names(methods)}
    assert {
        name: {field.replace(" ", "_") for field in cells[1].split(", ")} for name, cells in told.items()
    } == declared


@pytest.mark.parametrize(
    ("heading", "what"),
    [
        ("Teachers", "teachers"),
        ("Scenes", "sets"),
        ("Sources", "sources"),
        ("Probes", "probes"),
        ("Networks", "networks"),
    ],
)
def test_every_listing_is_the_programs_own(heading: str, what: str) -> None:
    answer = CliRunner().invoke(cli.app, ["list", what])
    listed = dict(line.split(maxsplit=1) for line in answer.stdout.splitlines())
    told = {name: cells[0].replace("\\<", "<") for name, cells in rows_of(text_of("methods"), heading).items()}
    assert told == listed


def test_a_method_that_no_group_names_is_listed_all_the_same(guides: dict[str, ModuleType]) -> None:
    written = write_methods()
    assert written.grouped()[written.OTHERS] == ["smoothed_erm"]
    row = rows_of(written.page(), written.OTHERS)["smoothed_erm"]
    assert row == [bay.summary(guides["add_a_method"]), "radiograph, label", "radiograph", "Szegedy et al. 2016"]
    assert "`smoothed_erm`" in written.short(methods_only=True)


def test_a_page_without_a_place_for_the_table_is_said_to_be_so() -> None:
    for page in ("", 2 * "<!-- methods -->\n<!-- end of methods -->\n"):
        with pytest.raises(SystemExit, match="it must have one: <!-- methods -->"):
            write_methods().filled(page, methods_only=True)


def test_papers_are_authors_with_years_and_arxiv_numbers_each_once() -> None:
    module = ModuleType("made", "A made method (Bassi et al., arXiv 2407.09788).")

    class Made:
        """Ross and Doshi-Velez 2018, ICLR 2021; arXiv 2407.09788, after Boland, Tsaftaris and Dahdouh (2511.17421)."""

    written = write_methods()
    assert written.papers(module, Made) == "Ross and Doshi-Velez 2018, [2407.09788](https://arxiv.org/abs/2407.09788)"
    for said, found in {
        "A made one.": "none named",
        "The limit of Hinton et al. (2015) for it.": "Hinton et al. 2015",
        "ISNet (Bassi et al., Nature Communications 15:291, 2024): less.": "Bassi et al. 2024",
        "The mean of 2020 values, as Vapnik 1998 has it.": "Vapnik 1998",
        "After Boland, Tsaftaris and\nDahdouh 2025.": "Boland, Tsaftaris and Dahdouh 2025",
    }.items():
        assert written.papers(ModuleType("made", said), type("Made", (), {})) == found


# ---- the pictures


def loaded(file: Path) -> ModuleType:
    """A program of the repository that is no part of the package."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_run(folder: Path, source: str, epochs: int) -> Path:
    """What make_figure.py reads of a run, with made numbers."""
    hospital = {"agreement": 1.0}
    settings = {
        "seed": 3,
        "ingest": {"source": source, "options": {"hospitals": {"north": hospital, "east": {"agreement": 0.0}}}},
        "distil": [{"loop": {"epochs": epochs}}],
    }
    write_text(folder / "settings.yaml", to_yaml(settings))
    write_json(folder / "evaluate" / "metrics.json", made_report.metrics_json())
    write_json(folder / "evaluate" / "record.json", {"digest": "0", "made_with": provenance()})
    write_json(folder / "audit" / "outcomes.json", made_report.outcomes_json())
    np.savez(folder / "audit" / "pictures.npz", **made_report.pictures_npz())
    return folder


def test_pictures_are_drawn_from_phantoms_alone(tmp_path: Path) -> None:
    figures = loaded(DOCS / "figures" / "make_figure.py")
    with pytest.raises(UsageError, match="not of phantoms"):
        figures.make(made_run(tmp_path / "real", "table", 30), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["real"]


def test_pictures_say_what_they_show_and_a_small_demo_says_so(tmp_path: Path) -> None:
    figures = loaded(DOCS / "figures" / "make_figure.py")
    full = read_yaml(REPOSITORY / "configs" / "demo.yaml")["distil"][0]["loop"]["epochs"]
    written = figures.make(made_run(tmp_path / "run", "phantom", full), tmp_path)
    assert [path.name for path in written] == ["demo.svg", "heatmaps.svg", "demo.md"]
    slope, montage, page = (path.read_text(encoding="utf-8") for path in written)
    assert all(svg.startswith("<svg") and "<rect" in svg.partition(">")[2][:12] for svg in (slope, montage))
    # the unseen hospital alone, one of either label
    assert "east, positive" in montage
    assert "east, negative" in montage
    assert "north" not in montage
    assert "north 100%, east 0%" in page
    assert "mean nothing" not in page
    figures.make(made_run(tmp_path / "run", "phantom", 1), tmp_path)
    assert "mean nothing" in (tmp_path / "demo.md").read_text(encoding="utf-8")


def test_the_pictures_that_the_readme_shows_are_of_the_full_demo() -> None:
    assert "mean nothing" not in (DOCS / "figures" / "demo.md").read_text(encoding="utf-8")


# ---- heatmaps.md: its code runs, and its tables name what there is


def test_the_code_that_explains_a_network_runs() -> None:
    student = small_network(0)
    names = {
        "network": student,
        "student": student,
        "radiographs": torch.rand(2, 1, 16, 16),
        "teacher_heatmap": torch.rand(2, 1, 16, 16),
    }
    blocks = re.findall(r"^```python\n(.*?)^```$", text_of("heatmaps"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "heatmaps.md", "exec"), names)
    assert isinstance(names["heatmap"], torch.Tensor)
    assert names["heatmap"].shape == (2, 1, 16, 16)
    assert student.stem[0].weight.grad is not None


def test_the_cotangents_told_are_those_there_are() -> None:
    told = re.findall(r"^\| `(\w+)` \|", text_of("heatmaps"), re.MULTILINE)
    made = [name for name, thing in vars(cotangents).items() if inspect.isfunction(thing)]
    assert sorted(told) == sorted(made)
    assert set(told) <= set(lrp.__all__)
