"""Mappers by name: from a configuration, or from the tensors of a published file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sdd.nets.levels import LEVELS, is_rgb
from sdd.nets.mapper import Mapper, StyleMapper, WPlusMapper
from sdd.nets.published_mapper import (
    PUBLISHED_NAMES,
    FullStyleSpaceMapper,
    LevelsMapper,
    SingleMapper,
    WithoutToRGBStyleSpaceMapper,
)


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
    levels = [level for level in LEVELS if f"{PUBLISHED_NAMES[level]}_mapping" in owners]
    if levels and owners == {f"{PUBLISHED_NAMES[level]}_mapping" for level in levels}:
        dim = shapes[f"{PUBLISHED_NAMES[levels[0]]}_mapping.mapping.1.bias"][0]
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
