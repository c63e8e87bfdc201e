"""Directional CLIP losses, as pure functions of CLIP features (StyleGAN-NADA, arXiv 2108.00946; DiffusionCLIP, arXiv
2110.02711).

Features are (N, D), as CLIP gives them: not normalised. Text features have one row per prompt template.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def text_direction(source: Tensor, target: Tensor) -> Tensor:
    """The unit direction (1, D) from the source text to the target text: features are normalised per template, then
    averaged.
    """
    return normalize((normalize(target, dim=-1) - normalize(source, dim=-1)).mean(0, keepdim=True), dim=-1)


def direction_loss(image_source: Tensor, image_target: Tensor, direction: Tensor) -> Tensor:
    """1 - cos between the change of the images and a text direction, mean over the batch (NADA, equation 3): in [0, 2].

    Args:
        image_source: features of the images before the edit (B, D). image_target: after it (B, D).
        direction: from `text_direction` (1, D).
    """
    change = normalize(normalize(image_target, dim=-1) - normalize(image_source, dim=-1), dim=-1)
    return (1 - torch.cosine_similarity(change, direction, dim=-1)).mean()


def log_direction_loss(loss: Tensor) -> Tensor:
    """DiffusionCLIP's form of `direction_loss`: -log((2 - loss) / 2), which is 0 for a perfect match and unbounded for
    the opposite.
    """
    return -torch.log((2 - loss) / 2)


def angle_loss(image_source: Tensor, image_target: Tensor, text_source: Tensor, text_target: Tensor) -> Tensor:
    """How much the cosine between an edited image and its source differs from that between the two texts (NADA's
    "manifold" loss).

    The mean over the batch of the absolute difference. Unlike in `text_direction`, the means over the templates of the
    normalised text features are normalised again, as in the published code.
    """
    images = torch.cosine_similarity(image_target, image_source, dim=-1)
    source, target = (normalize(text, dim=-1).mean(0) for text in (text_source, text_target))
    return (images - torch.cosine_similarity(target, source, dim=-1)).abs().mean()
