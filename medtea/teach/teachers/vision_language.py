"""A CLIP-like image-text model as it comes: each class is a text, and the nearer text is the answer. No training.

It is a teacher that the radiographs of the run, and their shortcut, have not taught; how good it is depends on what it
was trained on (a CLIP of photographs knows no radiographs), so look at its AUROC first. The whole radiograph is shown.

The file: CLIP's layout with a vision transformer (OpenAI, open_clip), as safetensors, a state dict of torch.save, or a
TorchScript file of such a model (torch.export takes no TorchScript program, so another one would have no heatmaps). The
texts: their features, which any text encoder can write, or their token ids, for this model's text tower. Plain words
are not taken: CLIP's tokenizer needs its vocabulary, which does not come along; it or open_clip.tokenize gives the ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field as Bound
from pydantic import PositiveFloat, ValidationInfo, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from medtea.core.errors import ConfigError
from medtea.core.names import Field
from medtea.core.settings import StrictSettings
from medtea.core.work import digest_of, read_array
from medtea.teach.clip_text import text_features
from medtea.teach.clip_weights import WHERE, digest_of_file, load_into, read_clip, tower_of
from medtea.teach.teachers import teacher
from medtea.teach.teachers.teacher import Built
from medtea.training.networks import ZERO_SHOT
from medtea.training.outputs import count_classes
from medtea.training.phases import Phase
from medtea.training.zero_shot import Activation, ZeroShot


class Settings(StrictSettings):
    """Settings of the image-text model; a path may be written with ${NAME}.

    Attributes:
        weights: The file with the weights.
        embeddings: A file with each class's text features, (classes, features), class 0 first: .npy, or .safetensors
            with one tensor. They are brought to unit length; of several prompts give their mean.
        tokens: Instead of them each class's prompt as token ids, start and end of text included, class 0 first.
        logit_scale: By which cosines are multiplied; the model's own when empty. It moves no AUROC.
        activation: "quick_gelu": OpenAI's weights. "gelu": most of open_clip's. The weights do not tell.
        head_width: Channels of an attention head; the weights do not tell. 64 but for the largest of open_clip.
        trust_torchscript: Open a TorchScript file for its weights, though that can run parts of its program.
    """

    weights: str
    embeddings: str = ""
    tokens: tuple[tuple[int, ...], ...] = Bound((), validate_default=True)
    logit_scale: PositiveFloat | None = None
    activation: Activation = "quick_gelu"
    head_width: int = Bound(64, ge=1)
    trust_torchscript: bool = False

    @field_validator("tokens")
    @classmethod
    def _one_kind_of_text(cls, tokens: tuple[tuple[int, ...], ...], given: ValidationInfo) -> Any:
        if bool(given.data.get("embeddings")) == bool(tokens) or not all(tokens):
            raise ValueError("give each class's text either by `embeddings` or by `tokens`")
        return tokens


class Teacher(teacher.Teacher[Settings]):
    """Zero-shot classification by scale x cosine(image, text) (CLIP: Radford et al., arXiv 2103.00020).

    TEA names CLIP among its teachers (arXiv 2407.09788); that it is taken without fine-tuning is ours.
    """

    sees: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH})
    looks_at: ClassVar[frozenset[Field]] = frozenset({Field.RADIOGRAPH})

    @classmethod
    def source(cls, settings: Settings) -> str:
        """Digest of the weights and of the texts' features."""
        files = [settings.weights, *([settings.embeddings] if settings.embeddings else [])]
        return digest_of([digest_of_file(file) for file in files])

    @classmethod
    def built(cls, settings: Settings, network: str, seed: int, *, channels: int, logits: int, size: int) -> Built:
        """The model with its weights; `network` and `seed` have no say."""
        del network, seed
        weights = read_clip(settings.weights, trust_torchscript=settings.trust_torchscript)
        tower = tower_of(weights, head_width=settings.head_width, activation=settings.activation)
        given = {"size": size, "logits": logits} | tower
        found = ZeroShot(**given)
        load_into(found.visual, weights, "visual.")
        texts = _texts(settings, weights)
        if texts.shape != (count_classes(logits), tower["features"]):
            raise ConfigError(
                f"{WHERE}: the texts' features are {tuple(texts.shape)}; these radiographs and this model need "
                f"{(count_classes(logits), tower['features'])}: a row for each class, class 0 first."
            )
        rows = _scale(settings, weights) * (texts[1:] - texts[:1] if logits == 1 else texts)
        with torch.no_grad():
            found.head.weight.copy_(rows)
            found.head.bias.zero_()
        shape = {"channels": channels, "logits": logits, "width": tower["features"]}
        layers = ["visual.conv1", *(f"visual.grids.{block}" for block in tower["mapped"])]
        return Built(found, layers, {"network": ZERO_SHOT, "shape": shape, "given": given})

    def phases(self) -> Iterator[Phase]:
        """None: it comes trained."""
        yield from ()


def _scale(settings: Settings, weights: dict[str, Tensor]) -> Tensor:
    if settings.logit_scale is not None:
        return torch.tensor(settings.logit_scale)
    if "logit_scale" not in weights:
        raise ConfigError(f"{WHERE}.logit_scale: the weights have none. Give it; CLIP's is 100.")
    return weights["logit_scale"].exp()


def _texts(settings: Settings, weights: dict[str, Tensor]) -> Tensor:
    """Unit features of each class's text, (classes, features)."""
    if settings.tokens:
        kind = {"head_width": settings.head_width, "activation": settings.activation}
        return text_features(weights, settings.tokens, **kind)  # type: ignore[arg-type]
    path = Path(settings.embeddings)
    try:
        if path.suffix == ".safetensors":
            (found,) = load_file(path).values()
        else:
            found = torch.from_numpy(read_array(path).copy())
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(
            f"{WHERE}.embeddings: the file is no .npy array and no .safetensors with one tensor."
        ) from error
    return normalize(found.float(), dim=-1)
