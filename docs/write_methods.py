"""Write what there is to choose from: docs/methods.md in full, the short table in README.md and in docs/the_way.md.

    python docs/write_methods.py    # after a method, teacher, set, source, probe or network was added or changed

Everything is taken from the files themselves: the name, the first line, what is declared in `sees`, the papers that the
docstrings name, and the settings worth tuning. Of README.md and the_way.md only what stands between
`<!-- methods -->` and `<!-- end of methods -->` is written. tests/test_docs.py compares.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from medtea.audit import probes
from medtea.core import bay
from medtea.core.work import write_text
from medtea.distil import methods
from medtea.ingest import sources
from medtea.scenes import sets
from medtea.teach import teachers
from medtea.training.networks import BACKBONES

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "methods.md"
README = REPOSITORY / "README.md"
WAY = REPOSITORY / "docs" / "the_way.md"
BEGIN, END = "<!-- methods -->\n", "<!-- end of methods -->"

OTHERS = "Others"
GROUPS: dict[str, tuple[str, str]] = {
    "Controls": (
        "erm segment_then_classify",
        "ERM is what a shortcut catches: where it does not fall, a run shows nothing about the others. The answer with "
        "two networks, segment and then classify, needs the segmenter at inference too; so does a teacher that sees "
        "lungs only, which stands in every table.",
    ),
    "Explanations alone": (
        "tea gradient_input input_gradient grad_cam attention_distil",
        "The student matches what the teacher looks at, and is told neither a label nor an output. It needs no mask in "
        "training and no segmenter at inference. All get the teacher's last layer, copied and frozen, unless told not "
        "to.",
    ),
    "Distillation": (
        "feature_distil logit_distil intermediate_distil",
        "The student matches what the teacher computes. They get the teacher's last layer as the methods above do, so "
        "that no method is ahead by it.",
    ),
    "Lung masks in the loss": (
        "isnet rrr gain cdep actdiff gradmask gals",
        "Cross-entropy, and a penalty on what the student makes of all that is outside the lungs. They are handed the "
        "segmenter's masks in training, and need none at inference.",
    ),
    "Hospitals as groups": (
        "group_dro irm vrex pgi dann coral",
        "They compare hospitals, so they need several, or a small unbiased subset, which is a hospital of its own: who "
        "sees `unbiased` is trained on it as well.",
    ),
    "Two trainings": (
        "jtt lff dfr",
        "What is hard, or what the features are, is found out by one training and used by another.",
    ),
    "Mixed images": (
        "mixup cutmix background_random background_randomisation",
        "Cross-entropy on images that are put together from several.",
    ),
}
"""By heading: the methods in the order to be told, and what they have in common. One in none stands under OTHERS."""

BAYS: dict[str, tuple[ModuleType, str]] = {
    "Teachers": (teachers, "`teach.teacher`."),
    "Scenes": (sets, "`scenes.set`: sets of images with a known shortcut."),
    "Sources": (sources, "`ingest.source`: where radiographs come from ([data.md](data.md))."),
    "Probes": (probes, "`audit.probes`: what is asked about a network."),
}
INTRODUCTION = (
    "Written by `python docs/write_methods.py` from the files themselves; do not edit. `medtea list methods` prints "
    "the first two columns. What a method *sees* is all that the loader hands it in training, by default; a student "
    "that is shown the radiograph alone at inference needs no segmenter. Formulas, and where a paper and its authors' "
    "code differ, stand in the files. [the_way.md](the_way.md) says how students are trained, "
    "[add_a_method.md](add_a_method.md) how to add a method, and [results](results/README.md) what came out."
)
NAME = r"[A-Z][^\W\d_]*[a-z](?:-[A-Z][a-z]+)*"
AUTHORS = re.compile(
    rf"\b({NAME}(?:(?:,\s+{NAME})*\s+and\s+{NAME}|\s+et al\.)?)(?:,?\s+\(?|,\s+[A-Z][\w\s.:]+,\s+)((?:19|20)\d\d)\b"
)
ARXIV = re.compile(r"\barXiv (\d{4}\.\d{4,5})|(?<=, )(\d{4}\.\d{5})\b")


def grouped() -> dict[str, list[str]]:
    """The bay's methods by group, each in one of them; groups without one are left out."""
    there = bay.names(methods)
    found = {heading: [name for name in listed.split() if name in there] for heading, (listed, _) in GROUPS.items()}
    found[OTHERS] = [name for name in there if not any(name in names for names in found.values())]
    return {heading: names for heading, names in found.items() if names}


def papers(module: ModuleType, described: type) -> str:
    """Authors with years and arXiv numbers that the file names, each once."""
    told = f"{inspect.getdoc(module)}\n{inspect.getdoc(described)}"
    authors = [f"{' '.join(name.split())} {year}" for name, year in AUTHORS.findall(told)]
    numbers = [first or second for first, second in ARXIV.findall(told)]
    links = [f"[{number}](https://arxiv.org/abs/{number})" for number in numbers]
    return ", ".join(dict.fromkeys([*authors, *links])) or "none named"


def words(fields: Iterable[str]) -> str:
    """Fields in words, the radiograph first."""
    return ", ".join(sorted((field.replace("_", " ") for field in fields), key=lambda one: (one != "radiograph", one)))


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A Markdown table; nothing in a cell is taken for markup of a page or of the table."""
    columns = list(columns)
    for row in (columns, ["---"] * len(columns), *rows):
        yield "| " + " | ".join(cell.replace("|", r"\|").replace("<", r"\<") for cell in row) + " |"


def method_row(name: str) -> list[str]:
    """One method: what it sees, its papers, and its first line."""
    module = bay.load(methods, name, "method")
    link = f"[`{name}`](../medtea/distil/methods/{name}.py)"
    needs = words(getattr(module.Method, "looks_at", ["radiograph"]))
    return [link, bay.summary(module), words(module.Method.sees), needs, papers(module, module.Method)]


def search_row(name: str) -> list[str]:
    """The settings of one method that are worth tuning, with the values to try."""
    search = bay.load(methods, name, "method").Method.search
    told = "; ".join(f"`{setting}`: {', '.join(map(_value, values))}" for setting, values in search.items())
    return [f"`{name}`", told or "none"]


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def bay_row(package: ModuleType, name: str) -> list[str]:
    """One file of another bay."""
    module = bay.load(package, name, "bay")
    row = [f"[`{name}`](../{package.__name__.replace('.', '/')}/{name}.py)", bay.summary(module)]
    return [*row, words(module.Teacher.sees), words(module.Teacher.looks_at)] if package is teachers else row


def page() -> str:
    """docs/methods.md."""
    lines = [
        "# Methods, teachers, and all else there is to choose from",
        "",
        *textwrap.wrap(INTRODUCTION, 120),
        "",
    ]
    for heading, names in grouped().items():
        about = GROUPS.get(heading, ("", ""))[1]
        lines += [f"## {heading}", "", *([*textwrap.wrap(about, 120), ""] if about else [])]
        lines += [*table(("method", "in a line", "sees", "at inference", "papers"), map(method_row, names)), ""]
    lines += [
        "## Settings worth tuning",
        "",
        "`distil.N.options`; the default is among the values. `medtea check` prints every setting of a method.",
        "",
    ]
    every = [name for names in grouped().values() for name in names]
    lines += [*table(("method", "values to try"), map(search_row, every)), ""]
    for heading, (package, about) in BAYS.items():
        columns = ("name", "in a line", *(("sees", "at inference") if package is teachers else ()))
        rows = [bay_row(package, name) for name in bay.names(package)]
        lines += [f"## {heading}", "", about, "", *table(columns, rows), ""]
    lines += ["## Networks", "", "`teach.network`, `distil.N.network`.", ""]
    lines += [*table(("network", "in a line"), ([f"`{name}`", spec.about] for name, spec in BACKBONES.items()))]
    return "\n".join(lines) + "\n"


def short(*, methods_only: bool) -> str:
    """The table of README.md, or that of the_way.md: names alone."""

    def listed(names: Iterable[str]) -> str:
        return ", ".join(f"`{name}`" for name in names)

    if methods_only:
        rows = [[heading.lower(), listed(names)] for heading, names in grouped().items()]
        return "\n".join(table(("group", "methods"), rows)) + "\n"
    rows = [[f"methods: {heading.lower()}", listed(names)] for heading, names in grouped().items()]
    rows += [[heading.lower(), listed(bay.names(package))] for heading, (package, _) in BAYS.items()]
    rows += [["networks", listed(BACKBONES)]]
    return "\n".join(table(("what", "to choose from"), rows)) + "\n"


def filled(text: str, *, methods_only: bool) -> str:
    """A page with its short table made anew.

    Raises:
        SystemExit: it has no place for one, or several.
    """
    pattern = re.compile(f"(?<={re.escape(BEGIN)}).*?(?={re.escape(END)})", re.DOTALL)
    text, written = pattern.subn(lambda _: f"\n{short(methods_only=methods_only)}\n", text)
    if written != 1:
        raise SystemExit(f"The page has {written} places for the table; it must have one: {BEGIN.strip()} ... {END}")
    return text


def pages() -> dict[Path, str]:
    """What each of the three pages is to say."""
    return {
        PAGE: page(),
        README: filled(README.read_text(encoding="utf-8"), methods_only=False),
        WAY: filled(WAY.read_text(encoding="utf-8"), methods_only=True),
    }


def main() -> None:
    """Write the three pages."""
    for path, text in pages().items():
        write_text(path, text)
        print(path.relative_to(REPOSITORY))


if __name__ == "__main__":
    main()
