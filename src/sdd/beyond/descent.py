"""Timesteps that sink while training: coarse to fine, as when sampling (and in DreamTime, arXiv 2306.12422).

The hybrid quality score is the source's. Where an edit has taken hold, finer timesteps have something to say too.
"""

from __future__ import annotations

from collections.abc import Sequence


def descended(timesteps: Sequence[int], share: float, count: int, done: float) -> list[int]:
    """The timesteps when the share `done` of a training is over, for a schedule of `count`.

    All sink together by up to `share` of the schedule, but not below its first twentieth.
    """
    return [max(min(t, count // 20), t - int(share * count * done)) for t in timesteps]
