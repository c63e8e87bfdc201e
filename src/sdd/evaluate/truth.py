"""A domain whose right answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

Person = TypeVar("Person")


class Truth(Protocol[Person]):
    """A domain that can draw its counterfactuals: the same person with what was asked for changed, and nothing else.

    `sdd.domains.avatars.truth.AVATARS` is one. A change is a dict of attributes and the values they take.
    """

    def people(self, seed: int, start: int, count: int) -> Sequence[Person]:
        """People `start` … `start + count` of the held-out people of `seed`."""
        ...

    def render(self, people: Sequence[Person]) -> Tensor:
        """Their pictures, (n, 3, S, S) in [−1, 1]."""
        ...

    def counterfactuals(self, person: Person, changes: Sequence[dict[str, Any]]) -> Tensor:
        """Every right answer to an edit that may mean any of `changes`, (K, 3, S, S) in [−1, 1] with K ≥ 1."""
        ...

    def kept(self, person: Person, changes: Sequence[dict[str, Any]]) -> list[str]:
        """The attributes that the edit must leave alone."""
        ...
