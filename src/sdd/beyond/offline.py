"""First what the latents of each picture become, then a network that does the same to pictures.

Algorithm 1 pushes every step's guidance through the encoder into the manipulator. A network that writes pixels and
knows nothing of pictures takes very many of these noisy steps. Here guidance moves the latents themselves, which are
what the teacher knows, a few steps a picture:

    z ← z − η g / u          g the guidance at z, masked; u its size at the first step      once a picture
    Δ = D(z) − D(E(y))       what that makes of the picture: both decoded, so that what the autoencoder loses cancels
    min_φ ‖f_φ(y) − y − Δ‖   absolute, weighed by where Δ is large

This is not the paper's objective: the guidance is the paper's or another, S is the paper's, and φ is regressed on
what they do to the source pictures. Descending latents one picture at a time is score distillation as arXiv 2304.07090
edits with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.beyond.scale import means_something
from sdd.manipulators.protocol import Manipulator, Prepared
from sdd.nets.resize import resize
from sdd.paper.step import Guidance, Step, Term
from sdd.teachers.protocol import Teacher

FLOOR = 0.1  # weight of a pixel that does not change, where one that changes most has 1
LARGE = 0.5  # share of a picture's largest change from which on a pixel has the whole weight
NEAR = 3  # pixels over which sizes of changes are averaged


@torch.no_grad()
def changes_of(
    teacher: Teacher,
    guidance: Guidance,
    latents: Tensor,
    timesteps: Callable[[float], Sequence[int]],
    random: torch.Generator,
    steps: int = 10,
    rate: float = 0.1,
    batch: int = 16,
    advance: Callable[[int], object] = lambda count: None,
) -> Tensor:
    """What guidance makes of pictures.

    Args:
        guidance: which way latents should move; pictures are told apart by their index.
        latents: of the source pictures, (N, C, h, w).
        timesteps: among which to draw when a share of the steps is done.
        rate: root mean square of a first step, in units of latents; it falls to zero over the second half.
        advance: called with the number of pictures that took a step.

    Returns:
        Δ, (N, 3, s, s), a change of pictures of the size that the teacher works at.

    Raises:
        SddError: the guidance is zero, or not finite: see `means_something`.
    """
    moved, unit = latents.clone(), 0.0
    for k in range(steps):
        now = torch.tensor(timesteps(k / steps))
        gradient = torch.empty_like(latents)
        for index in torch.arange(len(latents)).split(batch):
            t = now[torch.randint(len(now), (len(index),), generator=random)].to(latents.device)
            noise = torch.randn(len(index), *latents.shape[1:], generator=random).to(latents)
            where = index.to(latents.device)
            gradient[where] = guidance(moved[where], t, noise, where)
            if k == 0:
                means_something(gradient[where], teacher, int(t[0]))
            advance(len(index))
        if k == 0:
            unit = float(gradient.square().mean((1, 2, 3)).sqrt().mean())
        moved -= rate * min(1.0, 2 * (1 - k / steps)) / unit * gradient
    parts = zip(moved.split(batch), latents.split(batch), strict=True)
    return torch.cat([teacher.decode(after) - teacher.decode(before) for after, before in parts])


class Distance:
    """How far what a manipulator changes is from what it should: a term.

    Mean absolute difference, in units of the mean absolute change, weighed by how much there is to change nearby: of an
    edit of something small, a mouth, the rest of the picture would otherwise be nearly all that counts.

    Args:
        changes: (N, 3, s, s).
    """

    def __init__(self, manipulator: Manipulator, changes: Tensor) -> None:
        self.manipulator, self.changes = manipulator, changes
        size = changes.square().mean(1, keepdim=True).sqrt()
        size = F.avg_pool2d(size, NEAR, stride=1, padding=NEAR // 2)
        most = size.amax((2, 3), keepdim=True).clamp_min(1e-12)
        weights = (size / (LARGE * most)).clamp(max=1) + FLOOR
        self.weights = weights / (weights.mean() * changes.abs().mean().clamp_min(1e-12))

    def __call__(self, step: Step) -> Tensor:
        shown = resize(self.manipulator.shown(step.y, step.change), self.changes.shape[-1])
        return (self.weights[step.index] * (shown - self.changes[step.index]).abs()).mean()


def regress(
    manipulator: Manipulator,
    sources: Prepared,
    terms: Mapping[str, Term],
    optimizer: torch.optim.Optimizer,
    random: torch.Generator,
    *,
    batch: int = 8,
    strength: float | Tensor = 1.0,
    start: int = 0,
) -> Iterator[Step]:
    """Train `manipulator.learned` on terms alone, for ever: the loop of `sdd.paper.algorithm` without a teacher."""
    device, number = next(manipulator.learned.parameters()).device, start
    while True:
        index = torch.randperm(len(sources), generator=random)[:batch].to(device)
        y = sources[index]
        change = manipulator.change(y).scaled(strength)
        step = Step(number + 1, index, y, index.new_zeros(0), change, manipulator.draw(y, change))
        step.terms = {name: term(step) for name, term in terms.items()}
        step.loss = torch.stack(list(step.terms.values())).sum()
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        number += 1
        yield step
