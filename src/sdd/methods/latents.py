"""What methods that edit in a teacher's latents share: schedule, noise, guided predictions, pictures in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.io.progress import Report
from sdd.nets.resize import resize
from sdd.paper.guidance import guide
from sdd.teachers.protocol import Teacher, predict

if TYPE_CHECKING:
    from sdd.methods.protocol import Card

BATCH = 16  # pictures at a time
Predict = Callable[[Tensor, Tensor], Tensor]  # noisy latents (B, …) and their timesteps (B,) int64 → noise (B, …)


def ddim(alphas_cumprod: Tensor, steps: int) -> Any:
    """diffusers' DDIM scheduler of a schedule ᾱ (T,), set to `steps` steps, as Stable Diffusion's is configured.

    The clean picture is the state of the first timestep (`set_alpha_to_one` False), timesteps are the leading ones of
    equal parts, one later where there is room (`steps_offset` 1), and x̂₀ is not clipped.

    Raises:
        SddError: fewer than one step, or more than timesteps.
    """
    from diffusers import DDIMScheduler

    total = len(alphas_cumprod)
    if not 1 <= steps <= total:
        raise SddError(f"the number of steps lies between 1 and the teacher's {total} timesteps, not at {steps}")
    before = torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])
    # diffusers keeps float32; of a schedule that ends in nothing but noise the last beta is 1.
    betas = (1 - alphas_cumprod / before).float().cpu().numpy()
    scheduler = DDIMScheduler(
        num_train_timesteps=total, trained_betas=betas, clip_sample=False, set_alpha_to_one=False,
        steps_offset=int(steps < total), timestep_spacing="leading",
    )  # fmt: skip
    scheduler.alphas_cumprod = alphas_cumprod.float().cpu()
    scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    scheduler.set_timesteps(steps)
    return scheduler


def reversed_ddim(scheduler: Any) -> Any:
    """diffusers' inverse of a scheduler of `ddim`: matched pairs, the noise taken at the timestep moved to."""
    from diffusers import DDIMInverseScheduler

    inverse = DDIMInverseScheduler.from_config(scheduler.config)
    inverse.alphas_cumprod = scheduler.alphas_cumprod
    inverse.initial_alpha_cumprod = scheduler.final_alpha_cumprod
    inverse.set_timesteps(scheduler.num_inference_steps)
    return inverse


def last_steps(steps: int, level: float) -> int:
    """How many of `steps` steps a noise level in [0, 1] takes: int(steps · level), as diffusers' img2img counts."""
    return min(int(steps * level + 1e-9), steps)  # 0.7 · 10 is 7, not 6.999…


def shared_noise(shape: torch.Size | tuple[int, ...], seed: int, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal noise (B, …), the same for every picture, so that none depends on the others of its batch.

    Args:
        generator: to draw from in place of one of the seed.
    """
    random = generator or torch.Generator().manual_seed(seed)
    return torch.randn(1, *shape[1:], generator=random).expand(shape).clone()


def guided(teacher: Teacher, prompt: str, scale: float = 1.0) -> Predict:
    """The teacher's noise for a prompt, guided without a classifier: ε₀ + s (ε_γ − ε₀) (arXiv 2207.12598).

    A scale of 1 asks for the prompt alone, 0 for the null prompt alone.
    """
    text = teacher.encode_text([prompt])
    if scale == 1 or not prompt:
        return lambda x, t: predict(teacher, [(x, text)], t)[0]
    null = teacher.encode_text([""])

    def both(x: Tensor, t: Tensor) -> Tensor:
        eps_null, eps_text = predict(teacher, [(x, null), (x, text)], t)
        return guide(eps_null, eps_text, scale)

    return both


def encode(teacher: Teacher, images: Tensor) -> Tensor:
    """Latents of pictures (B, 3, H, W) in [-1, 1] of any size: the mean of the autoencoder's posterior."""
    device = getattr(teacher, "device", None)
    return teacher.encode_image(images if device is None else images.to(device), sample=False)


def draw(teacher: Teacher, latents: Tensor, images: Tensor) -> Tensor:
    """Latents as pictures of the size of `images`, and where these are: (B, 3, H, W) in [-1, 1]."""
    small = teacher.decode(latents)
    size = (int(images.shape[-2]), int(images.shape[-1]))
    larger = size[0] > small.shape[-2] or size[1] > small.shape[-1]
    return resize(small, size, "bicubic" if larger else "bilinear").clamp(-1, 1).to(images)


@torch.no_grad()
def reconstructed(teacher: Teacher, images: Tensor) -> Tensor:
    """What the teacher's autoencoder makes of pictures (B, 3, H, W), at their size: what an edit of nothing gives."""
    parts = [draw(teacher, encode(teacher, part), part) for part in images.split(BATCH)]
    return torch.cat(parts) if parts else images.clone()


def edited_in_latents(
    teacher: Teacher, images: Tensor, change: Callable[[Tensor, Report], Tensor], report: Report
) -> Tensor:
    """Pictures (B, 3, H, W) whose latents were changed, at their size, a batch at a time.

    Args:
        change: latents (B, C, h, w) and whom to tell of progress → latents.
    """
    batches, done = images.split(BATCH), []
    for k, part in enumerate(batches):

        def told(what: str, count: int, total: int, k: int = k) -> object:
            return report(what, k * total + count, len(batches) * total)

        done.append(draw(teacher, change(encode(teacher, part), told), part))
    return torch.cat(done) if done else images.clone()


def level(knob: float | None, card: Card) -> float:
    """A noise level, by default the card's.

    Raises:
        SddError: it lies outside [0, 1].
    """
    value = card.knob.default if knob is None else float(knob)
    if not 0 <= value <= 1:
        raise SddError(f"the {card.knob.name} of {card.name} lies between 0 and 1, not at {value:g}")
    return value
