"""Train networks whose reliance on a mark is known, and audit each as its user would: see docs/audit_validity.md.

    python benchmarks/audit_validity.py --processes 2                 # an hour or two on two cores; resumes
    python benchmarks/audit_validity.py --only phantom --seeds 0,1    # a part
    python benchmarks/audit_validity.py --quick --only phantom        # seconds, to see that it works
    python docs/write_audit_validity.py                               # then the page, thresholds and tables

A unit is one network: data (phantoms; Kermany's radiographs below MEDTEA_DATA, as they are or each patient's lungs on
another's background) x mark (none, a letter, noise) x how often the mark names the label x seed. Each leaves one JSON:
what the network does where the mark follows the label, is absent and is reversed, and every answer of every probe on
held-out patients of the same scanner, with its interval. No threshold enters: verdicts are made of these numbers
afterwards.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medtea.audit import probes
from medtea.audit.asked import AuditedGroup, AuditedNetwork, Need
from medtea.audit.asking import Answer, ask_all
from medtea.audit.changes import dilated, imputed
from medtea.audit.policy import Policy
from medtea.core import bay
from medtea.core.errors import MedteaError
from medtea.core.names import IndexArtefact, LungsArtefact, Role, Split
from medtea.core.progress import track
from medtea.core.seeds import named_seed, numpy_generator
from medtea.core.settings import StrictSettings, parse
from medtea.core.tracking import NullTracker
from medtea.core.work import Work, provenance, read_array, read_json, read_weights, write_array, write_json, write_text
from medtea.data.augment import AugmentSettings
from medtea.data.bank import bank_fields, make_bank
from medtea.data.index import Parts, label_fields, read_index, rows, write_index
from medtea.data.loader import Loader
from medtea.distil.methods import erm
from medtea.distil.methods.method import Context
from medtea.ingest.stage import Settings as IngestSettings
from medtea.ingest.stage import run as ingest
from medtea.metrics.classification import auroc
from medtea.plant.stage import Settings as PlantSettings
from medtea.plant.stage import run as plant
from medtea.segment.checks import implausible
from medtea.segment.cleanup import clean_mask
from medtea.segment.stage import Settings as SegmentSettings
from medtea.segment.stage import run as segment
from medtea.training.loop import LoopSettings, train
from medtea.training.networks import build_classifier, build_segmenter, head_of
from medtea.training.predict import predict_logits, predict_masks

Array = np.ndarray[Any, Any]
FOLDER = Path("runs/audit_validity")
NETWORK = "small_resnet"
NONE, LETTER, NOISE, KNOWN = "none", "letter", "noise", "known"
MARKS = {
    # other letters, another corner and another size than those that the probe planted_mark stamps: an auditor does not
    # know what a scanner writes
    LETTER: {"kind": "localised", "positive": "S", "negative": "V", "corner": "bottom left"},
    NOISE: {"kind": "diffuse", "noise": 0.08},
    # the very letters that planted_mark stamps, where it stamps them
    KNOWN: {"kind": "localised", "positive": "R", "negative": "L", "corner": "top right", "height": 1 / 6},
}
HEIGHTS = {"phantom": 0.14, "shuffled": 0.2, "kermany": 0.14}
"""Of the letter, by data: the small one is hardly learned from Kermany's radiographs in so few steps."""
AGREEMENTS = (0.5, 0.8, 0.95, 1.0)
"""How often the mark names the label; without a mark there is none."""
HERE, ELSEWHERE = "this scanner", "another scanner, no mark"
PHANTOM, SHUFFLED, KERMANY = "phantom", "shuffled", "kermany"
SEEDS = ((PHANTOM, (0, 1, 2)), (SHUFFLED, (0, 1, 2)), (KERMANY, (0, 1, 2)), (PHANTOM, (3, 4, 5, 6, 7)))
"""Data and seeds in the order in which they are measured."""


@dataclass(frozen=True)
class Size:
    """How much is drawn, learned and asked: patients of the phantom scanner, steps of training, radiographs."""

    patients: int = 300
    steps: int = 80
    segmenter_steps: int = 120
    audited: int = 100


QUICK = Size(patients=60, steps=2, segmenter_steps=8, audited=24)


@dataclass(frozen=True)
class Unit:
    """One network to train and to audit."""

    data: str
    mark: str
    agreement: float | None
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        often = "" if self.agreement is None else f"_{100 * self.agreement:.0f}"
        return f"{self.data}_{self.mark}{often}_seed{self.seed}"

    @property
    def base(self) -> str:
        """Of the folder of what all units of these radiographs share."""
        return f"{self.data}_seed{self.seed}"


def units(seeds: Sequence[int] | None = None) -> list[Unit]:
    """All in their order, or those of some seeds."""
    cells = [(NONE, None), *((mark, often) for mark in (LETTER, NOISE) for often in AGREEMENTS)]
    known = [(KNOWN, 0.5), (KNOWN, 0.95)]
    return [
        Unit(data, mark, agreement, seed)
        for data, own in SEEDS
        for seed in own
        if seeds is None or seed in seeds
        for mark, agreement in [*cells, *(known if data == PHANTOM else [])]
    ]


def _epochs(steps: int, data: str, batch_size: int, size: Size) -> int:
    """Passes over the training radiographs that make so many steps, about."""
    patients = 0.5 * size.patients if data == PHANTOM else 0.65 * 700
    return max(1, round(steps * batch_size / patients))


# ---- what units of one seed share: radiographs and a segmenter


def ingest_settings(data: str, size: Size) -> IngestSettings:
    """64 x 64 radiographs: of a phantom scanner and of another one, or Kermany's."""
    given: dict[str, Any] = {"size": 64, "val_share": 0.1, "test_share": 0.4, "processes": 1}
    if data == PHANTOM:
        bare = {"positive": None, "negative": None}
        hospitals = {
            HERE: {"style": "plain", "patients": size.patients} | bare,
            ELSEWHERE: {"style": "portable", "patients": size.audited // 2} | bare,
        }
        given |= {"source": "phantom", "options": {"size": 64, "unusable": 0, "hospitals": hospitals}}
        given |= {"positive": ["Nodules"], "negative": ["Normal"], "train": [HERE], "external": [ELSEWHERE]}
    else:
        options = {"path": "${MEDTEA_DATA}/manifest.csv", "hospitals": ["kermany"]}
        given |= {"source": "table", "options": options, "train": ["kermany"], "test_share": 0.25}
        given |= {"positive": ["Pneumonia bacterial", "Pneumonia viral"], "negative": ["Normal"]}
    return parse(IngestSettings, given, "ingest")


def segment_settings(data: str, size: Size) -> SegmentSettings:
    """A small U-Net; it learns from radiographs without marks."""
    loop = {"epochs": _epochs(size.segmenter_steps, data, 16, size), "batch_size": 16, "learning_rate": 3e-3}
    return parse(SegmentSettings, {"channels": [8, 16, 32, 64], "copies": 1, "loop": loop}, "segment")


class NoSettings(StrictSettings):
    """Nothing is to be set."""


def shuffled(work: Work, index: IndexArtefact) -> IndexArtefact:
    """Each patient's lungs on the background of another patient of the same split, whatever its class.

    Nothing outside the lungs tells the class then, on real radiographs: Kermany's own backgrounds may. Lungs are the
    given masks; the other's are taken out of its background.
    """
    stage = work.stage("shuffled", NoSettings(), [index])
    made = IndexArtefact(stage.folder)
    if stage.is_finished:
        return made
    table, pictures = read_index(index.index), np.array(read_array(index.radiographs))
    masks = read_array(index.given_masks)
    generator = numpy_generator(work.seed, "shuffled")
    composed = pictures.copy()
    for _, part in table.groupby("split", sort=True):
        order = generator.permutation(part.index.to_numpy())
        for own, other in zip(order, np.roll(order, 1), strict=True):
            background = imputed(pictures[other], dilated(masks[other] > 0, 1), generator)
            composed[own] = np.where(masks[own] > 0, pictures[own], background.clip(0, 1))
    write_array(made.radiographs, composed)
    write_array(made.given_masks, np.asarray(masks))
    write_index(made.index, table)
    for name in ("refused", "flow"):
        write_text(getattr(made, name), getattr(index, name).read_text(encoding="utf-8"))
    stage.finish()
    return made


def base(folder: Path, name: str, seed: int, data: str, size: Size) -> tuple[IndexArtefact, LungsArtefact]:
    """Index and segmenter of one seed; made once."""
    work = _work(folder / "base" / name, seed)
    index = ingest(work, ingest_settings(data, size))
    index = shuffled(work, index) if data == SHUFFLED else index
    return index, segment(work, segment_settings(data, size), index)


def _work(folder: Path, seed: int) -> Work:
    return Work(folder, seed, NullTracker(), say=lambda _: None)


# ---- one unit


def measured(unit: Unit, folder: Path, size: Size) -> dict[str, Any]:
    """Train the network and audit it."""
    begun = [time.perf_counter(), time.process_time()]
    index, lungs = base(folder, unit.base, unit.seed, unit.data, size)
    work = _work(folder / "work" / unit.name, unit.seed)
    planted = {
        mark: _planted(work, mark, unit, index) for mark in ([unit.mark] if unit.mark in MARKS else (LETTER, NOISE))
    }
    source = planted.get(unit.mark, index)
    network, history = _trained(work, source, _epochs(size.steps, unit.data, 32, size))
    groups, left_out = _groups(work, source, lungs, unit, size)
    asked = [AuditedNetwork("network", network, sees_lungs_only=False)]
    here = [group for group in groups if group.is_seen]
    answers, skipped = [], []
    # the other scanner is there for the probes that set several side by side
    for chosen, shown in ((_probes(several=False), here), (_probes(several=True), groups)):
        found = ask_all(chosen, asked, shown, Policy(), unit.seed)
        answers, skipped = answers + found[0], skipped + found[1]
    return {
        **asdict(unit),
        "size": asdict(size),
        "planted": _mark(unit.mark, unit) if unit.mark in MARKS else None,
        "truth": {mark: _truth(network, one) for mark, one in planted.items()},
        "history": history,
        "masks_left_out": left_out,
        "answers": [_answer(one) for one in answers],
        "skipped": [{"probe": one.probe, "group": one.group, "reason": one.reason} for one in skipped],
        "seconds": {
            "wall": round(time.perf_counter() - begun[0], 1),
            "cpu": round(time.process_time() - begun[1], 1),
        },
        "made_with": provenance(),
    }


def _planted(work: Work, mark: str, unit: Unit, index: IndexArtefact) -> IndexArtefact:
    """The radiographs with the mark; of a network that learns without, to see what it does where one is stamped."""
    own = Work(work.folder / mark, work.seed, work.tracker, say=work.say)
    return plant(own, parse(PlantSettings, _mark(mark, unit), "plant"), index)


def _mark(mark: str, unit: Unit) -> dict[str, Any]:
    """What is planted."""
    height = {"height": HEIGHTS[unit.data]} if mark == LETTER else {}
    return MARKS[mark] | height | ({} if unit.agreement is None else {"agreement": unit.agreement})


def _trained(work: Work, index: IndexArtefact, epochs: int) -> tuple[nn.Module, list[dict[str, float]]]:
    """A small network by empirical risk minimisation, as `planted_shortcut` trains `erm`."""
    table = read_index(index.index)
    learned_from = rows(table["role"].eq(Role.TRAIN) & table["split"].ne(Split.TEST) & table["label"].notna())
    bank = make_bank(
        work.folder / "bank",
        radiographs=read_array(index.radiographs),
        lung_masks=read_array(index.given_masks),
        rows=learned_from,
        copies=2,
        settings=AugmentSettings(),
        seed=work.seed,
    )
    settings = LoopSettings(epochs=epochs, batch_size=32)
    parts = Parts.of(table, bank.rows, sees_unbiased=False)
    network = build_classifier(NETWORK, named_seed(work.seed, "student"))

    def loader(entries: Array, *, shuffled: bool) -> Loader:
        return Loader(
            bank_fields(bank) | label_fields(table, bank.rows),
            asks=erm.Method.sees,
            entries=entries,
            rows=bank.rows,
            batch_size=settings.batch_size,
            generator=numpy_generator(work.seed, "distil/order") if shuffled else None,
        )

    history = train(
        erm.Method(network, head_of(network, NETWORK), erm.Settings(), Context()),
        training=loader(parts.training(), shuffled=True),
        validation=loader(parts.validation(), shuffled=False),
        settings=settings,
        folder=work.folder / "erm",
        name="erm",
        log=lambda *_: None,
    )
    return network.eval(), history


def _groups(
    work: Work, index: IndexArtefact, lungs: LungsArtefact, unit: Unit, size: Size
) -> tuple[list[AuditedGroup], dict[str, int]]:
    """What a user has: held-out patients of the same scanner, marked as its radiographs are, and another scanner's.

    Masks are the segmenter's on the radiographs as they are, marks included; implausible ones are left out.
    """
    table = read_index(index.index)
    radiographs = read_array(index.radiographs)
    settings = segment_settings(unit.data, size)
    segmenter = build_segmenter(settings.channels, 0)
    read_weights(lungs.segmenter, segmenter)
    # not the copies of test radiographs whose mark is absent, random or reversed: a user does not have those
    is_copy = table["radiograph"].str.contains("-")
    tested = table["split"].eq(Split.TEST) & table["label"].notna() & ~is_copy
    found, left_out = [], {}
    for hospital, part in table[tested].groupby("hospital", sort=True):
        chosen = part.index.to_numpy()
        if len(chosen) > size.audited:
            generator = numpy_generator(work.seed, f"audit/choice/{hospital}")
            chosen = np.sort(generator.choice(chosen, size.audited, replace=False))
        pictures = np.asarray(radiographs[chosen], dtype=np.float32)
        masks = np.stack([clean_mask(one) for one in predict_masks(segmenter, pictures, np.arange(len(chosen)))])
        kept = [row for row in range(len(chosen)) if not implausible(masks[row], pictures[row], settings.checks)]
        left_out[str(hospital)] = len(chosen) - len(kept)
        if not kept:
            continue
        of_group = table.loc[chosen[kept]]
        found.append(
            AuditedGroup(
                str(hospital),
                pictures[kept],
                masks[kept],
                of_group["label"].to_numpy(dtype=int),
                of_group["patient"].tolist(),
                hospital=str(hospital),
                is_seen=of_group["role"].iloc[0] != Role.EXTERNAL,
            )
        )
    return found, left_out


def _truth(network: nn.Module, index: IndexArtefact) -> dict[str, float]:
    """AUROC of the network by what the mark does, on all test patients of the scanner."""
    table = read_index(index.index)
    radiographs = read_array(index.radiographs)
    found = {}
    for group, part in table[table["group"].str.contains(", mark ")].groupby("group", sort=True):
        logits = predict_logits(network, radiographs, part.index.to_numpy())
        found[str(group).rpartition(", mark ")[2]] = float(auroc(part["label"].to_numpy(dtype=int), logits))
    return found


SETTINGS = {"acquisition_stress": {"strengths": [0.5]}}
"""Of probes where they differ from the defaults, to save time."""


def _probes(*, several: bool) -> dict[str, Any]:
    """Every probe that asks about one group, or all that ask about several."""
    modules = {name: bay.load(probes, name, "audit.probes") for name in bay.names(probes)}
    return {
        name: module.Probe(parse(module.Settings, SETTINGS.get(name, {}), f"audit.probes.{name}"))
        for name, module in modules.items()
        if (Need.SEVERAL_HOSPITALS in module.Probe.needs) == several
    }


def _answer(answer: Answer) -> dict[str, Any]:
    """The numbers alone."""
    told = answer.to_json()

    def number(estimate: dict[str, Any] | None) -> list[float | None] | None:
        return None if estimate is None else [_short(estimate[name]) for name in ("value", "low", "high")]

    return {
        "probe": told["probe"],
        "group": told["group"],
        "estimate": number(told["estimate"]),
        "judged": number(told["reliance"] or told["estimate"]),
        "control": number(told["control"]),
        "details": {name: number(estimate) for name, estimate in told["details"].items()},
        "void": bool(told["void"]),
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


# ---- all of them


def _do(unit: Unit, folder: Path, size: Size) -> str:
    """One unit in a process of its own; the reason, if it failed."""
    torch.set_num_threads(1)
    try:
        write_json(folder / "units" / f"{unit.name}.json", measured(unit, folder, size))
    except MedteaError as error:
        return str(error)
    return ""


def _make_base(unit: Unit, folder: Path, size: Size) -> str:
    torch.set_num_threads(1)
    try:
        base(folder, unit.base, unit.seed, unit.data, size)
    except MedteaError as error:
        return str(error)
    return ""


def run(wanted: Sequence[Unit], folder: Path, size: Size, processes: int) -> list[str]:
    """Measure what is missing, and say what failed."""
    missing = [unit for unit in wanted if not _is_done(folder / "units" / f"{unit.name}.json", size)]
    (folder / "units").mkdir(parents=True, exist_ok=True)
    failed = []
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        firsts = list({unit.base: unit for unit in missing}.values())
        for title, does, todo in (("radiographs, segmenters", _make_base, firsts), ("networks", _do, missing)):
            futures = {pool.submit(does, unit, folder, size): unit for unit in todo}
            for future in track(as_completed(futures), title, total=len(futures)):
                reason = future.result()
                print(f"{title}: {futures[future].name} {reason or 'done'}", flush=True)
                failed += [f"{futures[future].name}: {reason}"] if reason else []
    return failed


def _is_done(path: Path, size: Size) -> bool:
    return path.is_file() and read_json(path)["size"] == asdict(size)  # made with other numbers is not done


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(","))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    made = argparse.ArgumentParser(
        prog="python benchmarks/audit_validity.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--to", type=Path, default=FOLDER, metavar="FOLDER", help=f"where all goes ({FOLDER})")
    made.add_argument("--processes", type=int, default=1, help="how many networks at a time (1)")
    made.add_argument("--seeds", type=_seeds, help="which, as in 0,1,2; for both kinds of data")
    made.add_argument("--only", action="append", default=[], metavar="WORD", help="units with WORD in their name")
    made.add_argument(
        "--quick", action="store_true", help="small and few: to see that it works; no number means a thing"
    )
    asked = made.parse_args(arguments)
    wanted = [one for one in units(asked.seeds) if all(word in one.name for word in asked.only)]
    if not wanted:
        made.error(f"--only: no unit has these words in its name; the first is {units()[0].name}")
    failed = run(wanted, asked.to, QUICK if asked.quick else Size(), asked.processes)
    if failed:
        raise SystemExit("Not measured:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
