"""Write the benchmarks' tables into docs/performance.md, from the JSON files in benchmarks/results.

    make bench                                              # writes runs/benchmarks/*.json
    python benchmarks/write_page.py --take runs/benchmarks  # takes them into benchmarks/results, and writes the page
    python benchmarks/write_page.py                         # writes the page from the results as they are

Only what stands between `<!-- NAME -->` and `<!-- end of NAME -->` is written; the rest of the page is prose.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import audit
import inference
import ingest
import loader
import lrp_step
import maps
import report
import report_page

from medtea.core.work import read_json, write_json, write_text

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "performance.md"
RESULTS = REPOSITORY / "benchmarks" / "results"
TABLES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "lrp_step": lrp_step.rows,
    "maps": maps.rows,
    "loader": loader.rows,
    "inference": inference.rows,
    "ingest": ingest.rows,
    "report": report.rows,
    "report_page": report_page.rows,
    "audit": audit.rows,
}
UNMEASURED = "Not measured yet."


def told(found: dict[str, Any]) -> str:
    """On what machine, when and with what the numbers were taken."""
    made = found["made_with"]
    machine, versions = made["machine"], made["versions"]
    threads = f"{machine['threads']} thread{'' if machine['threads'] == 1 else 's'}"
    gpu = "" if found.get("device", "cpu") == "cpu" else f", {machine['gpu']}"
    return (
        f"{made['date']}, {machine['processor']}, {threads}{gpu}, torch {versions['torch']}, "
        f"medtea {versions['medtea']}, commit {made['commit']}; {found['rounds']} rounds."
    )


def filled(page: str, results: Path) -> str:
    """The page with every table made anew; one that nobody has measured yet says so."""
    for name, rows in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        lines = [UNMEASURED]
        if (results / f"{name}.json").is_file():
            found = read_json(results / f"{name}.json")
            lines = [told(found), "", *rows(found)]
        body = "\n".join(["", *lines, "", ""])
        pattern = re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)
        page, written = pattern.subn(lambda _, body=body: body, page)
        if written != 1:
            raise SystemExit(f"The page has {written} places for {name}; it must have one: {begin.strip()} ... {end}")
    return page


def take(folder: Path) -> None:
    """Make what a run has measured the repository's results; of what it has not the earlier ones stay."""
    files = {name: folder / f"{name}.json" for name in TABLES if (folder / f"{name}.json").is_file()}
    if not files:
        raise SystemExit(f"No results are there; run `make bench`, or one of benchmarks/{{{','.join(TABLES)}}}.py.")
    for name, file in files.items():
        found = read_json(file)
        if found["quick"]:
            raise SystemExit(f"{name}.json was made with --quick: its numbers say nothing.")
        write_json(RESULTS / f"{name}.json", found)


def main(arguments: Sequence[str] | None = None) -> None:
    made = argparse.ArgumentParser(
        prog="python benchmarks/write_page.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--take", type=Path, metavar="FOLDER", help="first copy its JSON files into benchmarks/results")
    asked = made.parse_args(arguments)
    if asked.take:
        take(asked.take)
    write_text(PAGE, filled(PAGE.read_text(encoding="utf-8"), RESULTS))
    print(f"{PAGE.relative_to(REPOSITORY)}: {', '.join(TABLES)}")


if __name__ == "__main__":
    main()
