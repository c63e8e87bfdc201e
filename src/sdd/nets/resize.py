"""The one resize of pictures as tensors."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def resize(images: Tensor, size: int | tuple[int, int], mode: str = "bilinear", antialias: bool = True) -> Tensor:
    """(B, C, H, W) to (B, C, size, size) or (B, C, *size), differentiable; pictures of that size come back as they are.

    Args:
        antialias: False is how the paper's code feeds its teacher.
    """
    wanted = (size, size) if isinstance(size, int) else size
    if tuple(images.shape[-2:]) == wanted:
        return images
    return F.interpolate(images, wanted, mode=mode, antialias=antialias, align_corners=False)
