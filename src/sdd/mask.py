"""Where a prompt asks for a change: the mask of DiffEdit (Couairon et al., arXiv 2210.11427, step 1), kept soft."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sdd.teachers.protocol import Conditioning, Teacher


SATURATION = 0.5  # share of an image's largest difference from which on the mask is one; the paper thresholds there


@torch.no_grad()
def edit_mask(
    teacher: Teacher,
    latents: Tensor,
    null: Conditioning,
    text: Conditioning,
    timesteps: Sequence[int],
    random: torch.Generator,
    draws: int = 3,
    batch: int = 32,
    advance: Callable[[int], object] = lambda count: None,
) -> Tensor:
    """How much the prompt changes the teacher's prediction at each place of each image, relative to where it does most.

    Args:
        latents: of the source images, (N, C, h, w).
        null, text: the encoded null prompt and prompt, one each.
        timesteps: over which, in turn, the differences are averaged.
        draws: noises for each image.
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
    return (difference / (SATURATION * most)).clamp(max=1)
