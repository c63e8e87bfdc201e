"""The size and the shape of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL import Image as PillowImage
    from torch import Tensor

    Picture = PillowImage.Image

Fit = Literal["pad", "crop"]


def fit(image: Picture, size: int, how: Fit = "crop") -> Tensor:
    """A picture ready for a network: float32 (3, size, size) in [-1, 1], made square by `how` (see `square`).

    Very large pictures are reduced by a whole factor first, which costs no quality and keeps memory small: also that of
    the square that a long and narrow one is padded to.
    """
    if how == "crop":
        width, height = image.size
        side = min(image.size)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    factor = max(image.size) // (4 * size)
    if factor > 1:
        image = image.reduce(factor)
    return resize(square(to_tensor(image), how)[None], size)[0]


def to_tensor(image: Picture) -> Tensor:
    """An RGB picture as float32 (3, H, W) in [-1, 1]."""
    import numpy as np
    import torch

    pixels = torch.from_numpy(np.array(image.convert("RGB")))
    return pixels.permute(2, 0, 1).float().div_(127.5).sub_(1.0)


# Shape


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """(B, 3, H, W) to (B, 3, size, size) or (B, 3, *size), antialiased, differentiable, kept in [-1, 1].

    Bicubic: a drawing shrunk by it is 3 dB closer to the same drawing made at that size than one shrunk bilinearly.
    """
    from sdd.nets.resize import resize as resized

    result = resized(images, size, mode="bicubic")
    return result if result is images else result.clamp(-1, 1)


def square(image: Tensor, how: Fit = "crop") -> Tensor:
    """(3, H, W) to a square: `crop` keeps the middle, `pad` keeps everything and extends the picture's own background.

    The background is the median colour of the upper corners, where a portrait has nothing else.
    """
    import torch

    height, width = image.shape[-2:]
    if height == width:
        return image
    if how == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return image[:, top : top + side, left : left + side]
    side, patch = max(height, width), max(1, min(height, width) // 16)
    corners = [image[:, :patch, :patch].flatten(1), image[:, :patch, -patch:].flatten(1)]
    canvas = torch.cat(corners, dim=1).median(dim=1).values[:, None, None].expand(3, side, side).clone()
    top, left = (side - height) // 2, (side - width) // 2
    canvas[:, top : top + height, left : left + width] = image
    return canvas
