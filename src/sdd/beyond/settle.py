"""When a training is done: the objective no longer falls when the edit grows along its own direction.

The slope −∂loss/∂strength, for a change of one unit, is large while an edit takes hold and zero once guidance and what
holds the edit balance.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Slope:
    """The smoothed slope and its peak.

    Attributes:
        share: of the peak, below which the training has settled.
        earliest: steps before which nothing is settled: an edit first has to take hold, and what holds it to grow.
    """

    share: float
    earliest: int
    now: float = 0.0
    peak: float = 0.0

    MEMORY = 0.9  # of the smoothing
    TOOK_HOLD = 0.2  # a peak near 1 says that an edit took hold; a mapper that starts at random needs its time for that

    def see(self, slope: float) -> None:
        """Take in −∂loss/∂strength of a step, per unit of change."""
        self.now = self.MEMORY * self.now + (1 - self.MEMORY) * slope
        self.peak = max(self.peak, self.now)

    def settled(self, step: int) -> bool:
        """Whether to stop after `step`."""
        return step >= self.earliest and self.peak > self.TOOK_HOLD and self.now < self.share * self.peak
