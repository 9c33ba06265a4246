"""The contract of a teacher: what it may see, what of it the network is shown, and its loss."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.data.loader import Batch
from medtea.data.shown import shown
from medtea.training.networks import backbone, build_classifier, shape_of
from medtea.training.outputs import cross_entropy
from medtea.training.phases import Phase

S = TypeVar("S", bound=StrictSettings)


@dataclass(frozen=True)
class Built:
    """A teacher's classifier before it is trained.

    Attributes:
        network: The classifier.
        layers: Its hidden layers whose heatmaps are stored.
        card: What `load_classifier` must read on the card to build it again: "network", "shape", and of a network that
            is no backbone "given".
    """

    network: nn.Module
    layers: Sequence[str]
    card: Mapping[str, Any]


class Teacher(ABC, Generic[S]):
    """Every file of this bay has a `Settings` and a class `Teacher` that extends this one.

    Attributes:
        sees: The fields that the loader hands over in training.
        looks_at: Those of them that make up what the network is shown, also for its heatmaps and at inference: the
            radiograph, with the mask for the lungs alone, or the twin (see data/shown.py).
        network: The classifier inside; its heatmaps teach the students.
        settings: The teacher's own.
    """

    sees: ClassVar[frozenset[Field]]
    looks_at: ClassVar[frozenset[Field]]

    def __init__(self, network: nn.Module, settings: S) -> None:
        """Teach `network`."""
        self.network = network
        self.settings = settings

    @classmethod
    def built(cls, settings: S, network: str, seed: int, *, channels: int, logits: int, size: int) -> Built:
        """The classifier that is to teach: the backbone `network`, unless the teacher brings its own.

        Args:
            settings: The teacher's own.
            network: The backbone asked for.
            seed: Of the initial weights.
            channels: Of the image.
            logits: One for two classes, else one a class.
            size: Pixels of a side.
        """
        del settings, size
        classifier = build_classifier(network, seed, channels=channels, logits=logits)
        card = {"network": network, "shape": shape_of(classifier, network)}
        return Built(classifier, backbone(network).layers, card)

    @classmethod
    def source(cls, settings: S) -> str:
        """Digest of the files outside the run folder that it is made from; empty where there are none."""
        del settings
        return ""

    def shown(self, batch: Batch) -> Tensor:
        """What the network is shown, (batch, channels, size, size); relevance is zero where it is zero."""
        return shown(batch.only(self.looks_at))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy on what is shown, the mean over the batch."""
        return cross_entropy(self.network(self.shown(batch)), batch[Field.LABEL]).mean()

    def phases(self) -> Iterator[Phase]:
        """The trainings that make the teacher, in order; the last has no name. None: it comes trained."""
        yield Phase(self)
