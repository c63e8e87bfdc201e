"""Guidances other than the paper's: what to subtract from a prediction so that less noise is left. Pure functions.

With ε₀ = ε_θ(x_t, t, ∅), ε_γ = ε_θ(x_t, t, γ), ε̂ = ε₀ + s (ε_γ − ε₀), w = w(t), the same of the unedited picture x^src
under its own prompt γ' marked by ', and one noise ε for both:

    csd   w (ε_γ − ε₀)                               classifier score distillation (arXiv 2310.19415): sds without the
                                                     part that only says what pictures look like
    dds   w (s (ε_γ − ε₀) − s (ε'_γ' − ε'₀) + k (ε₀ − ε'₀))
                                                     delta denoising score (arXiv 2304.07090) for k = 1: less what the
                                                     unedited picture would have got. k weighs its fidelity term: what
                                                     pictures look like here, less the same there
    pds   dds + λ √SNR_t (x₀ − x'₀)                  posterior distillation sampling (arXiv 2311.13831): the stochastic
                                                     latents of both are matched. Between adjacent timesteps its
                                                     identity term is exactly zero, so that it is added by hand
    asd   w (ε̂ − ε_θ(x_{t+Δ}, t + Δ, γ))             asynchronous score distillation (arXiv 2407.02040): what a later
                                                     timestep says stands for what the noise would be, same noise

All are gradients on the clean latent (B, C, h, w), the U-Net's Jacobian skipped. Without a source prompt ε'_γ' = ε'₀,
and dds is s csd + k (ε₀ − ε'₀).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdd.paper.guidance import guide, sds, weight
from sdd.teachers.protocol import Teacher, predict

NAMES = ("sds", "csd", "dds", "pds", "asd")


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
    fidelity: float = 1.0,
) -> Tensor:
    """Delta denoising score; the source's predictions are at the same t and noise, under its own prompt.

    Args:
        fidelity: k, the weight of ε₀ − ε'₀; 1 as published.
    """
    towards = scale * ((eps_text - eps_null) - (source_text - source_null))
    return weight * (towards + fidelity * (eps_null - source_null))


def pds(delta: Tensor, x0: Tensor, source_x0: Tensor, snr: Tensor | float, identity: float) -> Tensor:
    """Posterior distillation sampling: `delta` is what dds says, `snr` is ᾱ_t / (1 − ᾱ_t), a number or (B, 1, 1, 1)."""
    return delta + identity * torch.as_tensor(snr).sqrt() * (x0 - source_x0)


def asd(eps_null: Tensor, eps_text: Tensor, later_text: Tensor, weight: Tensor | float, scale: float) -> Tensor:
    """Asynchronous score distillation; `later_text` is the prompt's prediction at t + Δ with the same noise."""
    return weight * (guide(eps_null, eps_text, scale) - later_text)


class Bound:
    """A guidance bound to a teacher, a prompt and, where it compares, the unedited pictures' latents.

    Args:
        name: one of `NAMES`.
        sources: the teacher's latents of the unedited pictures, (N, C, h, w); asked for by dds and pds.
        source_prompt: what these show; empty is the null prompt.
        fidelity: k of dds and pds. identity: λ of pds. ahead: Δ of asd, in timesteps.
    """

    def __init__(
        self,
        name: str,
        teacher: Teacher,
        prompt: str,
        scale: float,
        sources: Tensor | None = None,
        source_prompt: str = "",
        fidelity: float = 1.0,
        identity: float = 1.0,
        ahead: int = 50,
    ) -> None:
        assert name in NAMES and (sources is not None or name not in ("dds", "pds")), "checked by the configuration"
        self.name, self.teacher, self.scale, self.sources = name, teacher, scale, sources
        self.fidelity, self.identity, self.ahead = fidelity, identity, ahead
        self.null, self.text = teacher.encode_text([""]), teacher.encode_text([prompt])
        self.before = teacher.encode_text([source_prompt]) if source_prompt else None

    @torch.no_grad()
    def __call__(self, latents: Tensor, t: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        teacher, scale = self.teacher, self.scale
        w = weight(teacher.alphas_cumprod, t).to(latents)
        noisy = teacher.add_noise(latents, noise, t)
        pair: list[tuple[Tensor, Any]] = [(noisy, self.null), (noisy, self.text)]
        if self.name in ("sds", "csd"):
            null, text = predict(teacher, pair, t)
            return csd(null, text, w) if self.name == "csd" else sds(null, text, noise, w, scale)
        if self.name == "asd":
            null, text = predict(teacher, pair, t)
            later = (t + self.ahead).clamp(max=teacher.num_timesteps - 1)
            (ahead,) = predict(teacher, [(teacher.add_noise(latents, noise, later), self.text)], later)
            return asd(null, text, ahead, w, scale)
        assert self.sources is not None, "asked for above"
        source = self.sources[index]
        before = teacher.add_noise(source, noise, t)
        if self.before is None:  # the null prompt is its own text: one prediction serves both
            null, text, source_null = predict(teacher, [*pair, (before, self.null)], t)
            source_text = source_null
        else:
            asked = [*pair, (before, self.null), (before, self.before)]
            null, text, source_null, source_text = predict(teacher, asked, t)
        delta = dds(null, text, source_null, source_text, w, scale, self.fidelity)
        return delta if self.name == "dds" else pds(delta, latents, source, (1 - w) / w, self.identity)
