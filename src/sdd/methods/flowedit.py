"""FlowEdit (Kulikov et al., ICCV 2025, arXiv 2412.08629): editing without inversion, on flow-matching teachers.

The picture moves along the difference of the velocities under target and source prompt, each taken where noise has
brought it (algorithm 1): with x_σ = (1 − σ) x₀ + σ e and z the edited picture so far,

    z ← z + (σ_next − σ) mean_e [ v_target(z + x_σ − x₀, σ) − v_source(x_σ, σ) ]

The computations, as functions of callables and tensors:

    flow_edit           the whole path, given velocities, noise levels and every draw of noise
    gaussian_velocity   the exact velocity field of Gaussian data, to try it on

The knob is the share of the steps that is run, n_max of n (the authors': 33 of 50 on Stable Diffusion 3, 24 of 28 on
Flux); the first of the schedule, the noisiest, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.methods.latents import edited_in_latents, last_steps, level, reconstructed
from sdd.methods.of_domain import models_of
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.paper.guidance import guide
from sdd.teachers.flow import FlowMatching, Flux

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models

Velocity = Callable[[Tensor, Tensor], Tensor]  # x_σ (B, …) and σ (B,) → dx/dσ (B, …)


def flow_edit(
    source: Velocity, target: Velocity, x0: Tensor, sigmas: Tensor, noise: Iterable[Tensor], n_max: int, n_min: int = 0,
    n_avg: int = 1, report: Report = silent,
) -> Tensor:  # fmt: skip
    """The edited picture (B, …).

    Args:
        source, target: velocities under the two prompts, guided as wished.
        x0: the picture or its latents.
        sigmas: noise levels of n steps and the final 0, (n + 1,), falling.
        noise: standard normal draws like x0, in order: n_avg for each step that moves the picture, and one where the
            last n_min steps begin.
        n_max: the last n_max of the steps are run. n_min: of them the last n_min are plain sampling from the target.

    Raises:
        SddError: counts that do not fit the steps.
    """
    n = len(sigmas) - 1
    if not (0 <= n_min <= n_max <= n and n_avg >= 1):
        raise SddError(f"of {n} steps n_max is at most {n}, n_min at most n_max, and n_avg at least 1")
    draws, z = iter(noise), x0
    levels = sigmas.tolist()

    def at(value: float) -> Tensor:
        return torch.full((len(x0),), value, dtype=x0.dtype, device=x0.device)

    for k in range(n - n_max, n - n_min):
        here, there = levels[k], levels[k + 1]
        change = torch.zeros_like(x0)
        for _ in range(n_avg):
            noisy = (1 - here) * x0 + here * next(draws)
            change += (target(z + noisy - x0, at(here)) - source(noisy, at(here))) / n_avg
        z = z + (there - here) * change
        report("editing", k + 1 - (n - n_max), n_max)
    if n_min == 0:
        return z
    start = levels[n - n_min]
    x = z + (1 - start) * x0 + start * next(draws) - x0
    for k in range(n - n_min, n):
        x = x + (levels[k + 1] - levels[k]) * target(x, at(levels[k]))
        report("editing", k + 1 - (n - n_max), n_max)
    return x


def gaussian_velocity(mean: Tensor, std: Tensor | float) -> Velocity:
    """E[e − x₀ | x_σ] where the entries of x₀ are independent N(mean, std²)."""

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        s = sigma.view(-1, *[1] * (x.ndim - 1))
        pull = (s - (1 - s) * std**2) / ((1 - s) ** 2 * std**2 + s**2)
        return pull * (x - (1 - s) * mean) - mean

    return velocity


# --- The method ------------------------------------------------------------------------------------------------------


def schedule(teacher: FlowMatching, steps: int) -> Tensor:
    """Noise levels of the teacher's own sampler, (steps + 1,), the last 0."""
    import numpy as np
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    scheduler = FlowMatchEulerDiscreteScheduler.from_config(teacher.pipeline.scheduler.config)
    if not scheduler.config.use_dynamic_shifting:
        scheduler.set_timesteps(steps)
        return scheduler.sigmas
    tokens = teacher.latent_shape[1] * teacher.latent_shape[2] // 4  # the shift grows with the picture
    config = scheduler.config
    mu = calculate_shift(
        tokens, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
    )
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    return scheduler.sigmas


def guided_velocity(teacher: FlowMatching, prompt: str, scale: float) -> Velocity:
    """The teacher's velocity for a prompt, guided without a classifier."""
    text = teacher.encode_text([prompt])
    null = teacher.encode_text([""]) if scale != 1 and prompt else None

    @torch.no_grad()
    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        told = teacher.velocity(x, sigma, text.repeat(len(x)))
        return told if null is None else guide(teacher.velocity(x, sigma, null.repeat(len(x))), told, scale)

    return velocity


class Flowing(Fitted):
    """A flow-matching teacher with both prompts.

    Args:
        share: of the steps that is run where no knob is given.
    """

    def __init__(
        self, teacher: FlowMatching, source: Velocity, target: Velocity, steps: int, share: float, n_min: int,
        n_avg: int,
    ) -> None:  # fmt: skip
        self.teacher, self.source, self.target, self.share = teacher, source, target, share
        self.steps, self.n_min, self.n_avg = steps, n_min, n_avg

    @torch.no_grad()
    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """See `Fitted`; the knob is the share of the steps that is run."""
        n_max = last_steps(self.steps, level(self.share if knob is None else knob, CARD))
        sigmas = schedule(self.teacher, self.steps)

        def change(x0: Tensor, told: Report) -> Tensor:
            random = torch.Generator().manual_seed(seed)
            draws = (torch.randn(1, *x0.shape[1:], generator=random).to(x0).expand_as(x0) for _ in iter(int, 1))
            n_min = min(self.n_min, n_max)
            return flow_edit(self.source, self.target, x0, sigmas, draws, n_max, n_min, self.n_avg, told)

        return edited_in_latents(self.teacher, images, change, report)

    def unedited(self, images: Tensor) -> Tensor:
        """See `Fitted`: what the autoencoder makes of the pictures."""
        return reconstructed(self.teacher, images)


CARD = Card(
    name="flowedit",
    title="FlowEdit: editing without inversion, on flow-matching teachers",
    paper="Kulikov et al., ICCV 2025, arXiv 2412.08629",
    needs=("teacher",),
    trains="",
    calls="33 · 2 (twice with guidance)",
    licence="MIT",
    knob=Knob("share of steps", 0.66, (0.3, 0.4, 0.5, 0.6, 0.66, 0.8, 0.9, 1.0), "how early editing sets in"),
)


class FlowEdit(Method):
    """FlowEdit; where a number is None it is the authors' for the teacher's kind.

    Args:
        steps: of the schedule: 50, on Flux 28. n_min, n_avg: see `flow_edit`.
        source_scale, target_scale: of guidance: 3.5 and 13.5, on Flux 1.5 and 5.5.
    """

    card = CARD

    def __init__(
        self, steps: int | None = None, n_min: int = 0, n_avg: int = 1, source_scale: float | None = None,
        target_scale: float | None = None,
    ) -> None:  # fmt: skip
        self.steps, self.n_min, self.n_avg = steps, n_min, n_avg
        self.source_scale, self.target_scale = source_scale, target_scale

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
        """See `Method`; nothing is trained.

        Raises:
            SddError: the teacher is not a flow-matching one.
        """
        teacher: Any = (models or models_of(domain)).get("teacher", CARD.name)
        if not isinstance(teacher, FlowMatching):
            raise SddError(
                f"the method {CARD.name} needs a flow-matching teacher (Stable Diffusion 3, Flux), which "
                f"{teacher.name} is not; give one with --teacher"
            )
        flux = isinstance(teacher, Flux)
        scales = (1.5, 5.5) if flux else (3.5, 13.5)
        source = guided_velocity(teacher, source_prompt, scales[0] if self.source_scale is None else self.source_scale)
        target = guided_velocity(teacher, prompt, scales[1] if self.target_scale is None else self.target_scale)
        steps, share = (28, 24 / 28) if flux else (50, 33 / 50)
        return Flowing(teacher, source, target, self.steps or steps, share, self.n_min, self.n_avg)


METHOD = FlowEdit()
