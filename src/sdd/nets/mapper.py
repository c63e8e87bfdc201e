"""Mappers: the one part of an editor that learns, from a code to the change of that code.

Two families share one call. Mappers of W+ codes take (B, L, D) and return a change of that shape; mappers of StyleSpace
take the list of style vectors [(B, C_0), (B, C_1), ...] and return a list of changes. What is added to the code is
`mapper.latent_weight * mapper(code)`.

Ours (`levels`, `single`, `stylespace`, `stylespace_without_rgb`) see codes in units of their standard deviation, are
normalised within each layer, and start at exactly zero change. The published ones (`LevelsMapper`, `SingleMapper`,
`FullStyleSpaceMapper`, `WithoutToRGBStyleSpaceMapper`; StyleCLIP, arXiv 2103.17249, and the code of arXiv 2307.08448)
keep their key names and their arithmetic, PixelNorm across the layers of a level included, so that their files load.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdd.nets.levels import LEVELS, checked_levels, is_rgb, level_layers, level_of, style_layer


def normalise(x: Tensor, dim: int) -> Tensor:
    """PixelNorm: unit mean square along `dim`."""
    return x * torch.rsqrt(x.square().mean(dim, keepdim=True) + 1e-8)


class Mapper(nn.Module):
    """What all mappers share.

    Attributes:
        latent_weight: factor on the output before it is added to the code.
        space: "wplus" (codes are one tensor) or "style" (codes are a list of tensors).
    """

    latent_weight: float = 1.0
    space: str = "wplus"

    def config(self) -> dict[str, Any]:
        """What `build_mapper` needs to make this module again."""
        raise NotImplementedError

    def reset(self, generator: torch.Generator) -> None:
        """Draw the first weights again, from `generator`."""
        for module in self.modules():
            if isinstance(module, Network):
                module.reset(generator)


class Network(nn.Module):
    """One of the networks a mapper is made of."""

    def reset(self, generator: torch.Generator) -> None:
        """Draw the first weights again, from `generator`."""
        raise NotImplementedError


class _MLP(Network):
    """Linear layers with leaky ReLU between them; the last one starts at zero, so the first output is exactly zero.

    Weights are kept at unit scale and multiplied by 1 / sqrt(fan-in) at run time, as in StyleGAN2: their units, and so
    Adam's steps, are the same whatever the width.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, depth: int) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * (depth - 1), outputs]
        pairs = list(itertools.pairwise(widths))
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(b, a)) for a, b in pairs])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(b)) for _, b in pairs])

    def reset(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            for weight in self.weights[:-1]:
                weight.normal_(generator=generator)
            self.weights[-1].zero_()
            for bias in self.biases:
                bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = F.linear(x, weight * (1 / math.sqrt(weight.shape[1])), bias)
            if i < last:
                x = F.leaky_relu(x, 0.2) * math.sqrt(2)
        return x


class WPlusMapper(Mapper):
    """Change of a W+ code, one network per level (`levels`) or one for all layers (`single`).

    A network sees all layers of its level at once, in units of their standard deviation and each normalised over its
    channels. Layers of levels that are off never change.

    Args:
        n_latent, style_dim: shape (L, D) of a code.
        levels: which of coarse, medium, fine may change; None for one network over all layers.
        hidden, depth: width and number of linear layers of each network.
    """

    def __init__(
        self, n_latent: int, style_dim: int, levels: Sequence[str] | None = LEVELS, hidden: int = 256, depth: int = 3
    ) -> None:
        super().__init__()
        self.n_latent, self.style_dim, self.hidden, self.depth = n_latent, style_dim, hidden, depth
        self.levels = None if levels is None else checked_levels(levels)
        self.latent_mean: Tensor
        self.latent_std: Tensor
        self.register_buffer("latent_mean", torch.zeros(n_latent, style_dim))
        self.register_buffer("latent_std", torch.ones(n_latent, style_dim))
        groups = {"all": range(n_latent)}
        if self.levels is not None:
            groups = {level: level_layers(level, n_latent) for level in self.levels}
        # A small generator has no fine layers.
        self._groups = {name: layers for name, layers in groups.items() if layers}
        self.networks = nn.ModuleDict(
            {k: _MLP(len(g) * style_dim, hidden, len(g) * style_dim, depth) for k, g in self._groups.items()}
        )

    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Set the units of a code: its mean and standard deviation, (L, D) each."""
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std.clamp_min(1e-6))

    def config(self) -> dict[str, Any]:
        """What `build_mapper` needs to make this module again."""
        size = {"n_latent": self.n_latent, "style_dim": self.style_dim, "hidden": self.hidden, "depth": self.depth}
        if self.levels is None:
            return {"kind": "single", **size}
        return {"kind": "levels", "levels": list(self.levels), **size}

    def forward(self, wplus: Tensor) -> Tensor:
        """(B, L, D) codes to (B, L, D) changes, both in the codes' own units."""
        x = normalise((wplus - self.latent_mean) / self.latent_std, -1)
        delta = torch.zeros_like(wplus)
        for name, layers in self._groups.items():
            part = slice(layers.start, layers.stop)
            delta[:, part] = self.networks[name](x[:, part].flatten(1)).unflatten(1, (len(layers), -1))
        return delta * self.latent_std


class StyleMapper(Mapper):
    """Change of a StyleSpace code: one network per style vector, each seeing its own (arXiv 2011.12799).

    Args:
        dims: length of each style vector.
        rgb: whether the vectors of to-RGB layers may change.
        levels: which of coarse, medium, fine may change.
        hidden, depth: width and number of linear layers of each network.
    """

    space = "style"

    def __init__(
        self, dims: Sequence[int], rgb: bool = True, levels: Sequence[str] = LEVELS, hidden: int = 128, depth: int = 3
    ) -> None:
        super().__init__()
        self.dims, self.rgb, self.hidden, self.depth = list(dims), rgb, hidden, depth
        self.levels = checked_levels(levels)
        self.networks = nn.ModuleDict()
        for i, dim in enumerate(self.dims):
            self.register_buffer(f"style_mean_{i}", torch.zeros(dim))
            self.register_buffer(f"style_std_{i}", torch.ones(dim))
            if (rgb or not is_rgb(i)) and level_of(style_layer(i)) in self.levels:
                self.networks[str(i)] = _MLP(dim, hidden, dim, depth)

    def standardise(self, mean: Sequence[Tensor], std: Sequence[Tensor]) -> None:
        """Set the units of each style vector: its mean and standard deviation, (C,) each."""
        for i in range(len(self.dims)):
            self.get_buffer(f"style_mean_{i}").copy_(mean[i])
            self.get_buffer(f"style_std_{i}").copy_(std[i].clamp_min(1e-6))

    def config(self) -> dict[str, Any]:
        """What `build_mapper` needs to make this module again."""
        kind = "stylespace" if self.rgb else "stylespace_without_rgb"
        size = {"dims": self.dims, "hidden": self.hidden, "depth": self.depth}
        return {"kind": kind, "levels": list(self.levels), **size}

    def forward(self, styles: Sequence[Tensor]) -> list[Tensor]:
        """Style vectors [(B, C), ...] to changes of the same shapes, both in the styles' own units."""
        deltas = []
        for i, style in enumerate(styles):
            if str(i) not in self.networks:
                deltas.append(torch.zeros_like(style))
                continue
            mean, std = self.get_buffer(f"style_mean_{i}"), self.get_buffer(f"style_std_{i}")
            deltas.append(self.networks[str(i)](normalise((style - mean) / std, -1)) * std)
        return deltas
