"""What an audit costs: CPU seconds of each default probe, and in forward passes of the network, for each radiograph.

A DenseNet-121 with random weights is asked about made radiographs of 224 x 224 pixels with lungs and a letter. What
probes share, the scores and heatmaps of the radiographs as they are, is computed once and stands in rows of its own.

- **seconds**: of CPU time, for each radiograph, the median over rounds;
- **passes**: the same over the seconds of one forward pass, measured beside it: all that a probe does counts, filling
  and the bootstrap too;
- **said**: what the probe itself says it costs, which --plan sums up.

    python benchmarks/audit.py                # some minutes
    python benchmarks/audit.py --quick        # seconds, to see that it works

docs/performance.md says what each number means.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from measuring import SEED, finish, parsed, parser, table, timed

from medtea.audit import probes
from medtea.audit.asked import AuditedGroup, AuditedNetwork, Need
from medtea.audit.stage import Settings, costs
from medtea.core import bay
from medtea.core.settings import parse
from medtea.data.marks import Mark
from medtea.training.networks import build_classifier

USUAL, QUICK = ("densenet121", 224, 32), ("small_resnet", 64, 12)
"""Network, rows and columns, radiographs."""
MANY, BAR_PASSES, BAR_SECONDS = 1000, 60, 2 * 3600
"""Radiographs that an audit is to manage in an hour on two cores, and the passes that it may take for each."""


def made_group(size: int, count: int) -> AuditedGroup:
    """Noise over a body, two ellipses of lung whose brightness goes with the label, and a letter."""
    draw = np.random.default_rng(SEED)
    rows, columns = np.mgrid[:size, :size] / size
    lungs = sum((((rows - 0.5) / 0.3) ** 2 + ((columns - middle) / 0.13) ** 2 < 1) for middle in (0.3, 0.7)) > 0
    labels = np.arange(count) % 2
    pictures = 0.55 - 0.3 * lungs + 0.05 * draw.random((count, size, size)) + 0.1 * labels[:, None, None] * lungs
    pictures[:, Mark("L", height=0.08, corner="top left").pixels(size, size)] = 1.0
    masks = np.repeat(lungs[None], count, axis=0).astype(np.uint8)
    return AuditedGroup("made", pictures.astype(np.float32), masks, labels, [f"p{n}" for n in range(count)])


def one_round(name: str, size: int, count: int) -> dict[str, float]:
    """CPU seconds for each radiograph, by what is done."""
    group = made_group(size, count)
    network = AuditedNetwork(name, build_classifier(name, SEED), sees_lungs_only=False)
    network.scores(group.radiographs, group.lung_masks)  # the first batch warms up
    network.heatmap_pass(group.radiographs)
    found = {"one pass": timed(lambda: network.scores(group.radiographs, group.lung_masks))[0]}
    for what in ("scores", "heatmaps"):
        found[f"{what}, shared"] = timed(lambda what=what: network.of(group, what))[0]
    settings = Settings()
    for name_of, given in settings.probes.items():
        module = bay.load(probes, name_of, "audit.probes")
        probe = module.Probe(parse(module.Settings, given, name_of))
        if Need.SEVERAL_HOSPITALS not in probe.needs:
            generator = np.random.default_rng(SEED)
            found[name_of] = timed(lambda probe=probe, generator=generator: probe.ask(network, group, generator))[0]
    return {what: seconds / count for what, seconds in found.items()}


def rows(found: dict[str, Any]) -> list[str]:
    """The table, and what it comes to for MANY radiographs, extrapolated."""
    columns = {"what": "left"} | dict.fromkeys(("seconds", "passes", "said"), "right")
    lines, total = [], 0.0
    for one in found["results"]:
        lines.append([one["what"], f"{one['seconds']:.3f}", f"{one['passes']:.1f}", one["said"]])
        total += one["seconds"] if one["what"] != "one pass" else 0
    passes = total / found["results"][0]["seconds"]
    lines.append(["together", f"{total:.3f}", f"{passes:.1f}", ""])
    told = f"For {MANY} radiographs that is {MANY * total / 60:.0f} minutes of CPU time (extrapolated from"
    said = f"{told} {found['radiographs']}); < {BAR_SECONDS / 60:.0f}: "
    reached = f"{'reached' if MANY * total < BAR_SECONDS else 'missed'}. < {BAR_PASSES} passes: "
    return [*table(columns, lines), "", said + reached + f"{'reached' if passes < BAR_PASSES else 'missed'}."]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write and print."""
    asked = parsed(parser(__doc__, "audit", rounds=3), arguments)
    name, size, count = QUICK if asked.quick else USUAL
    measured = []
    for _ in range(asked.rounds):
        measured.append(one_round(name, size, count))
        print({what: round(seconds, 3) for what, seconds in measured[-1].items()}, flush=True)
    said = {probe: f"{cost:g}" for probe, (cost, _) in costs(Settings()).items()}
    middle = {what: statistics.median(one[what] for one in measured) for what in measured[0]}
    results = [
        {"what": what, "seconds": seconds, "passes": seconds / middle["one pass"], "said": said.get(what, "")}
        for what, seconds in middle.items()
    ]
    finish(asked, rows, results, network=name, size=size, radiographs=count)


if __name__ == "__main__":
    main()
