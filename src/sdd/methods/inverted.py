"""Pictures as the codes of a generator, and back at their own size: how methods on a StyleGAN edit a real picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sdd.domains.domain import Domain
from sdd.errors import SddError
from sdd.io.pictures.shape import resize, square
from sdd.manipulators.backbone import Backbone
from sdd.manipulators.inversion import batch_size, encode


def codes_of(images: Tensor, backbone: Backbone) -> Tensor:
    """W+ codes (B, L, D) of pictures (B, 3, H, W) in [-1, 1], padded to squares where they are none.

    Raises:
        SddError: images of another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        shape = f"{tuple(images.shape)} of {images.dtype}"
        raise SddError(f"images must be a float tensor (B, 3, H, W) in [-1, 1], not {shape}")
    if images.shape[-2] != images.shape[-1] and len(images):
        images = torch.stack([square(image, "pad") for image in images])
    return encode(resize(images.to(backbone.device), backbone.image_size), backbone)


def framed(drawn: Tensor, like: Tensor) -> Tensor:
    """Drawn squares (B, 3, S, S) in the size of the pictures (B, 3, H, W) they were made of, in [-1, 1]."""
    height, width = like.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    whole = resize(drawn, side)
    return whole[..., top : top + height, left : left + width].clamp(-1, 1).to(like)


def drawn(codes: Tensor, draw: Callable[[Tensor], Tensor], backbone: Backbone) -> Tensor:
    """Pictures of codes (B, …), some at a time and without gradient."""
    with torch.no_grad():
        return torch.cat([draw(part) for part in codes.split(batch_size(backbone))])


def reconstructed(images: Tensor, backbone: Backbone) -> Tensor:
    """What the generator makes of pictures (B, 3, H, W) that nobody edits, in their own size."""
    return framed(drawn(codes_of(images, backbone), backbone.generator.synthesis, backbone), images)


def training_codes(domain: Domain, count: int, seed: int) -> Tensor:
    """W+ codes (N, L, D) of at most `count` of a domain's training pictures.

    Raises:
        SddError: the domain has no generator, or no pictures.
    """
    backbone = domain.stylegan
    if domain.latents is not None:
        return domain.latents[:count].to(backbone.device)
    images = domain.images(count, seed, "train")
    if len(images) == 0:
        raise SddError(f"the domain {domain.name!r} has no images to train on; give it some")
    return codes_of(images, backbone)
