"""What keeps an edit close to its source: pure functions, each zero for an edit that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

KEPT = 5  # power of 1 - mask: what the prompt means little to may change freely, what it means nothing to hardly


def latent_l2(delta: Tensor, std: Tensor) -> Tensor:
    """Mean squared change of a W+ code, in units of its standard deviation.

    W+ dimensions differ in scale by orders of magnitude; in these units one weight fits all of them, in any generator.

    Args:
        delta: change of the code, (B, L, D).
        std: standard deviation of the codes, (L, D); ones for the published loss.

    Returns:
        A scalar; 1 when every entry moves by one standard deviation.
    """
    return (delta / std).square().mean()


def style_l2(deltas: Sequence[Tensor], stds: Sequence[Tensor]) -> Tensor:
    """Mean squared change of a StyleSpace code, in units of its standard deviation.

    Args:
        deltas: change of each style vector, [(B, C_0), (B, C_1), ...].
        stds: standard deviation of each, [(C_0,), ...].

    Returns:
        A scalar: the mean over all entries of all vectors, so that long vectors count for more than short ones.
    """
    total = sum((d / s).square().sum() for d, s in zip(deltas, stds, strict=True))
    assert not isinstance(total, int), "a style code has at least one vector"
    return total / sum(d.numel() for d in deltas)


def image_l2(edited: Tensor, source: Tensor) -> Tensor:
    """Mean squared difference of two images, (B, 3, H, W) in [-1, 1], as a scalar; the source gets no gradient."""
    return (edited - source.detach()).square().mean()


def outside_l1(edited: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute change of an image where a mask is zero.

    Absolute, because an edit of something small has the rest of the picture to spoil, each pixel by next to nothing: a
    square would hardly see it, and neither would the teacher's latents.

    Args:
        edited, source: (B, 3, H, W) in [-1, 1]; the source gets no gradient.
        mask: where the edit is to happen, (B, 1, h, w) in [0, 1], of any resolution; see `sdd.mask`.

    Returns:
        A scalar: the mean over all pixels of (1 - mask)^5 |edited - source|, the weights resized bilinearly.
    """
    outside = F.interpolate((1 - mask) ** KEPT, size=edited.shape[-2:], mode="bilinear", align_corners=False)
    return (outside * (edited - source.detach()).abs()).mean()


def identity_loss(edited: Tensor, source: Tensor) -> Tensor:
    """1 - <f(edited), f(source)>, averaged: 0 for the same person, 1 for unrelated ones.

    The published code of arXiv 2307.08448 hands this loss the source twice, which is always zero; here it compares the
    edited picture with its source, as the paper says.

    Args:
        edited, source: L2-normalised identity features, (B, E); the source gets no gradient.
    """
    return (1 - (edited * source.detach()).sum(1)).mean()
