"""DDIM as DiffusionCLIP and effdiff walk it: step lists, moves, inversion, decoding (arXiv 2010.02502, equation 12).

Of the three conventions in use this is the one in which the clean picture is taken for the state of timestep 0, and in
which the noise is always predicted at the timestep that is moved *from*, both ways. Timestep -1 means ᾱ = 1.

Everything is a plain function of a noise predictor, tensors and numbers: `steps`, `at`, `estimate`, `move`,
`ancestral`, `noised`, `invert`, `decode`. `abar` is always the table of ᾱ, (T,), in whatever precision the caller
computes in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

Noise = Callable[[Tensor, int], Tensor]  # x_t (B, 3, H, W), t → the predicted noise, of the same shape


def steps(n: int, t0: int) -> list[int]:
    """`n` timesteps from 0 to `t0`, rounded down: the published lists, uneven where `n` - 1 does not divide `t0`.

    A list of one holds `t0` alone: a chain of one step starts where the picture was encoded to.
    """
    if n == 1:
        return [t0]
    return [int(t) for t in np.linspace(0, 1, n) * t0]  # numpy's rounding decides some of them


def at(abar: Tensor, t: int) -> Tensor:
    """ᾱ of a timestep, a scalar; 1 at -1."""
    return abar[t] if t >= 0 else torch.ones((), dtype=abar.dtype, device=abar.device)


def estimate(x: Tensor, noise: Tensor, now: Tensor) -> Tensor:
    """x̂₀, the clean picture that the predicted noise stands for (arXiv 2006.11239, equation 15).

    Args:
        x: x_t. noise: predicted in it. now: ᾱ_t.
    """
    return (x - (1 - now).sqrt() * noise) / now.sqrt()


def move(
    x: Tensor, noise: Tensor, now: Tensor, then: Tensor, eta: float = 0.0, fresh: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One move from ᾱ `now` to ᾱ `then`, in either direction: the next state, and x̂₀.

    Args:
        eta: share of fresh noise, 0 for none; only towards the clean picture.
        fresh: standard normal, where `eta` is not 0.
    """
    clean = estimate(x, noise, now)
    if eta == 0:
        return then.sqrt() * clean + (1 - then).sqrt() * noise, clean
    assert fresh is not None, "a stochastic step needs noise"
    spread = eta * ((1 - now / then) * (1 - then) / (1 - now)).sqrt()
    return then.sqrt() * clean + (1 - then - spread**2).sqrt() * noise + spread * fresh, clean


def ancestral(x: Tensor, noise: Tensor, abar: Tensor, t: int, fresh: Tensor) -> Tensor:
    """One step of the DDPM chain, from t to t - 1 whatever the list says (arXiv 2006.11239, algorithm 2; the
    posterior's variance).
    """
    now, before = at(abar, t), at(abar, t - 1)
    beta = 1 - now / before
    mean = (x - beta / (1 - now).sqrt() * noise) / (1 - beta).sqrt()
    if t == 0:
        return mean
    return mean + (beta * (1 - before) / (1 - now)).sqrt() * fresh


def noised(x0: Tensor, noise: Tensor, now: Tensor) -> Tensor:
    """x_t in one shot: √ᾱ x₀ + √(1 - ᾱ) ε."""
    return now.sqrt() * x0 + (1 - now).sqrt() * noise


@torch.no_grad()
def invert(predict: Noise, x0: Tensor, abar: Tensor, chain: Sequence[int]) -> Tensor:
    """The state at the last timestep of `chain` from which `decode` returns to the picture."""
    x = x0
    for t, up in pairwise(chain):
        x, _ = move(x, predict(x, t), at(abar, t), at(abar, up))
    return x


def decode(predict: Noise, x: Tensor, abar: Tensor, chain: Sequence[int]) -> Tensor:
    """From the state at the last timestep of `chain` down to the clean picture; differentiable through every step."""
    for t, down in pairwise([*reversed(chain), -1]):
        x, _ = move(x, predict(x, t), at(abar, t), at(abar, down))
    return x
