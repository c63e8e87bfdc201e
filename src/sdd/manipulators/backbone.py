"""What every StyleGAN manipulator of a domain shares: generator, encoder, and the units of their codes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from sdd.io.checkpoints.hash import generator_hash
from sdd.nets.stylegan2 import Generator


@dataclass
class Backbone:
    """What a StyleGAN manipulator needs and never changes.

    Attributes:
        generator: draws W+ codes.
        encoder: images (B, 3, S, S) in [−1, 1] → W+ codes (B, L, D).
        latent_mean, latent_std: the codes' statistics, (L, D), which give every dimension its unit.
        generator_hash: names the generator that an editor belongs to.
    """

    generator: Generator
    encoder: nn.Module
    latent_mean: Tensor
    latent_std: Tensor
    generator_hash: str

    @property
    def image_size(self) -> int:
        """Side of the pictures drawn."""
        return self.generator.size

    @cached_property
    def encoder_hash(self) -> str:
        """Names the encoder by its tensors; reckoned once."""
        return generator_hash(self.encoder)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.latent_mean.device

    def to(self, device: torch.device | str) -> Backbone:
        """Move everything to `device` (in place) and return it."""
        self.generator.to(device)
        self.encoder.to(device)
        self.latent_mean, self.latent_std = self.latent_mean.to(device), self.latent_std.to(device)
        return self
