"""What makes a hundred noisy steps arrive: rates that warm up and fall, averaged weights, outliers held down."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from sdd.errors import SddError


def rate(step: int, limit: int, warmup: int, schedule: str) -> float:
    """The share of the learning rate at a step (from 0): rising over `warmup` steps; then "constant", or "cosine"."""
    rising = min(1.0, (step + 1) / max(1, warmup))
    return rising * (0.5 * (1 + math.cos(math.pi * step / limit)) if schedule == "cosine" else 1.0)


def average_of(net: nn.Module, decay: float) -> AveragedModel:
    """A moving average of a network's weights that forgets its start within the first steps; 0 keeps none."""

    def mix(kept: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        n = float(count) + 1
        return kept.lerp(new, 1 - min(decay, n / (n + 9)))

    return AveragedModel(net, avg_fn=mix)


class Outliers:
    """Before each step of an optimiser: refuse a gradient that is not finite, hold down one that is unusually large.

    Args:
        optimizer: whose gradients to look at.
        most: a larger gradient, in running medians, is scaled down to it; None leaves all as they are.
        norms: of the last gradients, where an interrupted training goes on.
    """

    MEMORY, FEWEST = 50, 10  # gradients over which the median runs, and from how many on there is one

    def __init__(self, optimizer: torch.optim.Optimizer, most: float | None, norms: Sequence[float] = ()) -> None:
        self.most, self.norms = most, list(norms)
        optimizer.register_step_pre_hook(self._before)

    @property
    def last(self) -> float:
        """Norm of the last gradient, before anything was done to it."""
        return self.norms[-1]

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
        if not math.isfinite(norm):
            raise SddError(
                "the gradient is not finite; lower the guidance scale or the learning rate, or check the teacher's and "
                "the generator's weights"
            )
        usual = statistics.median(self.norms) if len(self.norms) >= self.FEWEST else math.inf
        if self.most is not None and norm > self.most * usual:
            for gradient in gradients:
                gradient.mul_(self.most * usual / norm)
        self.norms = [*self.norms[1 - self.MEMORY :], norm]
