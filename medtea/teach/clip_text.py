"""The text tower of a CLIP-layout model, asked once for each class's prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from medtea.core.errors import ConfigError
from medtea.teach.clip_weights import WHERE, Weights, count_layers, load_into
from medtea.training.zero_shot import Activation, Transformer


@torch.no_grad()
def text_features(
    weights: Weights, tokens: Sequence[Sequence[int]], *, head_width: int, activation: Activation
) -> Tensor:
    """Unit features of tokenised prompts, (prompts, features).

    Args:
        weights: With the text tower's.
        tokens: Each prompt's ids from the start-of-text to the end-of-text token, as the model's own tokenizer gives
            them. What CLIP fills the context up with comes after them, and no token sees what comes after it.
        head_width: Channels of a head.
        activation: Of the text tower too.

    Raises:
        ConfigError: there is no text tower, or an id or a prompt's length is beyond it.
    """
    if "token_embedding.weight" not in weights:
        raise ConfigError(f"{WHERE}.tokens: the weights have no text tower. Give `embeddings` instead.")
    table, places = weights["token_embedding.weight"], weights["positional_embedding"]
    if max(map(len, tokens)) > len(places) or not all(0 <= one < len(table) for prompt in tokens for one in prompt):
        raise ConfigError(
            f"{WHERE}.tokens: a prompt has at most {len(places)} ids, each from 0 to {len(table) - 1}. Take the ids "
            "from the model's own tokenizer."
        )
    width = table.shape[1]
    tower = Transformer(width, count_layers(weights, "transformer"), width // head_width, activation, causal=True)
    load_into(tower, weights, "transformer.")
    last = nn.LayerNorm(width)
    load_into(last, weights, "ln_final.")
    found = []
    for prompt in tokens:
        x = (table[list(prompt)] + places[: len(prompt)])[None]
        for block in tower.resblocks:
            x = block(x)
        found.append(last(x)[0, -1] @ weights["text_projection"])
    return normalize(torch.stack(found), dim=1)
