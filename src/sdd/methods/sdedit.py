"""SDEdit (Meng et al., ICLR 2022, arXiv 2108.01073): noise a picture to a level α, then denoise it under the prompt.

With text it is what the paper of selective diffusion distillation compares with, and what diffusers calls image to
image: of n steps the last int(n · α) are run from the noised latents.

The computations, as functions of callables and tensors:

    img2img        latents noised to the first of the last timesteps of a diffusers scheduler, denoised with it
    ancestral_step one step of DDPM, posterior variance, x̂₀ not clipped
    start          √ᾱ_{t−1} x₀ + √(1 − ᾱ_{t−1}) e, where stroke editing starts
    strokes        the authors' editing with a mask and repetitions: every state and sample

The authors' code puts the kept region back one level noisier than the rest, and still noisy at the end
(`published=True`); by default it is put back at the level of the rest, and as it was at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd.io.progress import Report, silent
from sdd.methods.latents import (
    Predict,
    ddim,
    edited_in_latents,
    guided,
    last_steps,
    level,
    reconstructed,
    shared_noise,
)
from sdd.methods.of_domain import models_of
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.teachers.protocol import Teacher

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models

FLOOR = 1e-20  # of the posterior's variance, which is 0 at the first timestep


# --- With text: image to image ---------------------------------------------------------------------------------------


def img2img(
    predict: Predict, x0: Tensor, noise: Tensor, scheduler: Any, strength: float, report: Report = silent
) -> Tensor:
    """Latents noised to a level and denoised.

    Args:
        predict: noise of noisy latents at timesteps.
        x0, noise: (B, C, h, w).
        scheduler: of diffusers, its timesteps set; what noise is left after a step is its own matter (DDIM: none).
        strength: α in [0, 1]; 0 gives the latents back.
    """
    count = last_steps(len(scheduler.timesteps), strength)
    if count == 0:
        return x0.clone()
    timesteps = scheduler.timesteps[len(scheduler.timesteps) - count :]
    x = scheduler.add_noise(x0, noise, timesteps[:1].expand(len(x0)))
    for k, t in enumerate(timesteps):
        eps = predict(x, t.expand(len(x)).to(x.device))
        x = scheduler.step(eps, t, x).prev_sample
        report("denoising", k + 1, count)
    return x


# --- As published: strokes to pictures -------------------------------------------------------------------------------


def ancestral_step(x: Tensor, eps: Tensor, t: Tensor, betas: Tensor, noise: Tensor) -> Tensor:
    """x_{t−1} of DDPM (arXiv 2006.11239, algorithm 2) with the posterior's variance; no noise is added at t = 0.

    Args:
        x, eps, noise: (B, C, H, W): x_t, the noise predicted in it, and what is drawn. t: (B,) int64.
        betas: β of every timestep, (T,).
    """
    beta, kept = betas.double(), torch.cumprod(1 - betas.double(), 0)
    before = torch.cat([kept.new_ones(1), kept[:-1]])
    variance = (beta * (1 - before) / (1 - kept)).clamp_min(FLOOR)

    def at(values: Tensor) -> Tensor:
        return values[t.to(values.device)].to(x).view(-1, 1, 1, 1)

    mean = (x - at(beta / (1 - kept).sqrt()) * eps) / at((1 - beta).sqrt())
    return mean + (t > 0).to(x).view(-1, 1, 1, 1) * at(variance.sqrt()) * noise


def start(x0: Tensor, noise: Tensor, t: int, betas: Tensor) -> Tensor:
    """Where t denoising steps start: √ᾱ_{t−1} x₀ + √(1 − ᾱ_{t−1}) e."""
    return _noised(x0, noise, float(torch.cumprod(1 - betas.double(), 0)[t - 1]))


def _noised(x0: Tensor, noise: Tensor, kept: float) -> Tensor:
    return kept**0.5 * x0 + (1 - kept) ** 0.5 * noise


def strokes(
    predict: Predict, image: Tensor, mask: Tensor, noise: Iterable[Tensor], betas: Tensor, t: int, repeats: int = 3,
    published: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """Stroke editing: each repetition noises the picture to t and takes t ancestral steps back.

    Args:
        predict: noise of noisy pictures at timesteps (B,).
        image: (B, C, H, W) in [-1, 1].
        mask: 1 where the picture is kept, 0 where it is edited; broadcastable to the picture.
        noise: standard normal draws (B, C, H, W) in order: of each repetition its starting noise e, then one a step
            (that of the last is drawn and not used).
        betas: (T,). t: steps of a repetition; the paper's code has 400, its page 500. repeats: 3 as published.
        published: put the kept region back as the authors' code does; see the head of this file.

    Yields:
        Of each repetition every step's output before the kept region is put back (t, B, C, H, W), and the sample.
    """
    abar = [1.0, *torch.cumprod(1 - betas.double(), 0).tolist()]  # abar[k + 1] is ᾱ_k
    draws, x0 = iter(noise), image
    for _ in range(repeats):
        e, states = next(draws), []
        x = start(x0, e, t, betas)
        for k in reversed(range(t)):
            at = torch.full((len(x),), k, device=x.device)
            x = ancestral_step(x, predict(x, at), at, betas, next(draws))
            states.append(x)
            x = torch.where(mask.bool(), _noised(x0, e, abar[k + 1] if published else abar[k]), x)
        x0 = torch.where(mask.bool(), x0, x)
        yield torch.stack(states), x


# --- The method ------------------------------------------------------------------------------------------------------


class Noised(Fitted):
    """A teacher with a prompt.

    Args:
        card: whose knob is turned.
        scale: of classifier-free guidance. steps: of the whole schedule, of which α runs its share.
    """

    def __init__(self, card: Card, teacher: Teacher, prompt: str, scale: float, steps: int) -> None:
        self.card, self.teacher, self.steps = card, teacher, steps
        self.predict = guided(teacher, prompt, scale)

    @torch.no_grad()
    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """See `Fitted`; the knob is the noise level."""
        alpha = level(knob, self.card)

        def change(x0: Tensor, told: Report) -> Tensor:
            noise = shared_noise(x0.shape, seed).to(x0)
            return img2img(self.predict, x0, noise, ddim(self.teacher.alphas_cumprod, self.steps), alpha, told)

        return edited_in_latents(self.teacher, images, change, report)

    def unedited(self, images: Tensor) -> Tensor:
        """See `Fitted`: what the autoencoder makes of the pictures."""
        return reconstructed(self.teacher, images)


CARD = Card(
    name="sdedit",
    title="SDEdit: noise to a level, denoise under the prompt",
    paper="Meng et al., ICLR 2022, arXiv 2108.01073",
    needs=("teacher",),
    trains="",
    calls="α · 50 (twice with guidance)",
    licence="MIT",
    knob=Knob("noise level", 0.6, (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), "how much of the picture is drawn anew"),
)


class SDEdit(Method):
    """SDEdit with a text-to-image teacher.

    Args:
        scale: of classifier-free guidance. steps: of the whole schedule.
    """

    card = CARD

    def __init__(self, scale: float = 5.0, steps: int = 50) -> None:
        self.scale, self.steps = scale, steps

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
    ) -> Fitted:
        """See `Method`; nothing is trained, and the source prompt is not asked for."""
        teacher = (models or models_of(domain)).get("teacher", self.card.name)
        return Noised(self.card, teacher, prompt, self.scale, self.steps)


METHOD = SDEdit()
