"""Equation 7: what a noise prediction says about which way a latent should move. Pure functions, gradients only.

    ∇ E‖ε − ε_θ(x_t, t, γ)‖²  →  w(t) (ε̂ − ε),    ε̂ = ε₀ + s (ε_γ − ε₀),    w(t) = 1 − ᾱ_t

with ε₀ = ε_θ(x_t, t, ∅) and ε_γ = ε_θ(x_t, t, γ). The U-Net's Jacobian is skipped (score distillation, arXiv
2209.14988): the gradient is on the clean latent x₀, to be pushed back through the encoder. Tensors are (B, C, h, w).
Moving *against* the gradient moves towards the prompt.
"""

from __future__ import annotations

from torch import Tensor


def weight(alphas_cumprod: Tensor, t: Tensor) -> Tensor:
    """w(t) = 1 − ᾱ_t for timesteps t (B,), shaped (B, 1, 1, 1), on the CPU: float64 is not on every device."""
    return (1 - alphas_cumprod.cpu()[t.cpu()]).view(-1, 1, 1, 1)


def guide(eps_null: Tensor, eps_text: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance ε̂ = ε₀ + s (ε_γ − ε₀); s = 1 is the conditional prediction."""
    return eps_null + scale * (eps_text - eps_null)


def sds(eps_null: Tensor, eps_text: Tensor, noise: Tensor, weight: Tensor | float, scale: float) -> Tensor:
    """Score distillation sampling, w (ε̂ − ε); `weight` is w(t), a number or (B, 1, 1, 1)."""
    return weight * (guide(eps_null, eps_text, scale) - noise)
