"""The released code's clipping and its score, which the paper does not have; kept so that `published` is what ran."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdd.paper.hqs import entropy_deficit
from sdd.paper.step import Guidance


def topk_clip(gradient: Tensor, k: int, per_sample: bool = True) -> Tensor:
    """Keep the `k` entries of largest magnitude, zero the rest.

    `per_sample=False` chooses them over the whole batch, as the released code does; an image may then get nothing.
    """
    flat = gradient.flatten(1) if per_sample else gradient.reshape(1, -1)
    if k >= flat.shape[1]:
        return gradient
    index = flat.abs().topk(k, dim=1).indices
    return torch.zeros_like(flat).scatter(1, index, flat.gather(1, index)).view_as(gradient)


class TopK:
    """A guidance of which only the largest entries are kept."""

    def __init__(self, guidance: Guidance, k: int, per_sample: bool) -> None:
        self.guidance, self.k, self.per_sample = guidance, k, per_sample

    def __call__(self, latents: Tensor, t: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        return topk_clip(self.guidance(latents, t, noise, index), self.k, self.per_sample)


def published_deficit(gradient: Tensor) -> Tensor:
    """log(H·W) minus `published_entropy`, without the rounding that float32 gives it: (B, C, H, W) → (B,) float64."""
    return entropy_deficit(gradient.double().abs().mean(1))


def published_entropy(gradient: Tensor) -> Tensor:
    """The score of the released code, to compare with: the gradient on the *image* (B, C, H, W) → (B,) float64.

    Not Equation 9: the entropy of a softmax over pixels of the channel mean of |gradient|. That code sums it over
    the batch.
    """
    return math.log(gradient.shape[-2] * gradient.shape[-1]) - published_deficit(gradient)
