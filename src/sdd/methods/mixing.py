"""Several noise predictors as one: how strongly a fine-tuned network edits, and several edits in one pass
(arXiv 2110.02711, Section 3.4). Plain functions: `ratio`, `hybrid`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from sdd.errors import SddError
from sdd.methods.ddim import Noise


def ratio(tuned: Noise, original: Noise, share: float) -> Noise:
    """share · tuned + (1 - share) · original: a strength that needs no training; beyond 1 it exaggerates."""
    if share == 1:
        return tuned
    if share == 0:
        return original
    return lambda x, t: share * tuned(x, t) + (1 - share) * original(x, t)


def hybrid(tuned: Sequence[Noise], shares: Mapping[int, Sequence[float]]) -> Noise:
    """Several fine-tuned networks at once; the original takes no part.

    Args:
        shares: from which t on which share of each network; the first in order whose t is reached counts, and its
            shares are divided by their sum. The last must be 0.

    Raises:
        SddError: not one share a network, shares that add up to nothing, or no entry for t = 0.
    """
    if not shares or min(shares) > 0:
        raise SddError("mixing needs shares for the whole chain; give some from timestep 0 on")
    for t, row in shares.items():
        if len(row) != len(tuned) or sum(row) <= 0:
            raise SddError(
                f"from timestep {t} on there are the shares {list(row)} of {len(tuned)} networks; give one for each, "
                "not all of them 0"
            )

    def mixed(x: Tensor, t: int) -> Tensor:
        row = next(found for least, found in shares.items() if t >= least)
        whole = sum(row)
        parts = [share / whole * net(x, t) for share, net in zip(row, tuned, strict=True)]
        return sum(parts[1:], parts[0])

    return mixed
