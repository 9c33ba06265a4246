"""ISNet (Bassi et al., Nature Communications 15:291, 2024): LRP relevance outside the lungs is minimised.

Its two losses are in medtea/lrp/background.py. Without the one of the foreground the network would make all relevance
small; C1 and C2, between which it is kept, come from a first phase of plain training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field as Bound
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d

from medtea.core.errors import ConfigError, nearest
from medtea.core.names import INPUT, Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch, Loader
from medtea.distil.methods import erm, method
from medtea.distil.methods.method import Context
from medtea.lrp import HeatmapPass, every_logit, log_odds_of_lowest, teacher_or_other
from medtea.lrp.background import background_loss, foreground_loss
from medtea.training.outputs import cross_entropy
from medtea.training.phases import Phase


class Settings(StrictSettings):
    """Settings of ISNet.

    Attributes:
        variant: What is explained. "original": every logit, a way back for each. "selective": the log-odds of the
            lowest class. "stochastic": the highest logit or, as often, another one at random. With one logit all three
            are its one map.
        layers: "input", or with "all" hidden layers, or a list of them: LRP deep supervision.
        share: P, the heatmap losses' share.
        background: w1.
        foreground: w2.
        decay: d of the rank pooling. 0.9 for small images.
        scale: E of the background loss: 10 in the paper, 1 in the code for LRP-Flex, which is what is computed here.
        beyond: Above C1 + C2 the foreground loss goes on as a "square", or is linear: "hybrid" (Faster ISNet).
        cuts: "tuned", or C1 and C2 of the input, then of each hidden layer.
        tune_epochs: Of the plain training that tunes them.
        epsilon: ε of LRP.
        statistics: "batch" or "running", see TEA.
    """

    variant: Literal["original", "selective", "stochastic"] = "selective"
    layers: Literal["input", "all"] | tuple[str, ...] = "input"
    share: float = Bound(0.7, ge=0, le=1)
    background: float = Bound(1.0, ge=0)
    foreground: float = Bound(3.0, ge=0)
    decay: float = Bound(0.996, gt=0, le=1)
    scale: float = Bound(1.0, gt=0)
    beyond: Literal["square", "hybrid"] = "hybrid"
    cuts: Literal["tuned"] | tuple[tuple[PositiveFloat, PositiveFloat], ...] = "tuned"
    tune_epochs: int = Bound(5, ge=1)
    epsilon: float = Bound(0.01, ge=0)
    statistics: Literal["batch", "running"] = "batch"


class Method(method.Method[Settings]):
    """(1 - P) CE + P (w1 L_background + w2 L_foreground), the mean over maps and the batch.

    Selective and stochastic: Faster ISNet (IEEE Access 12, 2024). Of the sum of |H| over a map, mean m and deviation s:
    C1 = max(m / 5, m - 3 s), C2 = min(25 C1, m + 3 s), taken here after the plain training and in evaluation mode, in
    the authors' code during its last epoch. Hidden maps are summed over channels here, where the authors keep them
    apart, and all maps count alike. The first layer follows ε as the others do; the authors have z^B there. SGD with
    rate 1e-3, momentum .99 and clip 1 are theirs; the loop's own are used. A radiograph without a mask is classified
    only. In validation "stochastic" takes the highest logit and the others by turns, from row to row.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH, Field.LABEL, Field.LUNG_MASK})
    search: ClassVar[Mapping[str, Sequence[Any]]] = {
        "variant": ("original", "selective", "stochastic"),
        "layers": ("input", "all"),
        "share": (0.5, 0.7, 0.9),
        "decay": (0.9, 0.98, 0.996),
        "scale": (1.0, 10.0),
    }

    def __init__(self, network: nn.Module, head: nn.Linear, settings: Settings, context: Context) -> None:
        """Train `network`.

        Raises:
            ConfigError: no such layer, or cuts for more or fewer maps than there are.
        """
        super().__init__(network, head, settings, context)
        self._layers = _hidden(settings, context.layers)
        cuts = [(1.0, 25.0)] * (1 + len(self._layers)) if settings.cuts == "tuned" else settings.cuts
        if len(cuts) != 1 + len(self._layers):
            raise ConfigError(f"distil.isnet.options.cuts: {len(cuts)} pairs for {1 + len(self._layers)} maps.")
        self.assistant.register_buffer("cuts", torch.tensor(cuts))
        self._heatmaps: HeatmapPass | None = None

    def phases(self, seen: Callable[[], Loader]) -> Iterator[Phase]:
        """Plain training of a copy, unless the cuts are given; then the student, from the beginning."""
        if self.settings.cuts == "tuned":
            plain = copy.deepcopy(self.network)
            yield Phase(erm.Method(plain, self.head, erm.Settings(), self.context), "plain", self._plain_loop())
            self.assistant.get_buffer("cuts").copy_(self._tuned(plain.eval(), seen()))
        yield Phase(self)

    def loss(self, batch: Batch) -> Tensor:
        """The mean over the batch."""
        settings = self.settings
        radiograph, labels, mask = batch.radiograph, batch[Field.LABEL], batch[Field.LUNG_MASK]
        self._heatmaps = self._heatmaps or self._pass(self.network, radiograph)
        logits, maps = self._maps(self._heatmaps, batch)
        losses = []
        for heatmap, (least, most) in zip(maps, self.assistant.get_buffer("cuts").tolist(), strict=True):
            inside = adaptive_max_pool2d(mask, heatmap.shape[-2:])
            background = background_loss(heatmap, inside, decay=settings.decay, scale=settings.scale)
            total = (heatmap.abs() * inside).sum((-3, -2, -1))
            foreground = foreground_loss(total, least, most, is_hybrid=settings.beyond == "hybrid")
            losses.append((settings.background * background + settings.foreground * foreground).mean(0))
        heat = torch.stack(losses).mean(0) * mask.flatten(1).any(1)
        return (1 - settings.share) * cross_entropy(logits, labels).mean() + settings.share * heat.mean()

    def _maps(self, heatmaps: HeatmapPass, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the maps at the input and the hidden layers, (explained, batch, channels, height, width)."""
        result = heatmaps(
            batch.radiograph,
            lambda logits: self._explained(logits, batch),
            epsilon=self.settings.epsilon,
            logits_graph=True,
        )
        maps = [result.maps[layer] for layer in (INPUT, *self._layers)]
        return result.logits, [found if found.ndim == 5 else found[None] for found in maps]

    def _explained(self, logits: Tensor, batch: Batch) -> Tensor:
        if self.settings.variant == "selective" or logits.shape[1] == 1:
            return log_odds_of_lowest(logits)
        if self.settings.variant == "original":
            return every_logit(*logits.shape)
        if self.network.training:
            return teacher_or_other(logits, torch.default_generator)
        rows = torch.from_numpy(batch.rows).to(logits.device)
        others = 1 + rows // 2 % (logits.shape[1] - 1)
        chosen = (logits.argmax(1) + others * (rows % 2)) % logits.shape[1]
        return nn.functional.one_hot(chosen, logits.shape[1]).to(logits.dtype)

    def _plain_loop(self) -> dict[str, Any]:
        return {"epochs": self.settings.tune_epochs, "select": "last"}

    def _pass(self, network: nn.Module, radiograph: Tensor) -> HeatmapPass:
        return HeatmapPass(network, radiograph, self._layers, statistics=self.settings.statistics)

    @torch.no_grad()
    def _tuned(self, plain: nn.Module, seen: Loader) -> Tensor:
        """C1 and C2 of each map, (maps, 2)."""
        training = self.network.training
        self.network.eval()  # so that nothing is drawn
        heatmaps, sums = None, []
        for batch in seen:
            heatmaps = heatmaps or self._pass(plain, batch.radiograph)
            maps = self._maps(heatmaps, batch)[1]
            sums.append(torch.stack([found.abs().sum((-3, -2, -1)).mean(0) for found in maps]))
        self.network.train(training)
        of_all = torch.cat(sums, 1)
        mean, deviation = of_all.mean(1), of_all.std(1)
        least = torch.maximum(mean / 5, mean - 3 * deviation).clamp_min(1e-8)
        return torch.stack([least, torch.minimum(25 * least, mean + 3 * deviation)], 1)

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to another process: all but the traced pass, which is traced anew there."""
        return vars(self) | {"_heatmaps": None}


def _hidden(settings: Settings, layers: Sequence[str]) -> list[str]:
    """The hidden layers that are supervised, from the radiograph on."""
    if isinstance(settings.layers, str):
        return list(layers) if settings.layers == "all" else []
    for layer in settings.layers:
        if layer not in layers:
            raise ConfigError(f"distil.isnet.options.layers: no layer '{layer}'. {nearest(layer, layers)}")
    return [layer for layer in layers if layer in settings.layers]
