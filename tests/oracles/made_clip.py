"""A tiny CLIP of random weights, by PyTorch's own attention and in the order of its dimensions: a slow twin of ours."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

RESOLUTION, PATCH, WIDTH, HEADS, FEATURES, WORDS, CONTEXT = 32, 8, 16, 2, 12, 40, 9
HEAD_WIDTH = WIDTH // HEADS
TOKENS = ((1, 5, 6, 39), (1, 7, 39), (1, 8, 8, 9, 39))
"""Three prompts; the end of text is the highest id, by which CLIP finds it."""


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, mask: Tensor | None) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, HEADS)
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        layers = [("c_fc", nn.Linear(WIDTH, 4 * WIDTH)), ("gelu", QuickGelu()), ("c_proj", nn.Linear(4 * WIDTH, WIDTH))]
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=self.mask)[0]
        return x + self.mlp(self.ln_2(x))


class Blocks(nn.Module):
    def __init__(self, layers: int, mask: Tensor | None = None) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(mask) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width); the blocks want the tokens first."""
        return self.resblocks(x.transpose(0, 1)).transpose(0, 1)


class Visual(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(WIDTH))
        self.positional_embedding = nn.Parameter(torch.zeros((RESOLUTION // PATCH) ** 2 + 1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = Blocks(layers)
        self.proj = nn.Parameter(torch.zeros(WIDTH, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        places = self.conv1(x).flatten(2).permute(0, 2, 1)
        tokens = torch.cat([self.class_embedding + torch.zeros(x.shape[0], 1, WIDTH), places], dim=1)
        return self.ln_post(self.transformer(self.ln_pre(tokens + self.positional_embedding))[:, 0]) @ self.proj


class MadeClip(nn.Module):
    """Both towers. `encode_text` takes prompts filled up with 0, as CLIP's tokenizer gives them."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.visual = Visual(layers)
        self.transformer = Blocks(2, torch.full((CONTEXT, CONTEXT), -torch.inf).triu(1))
        self.token_embedding = nn.Embedding(WORDS, WIDTH)
        self.positional_embedding = nn.Parameter(torch.zeros(CONTEXT, WIDTH))
        self.ln_final = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Parameter(torch.zeros(WIDTH, FEATURES))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, image: Tensor) -> Tensor:
        return self.visual(image)

    def encode_text(self, ids: Tensor) -> Tensor:
        x = self.ln_final(self.transformer(self.token_embedding(ids) + self.positional_embedding))
        return x[torch.arange(len(ids)), ids.argmax(1)] @ self.text_projection


def made_clip(layers: int = 4) -> MadeClip:
    """In evaluation mode; no weight is where it was initialised."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = MadeClip(layers)
        for name, parameter in model.named_parameters():
            if name != "logit_scale":
                nn.init.normal_(parameter, mean=1.0 if "ln_" in name and "weight" in name else 0.0, std=0.3)
    return model.eval()


def prompts(count: int) -> Tensor:
    """The first prompts, filled up."""
    ids = torch.zeros(count, CONTEXT, dtype=torch.long)
    for row, prompt in enumerate(TOKENS[:count]):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    return ids
