"""Guidance: what noise predictions say about which way a latent should move. Pure functions, gradients only.

With ε₀ = ε_θ(x_t, t, ∅), ε_γ = ε_θ(x_t, t, γ), ε̂ = ε₀ + s (ε_γ − ε₀) and w = w(t):

    sds   w (ε̂ − ε)            score distillation (arXiv 2209.14988); the paper's (arXiv 2307.08448, Algorithm 1)
    csd   w (ε_γ − ε₀)         classifier score distillation (arXiv 2310.19415): sds without the noisy part
    dds   w (ε̂ − ε̂_source)     delta denoising score (arXiv 2304.07090): less what the source would have got

In all of them the U-Net's Jacobian is skipped: the gradient is on the clean latent x₀, to be pushed back through the
encoder. Tensors are (B, C, h, w); `weight` is w(t), a number or (B, 1, 1, 1). Moving *against* the gradient moves
towards the prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def weight(alphas_cumprod: Tensor, t: Tensor) -> Tensor:
    """w(t) = 1 − ᾱ_t for timesteps t (B,), shaped (B, 1, 1, 1), on the CPU: float64 is not on every device."""
    return (1 - alphas_cumprod.cpu()[t.cpu()]).view(-1, 1, 1, 1)


def guide(eps_null: Tensor, eps_text: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance ε̂ = ε₀ + s (ε_γ − ε₀); s = 1 is the conditional prediction."""
    return eps_null + scale * (eps_text - eps_null)


def sds(eps_null: Tensor, eps_text: Tensor, noise: Tensor, weight: Tensor | float, scale: float) -> Tensor:
    """Score distillation sampling."""
    return weight * (guide(eps_null, eps_text, scale) - noise)


def csd(eps_null: Tensor, eps_text: Tensor, weight: Tensor | float) -> Tensor:
    """Classifier score distillation."""
    return weight * (eps_text - eps_null)


def dds(
    eps_null: Tensor,
    eps_text: Tensor,
    source_null: Tensor,
    source_text: Tensor,
    weight: Tensor | float,
    scale: float,
) -> Tensor:
    """Delta denoising score; the source's predictions are at the same t and noise, under its own prompt."""
    return weight * (guide(eps_null, eps_text, scale) - guide(source_null, source_text, scale))


GUIDANCES: dict[str, Callable[..., Any]] = {"sds": sds, "csd": csd, "dds": dds}


def topk_clip(gradient: Tensor, k: int, per_sample: bool = True) -> Tensor:
    """Keep the `k` entries of largest magnitude, zero the rest.

    `per_sample=False` chooses them over the whole batch, as the published code does; an image may then get nothing.
    """
    flat = gradient.flatten(1) if per_sample else gradient.reshape(1, -1)
    if k >= flat.shape[1]:
        return gradient
    index = flat.abs().topk(k, dim=1).indices
    return torch.zeros_like(flat).scatter(1, index, flat.gather(1, index)).view_as(gradient)
