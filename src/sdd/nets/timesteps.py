"""The sinusoidal embeddings of timesteps, with the rounding of the reference implementations.

At t = 999 a frequency that differs in its last bit moves the embedding by 6e-5, more than two correct networks differ.
So the order of the operations here is the references', DDPM's and improved DDPM's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def ddpm_embedding(t: Tensor, channels: int) -> Tensor:
    """[sin, cos] of t times exp(-log(10000) k / (half - 1)): steps (B,) to (B, channels). Of DDPM."""
    half = channels // 2
    step = math.log(10000) / (half - 1)
    angles = t.float()[:, None] * torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * -step)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def guided_embedding(t: Tensor, channels: int) -> Tensor:
    """[cos, sin] of t times exp(-log(10000) k / half): steps (B,) to (B, channels). Of improved DDPM and DiffAE."""
    half = channels // 2
    powers = -math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(powers / half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class Timesteps(nn.Module):
    """One of the two embeddings as a module: takes the place of diffusers' `Timesteps` in a `UNet2DModel`."""

    def __init__(self, channels: int, ddpm: bool) -> None:
        super().__init__()
        self.channels = channels
        self.ddpm = ddpm

    def forward(self, t: Tensor) -> Tensor:
        """Steps (B,) to (B, channels)."""
        return (ddpm_embedding if self.ddpm else guided_embedding)(t, self.channels)
