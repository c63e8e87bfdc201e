"""Which device, and which precision is quick on it."""

from __future__ import annotations

import torch

from sdd.errors import SddError


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; by default CUDA where there is one, else the CPU.

    Raises:
        SddError: no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # a device such as "meta" has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SddError(f"there is no device {str(name)!r} on this machine; use cpu, or leave the option out") from error
    return device


def check_seed(seed: int) -> None:
    """Raise SddError unless torch and numpy can draw from `seed` and the few numbers after it."""
    if not 0 <= seed < 2**62:
        raise SddError(f"the seed must be a whole number from 0 to 2^62 - 1, not {seed}")


def quick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it (CUDA, CPUs with AMX); elsewhere float32, then many times quicker."""
    return torch.bfloat16 if device.type == "cuda" or torch.cpu._is_amx_tile_supported() else torch.float32
