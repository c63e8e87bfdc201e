"""What the published methods show CLIP of a picture: two habits, neither of which is CLIP's own preparation
(`sdd.nets.clip_pixels`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.nets.clip_pixels import MEAN, STD


def nada_view(images: Tensor, size: int) -> Tensor:
    """What CLIP sees in StyleGAN-NADA, DiffusionCLIP and effdiff: bicubic without antialias, CLIP's mean and deviation.

    Args:
        images: (B, 3, H, W), nominally in [-1, 1]; not clamped.
        size: side of CLIP's input.

    Returns:
        (B, 3, size, size).
    """
    x = F.interpolate((images + 1) / 2, (size, size), mode="bicubic", align_corners=False)
    mean, std = (torch.tensor(v, device=x.device, dtype=x.dtype)[:, None, None] for v in (MEAN, STD))
    return (x - mean) / std


def styleclip_view(images: Tensor) -> Tensor:
    """What CLIP sees in StyleCLIP's optimisation and mapper: enlarged 7 times, averaged down to side 224, in [-1, 1].

    CLIP's mean and deviation are not applied, in which its authors' code differs from every other use of CLIP.

    Args:
        images: (B, 3, S, S) with S a multiple of 32.

    Returns:
        (B, 3, 224, 224).

    Raises:
        ValueError: another size, for which the published code has no answer.
    """
    size = images.shape[-1]
    if size % 32:
        raise ValueError(f"StyleCLIP's view is of pictures whose side is a multiple of 32, not {size}")
    return F.avg_pool2d(F.interpolate(images, scale_factor=7, mode="nearest"), size // 32)
