"""What editing costs, in seconds, and from how many pictures on training an editor pays; Equations 13-15.

n prompts are each applied to m pictures.
"""

from __future__ import annotations

import math


def diffusion_cost(m: int, n: int, infer: float) -> float:
    """τ_Diff = m n τ_infer: every picture is denoised for every prompt; Equation 13."""
    return m * n * infer


def distillation_cost(m: int, n: int, train: float, infer: float) -> float:
    """τ_SDD = n τ_train + n m τ_infer: one training a prompt, one pass a picture; Equation 14."""
    return n * train + n * m * infer


def break_even(train: float, infer: float, diffusion_infer: float) -> float:
    """The m at which both cost the same: τ_train / (τ_infer of diffusion − τ_infer); Equation 15.

    Infinite where the editor's pass is no cheaper than denoising.
    """
    return train / (diffusion_infer - infer) if diffusion_infer > infer else math.inf
