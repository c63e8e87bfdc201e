"""Levels: which layers of a W+ or StyleSpace code are coarse, medium and fine."""

from __future__ import annotations

from collections.abc import Sequence

LEVELS = ("coarse", "medium", "fine")
_BOUNDS = {"coarse": (0, 4), "medium": (4, 8), "fine": (8, None)}


def level_layers(level: str, n_latent: int) -> range:
    """The W+ layers of a level: coarse 0-3, medium 4-7, fine the rest, whatever the generator's size.

    Raises:
        ValueError: `level` is not one of `LEVELS`.
    """
    if level not in _BOUNDS:
        raise ValueError(f"unknown level {level!r}; there are {', '.join(LEVELS)}")
    start, stop = _BOUNDS[level]
    return range(n_latent)[start:stop]


def style_layer(index: int) -> int:
    """The W+ layer that style vector `index` is made from (order: conv, to-RGB, then conv, conv, to-RGB ...)."""
    if index < 2:
        return index
    block, place = divmod(index - 2, 3)
    return 1 + 2 * block + place


def is_rgb(index: int) -> bool:
    """Whether style vector `index` drives a to-RGB layer: every third from the second."""
    return index % 3 == 1


def checked_levels(levels: Sequence[str]) -> tuple[str, ...]:
    """`levels` in their own order."""
    if not levels or set(levels) - set(LEVELS):
        raise ValueError(f"levels must be some of {', '.join(LEVELS)}, not {', '.join(map(repr, levels)) or 'none'}")
    return tuple(level for level in LEVELS if level in levels)


def level_of(layer: int) -> str:
    """The level a W+ layer belongs to."""
    return "coarse" if layer < 4 else "medium" if layer < 8 else "fine"
