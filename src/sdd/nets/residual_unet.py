"""A small U-Net from picture to a change of it: residual blocks, two of them a level, no attention, no time.

The shape is that of U-Net (arXiv 1505.04597) with the pre-activation residual blocks of arXiv 1603.05027.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP = 8  # channels that are normalised together
COARSEST = 8  # places along a side of the coarsest level: each of them sees the whole picture's plan
WIDEST = 4  # times the first level's channels


def levels_for(side: int, patch: int) -> int:
    """How many levels, each half the one before, lead from pictures of `side` pixels to at least `COARSEST` places."""
    return max(1, (side // patch // COARSEST).bit_length())


class _Block(nn.Module):
    """x + two convolutions of it, the second of which starts at zero."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(cin, cout, 1)
        self.norm1 = nn.GroupNorm(cin // GROUP, cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        self.norm2 = nn.GroupNorm(cout // GROUP, cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class ResidualUNet(nn.Module):
    """Pictures (B, 3, H, W) in [−1, 1] → paint a (B, 3, H, W) and matte m (B, 1, H, W): the change is a − m y.

    The first convolution sees patch×patch pixels as channels. H and W are multiples of `patch`.

    Args:
        width: channels of the first level, a multiple of 8; deeper ones have up to four times as many.
        levels: each half the one before.

    Raises:
        ValueError: a width that is no multiple of 8, or no level.
    """

    def __init__(self, width: int, levels: int, patch: int) -> None:
        super().__init__()
        if width < GROUP or width % GROUP or levels < 1 or patch < 1:
            raise ValueError(f"a width of {width}, {levels} levels, patches of {patch}: width is a multiple of {GROUP}")
        self.patch = patch
        channels = [width * min(level + 1, WIDEST) for level in range(levels)]
        self.stem = nn.Conv2d(3 * patch**2, width, 3, padding=1)
        self.down = nn.ModuleList(_Block(c, c) for c in channels)
        self.halve = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(channels))
        self.back = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(channels))
        self.up = nn.ModuleList(_Block(2 * c, c) for c in channels[:-1])
        self.norm = nn.GroupNorm(width // GROUP, width)
        self.head = nn.Conv2d(width, 4 * patch**2, 3, padding=1)

    def reset(self, generator: torch.Generator) -> None:
        """First weights, the same for the same state of a generator; the head is zero: nothing changes."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan = module.weight[0].numel()
                first = torch.randn(module.weight.shape, generator=generator) / fan**0.5
                with torch.no_grad():
                    module.weight.copy_(first)
                    nn.init.zeros_(module.bias) if module.bias is not None else None
        for zero in (self.head, *(block.conv2 for block in (*self.down, *self.up) if isinstance(block, _Block))):
            nn.init.zeros_(zero.weight)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        h, kept = self.stem(F.pixel_unshuffle(images, self.patch)), []
        for level, block in enumerate(self.down):
            h = block(h)
            if level < len(self.halve):
                kept.append(h)
                h = self.halve[level](h)
        for level in reversed(range(len(self.up))):
            there = kept[level]
            h = F.interpolate(self.back[level](h), size=there.shape[-2:], mode="nearest")
            h = self.up[level](torch.cat([there, h], 1))
        out = F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.patch)
        return out[:, :3], out[:, 3:]
