"""Where the prompt tells most: another score of timesteps than the paper's, and the one of them at which it is largest.

    I_t = E_y E_ε ‖ε_θ(x_t, t, γ) − ε_θ(x_t, t, ∅)‖² |dλ/dt|,  λ = log ᾱ / (1 − ᾱ)

In the measure of the log-SNR the squared change of the prediction is what a prompt tells of a picture at a level of
noise (Kong et al., ICLR 2024, arXiv 2310.07972). Of the scores that `sdd bench timesteps` races it is one of the two
that choose a better timestep than chance does; no backward pass is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.teachers.protocol import Teacher, predict

STRATEGY = "information"  # the option `timesteps` that asks for it
DRAWS = 4  # noises of each picture, the same at every timestep


@torch.no_grad()
def information(
    teacher: Teacher,
    latents: Tensor,
    prompt: str,
    timesteps: Sequence[int],
    random: torch.Generator,
    draws: int = DRAWS,
    batch: int = 16,
    advance: Callable[[int], object] = lambda count: None,
) -> list[float]:
    """I_t of each timestep.

    Args:
        latents: of source pictures, (N, C, h, w).
        batch: pictures at a time.
        advance: called with the number of (picture, timestep) pairs done.

    Raises:
        SddError: the prompt changes nothing of what the teacher predicts, or that is not finite.
    """
    null, text = teacher.encode_text([""]), teacher.encode_text([prompt])
    noises = torch.randn(draws, *latents.shape, generator=random).to(latents)
    found = []
    for step in timesteps:
        total = 0.0
        for rows in torch.arange(len(latents)).split(batch):
            t = torch.full((len(rows),), step, device=latents.device)
            for noise in noises[:, rows]:
                noisy = teacher.add_noise(latents[rows], noise, t)
                without, told = predict(teacher, [(noisy, null), (noisy, text)], t)
                total += float((told - without).double().square().sum())
            advance(len(rows))
        found.append(total / (draws * len(latents)) * log_snr_slope(teacher.alphas_cumprod, step))
    if not 0 < sum(found) < float("inf"):
        raise SddError(f"the prompt {prompt!r} tells the teacher nothing; use words that it knows")
    return found


def log_snr_slope(alphas_cumprod: Tensor, t: int) -> float:
    """|dλ/dt| at a timestep, λ = log ᾱ / (1 − ᾱ), by central differences."""
    a = alphas_cumprod.double().cpu().clamp(1e-12, 1 - 1e-12)
    low, high = max(0, t - 1), min(len(a) - 1, t + 1)
    lam = torch.log(a / (1 - a))
    return float((lam[low] - lam[high]).abs() / (high - low))
