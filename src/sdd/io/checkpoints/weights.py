"""Moving a file's tensors into a network: every tensor accounted for, every mismatch named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sdd.errors import SddError


def summary(tensors: Mapping[str, Any]) -> str:
    """What a state dict looks like, for messages: how many tensors and values, and its first name."""
    found = [(k, v) for k, v in tensors.items() if hasattr(v, "shape")]
    if not found:
        return f"no tensors but the keys {', '.join(str(k)[:30] for k in list(tensors)[:5])}"
    name, first = found[0]
    values = float(sum(math.prod(v.shape) for _, v in found))
    return f"{len(found)} tensors with {values / 1e6:.2f} M values, the first {name[:60]} {times(first.shape)}"


def times(shape: Iterable[int]) -> str:
    """A shape for messages: `3x64x64`, or `scalar`."""
    return "x".join(str(n) for n in shape) or "scalar"


def take(tensors: Mapping[str, Any], name: str, shape: Iterable[int], label: str, what: str) -> Tensor:
    """The tensor `name` as float32 of the given shape; dimensions of size 1 may differ (1x1 convolutions and linear
    layers).

    Raises:
        SddError: it is missing or its shape differs, naming the tensor, what was expected and what the file looks like;
            it is complex, or holds NaN or infinity.
    """
    want = tuple(shape)
    if name not in tensors:
        raise SddError(
            f"{label} looks like {what} but lacks the tensor {name} ({times(want)} expected); it has {summary(tensors)}"
        )
    found = tensors[name]
    if not isinstance(found, Tensor) or [n for n in found.shape if n != 1] != [n for n in want if n != 1]:
        got = times(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise SddError(
            f"{label} looks like {what}, whose tensor {name} should be {times(want)}, but it is {got} in this file of "
            f"{summary(tensors)}"
        )
    if found.is_complex():
        raise SddError(
            f"{label} looks like {what}, but its tensor {name} holds complex numbers, which no network here has"
        )
    taken = found.detach().to(torch.float32, copy=True).reshape(want)
    if not taken.is_meta and not bool(torch.isfinite(taken).all()):
        raise SddError(
            f"{label} looks like {what}, but its tensor {name} holds NaN or infinity; its training went wrong, or the "
            "file is damaged"
        )
    return taken


def refuse_unused(tensors: Mapping[str, Any], used: Iterable[str], label: str, what: str) -> None:
    """Raise if tensors remain that the network has no place for: then it is another network.

    Raises:
        SddError: naming the first such tensor.
    """
    known = set(used)
    rest = [k for k in tensors if k not in known]
    if rest:
        raise SddError(
            f"{label} looks like {what} but has {len(rest)} tensors too many, the first {rest[0][:80]}; it is of "
            "another architecture"
        )


def fill(module: nn.Module, tensors: Mapping[str, Any], label: str, what: str, ignore: Iterable[str] = ()) -> None:
    """Give `module` (built on the meta device or not) the tensors of the same names, as float32 copies, and set it to
    eval.

    Raises:
        SddError: a tensor is missing, of another shape, or not the network's (unless named in `ignore`).
    """
    wanted = module.state_dict()
    ready = {name: take(tensors, name, value.shape, label, what) for name, value in wanted.items()}
    refuse_unused(tensors, {*wanted, *ignore}, label, what)
    module.load_state_dict(ready, assign=True)
    module.eval()
