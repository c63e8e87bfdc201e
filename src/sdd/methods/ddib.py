"""Dual diffusion implicit bridges (Su et al., ICLR 2023, arXiv 2203.08382): DDIM inversion under the source prompt,
denoising under the target prompt.

The computations, as functions of callables and tensors. Matched pairs, the default: the noise of a move between two
timesteps is taken at the later one in both directions, so that without guidance the way back is the way there up to
the solver's error, and the clean picture is the state of the first timestep:

    invert, denoise       latents to the noise of a level and back, with diffusers' schedulers

As published, in the convention of guided-diffusion: inversion takes the noise at the timestep it moves *from*, and its
last move goes to ᾱ = 0, so that the latent is the last predicted noise itself, which loses the exact cycle:

    respaced              the timesteps of a respacing: "20", "ddim20", "10,5", "" for all
    published_encode      picture to latent: every state, the latent last
    published_decode      latent to picture, with clipping and a classifier's gradient where asked for

    gaussian_transport    the exact bridge between two Gaussians
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.methods.latents import (
    Predict,
    ddim,
    edited_in_latents,
    guided,
    last_steps,
    level,
    reconstructed,
    reversed_ddim,
)
from sdd.methods.of_domain import models_of
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.teachers.protocol import Teacher

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models

Gradient = Callable[[Tensor, Tensor], Tensor]  # ∇ log p(y | x_t) of noisy pictures at timesteps, scaled as wished


# --- Matched pairs ---------------------------------------------------------------------------------------------------


def invert(
    predict: Predict, x0: Tensor, alphas_cumprod: Tensor, steps: int, to: float = 1.0, report: Report = silent
) -> Tensor:
    """The noisy latents that denoising would turn into `x0`.

    Args:
        predict: noise of noisy latents at timesteps, under the source prompt.
        x0: (B, C, h, w). alphas_cumprod: ᾱ of every timestep, (T,). steps: of the whole schedule.
        to: noise level up to which they are inverted, in [0, 1]: the first int(steps · to) steps.
    """
    scheduler = reversed_ddim(ddim(alphas_cumprod, steps))
    return _walk(predict, x0, scheduler, scheduler.timesteps[: last_steps(steps, to)], "inverting", report)


def denoise(
    predict: Predict, latent: Tensor, alphas_cumprod: Tensor, steps: int, start: float = 1.0, report: Report = silent
) -> Tensor:
    """The clean latents of noisy ones of a level: the last int(steps · start) of DDIM's steps. See `invert`."""
    scheduler = ddim(alphas_cumprod, steps)
    count = last_steps(steps, start)
    return _walk(predict, latent, scheduler, scheduler.timesteps[steps - count :], "denoising", report)


def _walk(predict: Predict, x: Tensor, scheduler: Any, timesteps: Tensor, what: str, report: Report) -> Tensor:
    for k, t in enumerate(timesteps):
        x = scheduler.step(predict(x, t.expand(len(x)).to(x.device)), t, x).prev_sample
        report(what, k + 1, len(timesteps))
    return x


# --- As published ----------------------------------------------------------------------------------------------------


def respaced(total: int, how: str) -> list[int]:
    """Which of `total` timesteps a respacing keeps, ascending.

    Args:
        how: "N": N points from the first to the last timestep, equally far apart before rounding; "N,M,…": the same in
            as many equal parts of the schedule; "ddimN": every k-th from 0 for the smallest k that gives N; "": all.

    Raises:
        SddError: no respacing of that many timesteps.
    """
    if how == "":
        return list(range(total))
    digits = how.removeprefix("ddim").split(",")
    if not all(d.isdecimal() and len(d) < 9 and int(d) > 0 for d in digits) or (how[:4] == "ddim" and len(digits) > 1):
        raise SddError(f'a respacing is a number of steps, several with commas, or "ddim" and a number, not {how!r}')
    counts = [int(d) for d in digits]
    if how.startswith("ddim"):
        for stride in range(1, total):
            if len(range(0, total, stride)) == counts[0]:
                return list(range(0, total, stride))
        raise SddError(f"no whole stride takes {counts[0]} of {total} timesteps; give the number without ddim")
    found, first = list[int](), 0
    for part, count in enumerate(counts):
        size = total // len(counts) + (part < total % len(counts))
        if count > size:
            raise SddError(f"{count} of {size} timesteps cannot be kept; give fewer steps")
        between = (size - 1) / (count - 1) if count > 1 else 1.0
        at = 0.0
        for _ in range(count):  # added up, not multiplied: where a point lies midway, rounding follows the sum
            found.append(first + round(at))
            at += between
        first += size
    return found


def published_encode(predict: Predict, x0: Tensor, alphas_cumprod: Tensor, timesteps: Sequence[int]) -> Tensor:
    """Every state of the encoding, (steps, B, C, H, W); the last is the latent.

    State k is at timestep k of the list; its noise and x̂₀ are taken there, without clipping or guidance, and it moves
    to timestep k + 1. The last moves to ᾱ = 0. The picture counts as the state of the first.

    Args:
        predict: noise of noisy pictures at timesteps (B,), which are those of the whole schedule.
        alphas_cumprod: ᾱ of the whole schedule, (T,). timesteps: ascending.
    """
    abar = [float(alphas_cumprod[t]) for t in timesteps]
    x, states = x0, []
    for t, here, there in zip(timesteps, abar, [*abar[1:], 0.0], strict=True):
        eps = predict(x, torch.full((len(x),), t, device=x.device))
        x = _move(x, eps, here, there)
        states.append(x)
    return torch.stack(states)


def published_decode(
    predict: Predict, latent: Tensor, alphas_cumprod: Tensor, timesteps: Sequence[int], clip: bool = False,
    gradient: Gradient | None = None,
) -> Tensor:  # fmt: skip
    """Every state of the decoding, (steps, B, C, H, W); the last is the picture. See `published_encode`.

    State k moves to timestep k − 1 of the list, the first of the list to ᾱ = 1.

    Args:
        clip: x̂₀ to [-1, 1] before each move, on in the authors' script.
        gradient: of a classifier: ε becomes ε − √(1 − ᾱ) ∇ log p(y | x_t), after clipping.
    """
    abar = [float(alphas_cumprod[t]) for t in timesteps]
    x, states = latent, []
    for t, here, there in zip(reversed(timesteps), reversed(abar), [*reversed(abar[:-1]), 1.0], strict=True):
        at = torch.full((len(x),), t, device=x.device)
        eps = predict(x, at)
        if clip:
            clean = ((x - (1 - here) ** 0.5 * eps) / here**0.5).clamp(-1, 1)
            eps = (x - here**0.5 * clean) / (1 - here) ** 0.5
        if gradient is not None:
            eps = eps - (1 - here) ** 0.5 * gradient(x, at)
        x = _move(x, eps, here, there)
        states.append(x)
    return torch.stack(states)


def _move(x: Tensor, eps: Tensor, here: float, there: float) -> Tensor:
    """DDIM's deterministic move from one ᾱ to another."""
    clean = (x - (1 - here) ** 0.5 * eps) / here**0.5
    return there**0.5 * clean + (1 - there) ** 0.5 * eps


def gaussian_transport(
    x0: Tensor, source: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor], first: float = 1.0
) -> Tensor:
    """The exact bridge between two Gaussians of independent entries, each (mean, standard deviation).

    Args:
        first: ᾱ of the state that the clean picture counts as; 1 for the picture itself.
    """
    mean, std = source
    mean_to, std_to = target

    def at(m: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        return first**0.5 * m, (first * s**2 + 1 - first).sqrt()

    (m, s), (m_to, s_to) = at(mean, std), at(mean_to, std_to)
    return m_to + s_to / s * (x0 - m)


# --- The method ------------------------------------------------------------------------------------------------------


class Bridge(Fitted):
    """A teacher with the prompts of both ends.

    Args:
        scale: of classifier-free guidance at the target's end; the source's end has none.
        steps: of the whole schedule, in each direction.
        published: the authors' convention, over the whole schedule; the knob must then be 1.
    """

    def __init__(
        self, teacher: Teacher, prompt: str, source_prompt: str, scale: float, steps: int, published: bool
    ) -> None:
        self.teacher, self.steps, self.published = teacher, steps, published
        self.source, self.target = guided(teacher, source_prompt), guided(teacher, prompt, scale)

    @torch.no_grad()
    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """See `Fitted`; the knob is the noise level up to which pictures are inverted. Nothing is drawn at random."""
        to = level(1.0 if self.published and knob is None else knob, CARD)
        if self.published and to != 1:
            raise SddError(f"the published {CARD.name} inverts over the whole schedule; its knob is 1, not {to:g}")
        return edited_in_latents(self.teacher, images, lambda x0, told: self._bridged(x0, to, told), report)

    def _bridged(self, x0: Tensor, to: float, report: Report) -> Tensor:
        abar, n = self.teacher.alphas_cumprod, self.steps
        if self.published:
            kept = respaced(len(abar), str(n))
            latent = published_encode(self.source, x0, abar, kept)[-1]
            return published_decode(self.target, latent, abar, kept)[-1]
        return denoise(self.target, invert(self.source, x0, abar, n, to, report), abar, n, to, report)

    def unedited(self, images: Tensor) -> Tensor:
        """See `Fitted`: what the autoencoder makes of the pictures."""
        return reconstructed(self.teacher, images)


CARD = Card(
    name="ddib",
    title="DDIB: invert under the source prompt, denoise under the target",
    paper="Su et al., ICLR 2023, arXiv 2203.08382",
    needs=("teacher",),
    trains="",
    calls="2 × 50 (as published 2 × 1000)",
    licence="MIT",
    knob=Knob("noise level", 0.7, (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), "how far pictures are inverted"),
)


class DDIB(Method):
    """Dual diffusion implicit bridges with a text-to-image teacher.

    Args:
        scale: of guidance at the target's end. steps: in each direction. published: the authors' convention.
    """

    card = CARD

    def __init__(self, scale: float = 1.0, steps: int = 50, published: bool = False) -> None:
        self.scale, self.steps, self.published = scale, steps, published

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
        """See `Method`; nothing is trained, and "" inverts under the null prompt."""
        teacher = (models or models_of(domain)).get("teacher", CARD.name)
        return Bridge(teacher, prompt, source_prompt, self.scale, self.steps, self.published)


METHOD = DDIB()
