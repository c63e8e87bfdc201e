"""DiffusionCLIP (Kim, Kwon, Ye; CVPR 2022, arXiv 2110.02711): an unconditional diffusion model fine-tuned so that what
it decodes from a picture's DDIM inversion has moved in CLIP's space as the text has.

Plain functions, of noise predictors, tensors and numbers:
`sdd.methods.ddim`: `steps`, `invert`, `decode`, `move`, `ancestral` (the chain; equation 12 of arXiv 2010.02502);
`sdd.methods.directional`: `objective` (equations 7-9), `directional`;
`sdd.methods.finetune.finetune` (Adam, the rate × 1.3 every epoch);
`sdd.methods.mixing`: `ratio`, `hybrid` (Section 3.4);
here: `chain_losses` (the loss at the end of the whole chain), `step_losses` (the authors' GPU-efficient variant: a loss
and an optimiser step at every step of the chain), `train`, `optimise_latents` (the state at t₀ moves, not the network).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from sdd.io.progress import Report, silent
from sdd.methods.clip import Clip, asked, clip_of
from sdd.methods.ddim import Noise, at, decode, invert, move, steps
from sdd.methods.directional import Features, Weights, objective
from sdd.methods.finetune import Update, finetune
from sdd.methods.of_domain import models_of
from sdd.methods.pixel_diffusion import PixelDiffusion
from sdd.methods.protocol import Card, Method
from sdd.methods.tuned import RATIO, SOURCE, Tuned, directed, fitting, recogniser

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models

# (decoded pictures, their sources, what the identity network sees instead or None) → (what is minimised, directional)
Objective = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]


def chain_losses(
    predict: Noise, images: Tensor, latents: Tensor, abar: Tensor, chain: Sequence[int], goal: Objective
) -> Iterator[tuple[Tensor, Tensor]]:
    """One loss: of the picture decoded through the whole chain, with its gradient through every network call."""
    yield goal(decode(predict, latents, abar, chain), images, None)


def step_losses(
    predict: Noise,
    images: Tensor,
    latents: Tensor,
    abar: Tensor,
    chain: Sequence[int],
    goal: Objective,
    identity_of: Literal["estimate", "state"] = "estimate",
) -> Iterator[tuple[Tensor, Tensor]]:
    """A loss at every step of the chain, of that step's x̂₀; no gradient passes from one step to the next.

    Args:
        identity_of: what the identity network sees: x̂₀, or as in the published code the next state, which is noisy
            and has no gradient.
    """
    x = latents
    for t, down in pairwise([*reversed(chain), -1]):
        x, clean = move(x, predict(x, t), at(abar, t), at(abar, down))
        x = x.detach()
        yield goal(clean, images, x if identity_of == "state" else None)


def train(
    predict: Noise,
    parameters: Iterable[Tensor],
    images: Tensor,
    latents: Tensor,
    *,
    abar: Tensor,
    chain: Sequence[int],
    goal: Objective,
    rate: float,
    epochs: int,
    mode: Literal["chain", "steps"] = "chain",
    identity_of: Literal["estimate", "state"] = "estimate",
    growth: float = 1.3,
    batch: int = 1,
    after: Callable[[int], object] = lambda epoch: None,
    report: Report = silent,
) -> list[Update]:
    """Fine-tune `parameters`, on which `predict` depends, for pictures (N, 3, S, S) and their states at t₀.

    Returns:
        What happened at every optimiser step: one a batch in mode "chain", as many as the chain has in mode "steps".
    """

    def losses(index: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
        if mode == "chain":
            return chain_losses(predict, images[index], latents[index], abar, chain, goal)
        return step_losses(predict, images[index], latents[index], abar, chain, goal, identity_of)

    return finetune(
        parameters,
        losses,
        len(images),
        rate=rate,
        epochs=epochs,
        growth=growth,
        batch=batch,
        after=after,
        report=report,
    )


def optimise_latents(
    predict: Noise,
    latents: Tensor,
    *,
    abar: Tensor,
    chain: Sequence[int],
    loss: Callable[[Tensor], Tensor],
    rate: float = 2e-2,
    updates: int = 5,
) -> tuple[Tensor, list[float]]:
    """Move the states at t₀ by Adam, each on its own, until the pictures decoded from them please `loss`; the network
    stays.

    Args:
        loss: decoded pictures (B, 3, S, S) → a number, summed over pictures.

    Returns:
        The moved states, and the loss before every update.
    """
    moved = latents.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=rate)
    found = []
    for _ in range(updates):
        value = loss(decode(predict, moved, abar, chain))
        (moved.grad,) = torch.autograd.grad(value, [moved])
        optimizer.step()
        found.append(float(value.detach()))
    return moved.detach(), found


@dataclass(frozen=True)
class Settings:
    """How to train and edit.

    The defaults are the authors' README; their code's own defaults are t₀ 400, rate 2e-6, L1 0 and one epoch.

    Attributes:
        t0: where pictures are encoded to. inverted, trained, decoded: timesteps of encoding, training and editing.
        pictures: how many of the domain's are trained on.
        mode: gradient through the whole chain, or an optimiser step at every step.
        identity_of: "state" is as published, without any effect on the gradient; see `step_losses`.
    """

    t0: int = 500
    inverted: int = 40
    trained: int = 6
    decoded: int = 40
    pictures: int = 50
    batch: int = 1
    rate: float = 8e-6
    growth: float = 1.3
    epochs: int = 5
    weights: Weights = field(default_factory=Weights)
    mode: Literal["chain", "steps"] = "chain"
    identity_of: Literal["estimate", "state"] = "estimate"


PUBLISHED = Settings(identity_of="state")
# A network a thousandth of the size moves further before it forgets; measured on validation avatars (docs/methods.md).
SMALL = Settings(rate=3e-4, batch=2, epochs=3, pictures=24, inverted=20, decoded=20)


def goal_of(prompt: str, source: str, clip: Clip, weights: Weights, identity: Features | None = None) -> Objective:
    """What fine-tuning minimises for two texts."""
    toward = directed(clip, prompt, source)

    def goal(edited: Tensor, images: Tensor, recognised: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return objective(edited, images, toward, weights, identity, recognised)

    return goal


class DiffusionCLIP(Method):
    """The method.

    Args:
        settings: None for `Settings()`, and `SMALL` where the network has fewer than ten million weights.
    """

    card = Card(
        name="diffusionclip",
        title="a diffusion model fine-tuned by directional CLIP through the whole DDIM chain",
        paper="Kim, Kwon and Ye, CVPR 2022, arXiv 2110.02711",
        needs=("ddpm", "clip"),
        trains="the whole U-Net",
        calls="40 to encode + 40 to decode",
        licence="none: the LICENSE file is empty",
        knob=RATIO,
    )

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings

    def fit(
        self,
        prompt: str,
        source_prompt: str,
        domain: Domain,
        models: Models | None = None,
        *,
        learned: dict[str, Tensor] | None = None,
        seed: int = 0,
        report: Report = silent,
    ) -> Tuned:
        original = PixelDiffusion.of((models or models_of(domain)).get("ddpm", self.card.name))
        s = self.settings or (SMALL if original.small() else Settings())
        up, down = steps(s.inverted, s.t0), steps(s.trained, s.t0)
        tuned = original.copy()
        if learned:
            tuned.fill(learned)
        else:
            clip = clip_of(domain, models, self.card.name)
            goal = goal_of(asked(prompt), source_prompt.strip() or SOURCE, clip, s.weights, recogniser(domain))
            images = fitting(domain.images(s.pictures, seed, "train"), original.size).to(original.device)
            latents = torch.cat([invert(original, part, original.abar, up) for part in images.split(8)])
            tuned.net.requires_grad_(True)
            train(
                tuned, tuned.net.parameters(), images, latents, abar=original.abar, chain=down, goal=goal,
                rate=s.rate, growth=s.growth, epochs=s.epochs, batch=s.batch, mode=s.mode, identity_of=s.identity_of,
                report=report,
            )  # fmt: skip
            tuned.net.requires_grad_(False)

        def encode(network: PixelDiffusion, images: Tensor, seed: int) -> Tensor:
            return invert(network, images, network.abar, up)

        return Tuned(original, tuned, encode, steps(s.decoded, s.t0))


METHOD = DiffusionCLIP()
