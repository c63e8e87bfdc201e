"""One training over several processes: each computes its share of a step's pictures, and their gradients are averaged.

What starts them is `accelerate launch -m sdd train …` (or torchrun); this module finds out that it did. All processes
draw the same pictures, timesteps and noise and take the same step, so that what they learn is what one process learns
from the whole batch, to rounding. (Where one rendering is asked about several times, the further draws of each process
are its own, and differ from what one process would draw.)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from sdd.errors import SddError

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """The processes of one training, and which of them this is.

    Attributes:
        size: how many there are. rank: which this is, from 0; the first writes and speaks for all.
    """

    size: int = 1
    rank: int = 0

    @classmethod
    def join(cls, device: torch.device) -> World:
        """The world that a launcher started, or a world of one."""
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=device.type == "cpu")
        return cls(state.num_processes, state.process_index)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Which pictures of a step are this process's.

        Raises:
            SddError: they cannot be shared equally, so that a mean of means would not be the mean.
        """
        if batch % self.size:
            raise SddError(
                f"{batch} pictures a step cannot be shared equally by {self.size} processes; set batch to a multiple "
                f"of {self.size}: --set batch={self.size * max(1, batch // self.size)}"
            )
        each = batch // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        if self.size == 1:
            return value
        from accelerate.utils import reduce

        found: Tensor = reduce(value, "mean")
        return found

    def same(self, value: Value) -> Value:
        """The first process's value, in all of them."""
        if self.size == 1:
            return value
        from accelerate.utils import broadcast_object_list

        found: list[Value] = broadcast_object_list([value])
        return found[0]

    def average(self, optimizer: torch.optim.Optimizer) -> None:
        """Have an optimiser take each step along the mean of all processes' gradients."""
        if self.size > 1:
            optimizer.register_step_pre_hook(self._averaged)

    def _averaged(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        whole = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


ALONE = World()
