"""A step of Algorithm 1, and the two things that are handed to it: a guidance, and terms.

Both are plain callables, so that another guidance, or a term more, is taken without anyone's knowing what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from sdd.manipulators.protocol import Change, Prepared


@dataclass
class Step:
    """What one step did: pictures y, `index` (B,) of all, at timesteps t (B,); their change, the images, the loss."""

    number: int
    index: Tensor
    y: Prepared
    t: Tensor
    change: Change
    images: Tensor
    loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    terms: dict[str, Tensor] = field(default_factory=dict)


class Guidance(Protocol):
    """Which way latents should move."""

    def __call__(self, latents: Tensor, t: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """The gradient on latents (B, C, h, w) of the pictures `index` (B,), at t (B,) with that noise; no graph."""
        ...


class Term(Protocol):
    """What else should be small."""

    def __call__(self, step: Step) -> Tensor:
        """A scalar of the step's change and images, differentiable."""
        ...
