"""The manipulator f_φ: what edits an image in one pass, whatever its form (arXiv 2307.08448, Section 5.1).

    y = manipulator.prepare(images)          once a picture: whatever the manipulator needs of it, frozen
    delta = manipulator.change(y)            what learns: the change, in the manipulator's own terms
    edited = manipulator.draw(y, delta)      differentiable images; no change at all draws the picture as it is

`manipulator(y, strength=s)` is the last two in one. Strength multiplies the change, so that 0 is the unedited picture,
1 the edit as trained, and changes of several manipulators of one kind add up.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from sdd.errors import SddError


@dataclass(frozen=True)
class Prepared:
    """What a manipulator keeps of N pictures: tensors by name, each (N, …)."""

    parts: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, index: Tensor | slice) -> Prepared:
        return Prepared({name: part[index] for name, part in self.parts.items()})

    def to(self, device: torch.device | str) -> Prepared:
        """The same on another device."""
        return Prepared({name: part.to(device) for name, part in self.parts.items()})

    @staticmethod
    def cat(pieces: Sequence[Prepared]) -> Prepared:
        """One list of pictures after the other."""
        return Prepared({name: torch.cat([piece.parts[name] for piece in pieces]) for name in pieces[0].parts})


@dataclass(frozen=True)
class Change:
    """A change of B pictures in a manipulator's own terms: tensors, each (B, …)."""

    parts: tuple[Tensor, ...]

    def scaled(self, strength: float | Tensor) -> Change:
        """The change times a number, or times one number for each picture, (B,)."""
        if isinstance(strength, Tensor) and strength.ndim:
            return Change(tuple(part * strength.view(-1, *[1] * (part.ndim - 1)).to(part) for part in self.parts))
        return Change(tuple(part * strength for part in self.parts))

    def detach(self) -> Change:
        """The same numbers, without gradient."""
        return Change(tuple(part.detach() for part in self.parts))


class Manipulator(nn.Module, ABC):
    """What edits an image in one pass.

    Attributes:
        kind: its name on the command line and in files.
        image_size: side S of the pictures it draws.
        learned: the part that training changes and an editor file holds; everything else is frozen and found again.
    """

    kind: str
    image_size: int
    learned: nn.Module

    @abstractmethod
    def prepare(self, images: Tensor) -> Prepared:
        """What is kept of pictures (B, 3, H, W) in [−1, 1]; without gradient."""

    @abstractmethod
    def change(self, y: Prepared) -> Change:
        """The learned change of prepared pictures; differentiable in the parameters of `learned`."""

    @abstractmethod
    def draw(self, y: Prepared, *changes: Change) -> Tensor:
        """The pictures (B, 3, S, S) with all changes made, not clamped; without any, the pictures unedited."""

    def units(self, change: Change) -> tuple[Tensor, ...]:
        """One unit of each part of a change, broadcastable to it; 1 where a kind has no units of its own."""
        return tuple(part.new_ones(()) for part in change.parts)

    def size(self, change: Change) -> Tensor:
        """Mean squared change in the manipulator's own units, a scalar: what the L2 of Section 5.1 regularises."""
        parts = zip(change.parts, self.units(change), strict=True)
        total = torch.stack([(part / unit).square().sum() for part, unit in parts]).sum()
        return total / sum(part.numel() for part in change.parts)

    def with_learned(self, learned: nn.Module) -> Self:
        """The same manipulator with other learned weights; everything frozen is shared."""
        twin = copy.copy(self)
        twin._modules = {**self._modules, "learned": learned}
        return twin

    def latents(self, y: Prepared, *changes: Change) -> Tensor | None:
        """The teacher's latents of the edited pictures, for a kind that has them without drawing; else None."""
        return None

    def shown(self, y: Prepared, *changes: Change) -> Tensor:
        """What changes make of the pictures, as a picture to be held small: (B, 3, h, w), 0 where nothing changes."""
        return self.draw(y, *changes) - self.draw(y)

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What `sdd.manipulators.kinds.build` needs to make it again, JSON-able, with `kind`."""

    def restrict(self, change: Change, levels: Sequence[str] | None) -> Change:
        """The part of a change that belongs to some levels; None for all.

        Raises:
            SddError: levels were asked of a kind that has none, or unknown ones.
        """
        if levels is not None:
            raise SddError(f"the manipulator {self.kind} has no levels; leave them out")
        return change

    def refine(self, images: Tensor, y: Prepared, steps: int) -> Prepared:
        """Come closer to pictures (B, 3, S, S) by some steps of optimisation of what was prepared of them.

        Raises:
            SddError: this kind starts from the picture itself, so that there is nothing to come closer to.
        """
        raise SddError(f"the manipulator {self.kind} keeps the picture as it is; leave --refine out")

    def frozen_hash(self) -> str:
        """Names everything frozen that `prepare` and the unedited pictures depend on."""
        return f"{self.kind} {self.image_size}"

    def batch_size(self) -> int:
        """How many pictures to draw at a time."""
        return 16

    def forward(self, y: Prepared, strength: float | Tensor = 1.0) -> Tensor:
        """Edited pictures (B, 3, S, S): `draw` of the change times `strength`."""
        return self.draw(y, self.change(y).scaled(strength))

    def freeze(self) -> Self:
        """Ready for use: evaluation mode, and no gradients."""
        self.eval().requires_grad_(False)
        return self
