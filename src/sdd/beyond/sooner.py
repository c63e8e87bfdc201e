"""A search that ends sooner: it looks at pictures until S no longer depends on how many more it looks at.

The hybrid quality score of a timestep is a mean over pictures (Equation 12), and S asks of it only whether it exceeds
ξ. The mean m comes with a standard error e, so that more pictures would leave that decision as it is with probability
Φ(|m − ξ| / e). Once the mean of it over the timesteps is high enough, the other pictures are spared: one that lies at ξ
itself is not worth looking at all pictures for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from sdd.paper.hqs import HQS

FEWEST = 8  # pictures from which a spread can be told


def decided(strategy: str, sure: float) -> Callable[[HQS], bool]:
    """Whether scores say which timesteps a strategy takes: for `sdd.paper.search.search(enough=…)`.

    Args:
        strategy: "above:ξ"; with any other all pictures are looked at.
        sure: share of the decisions that are expected to stay as they are, below 1; 0 looks at all pictures.
    """
    kind, _, rest = strategy.partition(":")
    if kind != "above" or sure == 0:
        return lambda scores: False
    threshold = float(rest)

    def enough(scores: HQS) -> bool:
        each = scores.of_each
        if len(each) < FEWEST:
            return False
        error = (each.std(0) / math.sqrt(len(each))).clamp_min(torch.finfo(each.dtype).tiny)
        return float(torch.special.ndtr((each.mean(0) - threshold).abs() / error).mean()) >= sure

    return enough
