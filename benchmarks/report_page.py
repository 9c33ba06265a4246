"""The report of 10,000 radiographs: seconds, and size of the page. Eight methods and a teacher, six hospitals.

The run is made by code: phantom radiographs of 224 x 224 where any is shown, scores, maps and numbers as the stages
write them. Timed is the report stage alone, from their files to the page, Markdown, JSON and figures.

    python benchmarks/report_page.py           # a minute or two
    python benchmarks/report_page.py --quick   # seconds, to see that it works

On a machine that does other work too the CPU seconds say what the report itself takes: it is one process, one thread.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import SEED, finish, parsed, parser, table

from medtea.core.names import IndexArtefact, LungsArtefact, OutcomesArtefact, ScoresArtefact
from medtea.core.settings import StrictSettings
from medtea.core.tracking import NullTracker
from medtea.core.work import Work, write_array, write_csv, write_json
from medtea.data.acquisition import write_acquisition
from medtea.data.index import write_index
from medtea.data.phantom import draw_phantom
from medtea.evaluate.stage import Settings as EvaluateSettings
from medtea.evaluate.stage import leave
from medtea.report.stage import Settings, run

RADIOGRAPHS, SIZE, METHODS = 10_000, 224, 8
QUICK = (240, 32, 2)
HOSPITALS = {
    "alpha": "train",
    "beta": "train",
    "gamma": "train",
    "delta": "external",
    "eps": "external",
    "zeta": "external",
}
PICTURES = 4
BAR_SECONDS, BAR_MIB = 30, 15


class NoSettings(StrictSettings):
    """A stage that is made by hand has none."""


def made(folder: Path, radiographs: int, size: int, methods: int) -> dict[str, Any]:
    """The artefacts that the report reads."""
    work = Work(folder, SEED, NullTracker(), say=lambda _: None)
    stages = {name: work.stage(name, NoSettings()) for name in ("ingest", "segment", "evaluate", "audit")}
    index, lungs = IndexArtefact(stages["ingest"].folder), LungsArtefact(stages["segment"].folder)
    scores, outcomes = ScoresArtefact(stages["evaluate"].folder), OutcomesArtefact(stages["audit"].folder)
    rows = index_rows(radiographs)
    write_index(index.index, rows)
    draw = np.random.default_rng(SEED)
    taken = [
        {"manufacturer": f"maker {n % 4}", "age_years": int(draw.integers(18, 95)), "sex": "FM"[n % 2]}
        for n in rows.index
    ]
    write_acquisition(index.acquisition, rows["radiograph"], taken)
    counts = [
        {"hospital": name, "found": len(part) + 5, "refused": 5, "accepted": len(part)}
        for name, part in rows.groupby("hospital")
    ]
    write_csv(index.flow, counts, ("hospital", "found", "refused", "accepted"))
    refused = [{"file": "0", "hospital": name, "reason": "a lateral view"} for name in HOSPITALS for _ in range(5)]
    write_csv(index.refused, refused, ("file", "hospital", "reason"))
    phantoms = [draw_phantom(np.random.default_rng(n), size=size, diseased=bool(n % 2)) for n in range(8)]
    write_array(index.radiographs, np.stack([phantoms[n % 8].radiograph for n in rows.index]).astype(np.float16))
    masks = np.stack([phantoms[n % 8].lung_mask for n in range(8)]).astype(np.uint8)
    write_array(lungs.lung_masks, masks[np.arange(radiographs) % 8])
    rows[["radiograph", "hospital"]].assign(plausible=True, reason="").to_csv(lungs.masks, index=False)
    write_json(lungs.metrics, {"hospitals": []})
    stages["ingest"].finish()
    stages["segment"].finish()
    names = ["teacher", "erm", *(f"method {n}" for n in range(methods - 1))]
    card = {"sees": ["radiograph", "label"], "sees_at_inference": ["radiograph"], "network": "densenet121"}
    cards = {name: card | {"parameters": 6_947_777, "seconds": 60.0, "selection": "own loss"} for name in names}
    leave(work, EvaluateSettings(replicates=100), stages["evaluate"], scores, index, scored(rows, names), cards)
    write_json(outcomes.outcomes, {"outcomes": [], "questions": {}})
    with outcomes.pictures.open("wb") as file:
        np.savez(file, **pictures(phantoms, names, size))
    stages["audit"].finish()
    return {"index": index, "lungs": lungs, "scores": scores, "outcomes": outcomes}


def index_rows(radiographs: int) -> pd.DataFrame:
    """Two radiographs of each patient; a third of the training hospitals' patients for validation and test."""
    number = np.arange(radiographs)
    hospital = np.array(list(HOSPITALS))[number // 2 % len(HOSPITALS)]
    role = np.array([HOSPITALS[name] for name in hospital])
    third = np.array(["train", "train", "train", "train", "val", "test"])[number // (2 * len(HOSPITALS)) % 6]
    fixed = {"study": "s", "view": "PA", "device": "made", "has_mask": True, "file": "0", "digest": "0"}
    return pd.DataFrame(
        {
            "radiograph": [f"r{n:06d}" for n in number],
            "hospital": hospital,
            "patient": [f"p{n // 2:06d}" for n in number],
            "label": (number // (2 * len(HOSPITALS)) // 6 + number) % 2,
            "role": role,
            "split": np.where(role == "external", "test", third),
            "group": hospital,
        }
    ).assign(**fixed)


def scored(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Scores of every method on validation and test."""
    part = rows.loc[rows["split"].ne("train"), ["radiograph", "hospital", "patient", "role", "split", "group", "label"]]
    draw = np.random.default_rng(SEED)
    made = []
    for name in names:
        score = 1 / (1 + np.exp(-(2 * part["label"].to_numpy() - 1 + draw.normal(size=len(part)))))
        made.append(part.assign(plausible_mask=True, method=name, score=score, predicted=np.nan))
    return pd.concat(made, ignore_index=True)


def pictures(phantoms: Sequence[Any], names: Sequence[str], size: int) -> dict[str, Any]:
    """What the audit keeps, with maps of noise, which no picture format makes small."""
    draw = np.random.default_rng(SEED)
    arrays: dict[str, Any] = {}
    for number, group in enumerate(HOSPITALS):
        shown = np.stack([phantoms[n].radiograph for n in range(PICTURES)])
        masks = np.stack([phantoms[n].lung_mask for n in range(PICTURES)])
        arrays |= {f"{number}/name": np.array(group), f"{number}/radiograph": shown, f"{number}/lung_mask": masks}
        arrays |= {f"{number}/label": np.arange(PICTURES) % 2, f"{number}/mean_n": np.array([30, 30])}
        arrays |= {f"{number}/mean_radiograph": shown[:2], f"{number}/mean_lung_mask": masks[:2] > 0}
        for name in names:
            maps = draw.standard_normal((PICTURES, size, size), dtype=np.float32)
            arrays |= {f"{number}/heatmap/{name}": maps, f"{number}/mean_heatmap/{name}": maps[:2]}
    return arrays


def measured(radiographs: int, size: int, methods: int, rounds: int) -> dict[str, Any]:
    """Seconds of each round, and what the folder holds in the end."""
    with tempfile.TemporaryDirectory() as folder:
        artefacts = made(Path(folder), radiographs, size, methods)
        seconds, cpu_seconds = [], []
        for _ in range(rounds):
            shutil.rmtree(Path(folder) / "report", ignore_errors=True)
            work = Work(Path(folder), SEED, NullTracker(), say=lambda _: None)
            begun, cpu = time.perf_counter(), time.process_time()
            artefact = run(work, Settings(), settings_of_run={}, **artefacts)
            seconds.append(time.perf_counter() - begun)
            cpu_seconds.append(time.process_time() - cpu)
        files = [path for path in artefact.folder.rglob("*") if path.is_file()]
        sizes = {"page_bytes": artefact.page.stat().st_size, "folder_bytes": sum(path.stat().st_size for path in files)}
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "radiographs": radiographs,
        "pixels": size,
        "methods": methods + 1,
    } | sizes


def rows(found: dict[str, Any]) -> list[str]:
    """The table, beside what is asked for."""
    result = found["results"]
    heads = ("radiographs", "methods", "seconds", "CPU seconds", "page, MiB", "all files, MiB")
    columns = dict.fromkeys(heads, "right")
    sizes = [f"{result[name] / 2**20:.1f}" for name in ("page_bytes", "folder_bytes")]
    took = [f"{statistics.median(result[name]):.1f}" for name in ("seconds", "cpu_seconds")]
    line = [f"{result['radiographs']:,}", str(result["methods"]), *took, *sizes]
    bar = ["asked for", "", f"< {BAR_SECONDS}", "", f"< {BAR_MIB}", ""]
    return table(columns, [line, bar])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write and print."""
    asked = parsed(parser(str(__doc__), "report_page", rounds=2), arguments)
    radiographs, size, methods = QUICK if asked.quick else (RADIOGRAPHS, SIZE, METHODS)
    finish(asked, rows, measured(radiographs, size, methods, asked.rounds))


if __name__ == "__main__":
    main()
