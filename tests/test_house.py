"""The house rules, read off the source: floors, no circles, one importer each, nothing unsafe, no machine's paths."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.resources
import importlib.util
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

import medtea

REPOSITORY = Path(__file__).parents[1]

WINGS = {"ingest", "scenes", "plant", "segment", "teach", "distil", "evaluate", "audit", "report"}
WINGS |= {"deploy", "federate"}  # not built yet
FLOORS = {
    "": 0,  # medtea/__init__.py: the version
    "core": 1,
    **dict.fromkeys(("data", "lrp", "metrics"), 2),
    **dict.fromkeys(("explain", "training"), 3),
    **dict.fromkeys(WINGS, 4),
    "sweep": 5,
    "cli": 6,
    "pipelines": 7,
}
ONLY_IMPORTER = {
    "yaml": "medtea.core.settings",
    "mlflow": "medtea.core.tracking.store",
    "matplotlib": "medtea.report.drawing",
}
# one door for modules that are loaded by name: the bays', and the command line's for a pipeline
LOADS_BY_NAME = {"medtea.core.bay", "medtea.cli.configs"}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@dataclass(frozen=True)
class Import:
    module: str  # what is imported, with its dots: "medtea.core.errors" or "medtea.core.errors.DataError"
    line: int
    in_function: bool


@dataclass(frozen=True)
class Source:
    """One module of ours: its dotted name, and its syntax tree."""

    name: str
    tree: ast.Module
    is_package: bool = False

    @property
    def room(self) -> str:
        """The folder or file directly below medtea that it belongs to; "" for medtea/__init__.py."""
        return (*self.name.split("."), "")[1]

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(self._imports(self.tree, in_function=False))

    def _imports(self, node: ast.AST, *, in_function: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, in_function) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                origin = self._absolute(child)
                yield from (Import(f"{origin}.{alias.name}", child.lineno, in_function) for alias in child.names)
            inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from self._imports(child, in_function=inside)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        base = package[: len(package) - node.level + 1]
        return ".".join([*base, *([node.module] if node.module else [])])


def read(folder: Path, package: str) -> dict[str, Source]:
    """All modules of a package by dotted name."""
    sources = {}
    for path in sorted(folder.rglob("*.py")):
        parts = (package, *path.relative_to(folder).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        sources[name] = Source(name, ast.parse(path.read_text(encoding="utf-8")), is_package)
    return sources


@cache
def house() -> dict[str, Source]:
    return read(REPOSITORY / "medtea", "medtea") | read(REPOSITORY / "pipelines", "medtea.pipelines")


def own_imports(source: Source, sources: Mapping[str, Source]) -> Iterator[tuple[str, Import]]:
    """What a module imports of our own: the module it lands in, and the import."""
    for found in source.imports:
        if found.module.split(".")[0] == "medtea":
            # `from medtea.core import errors` names a module, `from medtea.core.errors import nearest` something in one
            name = found.module if found.module in sources else found.module.rpartition(".")[0]
            yield name, found


def floor_breaks(sources: Mapping[str, Source]) -> list[str]:
    """Imports that go up, or across to another room of the same floor."""
    breaks = []
    for source in sources.values():
        for target, found in own_imports(source, sources):
            here, there = source.room, (*target.split("."), "")[1]
            if here != there and FLOORS[there] >= FLOORS[here]:
                breaks.append(f"{source.name}:{found.line} imports {target}")
    return breaks


def circle(sources: Mapping[str, Source]) -> list[str]:
    """The modules of one import circle, in order; empty when there is none."""
    edges = {name: {t for t, _ in own_imports(s, sources) if t != name} for name, s in sources.items()}
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for target in sorted(edges.get(name, ())):
            if found := visit(target, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := visit(name, []))), [])


def unsafe(source: Source) -> list[str]:
    """What runs code from data, or swallows every error."""
    found = [
        f"{source.name}:{i.line} imports {i.module}" for i in source.imports if i.module.split(".")[0] in UNSAFE_MODULES
    ]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append(f"{source.name}:{node.lineno} bare except")
        if isinstance(node, ast.Call):
            found += [f"{source.name}:{node.lineno} {reason}" for reason in _unsafe_call(node)]
    return found


def _unsafe_call(call: ast.Call) -> Iterator[str]:
    called = ast.unparse(call.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if called in {"eval", "exec"}:
        yield called
    if called.startswith("yaml.") and "load" in called and called != "yaml.safe_load":
        yield called
    if called == "torch.load" and options.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if options.get("allow_pickle") == "True":
        yield "allow_pickle=True"


def sources_of(**modules: str) -> dict[str, Source]:
    """A house made up for a test; `core__a` is medtea.core.a."""
    names = {f"medtea.{name.replace('__', '.')}": text for name, text in modules.items()}
    return {name: Source(name, ast.parse(text)) for name, text in names.items()}


# ---- the rules themselves can fail


@pytest.mark.parametrize(
    ("room", "statement"),
    [
        ("core__a", "import medtea.data.b"),
        ("data__a", "from medtea.lrp import b"),
        ("teach__a", "from medtea.segment.b import thing"),
        ("teach__a", "from ..segment import b"),
        ("training__a", "def f():\n    from medtea.audit import b"),
    ],
)
def test_an_import_up_or_across_is_seen(room: str, statement: str) -> None:
    others = {"data__b": "", "lrp__b": "", "segment__b": "", "audit__b": ""}
    assert len(floor_breaks(sources_of(**{**others, room: statement}))) == 1


def test_the_page_of_the_house_imports_no_room() -> None:
    front = Source("medtea", ast.parse("from medtea.core import a"), is_package=True)
    assert len(floor_breaks({"medtea": front, **sources_of(core__a="")})) == 1


def test_an_import_down_or_within_the_room_is_allowed() -> None:
    text = "from medtea import __version__\nfrom medtea.core.a import x\nfrom . import b\nimport numpy"
    assert floor_breaks(sources_of(core__a="", teach__b="", teach__c=text)) == []


def test_a_circle_is_seen_and_named() -> None:
    found = circle(sources_of(data__a="import medtea.data.b", data__b="from . import c", data__c="from .a import x"))
    assert found == ["medtea.data.a", "medtea.data.b", "medtea.data.c", "medtea.data.a"]


@pytest.mark.parametrize(
    "statement",
    [
        "import pickle",
        "from joblib import load",
        "try:\n    f()\nexcept:\n    pass",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.full_load(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_what_is_unsafe_is_seen(statement: str) -> None:
    assert len(unsafe(Source("medtea.a", ast.parse(statement)))) == 1


# ---- and the house keeps them


def test_every_room_has_a_floor() -> None:
    assert {source.room for source in house().values()} <= set(FLOORS)


def test_imports_go_down_only_and_a_wing_never_imports_a_wing() -> None:
    assert floor_breaks(house()) == []


def test_no_import_goes_in_a_circle() -> None:
    assert circle(house()) == []


def test_no_module_of_ours_is_imported_inside_a_function() -> None:
    sources = house()
    late = [f"{s.name}:{i.line}" for s in sources.values() for _, i in own_imports(s, sources) if i.in_function]
    assert late == []


@pytest.mark.parametrize("package", ONLY_IMPORTER)
def test_some_packages_have_one_importer(package: str) -> None:
    importers = {s.name for s in house().values() for i in s.imports if i.module.split(".")[0] == package}
    assert importers <= {ONLY_IMPORTER[package]}


def test_modules_are_loaded_by_name_through_one_door() -> None:
    def loads(source: Source) -> bool:
        calls = (ast.unparse(node.func) for node in ast.walk(source.tree) if isinstance(node, ast.Call))
        return any(call.rpartition(".")[2] in {"import_module", "__import__"} for call in calls)

    assert {source.name for source in house().values() if loads(source)} <= LOADS_BY_NAME


def test_nothing_unsafe_is_done() -> None:
    assert [found for source in house().values() for found in unsafe(source)] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [source.name for source in house().values() if not ast.get_docstring(source.tree)] == []


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for top in ("medtea", "pipelines") for path in (REPOSITORY / top).rglob("*.py")}
    assert [str(f.relative_to(REPOSITORY)) for f in sorted(folders) if not (f / "__init__.py").is_file()] == []


def test_every_wing_is_entered_by_its_settings_and_its_run() -> None:
    for name, source in house().items():
        if name.endswith(".stage"):
            defined = {n.name for n in source.tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
            assert {"Settings", "run"} <= defined, name


# ---- what comes in with it


def pyproject() -> dict[str, list[str]]:
    """Requirements by extra; "" for those of the package itself."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def package_name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip())[0]).lower()


def pins() -> list[str]:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_torchvision_neither_is_imported_nor_comes_in() -> None:
    imported = {i.module.split(".")[0] for s in house().values() for i in s.imports}
    required = {package_name(requirement) for extra in pyproject().values() for requirement in extra}
    assert "torchvision" not in imported | required | {package_name(pin) for pin in pins()}
    assert importlib.util.find_spec("torchvision") is None, "something in this environment brought torchvision in"


def test_every_dependency_is_pinned_and_pins_hold_anywhere() -> None:
    required = {package_name(requirement) for extra in pyproject().values() for requirement in extra}
    assert required <= {package_name(pin) for pin in pins()}
    # name==version and no more: no path, address, local build (+cpu) or platform
    assert [pin for pin in pins() if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []


def imported_packages(sources: Iterable[Source], *, late: bool) -> set[str]:
    return {i.module.split(".")[0] for source in sources for i in source.imports if i.in_function == late}


def test_every_third_party_import_is_a_declared_dependency() -> None:
    by_import = importlib.metadata.packages_distributions()
    for late in (False, True):
        extras = [name for name in pyproject() if name != "dev"] if late else [""]  # an extra is imported late
        declared = {package_name(requirement) for name in extras for requirement in pyproject()[name]}
        outside = imported_packages(house().values(), late=late) - {"medtea"}
        foreign = {name: {package_name(d) for d in by_import[name]} for name in outside if name in by_import}
        assert {name for name, distributions in foreign.items() if not distributions & declared} == set()


def test_the_version_is_the_changelogs_first() -> None:
    heading = re.search(r"^## \[(.+?)\]", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert heading is not None
    if medtea.__version__ == "0+not.installed":
        pytest.skip("medtea is not installed here, so it has no version")
    assert medtea.__version__ == heading[1]


def test_pipelines_and_configs_are_found_inside_the_installed_package() -> None:
    if medtea.__version__ == "0+not.installed":
        pytest.skip("medtea is not installed here: pipelines and configs join the package on installation")
    for name in ("pipelines", "configs"):
        here = {path.name for path in (REPOSITORY / name).iterdir() if path.suffix in {".py", ".yaml"}}
        there = {entry.name for entry in importlib.resources.files(f"medtea.{name}").iterdir()}
        assert here <= there


# ---- nothing of one machine, and no data


def tracked() -> list[Path]:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout, so nothing says which files are tracked")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    return [path for name in listing.stdout.split("\0") if name and (path := REPOSITORY / name).is_file()]


def texts(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    for path in paths:
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    # roots of user, temporary and work folders at the start of a path; /data and /runs are the images' own
    machine = re.compile(r"(?<![\w.>}\])~-])/(?:home|tmp|root|work|Users|mnt)/\w")
    found = [
        f"{path.relative_to(REPOSITORY)}: {match[0]}"
        for path, text in texts(tracked())
        for match in machine.finditer(text)
    ]
    assert found == []


def test_no_tracked_file_is_a_radiograph_or_weights() -> None:
    data = {".dcm", ".npy", ".npz", ".pt", ".pth", ".safetensors", ".parquet", ".db", ".nii", ".mha"}
    assert [path.name for path in tracked() if path.suffix.lower() in data] == []
