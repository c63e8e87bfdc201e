"""Fine-tuning a network for one prompt as DiffusionCLIP and effdiff do it: Adam whose rate *grows* every epoch.

    updates = finetune(net.parameters(), losses, len(images), rate=8e-6, epochs=5)

`losses` gives, for the pictures of some indices, one loss after another; an optimiser step follows each, so that what
it computes next already uses the changed network. Plain function: `finetune`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sdd.errors import SddError
from sdd.io.progress import Report, silent

Losses = Callable[[list[int]], Iterator[tuple[Tensor, Tensor]]]  # indices → (what is minimised, its directional part)


@dataclass(frozen=True)
class Update:
    """One optimiser step: what was minimised, the directional loss in it, the learning rate."""

    loss: float
    directional: float
    rate: float


def finetune(
    parameters: Iterable[nn.Parameter | Tensor],
    losses: Losses,
    count: int,
    *,
    rate: float,
    epochs: int,
    growth: float = 1.3,
    batch: int = 1,
    after: Callable[[int], object] = lambda epoch: None,
    report: Report = silent,
) -> list[Update]:
    """Train for `epochs` passes over `count` pictures, in their order, and say what happened at every optimiser step.

    Args:
        parameters: what learns, in place.
        rate: Adam's, in the first epoch. growth: its factor after every epoch (published: 1.3).
        batch: pictures of one call of `losses`.
        after: called with the number of each finished epoch, from 0.

    Raises:
        SddError: the loss is not a number, or there are no pictures.
    """
    if not count:
        raise SddError("there are no pictures to fine-tune with; give the domain some")
    optimizer = torch.optim.Adam(list(parameters), lr=rate)
    found: list[Update] = []

    def update(loss: Tensor, directional: Tensor) -> None:
        if not torch.isfinite(loss):
            raise SddError("fine-tuning broke down (its loss is not a number); lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        found.append(Update(float(loss.detach()), float(directional.detach()), rate))

    for epoch in range(epochs):
        for start in range(0, count, batch):
            end = min(start + batch, count)
            with torch.enable_grad():
                for loss, directional in losses(list(range(start, end))):
                    update(loss, directional)
            report("fine-tuning", epoch * count + end, epochs * count)
        rate *= growth
        for group in optimizer.param_groups:
            group["lr"] = rate
        after(epoch)
    return found
