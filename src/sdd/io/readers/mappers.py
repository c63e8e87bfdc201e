"""Mappers trained by the published code of SDD or of StyleCLIP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sdd.errors import SddError
from sdd.io.checkpoints.weights import fill, summary
from sdd.io.readers.stylegan2 import build_generator
from sdd.io.readers.unwrap import Read, Tensors, count, named_tensors, options_of, under
from sdd.nets.mapper import Mapper
from sdd.nets.mapper_kinds import build_mapper, published_config

# --- Mappers ---------------------------------------------------------------------------------------------------------


def is_sdd_mapper(raw: Any) -> bool:
    """Does this look like a mapper of the published SDD code?"""
    return _mapper_tensors(raw) is not None


def read_sdd_mapper(raw: Any, label: str = "the checkpoint", latent_weight: float = 0.1) -> Read:
    """A mapper saved by the published SDD code, of any of its four kinds.

    Args:
        latent_weight: factor on its output, which the file does not hold.

    Returns:
        A `sdd.nets.mapper.Mapper`, its configuration, warnings.

    Raises:
        SddError: a tensor is missing, of a wrong shape, or left over, named in the message.
    """
    tensors = _mapper_tensors(raw)
    if tensors is None:
        raise SddError(f"{label} holds no mapper; it has {summary(raw if isinstance(raw, Mapping) else {})}")
    mapper = _mapper(tensors, label, latent_weight)
    return mapper, mapper.config(), []


def is_styleclip_mapper(raw: Any) -> bool:
    """Does this look like a StyleCLIP mapper checkpoint?"""
    return _looks_like_mapper(under(named_tensors(raw), "mapper."))


def read_styleclip_mapper(raw: Any, label: str = "the checkpoint", latent_weight: float = 0.1) -> Read:
    """A StyleCLIP mapper, and its decoder where the file has one.

    Returns:
        A `sdd.nets.mapper.Mapper`, its configuration, warnings, {"decoder": Generator}.

    Raises:
        SddError: a tensor is missing, of a wrong shape, or left over, named in the message.
    """
    named, opts = named_tensors(raw), options_of(raw)
    tensors = under(named, "mapper.")
    if not tensors:
        raise SddError(
            f"{label} holds no StyleCLIP mapper: no tensor's name begins with mapper.; it has {summary(named)}"
        )
    mapper = _mapper(tensors, label, latent_weight)
    warnings: list[str] = []
    decoder = under(named, "decoder.")
    average = raw.get("latent_avg") if isinstance(raw, Mapping) else None
    parts: dict[str, nn.Module] = {"decoder": build_generator(decoder, label, warnings, average)} if decoder else {}
    config = mapper.config()
    for key in ("description", "stylegan_size"):
        if isinstance(opts.get(key), str | int):
            config[key] = opts[key]
    return mapper, config, warnings, parts


def _looks_like_mapper(tensors: Mapping[Any, Any]) -> bool:
    return any(isinstance(k, str) and ".mapping." in f".{k}" and k.endswith(".weight") for k in tensors) and all(
        isinstance(k, str) and k.split(".", 1)[0].startswith(("course_", "medium_", "fine_", "mapping", "mapper_"))
        for k in tensors
    )


def _mapper_tensors(raw: Any) -> Tensors | None:
    """A mapper's tensors, bare or under any key: the published loader tries the experiment's name, mapper and model."""
    if not isinstance(raw, Mapping):
        return None
    for part in (raw, raw.get("name"), raw.get("mapper"), raw.get("model"), *raw.values()):
        if isinstance(part, Mapping) and part and all(isinstance(v, Tensor) for v in part.values()):
            tensors = dict(part)
            if all(isinstance(k, str) and k.startswith("module.") for k in tensors):
                tensors = under(tensors, "module.")
            if _looks_like_mapper(tensors):
                return tensors
    return None


def _mapper(tensors: Tensors, label: str, latent_weight: float) -> Mapper:
    what = "a published mapper"
    count(tensors, r"mapper_(\d+)\.")  # refuses numbers of which a list up to them would fill the memory
    try:
        config = published_config({k: tuple(v.shape) for k, v in tensors.items()}, latent_weight)
    except KeyError as error:
        raise SddError(
            f"{label} looks like {what} but lacks the tensor {error.args[0]}; it has {summary(tensors)}"
        ) from error
    except (ValueError, IndexError) as error:
        raise SddError(f"{label} looks like {what}, but {error}; it has {summary(tensors)}") from error
    with torch.device("meta"):
        mapper = build_mapper(config)
    fill(mapper, tensors, label, f"a published {config['kind']}")
    return mapper
