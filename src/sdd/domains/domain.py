"""A domain: images with a generator, an encoder and, where it exists, an identity network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from sdd.nets.stylegan2 import Generator


@dataclass
class Domain:
    """What an editor is trained on and works in.

    `encoder` maps images (B, 3, S, S) in [-1, 1] to W+ codes (B, L, D); `latent_mean` and `latent_std` (L, D) are the
    codes' statistics, which give every dimension its unit; `generator_hash` names the generator an editor belongs to;
    `teacher` is a diffusers folder or hub id; `draw(n, seed, split)` yields images of the domain, in [-1, 1].
    """

    name: str
    image_size: int
    generator: Generator
    encoder: nn.Module
    latent_mean: Tensor
    latent_std: Tensor
    generator_hash: str
    teacher: str
    draw: Callable[[int, int, str], Tensor]
    identity: nn.Module | None = None
    expected_psnr: float | None = (
        None  # dB: what a picture of the domain inverts with; far below it is "not of the domain"
    )
    extra: dict[str, Any] = field(default_factory=dict)

    def images(self, n: int, seed: int = 0, split: str = "train") -> Tensor:
        """`n` images of the domain, (n, 3, S, S) in [-1, 1]."""
        return self.draw(n, seed, split)

    def to(self, device: torch.device | str) -> Domain:
        """Move networks and statistics to `device` (in place) and return the domain."""
        for net in (self.generator, self.encoder, self.identity):
            if net is not None:
                net.to(device)
        self.latent_mean, self.latent_std = self.latent_mean.to(device), self.latent_std.to(device)
        return self
