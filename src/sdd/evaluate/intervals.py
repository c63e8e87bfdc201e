"""How far a mean over few can be trusted: bootstrap intervals over prompts and people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
SEED = 0


@dataclass(frozen=True)
class Mean:
    """A mean and the interval it lies in, 95 % of the time.

    Attributes:
        value: the mean of the groups' means; nan where nothing was measured.
        low, high: the interval; nan where there is one value, which says nothing of how far it can be trusted.
    """

    value: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def mean(groups: Sequence[Sequence[float]], draws: int = DRAWS, seed: int = SEED, level: float = 0.95) -> Mean:
    """The mean of the groups' means, with its bootstrap percentile interval.

    Two levels are resampled, each with replacement: the groups (prompts), then the members of each (people, or seeds).
    With one group only its members are. Percentile intervals of fewer than about ten groups are too narrow.

    Args:
        groups: values by group; nan is a value that could not be measured, and is left out.
        level: share of the resampled means that lie inside.
    """
    kept = [[x for x in group if not math.isnan(x)] for group in groups]
    kept = [group for group in kept if group]
    if not kept:
        return Mean(math.nan, math.nan, math.nan)
    value = float(np.mean([np.mean(group) for group in kept]))
    if sum(map(len, kept)) == 1:
        return Mean(value, math.nan, math.nan)
    found = _resampled(kept, draws, np.random.default_rng(seed))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Mean(value, float(low), float(high))


def median(values: Sequence[float], draws: int = DRAWS, seed: int = SEED, level: float = 0.95) -> Mean:
    """The median of some values, with its bootstrap percentile interval; nan is a value that could not be measured."""
    kept = np.array([x for x in values if not math.isnan(x)])
    if len(kept) < 2:
        return Mean(float(kept[0]) if len(kept) else math.nan, math.nan, math.nan)
    random = np.random.default_rng(seed)
    found = np.median(kept[random.integers(len(kept), size=(draws, len(kept)))], axis=1)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Mean(float(np.median(kept)), float(low), float(high))


def difference(
    groups: Sequence[Sequence[float]], others: Sequence[Sequence[float]], draws: int = DRAWS, seed: int = SEED
) -> Mean:
    """The mean of paired differences, `groups` − `others`, as `mean`: prompts and people are the same in both.

    Raises:
        ValueError: the two are not of one shape.
    """
    return mean([[a - b for a, b in zip(g, o, strict=True)] for g, o in zip(groups, others, strict=True)], draws, seed)


def _resampled(groups: list[list[float]], draws: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Means of resampled groups of resampled members, (draws,)."""
    sizes = np.array([len(group) for group in groups])
    values = np.zeros((len(groups), int(sizes.max())))
    for row, group in zip(values, groups, strict=True):
        row[: len(group)] = group
    chosen = random.integers(len(groups), size=(draws, len(groups)))
    n = sizes[chosen][..., None]
    index = (random.random((*chosen.shape, values.shape[1])) * n).astype(np.int64)
    picked = np.take_along_axis(values[chosen], index, axis=2)
    inside = np.arange(values.shape[1]) < n
    return np.asarray(((picked * inside).sum(2) / n[..., 0]).mean(1), dtype=np.float64)
