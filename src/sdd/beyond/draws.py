"""Several draws of timestep and noise for one rendering.

Drawing a picture and pushing a gradient back through generator and encoder costs more than asking the teacher about it
once, and most of what a step's gradient does not know is noise. So each picture drawn is asked about several times.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sdd.paper.step import Guidance


class Draws:
    """The mean of a guidance over several draws: the one it is handed, and others of the same kind.

    Args:
        count: draws in all.
        random: where the others come from.

    Attributes:
        timesteps: among which the others are drawn; whoever trains sets them.
    """

    def __init__(self, guidance: Guidance, count: int, random: torch.Generator) -> None:
        self.guidance, self.count, self.random = guidance, count, random
        self.timesteps: Sequence[int] = ()

    def __call__(self, latents: Tensor, t: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        n, more = len(latents), self.count - 1
        if more == 0:
            return self.guidance(latents, t, noise, index)
        among = torch.tensor(self.timesteps)
        others = among[torch.randint(len(among), (more * n,), generator=self.random)].to(t)
        noises = torch.randn(more * n, *latents.shape[1:], generator=self.random).to(noise)
        every = self.guidance(
            latents.repeat(self.count, 1, 1, 1),
            torch.cat([t, others]),
            torch.cat([noise, noises]),
            index.repeat(self.count),
        )
        return every.unflatten(0, (self.count, n)).mean(0)
