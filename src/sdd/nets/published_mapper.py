"""The published mappers (StyleCLIP, arXiv 2103.17249; the code of arXiv 2307.08448), with their keys and arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdd.nets.levels import LEVELS, checked_levels, is_rgb, level_layers
from sdd.nets.mapper import Mapper, Network, normalise

PUBLISHED_NAMES = {"coarse": "course", "medium": "medium", "fine": "fine"}  # "course" is the published spelling


class _EqualLinear(nn.Module):
    """StyleGAN2's equalised linear layer with learning-rate multiplier 0.01, then leaky ReLU 0.2 times sqrt(2)."""

    LR_MUL = 0.01

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.LR_MUL / math.sqrt(self.weight.shape[1])
        return F.leaky_relu(F.linear(x, self.weight * scale, self.bias * self.LR_MUL), 0.2) * math.sqrt(2)


class _PixelNorm(nn.Module):
    """Over dim 1: across the *layers* of (B, n, D), across the channels of (B, C). As published."""

    def forward(self, x: Tensor) -> Tensor:
        return normalise(x, 1)


class PublishedMLP(Network):
    """PixelNorm and four equalised layers; `mapping.0` holds no weights, so the keys are `mapping.1` to `mapping.4`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mapping = nn.Sequential(_PixelNorm(), *(_EqualLinear(dim, dim) for _ in range(4)))

    def reset(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            for layer in self.mapping:
                if isinstance(layer, _EqualLinear):
                    layer.weight.normal_(generator=generator).div_(_EqualLinear.LR_MUL)
                    layer.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.mapping(x)
        return mapped


class _Published(Mapper):
    """A published mapper: its output has a factor, and unlike ours its first change is not zero."""

    def __init__(self, latent_weight: float) -> None:
        super().__init__()
        self.latent_weight = latent_weight


class LevelsMapper(_Published):
    """Published per-level mapper of W+ codes: one network for the layers of a level (StyleCLIP's LevelsMapper)."""

    def __init__(self, levels: Sequence[str] = LEVELS, style_dim: int = 512, latent_weight: float = 0.1) -> None:
        super().__init__(latent_weight)
        self.levels, self.style_dim = checked_levels(levels), style_dim
        for level in self.levels:
            self.add_module(f"{PUBLISHED_NAMES[level]}_mapping", PublishedMLP(style_dim))

    def config(self) -> dict[str, Any]:
        """What `build_mapper` needs to make this module again."""
        size = {"style_dim": self.style_dim, "latent_weight": self.latent_weight}
        return {"kind": "LevelsMapper", "levels": list(self.levels), **size}

    def forward(self, wplus: Tensor) -> Tensor:
        """(B, L, D) codes to (B, L, D) changes before `latent_weight`; zero where a level is off."""
        parts = []
        for level in LEVELS:
            layers = level_layers(level, wplus.shape[1])
            x = wplus[:, layers.start : layers.stop]
            on = level in self.levels and len(layers) > 0
            parts.append(self.get_submodule(f"{PUBLISHED_NAMES[level]}_mapping")(x) if on else torch.zeros_like(x))
        return torch.cat(parts, 1)


class SingleMapper(_Published):
    """Published mapper of W+ codes with one network for all layers."""

    def __init__(self, style_dim: int = 512, latent_weight: float = 0.1) -> None:
        super().__init__(latent_weight)
        self.style_dim = style_dim
        self.mapping = PublishedMLP(style_dim)

    def config(self) -> dict[str, Any]:
        """What `build_mapper` needs to make this module again."""
        return {"kind": "SingleMapper", "style_dim": self.style_dim, "latent_weight": self.latent_weight}

    def forward(self, wplus: Tensor) -> Tensor:
        """(B, L, D) codes to (B, L, D) changes before `latent_weight`."""
        delta: Tensor = self.mapping(wplus)
        return delta


class FullStyleSpaceMapper(_Published):
    """Published mapper of StyleSpace: one network `mapper_{c}` per style vector."""

    space = "style"
    kind = "FullStyleSpaceMapper"

    def __init__(self, dims: Sequence[int], latent_weight: float = 0.1) -> None:
        super().__init__(latent_weight)
        self.dims = list(dims)
        for c, dim in enumerate(self.dims):
            if self.maps(c):
                self.add_module(f"mapper_{c}", PublishedMLP(dim))

    @staticmethod
    def maps(index: int) -> bool:
        """Whether style vector `index` has a network."""
        return True

    def config(self) -> dict[str, Any]:
        """What `build_mapper` needs to make this module again."""
        return {"kind": self.kind, "dims": self.dims, "latent_weight": self.latent_weight}

    def forward(self, styles: Sequence[Tensor]) -> list[Tensor]:
        """Style vectors, (B, C) or as published (B, 1, C, 1, 1), to changes of their shapes before `latent_weight`."""
        return [
            self.get_submodule(f"mapper_{c}")(x.flatten(1)).view_as(x) if self.maps(c) else torch.zeros_like(x)
            for c, x in enumerate(styles)
        ]


class WithoutToRGBStyleSpaceMapper(FullStyleSpaceMapper):
    """Published mapper of StyleSpace that leaves the to-RGB layers alone."""

    kind = "WithoutToRGBStyleSpaceMapper"

    @staticmethod
    def maps(index: int) -> bool:
        """Whether style vector `index` has a network."""
        return not is_rgb(index)
