"""Identity networks: IR-SE50 of ArcFace (arXiv 1801.07698)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from sdd.errors import SddError
from sdd.io.checkpoints.weights import fill
from sdd.io.readers.unwrap import Read, Tensors, bare, count, shape_of
from sdd.nets.arcface import IRSE


def trunk_tensors(tensors: Tensors, label: str, what: str) -> dict[str, Any]:
    """The arguments of an `IRTrunk`, from shapes: a unit begins where the number of channels changes."""
    stem, colours, _, _ = shape_of(tensors, "input_layer.0.weight", 4, label, what)
    units: list[int] = []
    channels: list[int] = []
    for i in range(count(tensors, r"body\.(\d+)\.")):
        width = shape_of(tensors, f"body.{i}.res_layer.1.weight", 4, label, what)[0]
        if not channels or width != channels[-1]:
            channels.append(width)
            units.append(0)
        units[-1] += 1
    squeeze = 0
    if any(".res_layer.5." in name for name in tensors):
        squeeze = channels[0] // shape_of(tensors, "body.0.res_layer.5.fc1.weight", 4, label, what)[0]
    return {"units": units, "channels": channels, "stem": stem, "input_channels": colours, "squeeze": squeeze}


def counted(net: nn.Module, tensors: Tensors) -> Tensors:
    """`tensors` with the batch norms' counters, which some files lack and evaluation does not use."""
    counters = {k: torch.zeros(()) for k in net.state_dict() if k.endswith(".num_batches_tracked")}
    return counters | tensors


# --- Identity --------------------------------------------------------------------------------------------------------


def is_ir_se(raw: Any) -> bool:
    """Does this look like an IR or IR-SE identity network?"""
    tensors, _ = bare(raw)
    return "input_layer.0.weight" in tensors and any(k.startswith("output_layer.") for k in tensors)


def read_ir_se(raw: Any, label: str = "the checkpoint", crop: str = "ffhq") -> Read:
    """An identity network in the layout of `model_ir_se50.pth`.

    Args:
        crop: how pictures become its input, see `IRSE`.

    Returns:
        An `IRSE`, its configuration, warnings.

    Raises:
        SddError: a tensor is missing, of a wrong shape, or left over, named in the message.
    """
    tensors, warnings = bare(raw)
    what = "an IR-SE identity network"
    trunk = trunk_tensors(tensors, label, what)
    if trunk.pop("input_channels") != 3:
        raise SddError(f"{label} looks like {what}, but does not take RGB pictures")
    embedding, features = shape_of(tensors, "output_layer.3.weight", 2, label, what)
    side = math.isqrt(features // trunk["channels"][-1])
    with torch.device("meta"):
        net = IRSE(**trunk, embedding=embedding, input_size=side << len(trunk["units"]), crop=crop)
    fill(net, counted(net, tensors), label, what)
    return net, {"net": net.config(), "input_size": net.input_size, "embedding": embedding}, warnings
