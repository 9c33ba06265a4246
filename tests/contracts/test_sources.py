"""One contract for every file of the bay: it finds what is there, says why of the rest, and touches nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from oracles import made_public_sets
from oracles.made_archives import change, made_images
from oracles.made_sources import made_table
from pydantic import BaseModel

from medtea.core import bay
from medtea.core.errors import ConfigError
from medtea.ingest import sources
from medtea.ingest.dicomize import dicomize
from medtea.ingest.pacs.cache import Shelf
from medtea.ingest.pacs.protocol import Instance
from medtea.ingest.pacs.settings import Query
from medtea.ingest.sources import dicom_tree, image_folder, pacs, phantom, several, table
from medtea.ingest.sources.source import Candidate, Refused


def table_settings(folder: Path) -> BaseModel:
    path = made_table(folder / "made")
    (path.parent / "images" / "alpha-1.png").unlink()
    return table.Settings(path=path)


def tree_settings(folder: Path) -> BaseModel:
    dicomize(table.Settings(path=made_table(folder / "made")), folder / "tree")
    (folder / "tree" / "alpha" / "notes Doe1.txt").write_text("Doe1")
    return dicom_tree.Settings(root=folder / "tree")


def phantom_settings(folder: Path) -> BaseModel:
    hospitals = {"one": phantom.Hospital(patients=3), "two": phantom.Hospital(patients=2, agreement=0.0)}
    return phantom.Settings(hospitals=hospitals, size=64, unusable=1)


def several_settings(folder: Path) -> BaseModel:
    parts = [{"source": "montgomery"}, {"source": "shenzhen"}]
    for part in parts:
        part |= {"options": {"root": made_public_sets.SETS[part["source"]](folder / "sets" / part["source"])}}
    return several.Settings.model_validate({"parts": parts})


def set_settings(name: str) -> Callable[[Path], BaseModel]:
    def settings(folder: Path) -> BaseModel:
        root = made_public_sets.SETS[name](folder / "set")
        made: BaseModel = bay.load(sources, name, "source").Settings(root=root)
        return made

    return settings


def pacs_settings(folder: Path) -> BaseModel:
    """A cache as a query left it, with nobody to ask: one image of it is a lateral view, one never came."""
    images, cache = folder / "made", folder / "cache"
    uids = made_images(images, count=4)
    change(images / "003", ViewPosition="LL")
    hospital = {"protocol": "dicomweb", "url": "http://127.0.0.1:9"}
    settings = pacs.Settings.model_validate({"hospitals": {"north": hospital}, "cache": cache, "offline": True})
    (archive,) = pacs.Source(settings, workspace=folder / "run" / "source", seed=0).archives()
    with Shelf(cache, "north", archive.digest).open() as shelf:
        shelf.add_studies(["1.2"])
        shelf.add_instances("1.2", [Instance("1.2", "1.3", uid, "") for uid in [*uids, "1.4"]])
        shelf.finish_listing()
        for number, uid in enumerate(uids):
            shelf.write(uid, (images / f"{number:03d}").read_bytes())
    return settings


def folder_settings(folder: Path) -> BaseModel:
    dicomize(table.Settings(path=made_table(folder / "made")), folder / "mixed")
    shutil.copy(folder / "made" / "images" / "alpha-1.png", folder / "mixed" / "one.png")
    first = min(path for path in (folder / "mixed" / "alpha").rglob("*") if path.is_file())
    shutil.copy(first, first.with_name("zz copy"))
    return image_folder.Settings(root=folder / "mixed")


# A new source adds a line here; a source without one fails the first test.
MADE: dict[str, Callable[[Path], BaseModel]] = {
    "table": table_settings,
    "dicom_tree": tree_settings,
    "image_folder": folder_settings,
    "phantom": phantom_settings,
    "several": several_settings,
    **{name: set_settings(name) for name in made_public_sets.SETS},
    "pacs": pacs_settings,
}


ALL = Query(body_part=())


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_every_source_of_the_bay_is_held_to_the_contract() -> None:
    assert bay.names(sources) == sorted(MADE)


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'dicom_tree'"):
        bay.load(sources, "dicom_tre", "ingest.source")


@pytest.mark.parametrize("name", bay.names(sources))
def test_a_source_keeps_the_contract(name: str, tmp_path: Path) -> None:
    settings = MADE[name](tmp_path)
    before = listing(tmp_path)
    module = bay.load(sources, name, "ingest.source")
    assert bay.summary(module)
    workspace = tmp_path / "run" / "source"
    source = module.Source(settings, workspace=workspace, seed=3)
    found = list(source.find())

    after = listing(tmp_path)
    assert {path: after.get(path) for path in before} == before, "a source changes nothing that it reads"
    assert all(Path(path).is_relative_to(workspace) for path in set(after) - set(before))

    assert len({one.file for one in found}) == len(found), "every file has a name of its own"
    assert all(re.fullmatch("[0-9a-f]{12}", one.file) for one in found)
    candidates = [one for one in found if isinstance(one, Candidate)]
    refused = [one for one in found if isinstance(one, Refused)]
    assert len(candidates) + len(refused) == len(found)
    assert candidates
    assert refused
    for one in candidates:
        assert one.path.is_file()
        assert one.hospital
        assert one.view in {"PA", "AP", "unknown"}
        assert one.device
        assert all(mask.is_file() for mask in one.masks)
    for refusal in refused:
        assert refusal.reason.endswith(".")
        assert not re.search(r"Doe|/|\.png|\.dcm|\.txt", refusal.reason)

    again = module.Source(settings, workspace=workspace, seed=3)
    assert list(again.find()) == found, "the same source gives the same listing in the same order"
    assert again.fingerprint() == source.fingerprint()
    assert listing(tmp_path) == after, "a second look writes nothing"


@pytest.mark.parametrize("name", bay.names(sources))
def test_a_source_notices_a_change_of_its_settings_or_files(name: str, tmp_path: Path) -> None:
    settings = MADE[name](tmp_path)
    module = bay.load(sources, name, "ingest.source")

    def fingerprint(changed: BaseModel, seed: int = 3) -> str:
        return str(module.Source(changed, workspace=tmp_path / "run" / "source", seed=seed).fingerprint())

    before = fingerprint(settings)
    changes = {"table": {"view": None}, "dicom_tree": {"labels": None}, "phantom": {"size": 96}}
    changes["several"] = {"parts": getattr(settings, "parts", ())[:1]}
    changes["pacs"] = {"query": ALL}
    changes["image_folder"] = {"hospital": "elsewhere"}
    changes |= {public: {"hospital": "elsewhere"} for public in made_public_sets.SETS}
    assert fingerprint(settings.model_copy(update=changes[name])) != before
    if name == "phantom":
        assert fingerprint(settings, seed=4) != before
        return
    places = {
        "dicom_tree": "tree/beta",
        "table": "made/images",
        "image_folder": "mixed/alpha",
        "several": "sets/shenzhen/CXR_png",
        "pacs": "cache/north",
    }
    some = next(path for path in (tmp_path / places.get(name, "set")).rglob("[!.]*.*") if path.is_file())
    some.write_bytes(some.read_bytes() + b"0")
    assert fingerprint(settings) != before


@pytest.mark.parametrize("name", bay.names(sources))
def test_settings_are_frozen_and_refuse_unknown_keys(name: str, tmp_path: Path) -> None:
    settings = MADE[name](tmp_path)
    with pytest.raises(ValueError, match="not_a_setting"):
        type(settings).model_validate({**settings.model_dump(), "not_a_setting": 1})
    with pytest.raises(ValueError, match="frozen"):
        settings.__setattr__(next(iter(type(settings).model_fields)), None)


@pytest.mark.parametrize("name", bay.names(sources))
def test_every_file_found_can_be_told_to_its_owner(name: str, tmp_path: Path) -> None:
    settings = MADE[name](tmp_path)
    source = bay.load(sources, name, "source").Source(settings, workspace=tmp_path / "run" / "source", seed=0)
    places = [source.where(one.file) for one in source.find()]
    assert None not in places
    assert len(set(places)) == len(places)
    assert source.where("0" * 12) is None
