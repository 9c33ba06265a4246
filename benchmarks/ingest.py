"""Ingest on two processes against the bare decoder, beside MONAI; headers a second; memory by number of files.

Radiographs of 2,544 x 3,056 pixels and 16 bits, another phantom in each, are written uncompressed, as RLE, JPEG-LS and
JPEG 2000. In turn: pydicom decodes them all in one process, by the decoder that medtea chooses, and does nothing else
(the bare decoder); ingest takes them from the folder to its index with two worker processes; MONAI's LoadImage, with
resizing, fills a PersistentDataset with two workers of PyTorch's DataLoader. Ingest has two cores, so it is measured
against half of the bare decoder's time.

Headers of 125 elements are scanned with two worker processes, each number of files in a process of its own (Linux).

    python benchmarks/ingest.py                # about ten minutes on 2 cores, and 2 GB of temporary files
    python benchmarks/ingest.py --quick        # a minute, to see that it works

docs/performance.md says what each number means.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from measuring import SEED, Round, alternate, finish, parsed, parser, table
from monai.data import DataLoader, PersistentDataset, PydicomReader
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Resize, ScaleIntensity
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from medtea.core.settings import parse
from medtea.core.tracking import NullTracker
from medtea.core.work import Work
from medtea.data.dicom_files import VENDORS, write_radiograph
from medtea.data.phantom import draw_phantom
from medtea.ingest.stage import Settings, run

PROCESSES = 2
SIZE = 96
ROWS, COLUMNS, QUICK_SIDES = 2_544, 3_056, (318, 382)
ROUNDS = 5
FILES = {"uncompressed": 48, "RLE": 48, "JPEG-LS": 24, "JPEG 2000": 8}
"""So many that what ingest does once, a second or so, is little beside them."""
QUICK_FILES = 2
HEADERS, QUICK_HEADERS = (1_000, 10_000, 100_000), (100,)
MANY = 100_000  # files take as long as ten rounds of fewer
SYNTAXES = {"uncompressed": None, "RLE": RLELossless, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless}
DECODERS = {"uncompressed": "", "RLE": "pylibjpeg", "JPEG-LS": "pyjpegls", "JPEG 2000": "pylibjpeg"}
"""pydicom's plugins that medtea.data.dicom.stored asks first: else JPEG-LS would be a bar three times as low."""
SEQUENCES = ("RequestAttributesSequence", "AnatomicRegionSequence", "ViewCodeSequence", "ReferencedStudySequence")
NUMBERS = ("KVP", "ExposureTime", "XRayTubeCurrent", "Exposure", "DistanceSourceToDetector", "SeriesNumber")
WORDS = (
    "StationName",
    "SoftwareVersions",
    "DetectorID",
    "Grid",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
)
PLAIN = replace(VENDORS[3], syntax=ExplicitVRLittleEndian)
CASES = ("bare", "ingest", "monai")


# ---- what is read


def write_files(folder: Path, syntax: str | None, count: int, sides: tuple[int, int]) -> list[Path]:
    """Different radiographs, smooth and with the noise of a detector, in one transfer syntax."""
    paths = []
    for number in range(count):
        draw = np.random.default_rng([SEED, number])
        drawn = draw_phantom(draw, size=512, diseased=bool(number % 2)).radiograph.astype(np.float32)
        large = np.asarray(Image.fromarray(drawn).resize(sides[::-1], Image.Resampling.BICUBIC))
        path = folder / "north" / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        noisy = np.clip(large + draw.normal(0, 0.002, sides), 0, 1)
        write_radiograph(path, noisy, vendor=PLAIN, patient=f"p{number}", study="s", view="PA")
        if syntax:
            dataset = pydicom.dcmread(path)
            dataset.compress(syntax)
            dataset.save_as(path)
        paths.append(path)
    return paths


def write_headers(folder: Path, count: int) -> None:
    """Files with a header as detectors write it and hardly a pixel, each with a SOPInstanceUID of its own."""
    path = folder / "template"
    write_radiograph(path, np.random.default_rng(SEED).random((32, 32)), vendor=VENDORS[0], patient="p", study="s")
    dataset = pydicom.dcmread(path)
    path.unlink()
    block = dataset.private_block(0x0019, "A MAKER 1.0", create=True)
    for number in range(60):
        block.add_new(number, "LO", f"value {number}")
    for keyword in SEQUENCES:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "R-10206", "SNM3", "antero-posterior"
        setattr(dataset, keyword, Items([item]))
    for keyword, value in {**dict.fromkeys(NUMBERS, "90"), **dict.fromkeys(WORDS, "A WORD")}.items():
        setattr(dataset, keyword, value)
    own = str(dataset.SOPInstanceUID)
    dataset.SOPInstanceUID = f"{own[:50]}1{0:08d}"
    dataset.save_as(path)
    head, uid, tail = path.read_bytes().partition(str(dataset.SOPInstanceUID).encode())
    path.unlink()
    for number in range(count):
        below = folder / "north" / f"{number // 1000:03d}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{number}").write_bytes(head + uid[:-8] + f"{number:08d}".encode() + tail)


# ---- what is timed


def bare(paths: Sequence[Path], decoder: str) -> None:
    """The decoder alone, in this process."""
    for path in paths:
        pixel_array(path, decoding_plugin=decoder)


def ingest(root: Path, folder: Path) -> None:
    """Everything that `medtea ingest` does, into an empty run folder."""
    shutil.rmtree(folder, ignore_errors=True)
    content = {
        "source": "dicom_tree",
        "options": {"root": str(root), "labels": None},
        "positive": ["ill"],
        "negative": ["well"],
        "train": ["north"],
        "size": SIZE,
        "processes": PROCESSES,
    }
    index = run(Work(folder, SEED, NullTracker(), say=lambda _: None), parse(Settings, content))
    found = sum(1 for path in root.rglob("*") if path.is_file())
    assert len(np.load(index.radiographs, mmap_mode="r")) == found, "every file is a radiograph"


def monai(paths: Sequence[Path], cache: Path) -> None:
    """The nearest that MONAI has, into an empty cache."""
    shutil.rmtree(cache, ignore_errors=True)
    reader = PydicomReader(swap_ij=False)
    steps = [LoadImage(reader=reader, image_only=True), EnsureChannelFirst(channel_dim="no_channel")]
    data = PersistentDataset(
        [str(path) for path in paths], Compose([*steps, ScaleIntensity(), Resize((SIZE, SIZE))]), cache_dir=cache
    )
    for _ in DataLoader(data, num_workers=PROCESSES, batch_size=1):
        pass


def measured(name: str, syntax: str | None, count: int, sides: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Wall times of one syntax's files, and their ratios within rounds."""
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        paths = write_files(folder / "tree", syntax, count, sides)
        steps = {
            "bare": lambda: bare(paths, DECODERS[name]),
            "ingest": lambda: ingest(folder / "tree", folder / "run"),
            "monai": lambda: monai(paths, folder / "cache"),
        }
        found = alternate(steps, rounds)
    return {"syntax": name, "files": count, "rows": sides[0], "columns": sides[1], **summary(found, count)}


def summary(found: Sequence[Round], count: int) -> dict[str, Any]:
    """Medians over the rounds: ms a file, and wall time over half of the bare decoder's."""
    walls = {case: [one[case][1] for one in found] for case in CASES}
    against = {
        case: [own / (of / PROCESSES) for own, of in zip(walls[case], walls["bare"], strict=True)] for case in CASES
    }
    low, middle, high = statistics.quantiles(against["ingest"], n=4)
    return {
        **{f"{case}_ms": 1000 * statistics.median(walls[case]) / count for case in CASES},
        "ingest_ratio": middle,
        "ingest_ratio_low": low,
        "ingest_ratio_high": high,
        "monai_ratio": statistics.median(against["monai"]),
    }


SCAN = """
import sys, time
from pathlib import Path
from medtea.ingest.sources.dicom_tree import Settings, Source
from medtea.ingest.workers import Limits, LocalPool, as_current
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
root, processes = Path(sys.argv[1]), int(sys.argv[2])
with LocalPool(Limits(processes)) as pool, as_current(pool):
    list(pool.do("headers", [{"paths": []}] * processes))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    empty = peak()
    begun = time.perf_counter()
    found = list(Source(Settings(root=root, labels=None), workspace=root, seed=0).find())
    seconds = time.perf_counter() - begun
assert not any(hasattr(one, "reason") for one in found)
print(len(found), seconds, empty, peak())
"""


def scanned(count: int, rounds: int) -> dict[str, Any]:
    """Files per second, and the most memory of the main process, over rounds of one number of files."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as folder:
        write_headers(Path(folder), count)
        command = [sys.executable, "-c", SCAN, folder, str(PROCESSES)]
        told = [
            subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()
            for _ in range(rounds)
        ]
    assert all(int(one[0]) == count for one in told)
    return {
        "files": count,
        "files_per_second": statistics.median(count / float(one[1]) for one in told),
        "empty_mib": statistics.median(int(one[2]) for one in told) / 1024,
        "peak_mib": statistics.median(int(one[3]) for one in told) / 1024,
    }


# ---- what is shown

READING = {
    "transfer syntax": "left",
    "bare decoder, ms a file": "right",
    "ingest on 2 processes, ms a file": "right",
    "ingest / (bare / 2)": "right",
    "to reach": "left",
    "MONAI on 2 processes, ms a file": "right",
    "MONAI / (bare / 2)": "right",
}
SCANNING = {
    "headers": "right",
    "files per second": "right",
    "to reach": "left",
    "peak memory, MiB": "right",
    "above none, MiB": "right",
}
RATIO, RATE = 1.25, 1_500


def rows(found: dict[str, Any]) -> list[str]:
    """The results as two Markdown tables."""
    reading, scanning = found["results"]["reading"], found["results"]["scanning"]
    return [
        *table(READING, [_reading(row) for row in reading]),
        "",
        *table(SCANNING, [_scanning(row) for row in scanning]),
    ]


def _reading(row: dict[str, Any]) -> list[str]:
    return [
        row["syntax"],
        f"{row['bare_ms']:.0f}",
        f"{row['ingest_ms']:.0f}",
        f"{row['ingest_ratio']:.2f} ({row['ingest_ratio_low']:.2f} to {row['ingest_ratio_high']:.2f})",
        f"≤ {RATIO}: {'reached' if round(row['ingest_ratio'], 2) <= RATIO else 'missed'}",
        f"{row['monai_ms']:.0f}",
        f"{row['monai_ratio']:.2f}",
    ]


def _scanning(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['files']:,}",
        f"{row['files_per_second']:,.0f}",
        f"≥ {RATE:,}: {'reached' if row['files_per_second'] >= RATE else 'missed'}",
        f"{row['peak_mib']:.0f}",
        f"{row['peak_mib'] - row['empty_mib']:.0f}",
    ]


def all_together(reading: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """As if every syntax had the same number of files: sums of the medians."""
    sums: dict[str, Any] = {f"{case}_ms": sum(row[f"{case}_ms"] for row in reading) for case in CASES}
    half = sums["bare_ms"] / PROCESSES
    ratio = sums["ingest_ms"] / half
    return {
        "syntax": "one of each",
        **sums,
        **dict.fromkeys(("ingest_ratio", "ingest_ratio_low", "ingest_ratio_high"), ratio),
        "monai_ratio": sums["monai_ms"] / half,
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Pseudonyms by a key of no one, and no warnings of made files."""
    os.environ.setdefault("MEDTEA_KEY", "a key for benchmarks only")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parsed(parser(__doc__ or "", "ingest", rounds=ROUNDS), arguments)
    sides = QUICK_SIDES if asked.quick else (ROWS, COLUMNS)
    with quiet():
        reading = []
        for name, syntax in SYNTAXES.items():
            count = QUICK_FILES if asked.quick else FILES[name]
            print(f"{count} files, {name}", flush=True)
            reading.append(measured(name, syntax, count, sides, asked.rounds))
            print(" | ".join(_reading(reading[-1])), flush=True)
        scanning = []
        for number in QUICK_HEADERS if asked.quick else HEADERS:
            print(f"{number} headers", flush=True)
            scanning.append(scanned(number, 1 if asked.quick or number >= MANY else asked.rounds))
            print(" | ".join(_scanning(scanning[-1])), flush=True)
    finish(asked, rows, {"reading": [*reading, all_together(reading)], "scanning": scanning})


if __name__ == "__main__":
    main()
