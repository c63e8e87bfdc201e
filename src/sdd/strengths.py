"""How far each editor goes on each picture: one number for all, one for each editor, one for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from sdd.errors import SddError

Strength: TypeAlias = float | Sequence[float] | Tensor  # of one editor: for all pictures, or (B,) one for each
Strengths: TypeAlias = Strength | Sequence[Strength]  # of several: one for all of them, or a list of one for each
Parsed: TypeAlias = list[float | tuple[float, ...]]  # of each editor: a number, or one for each picture
MOST = 1e6


def parse(given: Strengths, editors: int) -> Parsed:
    """The strength of each of so many editors.

    Args:
        given: a number for all; a tensor (B,) of one for each picture, the same for all editors; or a list of one for
            each editor, which may be a number or again one for each picture.

    Raises:
        SddError: not as many as editors, or not finite numbers.
    """
    if _is_number(given):
        found: Parsed = [float(given)] * editors  # type: ignore[arg-type]
    elif hasattr(given, "ndim"):
        found = [_of_pictures(given)] * editors
    elif isinstance(given, list | tuple):
        found = [float(s) if _is_number(s) else _of_pictures(s) for s in given]
    else:
        raise SddError(f"a strength is a number, or a list or a tensor of them, not a {type(given).__name__}")
    if len(found) != editors:
        raise SddError(f"{len(found)} strengths were given for {editors} editors; give one, or one each")
    for strength in found:
        for s in strength if isinstance(strength, tuple) else (strength,):
            if not -MOST < s < MOST:
                raise SddError(f"the strength must be a finite number, not {s}; 1 is the edit as trained")
    return found


def of(strengths: Parsed, pictures: slice | Sequence[int]) -> Parsed:
    """The strengths for some of the pictures."""

    def some(each: tuple[float, ...]) -> tuple[float, ...]:
        return each[pictures] if isinstance(pictures, slice) else tuple(each[i] for i in pictures)

    return [some(s) if isinstance(s, tuple) else s for s in strengths]


def check_count(strengths: Parsed, pictures: int) -> None:
    """Raise SddError unless those that are given one for each picture are as many as there are pictures."""
    for s in strengths:
        if isinstance(s, tuple) and len(s) != pictures:
            raise SddError(f"{len(s)} strengths were given for {pictures} pictures; give one, or one for each picture")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or getattr(value, "ndim", None) == 0


def _of_pictures(value: Any) -> tuple[float, ...]:
    try:
        numbers = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SddError(f"strengths must be numbers, one for each picture, not {value!r}") from error
    if numbers.ndim != 1:
        raise SddError(f"strengths of pictures are as many numbers, not of shape {tuple(numbers.shape)}")
    return tuple(numbers.tolist())
