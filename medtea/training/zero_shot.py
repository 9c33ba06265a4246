"""A vision transformer in CLIP's layout as a zero-shot classifier; heatmaps go through it like through any network.

Module names are those of the weights as OpenAI and open_clip write them ("visual.conv1.weight", ...), so that they load
as they are. CLIP: Radford et al., arXiv 2103.00020.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training images by channel, with which its authors normalise; grey is given to all three channels."""

Activation = Literal["quick_gelu", "gelu"]


class QuickGelu(nn.Module):
    """x σ(1.702 x), OpenAI's approximation of GELU; for relevance σ is a gate."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention with the parameters of nn.MultiheadAttention."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        """`causal`: a token sees itself and those before it."""
        super().__init__()
        self.heads, self.causal = heads, causal
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width), same out."""
        tokens, width = x.shape[1:]
        mixed = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (part.reshape(-1, tokens, self.heads, width // self.heads).transpose(1, 2) for part in mixed)
        found = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        out: Tensor = self.out_proj(found.transpose(1, 2).reshape(-1, tokens, width))
        return out


class ResidualAttentionBlock(nn.Module):
    """Attention and two linear layers, each behind a layer norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, activation: Activation, *, causal: bool) -> None:
        """Of that many channels."""
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, causal=causal)
        act = QuickGelu() if activation == "quick_gelu" else nn.GELU()
        layers = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", act), ("c_proj", nn.Linear(4 * width, width))]
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width), same out."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Blocks one after the other."""

    def __init__(self, width: int, layers: int, heads: int, activation: Activation, *, causal: bool) -> None:
        """So many blocks."""
        super().__init__()
        self.resblocks = nn.ModuleList(
            ResidualAttentionBlock(width, heads, activation, causal=causal) for _ in range(layers)
        )


class Grid(nn.Module):
    """The tokens of the places, (batch, side², width), as a map (batch, width, side, side): a layer with heatmaps."""

    def forward(self, x: Tensor) -> Tensor:
        """A map of the places."""
        side = round(x.shape[1] ** 0.5)
        return x.transpose(1, 2).reshape(-1, x.shape[2], side, side)


class VisionTower(nn.Module):
    """Image to features, (batch, features), not normalised.

    After the blocks in `mapped` the tokens of the places pass through `grids`: hidden layers with places, whose heatmap
    lacks what the class token carries beside them.
    """

    def __init__(
        self,
        *,
        patch: int,
        side: int,
        width: int,
        layers: int,
        heads: int,
        features: int,
        activation: Activation,
        mapped: Sequence[int],
    ) -> None:
        """`side`: places in a row; `patch`: pixels of a place's side."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(side**2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, heads, activation, causal=False)
        self.proj = nn.Parameter(torch.zeros(width, features))
        self.grids = nn.ModuleDict({str(block): Grid() for block in mapped})

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, side x patch, side x patch) to (batch, features)."""
        places = self.conv1(x).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(x.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([first, places], dim=1) + self.positional_embedding)
        for number, block in enumerate(self.transformer.resblocks):
            x = block(x)
            if str(number) in self.grids:
                places = self.grids[str(number)](x[:, 1:]).flatten(2).transpose(1, 2)
                x = torch.cat([x[:, :1], places], dim=1)
        found: Tensor = self.ln_post(x[:, 0]) @ self.proj
        return found


class ZeroShot(nn.Module):
    """Radiograph to logits: scale x cosine of the image's features and each class's text; trained by nobody here.

    logits = head(f / ||f||). The rows of `head` are scale x the classes' unit text features; of two classes it has one
    row, their difference, so that its sigmoid is the softmax over both. For heatmaps ||f|| is a constant, as σ of a
    layer norm is (AttnLRP, Achtibat et al. 2024).
    """

    rows: Tensor | None
    mean: Tensor
    deviation: Tensor

    def __init__(self, *, size: int, logits: int, features: int, patch: int, side: int, **tower: object) -> None:
        """For radiographs of `size` pixels a side, which are resized (bicubic, without aliasing) to the tower's own."""
        super().__init__()
        self.features = features
        own = side * patch
        # a matrix that resizes rows, and columns: a linear operator that relevance goes through
        rows = F.interpolate(torch.eye(size)[None, None], size=(own, size), mode="bicubic", antialias=True)[0, 0]
        self.register_buffer("rows", rows if own != size else None, persistent=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.visual = VisionTower(patch=patch, side=side, features=features, **tower)  # type: ignore[arg-type]
        self.head = nn.Linear(features, logits)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1 or 3, size, size) in [0, 1] to (batch, K)."""
        if self.rows is not None:
            x = self.rows @ x @ self.rows.mT
        found = self.visual((x - self.mean) / self.deviation)
        unit = F.rms_norm(found, (self.features,), eps=1e-12) / self.features**0.5
        return self.head(unit)  # type: ignore[no-any-return]
