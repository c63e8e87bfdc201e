"""Transparency that an edit keeps: bit for bit where nothing changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image as PillowImage

    Picture = PillowImage.Image

CLIPPED = 2  # levels by which a colour may miss what is to be seen, before the pixel becomes more opaque instead
COVERS = 32  # levels from the background at which what is new is opaque; an edit's faint rim, below, stays faint


def transparent_again(layer: Picture, before: Picture, after: Picture, background: tuple[int, int, int]) -> Picture:
    """An edited picture with the transparency of its source.

    A pixel that the edit left alone keeps its colour and its opacity, hidden colours included. One that it changed gets
    the colour that looks on `background` as the edit does, at its opacity; where no colour does, or nothing was to be
    seen, it becomes as opaque as it looks different from `background`, so that no rim of the background's own colour is
    left to be seen on another one; and where still no colour does, opaque.

    Args:
        layer: the source as it is, RGBA. before: as it is seen on `background`, RGB. after: the same, edited.
    """
    from PIL import Image

    result = np.array(layer)
    old, new = (np.asarray(picture.convert("RGB"), dtype=np.float32) for picture in (before, after))
    changed = (old != new).any(2)
    wanted, behind, opacity = new[changed], np.array(background, dtype=np.float32), result[changed, 3:]
    stands_out = np.abs(wanted - behind).max(1, keepdims=True) / COVERS
    colour, missed = _seen_through(opacity, wanted, behind)
    for more in (np.ceil(255 * stands_out.clip(0, 1)), np.full_like(stands_out, 255)):
        opacity = np.where(missed, np.maximum(opacity, more), opacity).astype(np.uint8)
        colour, missed = _seen_through(opacity, wanted, behind)
    result[changed] = np.concatenate([colour, opacity], 1)
    return Image.fromarray(result, "RGBA")


def _seen_through(
    opacity: NDArray[np.uint8], wanted: NDArray[np.float32], behind: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The colours (N, 3) that look at an opacity (N, 1) most as wanted (N, 3), and which miss it (N, 1)."""
    share = opacity.astype(np.float32) / 255
    colour = np.rint(((wanted - (1 - share) * behind) / np.maximum(share, 1 / 255)).clip(0, 255))
    missed = np.abs(share * colour + (1 - share) * behind - wanted).max(1, keepdims=True) > CLIPPED
    return colour.astype(np.uint8), missed
