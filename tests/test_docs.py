"""The documents: every link leads to a file, every decision is listed, and no two pages claim one number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
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
