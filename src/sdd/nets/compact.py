"""A small residual convolutional trunk, and the two networks made of it: image → W+ and image → attributes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Block(nn.Module):
    """Two convolutions, the first of which halves the picture, beside a skip; normalised by groups of 8 channels."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(cin, cout, 1)
        self.norm1 = nn.GroupNorm(cin // 8, cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, stride=2, padding=1)
        self.norm2 = nn.GroupNorm(cout // 8, cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.skip(F.avg_pool2d(x, 2)) + self.conv2(F.silu(self.norm2(h)))


class Trunk(nn.Module):
    """(B, 3, S, S) in [-1, 1] → (B, channels[-1], s, s), with s = S / patch / 2^(len(channels) - 1).

    The first convolution sees patch×patch pixels as channels: full-size convolutions cost most and learn least.
    """

    def __init__(self, channels: tuple[int, ...], patch: int = 2) -> None:
        super().__init__()
        self.patch = patch
        self.stem = nn.Conv2d(3 * patch**2, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList(_Block(a, b) for a, b in pairwise(channels))
        self.norm = nn.GroupNorm(channels[-1] // 8, channels[-1])

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(F.pixel_unshuffle(images, self.patch))
        for block in self.blocks:
            x = block(x)
        return F.silu(self.norm(x))


class CompactEncoder(nn.Module):
    """Image → W+ code, for generators of small pictures: (B, 3, size, size) in [-1, 1] → (B, n_latent, style_dim).

    The sum of what two trunks find: one that sees `patch`×`patch` pixels at once, and, where `fine` gives its channels,
    one that sees a quarter as many, for features of a few pixels. The second starts by adding nothing, so that it can
    join an encoder that has learnt without it.
    """

    def __init__(
        self, size: int = 128, n_latent: int = 12, style_dim: int = 128,
        channels: tuple[int, ...] = (48, 96, 160, 192), patch: int = 4, fine: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.n_latent, self.style_dim = size, n_latent, style_dim
        self.channels, self.patch, self.fine = tuple(channels), patch, tuple(fine)

        def head(channels: tuple[int, ...], patch: int) -> nn.Linear:
            side = size // patch >> (len(channels) - 1)
            return nn.Linear(channels[-1] * side**2, n_latent * style_dim)

        self.trunk, self.head = Trunk(self.channels, patch), head(self.channels, patch)
        if self.fine:
            self.fine_trunk, self.fine_head = Trunk(self.fine, patch // 2), head(self.fine, patch // 2)
            nn.init.zeros_(self.fine_head.weight)
            nn.init.zeros_(self.fine_head.bias)

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this network."""
        return {"size": self.size, "n_latent": self.n_latent, "style_dim": self.style_dim,
                "channels": list(self.channels), "patch": self.patch, "fine": list(self.fine)}  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        codes = self.head(self.trunk(images).flatten(1))
        if self.fine:
            codes = codes + self.fine_head(self.fine_trunk(images).flatten(1))
        return codes.view(-1, self.n_latent, self.style_dim)


class AttributeClassifier(nn.Module):
    """Image → a score for every value of every discrete attribute, and a number for every continuous one.

    `heads` maps an attribute to its number of values; 1 means a continuous attribute (in units of its range, about
    [-1, 1]).
    Pictures of other sizes are resized to `size`.
    """

    def __init__(
        self, heads: dict[str, int], size: int = 128, channels: tuple[int, ...] = (32, 64, 96, 128, 192)
    ) -> None:
        super().__init__()
        self.heads, self.size, self.channels = dict(heads), size, tuple(channels)
        self.trunk = Trunk(self.channels)
        self.head = nn.Linear(self.channels[-1] * (size >> len(channels)) ** 2, sum(heads.values()))

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this network."""
        return {"heads": self.heads, "size": self.size, "channels": list(self.channels)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if images.shape[-1] != self.size:
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        scores = self.head(self.trunk(images).flatten(1))
        return dict(zip(self.heads, torch.split(scores, list(self.heads.values()), dim=1), strict=True))
