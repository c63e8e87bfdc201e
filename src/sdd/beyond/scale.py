"""The guidance in units of its own signal, so that rates and weights mean the same whatever the guidance is.

A guidance's gradient is divided once, at the start, by the size of its signal at the unchanged picture, in the
manipulator's units. Training still settles, because the gradient may shrink as the edit takes hold; dividing by each
batch's own size would keep pushing for ever, until every picture looks the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.manipulators.protocol import Change, Manipulator, Prepared
from sdd.paper.step import Guidance
from sdd.teachers.protocol import Teacher


def signal(
    manipulator: Manipulator,
    sources: Prepared,
    teacher: Teacher,
    guidance: Guidance,
    timesteps: Sequence[int],
    random: torch.Generator,
    batch: int = 8,
    batches: int = 3,
    encode: Callable[[Prepared, Change, Tensor], Tensor] | None = None,
) -> list[Tensor]:
    """Power of the guidance's signal at the unchanged picture, entry by entry of a change.

    A gradient is signal and noise. The same images get two draws of noise; the product of the two gradients keeps, on
    average, the signal alone, so that the power of a noisy guidance (sds) is not mistaken for strength.

    Args:
        encode: (y, change, images) → their latents; by default the mean of the autoencoder's posterior.

    Returns:
        For each part of a change its power averaged over images, in squared units of the manipulator, (…).

    Raises:
        SddError: the guidance is zero: the teacher sees no difference between the prompt and none.
    """
    size = min(batch, len(sources))
    total: list[Tensor] = []
    for k in range(batches):
        index = torch.randperm(len(sources), generator=random)[:size]
        y = sources[index]
        with torch.no_grad():
            shapes = manipulator.change(y).parts
        leaves = [torch.zeros_like(part).requires_grad_() for part in shapes]
        change = Change(tuple(leaves))
        images = manipulator.draw(y, change)
        latents = teacher.encode_image(images, False) if encode is None else encode(y, change, images)
        t = torch.full((size,), timesteps[k * len(timesteps) // batches], device=latents.device)
        pair = []
        for _ in range(2):
            noise = torch.randn(latents.shape, generator=random).to(latents)
            g = guidance(latents.detach(), t, noise, index.to(latents.device))
            means_something(g, teacher, int(t[0]))
            pair.append(torch.autograd.grad(latents, leaves, g, retain_graph=True))
        units = manipulator.units(change)
        power = [(a * b * unit**2).mean(0) / batches for a, b, unit in zip(*pair, units, strict=True)]
        total = power if not total else [a + b for a, b in zip(total, power, strict=True)]
    return total


def means_something(gradient: Tensor, teacher: Teacher, t: int) -> None:
    """Check a guidance's gradient on some latents at a timestep.

    Raises:
        SddError: it is zero: the teacher sees no difference between the prompt and none; or it is not finite.
    """
    most = float(gradient.abs().max())
    if most < 1e-5 * float(1 - teacher.alphas_cumprod[t]):
        raise SddError(
            "the prompt means nothing to the teacher: it predicts the same noise with and without it; use words that "
            "the teacher knows"
        )
    if not math.isfinite(most):
        raise SddError(
            "the gradient is not finite at the first step; the teacher's or the generator's weights are broken"
        )


def unit_of(power: Sequence[Tensor]) -> float:
    """The size of a signal by whose inverse the guidance is scaled.

    In these units a change of one unit in every entry has an objective of order one.

    Raises:
        SddError: the signal is not finite.
    """
    total, entries = sum(float(p.sum()) for p in power), sum(p.numel() for p in power)
    if not math.isfinite(total):
        raise SddError(
            "the gradient is not finite at the first step; the teacher's or the generator's weights are broken"
        )
    # A signal lost in its noise has no size to divide by, and needs none: it only has to stay finite.
    return math.sqrt(total * entries) if total > 0 else float(entries)


class Scaled:
    """A guidance times a number."""

    def __init__(self, guidance: Guidance, factor: float) -> None:
        self.guidance, self.factor = guidance, factor

    def __call__(self, latents: Tensor, t: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        return self.guidance(latents, t, noise, index) * self.factor
