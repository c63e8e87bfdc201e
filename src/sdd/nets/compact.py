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

    The sum of what two trunks find. One sees the whole picture, `patch`×`patch` pixels at once, and also says how the
    face is posed; the other, where `close` gives its channels, sees the face cut out upright by that pose: eyes and
    brows of a few pixels are then always in the same place. The second starts by adding nothing.

    Args:
        close: channels of the second trunk.
        ranges: the range of each part of the pose: tilt, shift to the right, shift down, zoom, as in `upright`.
    """

    BOX, SIDE = (0.25, 0.75), 64  # the face, and the pixels it is seen with

    def __init__(
        self, size: int = 128, n_latent: int = 12, style_dim: int = 128,
        channels: tuple[int, ...] = (48, 96, 160, 192), patch: int = 4,
        close: tuple[int, ...] = (), ranges: dict[str, tuple[float, float]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.n_latent, self.style_dim = size, n_latent, style_dim
        self.channels, self.patch, self.close, self.ranges = tuple(channels), patch, tuple(close), dict(ranges or {})
        self.trunk = Trunk(self.channels, patch)
        width = self.channels[-1] * (size // patch >> (len(channels) - 1)) ** 2
        self.head = nn.Linear(width, n_latent * style_dim)
        if self.close:
            self.pose = nn.Linear(width, len(self.ranges))
            self.close_trunk = Trunk(self.close)
            self.close_head = nn.Linear(self.close[-1] * (self.SIDE >> len(close)) ** 2, n_latent * style_dim)
            for layer in (self.pose, self.close_head):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this network."""
        return {"size": self.size, "n_latent": self.n_latent, "style_dim": self.style_dim,
                "channels": list(self.channels), "patch": self.patch, "close": list(self.close),
                "ranges": {k: list(v) for k, v in self.ranges.items()}}  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.look(images)[0]

    def look(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The codes, and the pose (B, 4) in units of half its ranges."""
        found, pose = self.trunk(images).flatten(1), None
        codes = self.head(found)
        if self.close:
            pose = self.pose(found)
            # Where to look is taught, not found by looking; and never far off the picture.
            face = upright(images, posed(pose.detach().clamp(-1.5, 1.5), self.ranges), self.BOX, self.SIDE)
            codes = codes + self.close_head(self.close_trunk(face).flatten(1))
        return codes.view(-1, self.n_latent, self.style_dim), pose


def upright(images: Tensor, pose: Tensor, box: tuple[float, float], side: int) -> Tensor:
    """What fills a square in an upright, centred picture, cut out of pictures that are tilted, shifted and zoomed.

    The sampler of spatial transformer networks (arXiv 1506.02025).

    Args:
        images: (B, C, S, S).
        pose: (B, 4): tilt in degrees, clockwise; shift to the right and down in percent of the picture; zoom.
        box: where the square begins and ends, down as across, as shares of the picture.
        side: pixels of the result.

    Returns:
        (B, C, side, side)
    """
    tilt, right, down, zoom = pose.to(images.dtype).unbind(1)
    turn = torch.deg2rad(tilt)
    along, across = zoom * turn.cos(), zoom * turn.sin()
    # Coordinates of a picture run from -1 to 1, so that one percent of it is 0.02.
    half, middle = box[1] - box[0], box[0] + box[1] - 1
    rows = [
        torch.stack([along * half, -across * half, (along - across) * middle + 0.02 * right], 1),
        torch.stack([across * half, along * half, (along + across) * middle + 0.02 * down], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [images.shape[0], images.shape[1], side, side], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def posed(pose: Tensor, ranges: dict[str, tuple[float, float]]) -> Tensor:
    """A pose (B, 4) in its own units, from units of half its ranges."""
    low, high = torch.tensor(list(ranges.values())).to(pose).unbind(1)
    return (low + high) / 2 + pose * (high - low) / 2


def by_head(scores: Tensor, heads: dict[str, int]) -> dict[str, Tensor]:
    """The scores of every head, from all of them side by side; `heads` has the width of each."""
    return dict(zip(heads, torch.split(scores, list(heads.values()), dim=1), strict=True))


class AttributeClassifier(nn.Module):
    """Image → a score for every value of every discrete attribute, and a number for every continuous one.

    One trunk sees the whole picture. Another, where `close` names the attributes it reads, sees the head cut out
    upright by the pose that the first one found: eyes and brows of a few pixels are then always in the same place. Its
    scores are added to the first one's, and it also says how far that pose was off.

    Args:
        heads: number of values of each attribute; 1 means a continuous one (in units of half its range, about [-1, 1]).
        size: of the pictures; others are resized to it.
        channels: of the first trunk.
        close: the discrete attributes that the second trunk reads.
        ranges: the range of each part of the pose: tilt, shift to the right, shift down, zoom, as in `upright`.
        close_channels: of the second trunk.
    """

    BOX, SIDE = (0.14, 0.86), 96  # the head, and the pixels it is seen with

    def __init__(
        self, heads: dict[str, int], size: int = 128, channels: tuple[int, ...] = (32, 64, 96, 128, 192),
        close: tuple[str, ...] = (), ranges: dict[str, tuple[float, float]] | None = None,
        close_channels: tuple[int, ...] = (32, 64, 96, 128, 192),
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.size, self.channels = dict(heads), size, tuple(channels)
        self.trunk = Trunk(self.channels)
        self.head = nn.Linear(self.channels[-1] * (size >> len(channels)) ** 2, sum(heads.values()))
        self.close, self.ranges, self.close_channels = tuple(close), dict(ranges or {}), tuple(close_channels)
        if self.close:
            self.close_heads = {name: heads[name] for name in (*self.close, *self.ranges)}
            self.close_trunk = Trunk(self.close_channels)
            side = self.SIDE >> len(self.close_channels)
            self.close_head = nn.Linear(self.close_channels[-1] * side**2, sum(self.close_heads.values()))

    def config(self) -> dict[str, Any]:
        """The arguments that rebuild this network."""
        return {"heads": self.heads, "size": self.size, "channels": list(self.channels), "close": list(self.close),
                "ranges": {k: list(v) for k, v in self.ranges.items()},
                "close_channels": list(self.close_channels)}  # fmt: skip

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if images.shape[-1] != self.size:
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        found = self.look(images)
        if self.close:
            pose = torch.cat([found[name] for name in self.ranges], 1)
            for name, scores in self.look_close(images, pose).items():
                found[name] = found[name] + scores
        return found

    def look(self, images: Tensor) -> dict[str, Tensor]:
        """The first trunk's scores of every attribute, from (B, 3, size, size)."""
        return by_head(self.head(self.trunk(images).flatten(1)), self.heads)

    def look_close(self, images: Tensor, pose: Tensor) -> dict[str, Tensor]:
        """The second trunk's scores, and what is to be added to that pose (B, 4), in units of half its ranges."""
        head = upright(images, posed(pose, self.ranges), self.BOX, self.SIDE)
        return by_head(self.close_head(self.close_trunk(head).flatten(1)), self.close_heads)
