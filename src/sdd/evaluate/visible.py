"""What tables about the judge's readings share."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from sdd.domains.avatars.person import Avatar


def shown(hits: Tensor, persons: Iterable[Avatar], name: str) -> list[bool]:
    """The hits of those people whose picture can show the attribute."""
    return [bool(hit) for hit, person in zip(hits, persons, strict=True) if person.visible(name)]


def shares(hits: dict[str, list[bool]]) -> dict[str, float]:
    """Share of hits of each attribute that any picture could show."""
    return {name: statistics.fmean(row) for name, row in sorted(hits.items()) if row}
