"""What holds a change that is laid out in space: of latents, or of pixels, where nothing else keeps it small.

A generator can only draw pictures of its kind. A manipulator that writes into latents or pixels can leave faint clouds
anywhere, of which each pixel is next to nothing and the whole is what a user sees; so their absolute size is held.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sdd.manipulators.protocol import Manipulator
from sdd.paper.step import Step


class OutsideChange:
    """Mean |change| where a mask is zero; its weight grows from 0, since an edit first has to take hold.

    Args:
        masks: (N, 1, h, w) in [0, 1], resized to the change.
        sharpness: power of 1 − mask.
        warmup: steps over which the weight grows.
    """

    def __init__(self, masks: Tensor, weight: float, sharpness: float, warmup: int) -> None:
        self.masks, self.weight, self.sharpness, self.warmup = masks, weight, sharpness, warmup

    def __call__(self, step: Step) -> Tensor:
        (change,) = step.change.parts
        outside = (1 - self.masks[step.index]) ** self.sharpness
        if outside.shape[-2:] != change.shape[-2:]:
            outside = F.interpolate(outside, size=change.shape[-2:], mode="bilinear", align_corners=False)
        return self.weight * min(1.0, step.number / max(1, self.warmup)) * (outside * change.abs()).mean()


class Shown:
    """Mean |change| of the picture, wherever it is; its weight grows as above."""

    def __init__(self, manipulator: Manipulator, weight: float, warmup: int) -> None:
        self.manipulator, self.weight, self.warmup = manipulator, weight, warmup

    def __call__(self, step: Step) -> Tensor:
        size = self.manipulator.shown(step.y, step.change).abs().mean()
        return self.weight * min(1.0, step.number / max(1, self.warmup)) * size
