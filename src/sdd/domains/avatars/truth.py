"""Right answers: every picture that is a right answer to an edit, and what the edit must leave alone.

`AVATARS` is what `sdd.evaluate.truth.Truth` asks of a domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sdd.domains.avatars.avataaars import ATTRIBUTES, COLORS, IMAGE_SIZE, values
from sdd.domains.avatars.person import Avatar, draw, render

if TYPE_CHECKING:
    from torch import Tensor


class Avatars:
    """The avatars as a domain whose counterfactuals can be drawn."""

    def people(self, seed: int, start: int, count: int) -> Sequence[Avatar]:
        """People `start` … `start + count` of `sample(…, seed, "test")`: nothing was trained on them."""
        return [draw(np.random.default_rng([seed, 1, i]), seed=i) for i in range(start, start + count)]

    def render(self, people: Sequence[Avatar], size: int = IMAGE_SIZE) -> Tensor:
        """Their pictures, (n, 3, size, size) in [-1, 1]."""
        return render(list(people), size)

    def counterfactuals(self, person: Avatar, changes: Sequence[dict[str, Any]], size: int = IMAGE_SIZE) -> Tensor:
        """The valid pictures of an edit, (K, 3, size, size) in [-1, 1].

        Every drawing of the asked word (`Avatar.counterfactuals`), in every colour of a thing that the source does not
        show and the prompt does not name: the beard that "a beard" adds had no colour before.

        Args:
            changes: the edits the prompt may mean, any of which is right.

        Raises:
            SddError: an unknown attribute or value.
        """
        found: dict[str, Avatar] = {}
        for change in changes:
            for option in person.counterfactuals(**change):
                free = [n for n in appearing(person, option) if n in COLORS and n not in change]
                variants = [option]
                for name in free:
                    variants += [option.replace(**{name: value}) for value in values(name)]
                for variant in variants:
                    found.setdefault(variant.svg(), variant)
        return render(list(found.values()), size)

    def kept(self, person: Avatar, changes: Sequence[dict[str, Any]]) -> list[str]:
        """The attributes an edit must leave alone: visible before and after it, and not what it changes.

        Raises:
            SddError: an unknown attribute or value.
        """
        after = person.replace(**changes[0])
        return [n for n in ATTRIBUTES if n not in changes[0] and person.visible(n) and after.visible(n)]


AVATARS = Avatars()


def appearing(before: Avatar, after: Avatar) -> list[str]:
    """Attributes the second picture shows and the first cannot."""
    return [n for n in ATTRIBUTES if after.visible(n) and not before.visible(n)]
