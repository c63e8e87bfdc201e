"""Algorithm 1 of arXiv 2307.08448: distil what a diffusion model knows of a prompt into an image manipulator f_φ.

    1   S ← {t : HQS_t(γ) > ξ}                              sdd.paper.search, sdd.paper.timesteps
    2   repeat
    3       y ~ Y,  t ~ S,  ε ~ N(0, I)
    4       x ← f_φ(y)
    5       g ← w(t) (ε̂_θ(√ᾱ_t E(x) + √(1 − ᾱ_t) ε, t, γ) − ε)
    6       φ ← φ − η ∇_φ [⟨g, E(x)⟩ + λ_L2 ‖Δ‖² + λ_id L_id]
    7   until converged

As a generator it yields after each step what the step did and keeps nothing else: progress, logging, checkpoints, rates
and stopping are the caller's, who goes on from any step with the same optimiser and the same source of chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from sdd.manipulators.protocol import Change, Manipulator, Prepared
from sdd.paper.step import Guidance, Step, Term
from sdd.teachers.protocol import Teacher


def distil(
    manipulator: Manipulator,
    sources: Prepared,
    teacher: Teacher,
    guidance: Guidance,
    timesteps: Callable[[int], Sequence[int]],
    optimizer: torch.optim.Optimizer,
    random: torch.Generator,
    *,
    terms: Mapping[str, Term] | None = None,
    batch: int = 2,
    choose: Callable[[int], Tensor] | None = None,
    strength: float | Tensor = 1.0,
    encode: Callable[[Prepared, Change, Tensor], Tensor] | None = None,
    precision: Callable[[], AbstractContextManager[object]] = nullcontext,
    start: int = 0,
    share: slice = slice(None),
) -> Iterator[Step]:
    """Train `manipulator.learned`, for ever.

    Args:
        sources: Y, prepared.
        guidance: line 5; `sdd.paper.objective.ScoreDistillation` is the paper's.
        timesteps: S at a step; the paper's does not vary.
        terms: of line 6, by name.
        choose: pictures (B,) of a step; by default drawn at random, each once in a batch.
        strength: of the change; one that requires a gradient gets ∂loss/∂strength.
        encode: (y, change, images) → their latents; by default E, a draw from the autoencoder's posterior.
        start: steps that were done before.
        share: of the pictures drawn for a step, those computed here; others are another process's, whose gradients the
            optimiser averages with these.
    """
    device = next(manipulator.learned.parameters()).device
    number, size = start, min(batch, len(sources))
    while True:  # 2
        if choose is None:
            index = torch.randperm(len(sources), generator=random)[:size].to(device)  # 3
        else:
            index = choose(number).to(device)
        now = torch.tensor(timesteps(number))
        t = now[torch.randint(len(now), (len(index),), generator=random)].to(device)
        noise = torch.randn(len(index), *teacher.latent_shape, generator=random).to(device)
        index, t, noise = index[share], t[share], noise[share]
        with precision():
            y = sources[index]
            change = manipulator.change(y).scaled(strength)
            images = manipulator.draw(y, change)  # 4
            latents = teacher.encode_image(images, True, random) if encode is None else encode(y, change, images)
            g = guidance(latents.detach(), t, noise, index)  # 5
            step = Step(number + 1, index, y, t, change, images)
            step.terms = {"guidance": (g * latents).sum() / len(index)}
            step.terms |= {name: term(step) for name, term in (terms or {}).items()}
            step.loss = torch.stack(list(step.terms.values())).sum()
        optimizer.zero_grad()
        step.loss.backward()  # 6
        optimizer.step()
        number += 1
        yield step  # 7 is the caller's
