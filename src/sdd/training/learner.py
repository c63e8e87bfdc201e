"""What a training learns, and everything that a checkpoint holds of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from sdd.beyond.scale import unit_of
from sdd.beyond.settle import Slope
from sdd.beyond.steady import Outliers, average_of
from sdd.manipulators.protocol import Manipulator
from sdd.training.config import DistillConfig
from sdd.training.world import World

EARLIEST = 30  # steps before which no training has settled, however little is held


@dataclass
class Learner:
    """Where a training stands.

    Attributes:
        average: moving average of the learned weights, which becomes the editor; None where none is kept.
        timesteps: S. hqs: the scores it was chosen by, as a record.
        unit: by whose inverse the guidance is scaled.
        step: steps done. done: whether there are no more.
    """

    manipulator: Manipulator
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    outliers: Outliers
    slope: Slope
    random: torch.Generator
    timesteps: list[int]
    hqs: dict[str, Any] | None
    unit: float = 1.0
    step: int = 0
    done: bool = False

    def dump(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {
            "learned": self.manipulator.learned.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "config": self.manipulator.config(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
            "norms": self.outliers.norms,
            "slope": self.slope.now,
            "peak": self.slope.peak,
            **{name: getattr(self, name) for name in ("timesteps", "hqs", "unit", "step", "done")},
        }


def begun(
    manipulator: Manipulator,
    power: list[Tensor] | None,
    settings: DistillConfig,
    random: torch.Generator,
    timesteps: list[int],
    hqs: dict[str, Any] | None,
    world: World,
) -> Learner:
    """A learner at its first step; `power` is of the guidance's signal, where its unit is to be taken from it."""
    unit = 1.0 if power is None or not settings.normalise else unit_of(power)
    return _learner(manipulator, settings, random, timesteps, hqs, unit, world)


def resumed(manipulator: Manipulator, settings: DistillConfig, saved: dict[str, Any], world: World) -> Learner:
    """The learner of a checkpoint, whose manipulator has been made again."""
    random = torch.Generator()
    random.set_state(saved["random"])
    learner = _learner(manipulator, settings, random, saved["timesteps"], saved["hqs"], saved["unit"], world)
    if learner.average is not None and saved["average"] is not None:
        learner.average.load_state_dict(saved["average"])
    learner.optimizer.load_state_dict(saved["optimizer"])
    learner.outliers.norms = list(saved["norms"])
    learner.slope.now, learner.slope.peak = saved["slope"], saved["peak"]
    learner.step, learner.done = saved["step"], saved["done"]
    return learner


def _learner(
    manipulator: Manipulator,
    settings: DistillConfig,
    random: torch.Generator,
    timesteps: list[int],
    hqs: dict[str, Any] | None,
    unit: float,
    world: World,
) -> Learner:
    learned = manipulator.learned
    optimizer = torch.optim.AdamW(learned.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    average = average_of(learned, settings.ema_decay) if settings.ema_decay > 0 else None
    slope = Slope(settings.settled, max(EARLIEST, settings.outside_warmup))
    world.average(optimizer)  # before anyone looks at the gradient
    outliers = Outliers(optimizer, settings.max_gradient)
    return Learner(manipulator, average, optimizer, outliers, slope, random, timesteps, hqs, unit)
