"""Pictures as CLIP wants them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def pixels(images: Tensor, size: int) -> Tensor:
    """Images (B, 3, H, W) in [-1, 1] as CLIP wants them: size x size by bicubic interpolation, CLIP's mean and
    deviation. Differentiable.
    """
    if images.shape[-2:] != (size, size):
        images = F.interpolate(images, (size, size), mode="bicubic", align_corners=False, antialias=True)
    mean, std = (torch.tensor(v, device=images.device, dtype=images.dtype)[:, None, None] for v in (MEAN, STD))
    return ((images + 1) / 2 - mean) / std
