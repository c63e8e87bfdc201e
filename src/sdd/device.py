"""Which device to compute on, and which seeds are ones."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import torch

from sdd.errors import SddError


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name: cpu, cuda, cuda:1 …, mps; by default CUDA where there is one, else the CPU.

    Raises:
        SddError: no such device here; the message says which there are.
    """
    here = available()
    if name is None:
        # Of several processes that a launcher started, each has a GPU of its own.
        own = os.environ.get("LOCAL_RANK")
        return torch.device("cpu" if "cuda" not in here else "cuda" if own is None else f"cuda:{own}")
    if str(name) not in here:
        raise SddError(f"there is no device {str(name)!r} on this machine; there is {', '.join(here)}")
    return torch.device(name)


def available() -> list[str]:
    """Names of the devices this machine can compute on."""
    cuda = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    mps = ["mps", "mps:0"]
    return ["cpu", *(cuda if torch.cuda.is_available() else ()), *(mps if torch.backends.mps.is_available() else ())]


def check_seed(seed: int) -> None:
    """Raise SddError unless `seed` is a whole number that torch and numpy can draw from, and the few after it."""
    whole = hasattr(seed, "__index__") and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**62:
        raise SddError(f"the seed must be a whole number from 0 to 2^62 - 1, not {seed!r}")


def precision(device: torch.device, name: str) -> AbstractContextManager[object]:
    """A context in which what pays for it is computed in that precision: "float32", "bfloat16", or "auto".

    "auto" is bfloat16 on a processor that multiplies it natively (AMX, AVX512-BF16), elsewhere float32.
    """
    half = name == "bfloat16" or (name == "auto" and device.type == "cpu" and has_bfloat16())
    return torch.autocast(device.type, torch.bfloat16, enabled=half)


def weights_type(name: str) -> torch.dtype:
    """What a teacher's weights are kept as in that precision; "auto" keeps them whole."""
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def has_bfloat16() -> bool:
    """Whether this machine's processor multiplies bfloat16 natively."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
