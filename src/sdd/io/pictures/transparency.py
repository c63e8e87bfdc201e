"""Transparency that an edit keeps: bit for bit where nothing changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    Picture = PillowImage.Image

CLIPPED = 2  # levels by which a colour may miss what is to be seen, before the pixel becomes opaque instead


def transparent_again(layer: Picture, before: Picture, after: Picture, background: tuple[int, int, int]) -> Picture:
    """An edited picture with the transparency of its source.

    A pixel that the edit left alone keeps its colour and its opacity, hidden colours included. One that it changed gets
    the colour that looks on `background` as the edit does, at its opacity; where no colour does, or nothing was to be
    seen, it becomes opaque.

    Args:
        layer: the source as it is, RGBA. before: as it is seen on `background`, RGB. after: the same, edited.
    """
    from PIL import Image

    result = np.array(layer)
    old, new = (np.asarray(picture.convert("RGB"), dtype=np.float32) for picture in (before, after))
    changed = (old != new).any(2)
    opacity = result[changed, 3:].astype(np.float32) / 255
    wanted, behind = new[changed], np.array(background, dtype=np.float32)
    colour = (wanted - (1 - opacity) * behind) / np.maximum(opacity, 1 / 255)
    shown = opacity * np.clip(colour, 0, 255) + (1 - opacity) * behind
    opaque = np.abs(shown - wanted).max(1, keepdims=True) > CLIPPED
    result[changed, :3] = np.where(opaque, wanted, np.clip(np.rint(colour), 0, 255)).astype(np.uint8)
    result[changed, 3:] = np.where(opaque, 255, result[changed, 3:])
    return Image.fromarray(result, "RGBA")
