"""Where a prompt asks for a change: the mask of DiffEdit (Couairon et al., arXiv 2210.11427, step 1), kept soft.

The picture is held outside it (`Outside`), or the guidance is listened to inside it alone (`Masked`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.nets.resize import resize
from sdd.paper.step import Guidance, Step
from sdd.teachers.protocol import Conditioning, Teacher


@torch.no_grad()
def edit_mask(
    teacher: Teacher,
    latents: Tensor,
    null: Conditioning,
    text: Conditioning,
    timesteps: Sequence[int],
    random: torch.Generator,
    draws: int = 3,
    saturation: float = 0.5,
    batch: int = 32,
    advance: Callable[[int], object] = lambda count: None,
) -> Tensor:
    """How much the prompt changes the teacher's prediction at each place of each image, relative to where it does most.

    Args:
        latents: of the source images, (N, C, h, w).
        null, text: the encoded null prompt and prompt, one each.
        timesteps: over which, in turn, the differences are averaged.
        draws: noises for each image.
        saturation: share of an image's largest difference from which on the mask is one; DiffEdit thresholds at 0.5.
        advance: called with the number of images done, for a progress bar.

    Returns:
        (N, 1, h, w) in [0, 1]: 1 where the edit is to happen, 0 where the prompt means nothing.
    """
    power = torch.zeros(len(latents), 1, *latents.shape[2:], device=latents.device)
    for k in range(draws):
        for part in torch.arange(len(latents)).split(batch):
            x0 = latents[part]
            t = torch.full((len(part),), timesteps[k * len(timesteps) // draws], device=latents.device)
            noisy = teacher.add_noise(x0, torch.randn(x0.shape, generator=random).to(x0), t)
            condition = type(text).cat([null.repeat(len(part)), text.repeat(len(part))])
            without, told = teacher.predict_noise(noisy.repeat(2, 1, 1, 1), t.repeat(2), condition).chunk(2)
            power[part] += (told - without).square().mean(1, keepdim=True)
            advance(len(part))
    difference = power.sqrt()
    most = difference.amax((2, 3), keepdim=True).clamp_min(1e-12)
    return (difference / (saturation * most)).clamp(max=1)


class Masked:
    """A guidance that is listened to inside masks (N, 1, h, w) of the latents' size."""

    def __init__(self, guidance: Guidance, masks: Tensor) -> None:
        self.guidance, self.masks = guidance, masks

    def __call__(self, latents: Tensor, t: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        return self.guidance(latents, t, noise, index) * self.masks[index]


def outside_l1(edited: Tensor, source: Tensor, mask: Tensor, sharpness: float) -> Tensor:
    """Mean absolute change of an image where a mask is zero.

    Absolute, because an edit of something small has the rest of the picture to spoil, each pixel by next to nothing: a
    square would hardly see it, and neither would the teacher's latents.

    Args:
        edited, source: (B, 3, H, W) in [-1, 1]; the source gets no gradient.
        mask: where the edit is to happen, (B, 1, h, w) in [0, 1], of any resolution.
        sharpness: power of 1 − mask; the larger, the less is held where the prompt means little.

    Returns:
        A scalar: the mean over all pixels of (1 − mask)^sharpness |edited − source|, the weights resized bilinearly.
    """
    outside = F.interpolate((1 - mask) ** sharpness, size=edited.shape[-2:], mode="bilinear", align_corners=False)
    return (outside * (edited - source.detach()).abs()).mean()


class Outside:
    """The term that holds a picture outside its mask; its weight grows from 0, since an edit first has to take hold.

    Args:
        pictures: the unedited pictures in the size in which they are compared, (N, 3, S, S).
        masks: (N, 1, h, w).
        warmup: steps over which the weight grows.
    """

    def __init__(self, pictures: Tensor, masks: Tensor, weight: float, sharpness: float, warmup: int) -> None:
        self.pictures, self.masks = pictures, masks
        self.weight, self.sharpness, self.warmup = weight, sharpness, warmup

    def __call__(self, step: Step) -> Tensor:
        there = resize(step.images, self.pictures.shape[-1], antialias=False)
        held = outside_l1(there, self.pictures[step.index], self.masks[step.index], self.sharpness)
        return self.weight * min(1.0, step.number / max(1, self.warmup)) * held
