"""The benchmarks measure what they say, run in seconds with --quick, and docs/performance.md holds their tables."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from medtea.audit import probes
from medtea.core import bay
from medtea.core.work import read_json, write_json
from medtea.data.dicom.stored import plugin_for
from medtea.data.reader import read_radiograph
from medtea.ingest.duplicates import near_pairs
from medtea.ingest.quality import prepare
from medtea.training.networks import head_of

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "benchmarks"
PAGE = REPOSITORY / "docs" / "performance.md"
MEASURED = ("lrp_step", "maps", "loader", "inference", "ingest", "report", "report_page", "audit")
# Ingest takes half a minute, since it starts many processes, and so does the page's run that is made by hand.
SLOW = ("ingest", "report_page")
QUICK = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MEASURED]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[dict[str, ModuleType]]:
    """Every file of the folder as a module; gone after the tests."""
    sys.path.insert(0, str(FOLDER))
    names = [path.stem for path in sorted(FOLDER.glob("*.py"))]
    yield {name: importlib.import_module(name) for name in names}
    sys.path.remove(str(FOLDER))
    for name in names:
        del sys.modules[name]


# ---- time


def test_a_ratio_is_the_median_over_rounds_of_neighbours(
    benchmarks: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = benchmarks["measuring"]
    now, slowness, order = [0.0], [1.0], []
    clock = SimpleNamespace(process_time=lambda: now[0], perf_counter=lambda: 2 * now[0])
    monkeypatch.setattr(measuring, "time", clock)

    def step(name: str, seconds: float) -> None:
        order.append(name)
        now[0] += seconds * slowness[0]

    def case() -> None:
        step("case", 3)
        slowness[0] = 5.0  # the machine slows down for good at the first step, which is not counted

    rounds = measuring.alternate({"case": case, "erm": lambda: step("erm", 1)}, 5)
    assert measuring.ratios(rounds, "case", "erm") == pytest.approx(
        {"cpu_ratio": 3, "cpu_ratio_low": 3, "cpu_ratio_high": 3, "wall_ratio": 3, "wall_seconds": 30}
    )
    assert order[2:8] == ["case", "erm", "erm", "case", "case", "erm"]
    assert len(order) == 12


# ---- memory


def test_the_peak_of_memory_is_the_one_worked_out_by_hand(benchmarks: dict[str, ModuleType]) -> None:
    kept: list[torch.Tensor | None] = [None]

    def step() -> None:
        a = torch.ones(1000, 1000)  # 4 MB above the start
        b = a + torch.ones(1)  # 8 MB
        kept[0] = None  # gives back the 2 MB that the step before left: 6 MB above this step's start
        c = torch.cat([b, b])  # 14 MB
        del a, b  # 6 MB
        kept[0] = c[:500].clone()  # 8 MB

    step()
    peaks = [benchmarks["measuring"].peak_bytes(step, CPU) for _ in range(2)]
    assert peaks == [14_000_000, 14_000_000]


def test_a_tensor_that_lives_only_inside_an_operator_counts(benchmarks: dict[str, ModuleType]) -> None:
    # in-place: the result needs nothing new, the float64 sum converts its input on the way: 8 MB for 4
    x = torch.ones(1000, 1000)
    assert benchmarks["measuring"].peak_bytes(lambda: x.mul_(1.0), CPU) < 100
    assert 8_000_000 <= benchmarks["measuring"].peak_bytes(lambda: x.to(torch.float64).sum(), CPU) < 8_000_100


def test_the_peak_of_a_training_step_is_the_one_worked_out_by_hand(benchmarks: dict[str, ModuleType]) -> None:
    network = nn.Sequential(nn.Linear(1000, 500, bias=False), nn.Linear(500, 1, bias=False))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.0)
    x = torch.ones(2000, 1000)

    def step() -> None:
        loss = network(x).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    step()
    # forward: hidden 2000 x 500 and output 2000 x 1. zero_grad gives back the old gradients, 500 x 1000 + 500. The
    # backward makes the hidden layer's gradient, 2000 x 500, while the hidden values are still held: two of 2000 x 500
    # at once; then, those given back, the first weights' gradient, 500 x 1000, beside the hidden layer's.
    floats = max(2 * 2000 * 500 - 500 * 1000, 2000 * 500 + 500 * 1000 - 500 * 1000)
    peak = benchmarks["measuring"].peak_bytes(step, CPU)
    assert peak == pytest.approx(4 * floats, rel=0.02)


def test_what_is_held_from_step_to_step_is_counted_once(benchmarks: dict[str, ModuleType]) -> None:
    network = nn.Linear(100, 10, bias=False)
    optimiser = torch.optim.AdamW(network.parameters())
    held = benchmarks["measuring"].held_bytes
    assert held(network, optimiser, []) == 4000
    network(torch.ones(1, 100)).sum().backward()
    optimiser.step()
    x = torch.ones(50)
    # weights, gradient and two moments of 1000 floats each; the optimiser's step count; 50 floats seen twice
    assert held(network, optimiser, [x, x[:10]]) == 4 * 4000 + 4 + 200


# ---- the networks


@pytest.mark.parametrize("name", ["small_cnn", "small_resnet", "resnet18", "densenet121"])
def test_a_network_is_built_with_as_many_logits_as_asked(name: str, benchmarks: dict[str, ModuleType]) -> None:
    lrp_step = benchmarks["lrp_step"]
    subject = lrp_step.Subject(name, 28 if name == "small_cnn" else 64, 2, 30)
    network = subject.build()
    assert network.training
    assert network(subject.radiographs()).shape == (2, 30)
    modules = dict(network.named_modules())
    assert all(layer in modules for layer in subject.layers)
    if name != "small_cnn":
        assert head_of(network, name).out_features == 30


def test_the_networks_that_the_bars_are_for_are_in_the_ordinary_run(benchmarks: dict[str, ModuleType]) -> None:
    lrp_step = benchmarks["lrp_step"]
    sizes = {subject.name: (subject.pixels, subject.batch) for subject in lrp_step.SUBJECTS}
    assert all(sizes[name] == (224, 8) for name in lrp_step.AIMED_AT)
    assert {case for group in lrp_step.SIDE_BY_SIDE for case in group} == {*lrp_step.CASES, "erm"}


def test_a_bar_is_judged_on_the_number_that_is_shown(benchmarks: dict[str, ModuleType]) -> None:
    verdict = benchmarks["lrp_step"].verdict
    assert verdict(1.604, 1.6) == "≤ 1.6: reached"
    assert verdict(1.606, 1.6) == "≤ 1.6: missed"
    assert verdict(9, None) == ""


# ---- the programs


@pytest.mark.parametrize("name", QUICK)
def test_quick_measures_everything_once_and_says_so(
    name: str, benchmarks: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = benchmarks[name]
    benchmark.main(["--quick", "--rounds", "2", "--to", str(tmp_path / "found.json")])
    found = read_json(tmp_path / "found.json")
    assert (found["quick"], found["rounds"], found["seed"]) == (True, 2, 0)
    assert found["made_with"]["commit"]
    table = benchmark.rows(found)
    assert "\n".join(table) in capsys.readouterr().out
    assert all(line.count("|") == table[0].count("|") for line in table[: table.index("") if "" in table else None])
    write_json(tmp_path / f"{MEASURED[0]}.json", found)
    with pytest.raises(SystemExit, match="its numbers say nothing"):
        benchmarks["write_page"].take(tmp_path)


@pytest.mark.parametrize("name", [*MEASURED, "write_page"])
def test_help_teaches(name: str, benchmarks: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        benchmarks[name].main(["--help"])
    said = capsys.readouterr().out
    assert f"    python benchmarks/{name}.py" in said
    assert benchmarks[name].__doc__.strip() in said


def test_one_round_is_refused(benchmarks: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        benchmarks["maps"].main(["--rounds", "1"])
    assert "a median with its quartiles needs at least 2" in capsys.readouterr().err


def test_make_bench_runs_them_all() -> None:
    (listed,) = re.findall(
        r"^BENCHMARKS \?= (.+)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert tuple(listed.split()) == MEASURED


# ---- the audit of the audit


def test_every_network_of_the_audit_of_the_audit_has_a_name_of_its_own(benchmarks: dict[str, ModuleType]) -> None:
    units = benchmarks["audit_validity"].units((0, 1))
    assert len({unit.name for unit in units}) == len(units)
    # seeds 0 and 1 of three kinds of data: none, and two marks at four rates; phantoms have the known letters at two
    assert len(units) == 2 * (3 * (1 + 2 * 4) + 2)
    assert {unit.agreement for unit in units if unit.mark == "none"} == {None}


@pytest.mark.slow
def test_a_network_is_trained_and_audited_once(benchmarks: dict[str, ModuleType], tmp_path: Path) -> None:
    benchmark = benchmarks["audit_validity"]
    wanted = ["--quick", "--only", "phantom_letter_95", "--seeds", "0", "--to", str(tmp_path)]
    benchmark.main(wanted)
    path = tmp_path / "units" / "phantom_letter_95_seed0.json"
    found, written = read_json(path), path.stat().st_mtime_ns
    assert set(found["truth"]["letter"]) == {"follows", "absent", "random", "reversed"}
    answered = {one["probe"] for one in found["answers"]} | {one["probe"] for one in found["skipped"]}
    assert answered == set(bay.names(probes))
    assert not any("verdict" in one for one in found["answers"])
    benchmark.main(wanted)
    assert path.stat().st_mtime_ns == written


# ---- the page


def test_the_pages_tables_are_those_of_the_results(benchmarks: dict[str, ModuleType]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert benchmarks["write_page"].filled(page, FOLDER / "results") == page
    assert tuple(benchmarks["write_page"].TABLES) == MEASURED


@pytest.mark.parametrize("name", MEASURED)
def test_the_results_are_of_a_whole_run(name: str, benchmarks: dict[str, ModuleType]) -> None:
    if not (FOLDER / "results" / f"{name}.json").is_file():
        pytest.skip("nobody has measured it yet, and the page says so")
    found = read_json(FOLDER / "results" / f"{name}.json")
    fewest = {"maps": benchmarks["maps"].REPEATS, "ingest": benchmarks["ingest"].ROUNDS, "report": 2, "report_page": 2}
    fewest["audit"] = 2
    assert not found["quick"]
    assert found["rounds"] >= fewest.get(name, 20)


def test_the_results_of_steps_hold_every_network_and_case(benchmarks: dict[str, ModuleType]) -> None:
    lrp_step = benchmarks["lrp_step"]
    results = read_json(FOLDER / "results" / "lrp_step.json")["results"]
    names = [subject.name for subject in lrp_step.SUBJECTS]
    assert [(row["network"], row["case"]) for row in results["costs"]] == [
        (name, case) for name in names for case in lrp_step.CASES
    ]
    assert [row["network"] for row in results["classes"]] == names


def test_the_ingest_benchmark_reads_other_pictures_and_decodes_as_ingest_does(
    benchmarks: dict[str, ModuleType], tmp_path: Path
) -> None:
    ingest = benchmarks["ingest"]
    paths = ingest.write_files(tmp_path, None, 3, (160, 190))
    assert near_pairs([prepare(read_radiograph(path), None, size=96)[0] for path in paths]) == []
    for name, syntax in ingest.SYNTAXES.items():
        assert ingest.DECODERS[name] == (plugin_for(syntax) if syntax else "")
    row = {"syntax": "RLE", "bare_ms": 10.0, "ingest_ms": 6.25, "monai_ms": 20.0, "ingest_ratio": 1.254}
    row |= {"ingest_ratio_low": 1.2, "ingest_ratio_high": 1.3, "monai_ratio": 4.0}
    assert "≤ 1.25: reached" in ingest._reading(row)
    assert "≤ 1.25: missed" in ingest._reading(row | {"ingest_ratio": 1.256})


def test_a_table_that_nobody_has_measured_says_so(benchmarks: dict[str, ModuleType], tmp_path: Path) -> None:
    write_page = benchmarks["write_page"]
    page = write_page.filled(PAGE.read_text(encoding="utf-8"), tmp_path)
    assert page.count(write_page.UNMEASURED) == len(MEASURED)
    with pytest.raises(SystemExit, match="No results are there; run `make bench`"):
        write_page.take(tmp_path)


def test_a_page_without_a_place_for_a_table_is_refused(benchmarks: dict[str, ModuleType]) -> None:
    with pytest.raises(SystemExit, match="0 places for lrp_step"):
        benchmarks["write_page"].filled("# What medtea costs\n", FOLDER / "results")
