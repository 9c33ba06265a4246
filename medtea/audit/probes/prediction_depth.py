"""Where in the network the answer is made, with and without a mark: what is read early was easy to read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field as Bound
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from medtea.audit.changes import stamped
from medtea.audit.probes.probe import Array, AuditedGroup, AuditedNetwork, Need, Outcome
from medtea.core.settings import StrictSettings
from medtea.data.marks import Mark
from medtea.metrics.estimates import Estimate
from medtea.metrics.intervals import bootstrap_by_patient, paired_difference
from medtea.training.predict import batches


class Settings(StrictSettings):
    """Settings of the probe.

    Attributes:
        sign: The mark that is stamped in the top left corner.
        neighbours: A layer's answer is that of so many nearest radiographs.
        layers: At most this many, spread over the network.
    """

    sign: str = "L"
    neighbours: int = Bound(15, ge=1)
    layers: int = Bound(6, ge=2)


class Probe:
    """Prediction depth without the mark less with it, in shares of the layers; above 0: earlier with the mark.

    Prediction depth (Baldock et al., NeurIPS 2021): the first layer from which on the nearest neighbours in the layer's
    pooled features, by the network's own answers, agree with its answer. A shortcut is read early: radiographs that
    carry one are answered at a smaller depth (Murali et al., TMLR 2023; for intermediate layers Boland et al., MELBA
    2025). Control: the depth of the radiographs as they are. Details: depths with and without the mark, and with its
    pixels scattered. It says where, not whether: a network that ignores the mark has a difference of 0 as well.
    """

    question: ClassVar[str] = "Is the answer made earlier when a mark is there?"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LUNG_MASKS, Need.LAYERS})
    cost: ClassVar[float] = 3.0

    def __init__(self, settings: Settings) -> None:
        """Take mark, neighbours and layers."""
        self._settings = settings
        self._mark = Mark(settings.sign, corner="top left")

    def ask(self, network: AuditedNetwork, group: AuditedGroup, generator: np.random.Generator) -> Outcome:
        """The mean difference of depth."""
        shown = {
            "plain": group.radiographs,
            "marked": stamped(group, self._mark),
            "scattered": stamped(group, self._mark, generator),
        }
        layers = _layers(network, group, self._settings.layers)
        reference = self._pooled(network, group, group.radiographs, layers)
        answers = network.of(group) >= 0.5
        depths = {}
        for name, pictures in shown.items():
            pooled = reference if name == "plain" else self._pooled(network, group, pictures, layers)
            said = answers if name == "plain" else network.scores(pictures, group.lung_masks) >= 0.5
            depths[name] = self._depths(reference, answers, pooled, said)
        found = {
            name: bootstrap_by_patient(group.patients, values, generator=generator) for name, values in depths.items()
        }
        estimate = paired_difference(group.patients, depths["plain"], depths["marked"], generator=generator)
        return Outcome(
            estimate,
            reference=0.0,
            control=found["plain"],
            sentence=_sentence(network.name, group.name, estimate, found["plain"]),
            void_when="All radiographs get one answer, so that any layer's neighbours agree with it.",
            details={"depth with the mark": found["marked"], "depth with its pixels scattered": found["scattered"]},
        )

    def _pooled(self, network: AuditedNetwork, group: AuditedGroup, pictures: Array, layers: list[str]) -> list[Array]:
        """Mean over the image of each layer's output, (n, channels) each."""
        masks = group.lung_masks if network.sees_lungs_only else None
        kept: dict[str, list[Array]] = {layer: [] for layer in layers}
        rows = np.arange(len(pictures))
        with torch.no_grad(), _outputs(network.network, layers) as outputs:
            for x in batches(pictures, masks, rows, network.device, "layers"):
                network.network(x)
                for layer in layers:
                    kept[layer].append(outputs[layer].flatten(2).mean(2).float().cpu().numpy())
        return [np.concatenate(kept[layer]) if kept[layer] else np.zeros((0, 1)) for layer in layers]

    def _depths(self, reference: list[Array], answers: Array, pooled: list[Array], said: Array) -> Array:
        """For each row the first layer, as a share of all, from which on all layers agree with the answer, (n,)."""
        count = len(said)
        if count < 3 or not reference:
            return np.full(count, np.nan)
        agrees = np.empty((len(reference), count), dtype=bool)
        for number, (known, asked) in enumerate(zip(reference, pooled, strict=True)):
            spread = known.std(axis=0) + 1e-8
            model = NearestNeighbors(n_neighbors=min(self._settings.neighbours + 1, count)).fit(known / spread)
            nearest = model.kneighbors(asked / spread, return_distance=False)
            # a radiograph is no neighbour of its own
            votes = np.array(
                [answers[row[row != own][: self._settings.neighbours]].mean() for own, row in enumerate(nearest)]
            )
            agrees[number] = (votes >= 0.5) == said
        from_here = np.logical_and.accumulate(agrees[::-1], axis=0)[::-1]
        first = np.where(from_here.any(axis=0), from_here.argmax(axis=0), len(reference))
        return np.asarray(first / len(reference))


def _layers(network: AuditedNetwork, group: AuditedGroup, most: int) -> list[str]:
    """Modules whose output is a map of several channels, spread over the network, in the order in which they run."""
    ran: list[str] = []
    handles = []
    for name, module in network.network.named_modules():
        if not name or isinstance(module, nn.Identity | nn.Dropout):
            continue

        def note(_: nn.Module, __: object, output: Any, name: str = name) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and name not in ran:
                ran.append(name)

        handles.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            network.network.eval()(torch.zeros(1, 1, *group.radiographs.shape[1:], device=network.device))
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        return []
    chosen = np.unique(np.round(np.linspace(0, len(ran) - 1, min(most, len(ran)))).astype(int))
    return [ran[place] for place in chosen]


@contextmanager
def _outputs(network: nn.Module, layers: list[str]) -> Iterator[dict[str, Tensor]]:
    kept: dict[str, Tensor] = {}
    handles = []
    for layer in layers:

        def keep(_: nn.Module, __: object, output: Tensor, layer: str = layer) -> None:
            kept[layer] = output.detach().clone()  # what follows may change it in place

        handles.append(network.get_submodule(layer).register_forward_hook(keep))
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _sentence(name: str, place: str, estimate: Estimate, plain: Estimate) -> str:
    if not (estimate.answered and plain.answered):
        return f"No layer of {name} could be asked at {place}."
    return (
        f"{name} makes its answers at {place} at a depth of {plain.value:.2f} of its layers; with a mark by "
        f"{abs(estimate.value):.2f} {'earlier' if estimate.value >= 0 else 'later'}."
    )
