"""Equation 8 asked of a teacher: the gradient on each source image, at every timestep, and the scores made of it.

    d_t(y, γ) = (∂E/∂y)ᵀ (ε_θ(√ᾱ_t E(y) + √(1 − ᾱ_t) ε, t, γ) − ε)

The U-Net's Jacobian is skipped as in Equation 7; the autoencoder's, E being the encoder, is applied. As printed there
is neither w(t) nor a guidance scale in it, and both decide the score: min-max over timesteps does not cancel a factor
that varies with t. Without them the residual of a denoiser, which is largest where there is little noise, drowns what
the prompt says; so both are options, off here and on in the preset `default`. A picture is encoded once, and what the
encoder remembers serves the backward passes of all its timesteps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from sdd.device import check_seed
from sdd.errors import SddError
from sdd.paper import guidance
from sdd.paper.hqs import HQS, entropy_deficit, strength
from sdd.teachers.protocol import Teacher, predict

Gradient = Literal["image", "latent"]


def default_timesteps(count: int) -> tuple[int, ...]:
    """Every 20th part of the schedule, both ends left out: 50, 100, …, 950 of 1000."""
    step = max(1, count // 20)
    return tuple(range(step, count - step // 2, step))


def search(
    teacher: Teacher,
    images: Tensor,
    prompt: str,
    timesteps: Sequence[int] | None = None,
    *,
    gradient: Gradient = "image",
    scale: float = 1.0,
    weighted: bool = False,
    seed: int = 0,
    batch: int = 16,
    advance: Callable[[int], object] = lambda count: None,
    found: Callable[[HQS], object] = lambda scores: None,
    enough: Callable[[HQS], bool] = lambda scores: False,
) -> HQS:
    """Score every timestep for `prompt` on source images.

    An image's noise depends on `seed` and the image alone and is the same at every t, so that neither the batch size,
    the order, the other images nor the other timesteps change its row.

    Args:
        images: (N, 3, H, W) in [−1, 1].
        timesteps: which to score; None for `default_timesteps`.
        gradient: "image" is Equation 8. "latent" leaves the encoder's Jacobian out, which saves its backward passes:
            another score, of what the U-Net says before the encoder weighs it.
        scale: of a classifier-free guidance in place of the conditional prediction; 1 is Equation 8.
        weighted: whether the gradient is times w(t), as in Equation 7.
        batch: pictures at a time.
        advance: called with the number of (picture, timestep) pairs done.
        found: called with the scores so far, of the timesteps done and of whole batches of pictures.
        enough: asked after each batch of pictures whether their scores say enough; the others are then left out.

    Raises:
        SddError: no images, a seed or a timestep that is none, or an image or a gradient that is not finite.
    """
    steps = _checked(images, timesteps, teacher.num_timesteps, seed)
    null, text = teacher.encode_text([""]), teacher.encode_text([prompt])
    deficit = torch.zeros(len(images), len(steps), dtype=torch.float64)
    norm, entries = torch.zeros_like(deficit), 0
    for rows in torch.arange(len(images)).split(batch):
        y = images[rows].detach().requires_grad_(gradient == "image")
        with torch.set_grad_enabled(gradient == "image"):
            latents = teacher.encode_image(y, sample=False)
        noise = torch.stack([_noise(seed, image, latents.shape[1:]) for image in images[rows]]).to(latents)
        for column, step in enumerate(steps):
            t = torch.full((len(y),), step, device=latents.device)
            d = _residual(teacher, latents.detach(), t, noise, null, text, scale, weighted)
            if gradient == "image":
                (d,) = torch.autograd.grad(latents, y, d, retain_graph=column < len(steps) - 1)
            if not bool(torch.isfinite(d).all()):
                raise SddError("the teacher's prediction is not finite: broken weights, or too low a precision")
            deficit[rows, column], norm[rows, column] = entropy_deficit(d.cpu()), strength(d.cpu())
            entries = d[0].numel()
            advance(len(rows))
            if int(rows[0]) == 0 or column == len(steps) - 1:
                part = slice(int(rows[-1]) + 1), slice(column + 1)
                scores = HQS(prompt, steps[part[1]], deficit[part], norm[part], entries, scale, gradient, weighted)
                found(scores)
        if enough(scores):
            break
    return scores


@torch.no_grad()
def _residual(
    teacher: Teacher, latents: Tensor, t: Tensor, noise: Tensor, null: Any, text: Any, scale: float, weighted: bool
) -> Tensor:
    """ε̂ − ε at timesteps t (B,), times w(t) if it is to be: Equation 7's gradient on the latents (B, C, h, w)."""
    noisy = teacher.add_noise(latents, noise, t)
    weight = guidance.weight(teacher.alphas_cumprod, t).to(latents) if weighted else 1.0
    if scale == 1:
        (told,) = predict(teacher, [(noisy, text)], t)
        return guidance.sds(told, told, noise, weight, scale)
    without, told = predict(teacher, [(noisy, null), (noisy, text)], t)
    return guidance.sds(without, told, noise, weight, scale)


def _checked(images: Tensor, timesteps: Sequence[int] | None, count: int, seed: int) -> tuple[int, ...]:
    check_seed(seed)
    steps = tuple(timesteps) if timesteps is not None else default_timesteps(count)
    if len(images) == 0 or not steps:
        raise SddError("the search needs at least one source image and one timestep")
    if not all(hasattr(t, "__index__") for t in steps):
        raise SddError(f"timesteps are whole numbers, as in 700, 750, not {', '.join(map(repr, steps[:5]))}")
    if any(not 0 <= t < count for t in steps):
        raise SddError(f"timesteps lie between 0 and {count - 1}, not {min(steps)}…{max(steps)}")
    if not bool(torch.isfinite(images).all()):
        raise SddError("a source image holds values that are not finite; images lie between -1 and 1")
    return steps


def _noise(seed: int, image: Tensor, shape: Sequence[int]) -> Tensor:
    """Noise for an image: of its mean to three digits, which another machine's rounding does not change."""
    key = (seed * 1_000_003 + round(1000 * float(image.cpu().double().mean()))) % 2**63
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(key))
