"""Tensors out of the wrappings that checkpoints come in."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sdd.errors import SddError
from sdd.io.checkpoints.weights import summary, times
from sdd.io.untrusted.containers import Record

MAX_LAYERS = 100  # of one kind in a network; the largest here has 48
MAX_SETTINGS = 200  # of a checkpoint's options, and
MAX_SETTING = 1000  # characters of each

Tensors = dict[str, Tensor]
Read = tuple[Any, dict[str, Any], list[str]] | tuple[Any, dict[str, Any], list[str], dict[str, nn.Module]]


def bare(raw: Any) -> tuple[Tensors, list[str]]:
    """The named tensors inside the usual wrappings, and what was chosen where there was a choice.

    Unwraps `{"state_dict": …}` and the like, takes the moving average of the DDIM code's training lists [model,
    optimiser, epoch, step, average], and removes the prefix `module.` of data-parallel training.
    """
    warnings = []
    if isinstance(raw, (list, tuple)) and raw and isinstance(raw[0], Mapping):
        average = raw[-1] if len(raw) > 1 and isinstance(raw[-1], Mapping) else {}
        plain = {k.removeprefix("module.") for k in raw[0] if isinstance(k, str)}
        if plain and plain == {k.removeprefix("module.") for k in average if isinstance(k, str)}:
            warnings.append("this is a training checkpoint; its moving average is used, not the last weights")
            raw = average
        else:
            raw = raw[0]
    for key in ("state_dict", "model_state_dict", "ema", "model_ema", "ema_model", "params_ema", "model"):
        if isinstance(raw, Mapping) and isinstance(raw.get(key), Mapping):
            raw = raw[key]
    if not isinstance(raw, Mapping):
        return {}, warnings
    tensors = {k: v for k, v in raw.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors and all(k.startswith("module.") for k in tensors):
        tensors = {k.removeprefix("module."): v for k, v in tensors.items()}
    return tensors, warnings


def count(tensors: Mapping[str, Any], pattern: str) -> int:
    """One more than the largest number that the pattern's group matches at the start of a name; 0 if none.

    Raises:
        SddError: it is more than any network has; that many layers would be built before one is found to be missing.
    """
    numbers = {m[1] for m in (re.match(pattern, k) for k in tensors) if m}
    if any(len(n) > 6 or int(n) >= MAX_LAYERS for n in numbers):
        family = pattern.split("(")[0].replace("\\", "")
        raise SddError(f"the tensors {family}* are of more than {MAX_LAYERS} layers, as no network here has")
    return max((int(n) + 1 for n in numbers), default=0)


def width(tensors: Mapping[str, Tensor], name: str, label: str, what: str) -> int:
    """Output channels of a weight.

    Raises:
        SddError: there is no such tensor.
    """
    if name not in tensors or not tensors[name].ndim:
        raise SddError(
            f"{label} looks like {what} but lacks the tensor {name}; it is cut short or of another architecture"
        )
    return int(tensors[name].shape[0])


def under(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """The tensors whose names start with `prefix`, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def shape_of(tensors: Tensors, name: str, ndim: int, label: str, what: str) -> tuple[int, ...]:
    """The shape of a tensor from which hyper-parameters are read.

    Raises:
        SddError: it is missing, or of another number of dimensions.
    """
    if name not in tensors:
        raise SddError(f"{label} looks like {what} but lacks the tensor {name}; it has {summary(tensors)}")
    found = tuple(tensors[name].shape)
    if len(found) != ndim or 0 in found:
        raise SddError(
            f"{label} looks like {what}, whose tensor {name} has {ndim} dimensions, but here it is {times(found)}"
        )
    return found


def options_of(raw: Any) -> dict[str, Any]:
    """The `opts` of a checkpoint, a dict or a Namespace: numbers, text and lists by name, text cut."""
    opts = raw.get("opts") if isinstance(raw, Mapping) else None
    if isinstance(opts, Record):
        opts = opts.state
    if isinstance(opts, argparse.Namespace):  # of a container that was not read by us
        opts = vars(opts)
    named = [(k, v) for k, v in opts.items() if isinstance(k, str)] if isinstance(opts, Mapping) else []
    return {k: v[:MAX_SETTING] if isinstance(v, str) else v for k, v in named[:MAX_SETTINGS]}


def finite(value: Any) -> bool:
    """Whether it is a number that a float can hold, neither NaN nor infinite."""
    return isinstance(value, (int, float)) and -1e300 < value < 1e300


def named_tensors(raw: Any) -> Tensors:
    """The tensors of `state_dict`, or of the whole, without data-parallel training's prefix."""
    part = raw.get("state_dict", raw) if isinstance(raw, Mapping) else {}
    tensors = (
        {k: v for k, v in part.items() if isinstance(k, str) and isinstance(v, Tensor)}
        if isinstance(part, Mapping)
        else {}
    )
    return under(tensors, "module.") if tensors and all(k.startswith("module.") for k in tensors) else tensors
