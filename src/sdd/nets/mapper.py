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
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = ("coarse", "medium", "fine")
_BOUNDS = {"coarse": (0, 4), "medium": (4, 8), "fine": (8, None)}
_PUBLISHED_NAMES = {"coarse": "course", "medium": "medium", "fine": "fine"}  # "course" is the published spelling


def level_layers(level: str, n_latent: int) -> range:
    """The W+ layers of a level: coarse 0-3, medium 4-7, fine the rest, whatever the generator's size.

    Raises:
        ValueError: `level` is not one of `LEVELS`.
    """
    if level not in _BOUNDS:
        raise ValueError(f"unknown level {level!r}; there are {', '.join(LEVELS)}")
    start, stop = _BOUNDS[level]
    return range(n_latent)[start:stop]


def style_layer(index: int) -> int:
    """The W+ layer that style vector `index` is made from (order: conv, to-RGB, then conv, conv, to-RGB ...)."""
    if index < 2:
        return index
    block, place = divmod(index - 2, 3)
    return 1 + 2 * block + place


def is_rgb(index: int) -> bool:
    """Whether style vector `index` drives a to-RGB layer: every third from the second."""
    return index % 3 == 1


def _normalise(x: Tensor, dim: int) -> Tensor:
    """PixelNorm: unit mean square along `dim`."""
    return x * torch.rsqrt(x.square().mean(dim, keepdim=True) + 1e-8)


def _checked(levels: Sequence[str]) -> tuple[str, ...]:
    """`levels` in their own order."""
    if not levels or set(levels) - set(LEVELS):
        raise ValueError(f"levels must be some of {', '.join(LEVELS)}, not {', '.join(map(repr, levels)) or 'none'}")
    return tuple(level for level in LEVELS if level in levels)


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
            if isinstance(module, _MLP | _PublishedMLP):
                module.reset(generator)


class _MLP(nn.Module):
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
        self.levels = None if levels is None else _checked(levels)
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
        x = _normalise((wplus - self.latent_mean) / self.latent_std, -1)
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
        self.levels = _checked(levels)
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
            deltas.append(self.networks[str(i)](_normalise((style - mean) / std, -1)) * std)
        return deltas


def level_of(layer: int) -> str:
    """The level a W+ layer belongs to."""
    return "coarse" if layer < 4 else "medium" if layer < 8 else "fine"


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
        return _normalise(x, 1)


class _PublishedMLP(nn.Module):
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
        self.levels, self.style_dim = _checked(levels), style_dim
        for level in self.levels:
            self.add_module(f"{_PUBLISHED_NAMES[level]}_mapping", _PublishedMLP(style_dim))

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
            parts.append(self.get_submodule(f"{_PUBLISHED_NAMES[level]}_mapping")(x) if on else torch.zeros_like(x))
        return torch.cat(parts, 1)


class SingleMapper(_Published):
    """Published mapper of W+ codes with one network for all layers."""

    def __init__(self, style_dim: int = 512, latent_weight: float = 0.1) -> None:
        super().__init__(latent_weight)
        self.style_dim = style_dim
        self.mapping = _PublishedMLP(style_dim)

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
                self.add_module(f"mapper_{c}", _PublishedMLP(dim))

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


def build_mapper(config: Mapping[str, Any], generator: torch.Generator | None = None) -> Mapper:
    """The mapper that `config` describes: `kind` and that kind's arguments, as `mapper.config()` gives them.

    First weights are drawn from `generator`; without one they are all zero, to be loaded.

    Raises:
        ValueError: unknown kind or arguments.
    """
    options = dict(config)
    kind = options.pop("kind", None)
    try:
        mapper: Mapper
        match kind:
            case "levels":
                mapper = WPlusMapper(**options)
            case "single":
                mapper = WPlusMapper(**options, levels=None)
            case "stylespace":
                mapper = StyleMapper(**options, rgb=True)
            case "stylespace_without_rgb":
                mapper = StyleMapper(**options, rgb=False)
            case "LevelsMapper":
                mapper = LevelsMapper(**options)
            case "SingleMapper":
                mapper = SingleMapper(**options)
            case "FullStyleSpaceMapper":
                mapper = FullStyleSpaceMapper(**options)
            case "WithoutToRGBStyleSpaceMapper":
                mapper = WithoutToRGBStyleSpaceMapper(**options)
            case _:
                raise ValueError(f"unknown mapper kind {kind!r}; there are {', '.join(KINDS)}")
    except TypeError as error:
        raise ValueError(f"a mapper of kind {kind} cannot be made from {options}: {error}") from error
    if generator is not None:
        mapper.reset(generator)
    return mapper


KINDS = (
    "levels",
    "single",
    "stylespace",
    "stylespace_without_rgb",
    "LevelsMapper",
    "SingleMapper",
    "FullStyleSpaceMapper",
    "WithoutToRGBStyleSpaceMapper",
)


def published_config(shapes: Mapping[str, Sequence[int]], latent_weight: float = 0.1) -> dict[str, Any]:
    """The kind and arguments of a published mapper, from the shapes of its tensors: its file stores nothing else.

    A style vector without a network takes its length from the network before it: at every resolution the to-RGB layer
    is as wide as the convolution that feeds it.

    Raises:
        ValueError: these are not the tensors of a published mapper.
    """
    owners = {key.split(".", 1)[0] for key in shapes}
    levels = [level for level in LEVELS if f"{_PUBLISHED_NAMES[level]}_mapping" in owners]
    if levels and owners == {f"{_PUBLISHED_NAMES[level]}_mapping" for level in levels}:
        dim = shapes[f"{_PUBLISHED_NAMES[levels[0]]}_mapping.mapping.1.bias"][0]
        return {"kind": "LevelsMapper", "levels": levels, "style_dim": dim, "latent_weight": latent_weight}
    if owners == {"mapping"} and "mapping.mapping.1.bias" in shapes:
        dim = shapes["mapping.mapping.1.bias"][0]
        return {"kind": "SingleMapper", "style_dim": dim, "latent_weight": latent_weight}
    if owners and all(name.startswith("mapper_") and name[7:].isdecimal() for name in owners):
        present = sorted(int(name[7:]) for name in owners)
        full = present == list(range(len(present)))
        # Without to-RGB the file ends at the last convolution; its to-RGB vector follows it.
        count = len(present) if full else present[-1] + 2
        if full or present == [c for c in range(count) if not is_rgb(c)]:
            dims: list[int] = []
            for c in range(count):
                dims.append(shapes[f"mapper_{c}.mapping.1.bias"][0] if c in present else dims[-1])
            kind = "FullStyleSpaceMapper" if full else "WithoutToRGBStyleSpaceMapper"
            return {"kind": kind, "dims": dims, "latent_weight": latent_weight}
    some = ", ".join(sorted(owners)[:5]) or "nothing"
    raise ValueError(f"not the tensors of a published mapper: they belong to {some}")


def published_mapper(tensors: Mapping[str, Tensor], latent_weight: float = 0.1) -> Mapper:
    """The published mapper that `tensors` (a state dict) belong to, loaded strictly.

    Raises:
        ValueError: these are not the tensors of a published mapper, or some are missing or of another shape.
    """
    try:
        mapper = build_mapper(published_config({k: tuple(v.shape) for k, v in tensors.items()}, latent_weight))
        mapper.load_state_dict(dict(tensors))
    except (KeyError, RuntimeError, IndexError) as error:
        raise ValueError(f"the tensors of a published mapper are incomplete or of another shape: {error}") from error
    return mapper
