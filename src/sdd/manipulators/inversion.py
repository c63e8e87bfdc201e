"""From images to the codes that draw them, and how well they do: what part of a loss of fidelity is the inversion's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from sdd.domains.domain import Domain


PEAK = 2.0  # images span [-1, 1]


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image against its reference, dB, with peak 2.

    Args:
        images, references: (B, 3, H, W) in [-1, 1].

    Returns:
        (B,), at most 120 (equal images would be infinite).
    """
    error = (images - references).square().flatten(1).mean(1)
    return 10 * torch.log10(PEAK**2 / error.clamp_min(PEAK**2 * 1e-12))


def resize(images: Tensor, size: int) -> Tensor:
    """(B, 3, H, W) to (B, 3, size, size); nothing happens to images of that size."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


@dataclass(frozen=True)
class Inversion:
    """Codes of images, and what the generator draws from them.

    Attributes:
        codes: W+, (B, L, D).
        images: the reconstructions, (B, 3, S, S), not clamped.
        psnr: of each reconstruction against its image, (B,) dB.
        identity: cosine of the identity features of both, (B,); None where the domain has no identity network.
    """

    codes: Tensor
    images: Tensor
    psnr: Tensor
    identity: Tensor | None


def batch_size(domain: Domain) -> int:
    """How many images of the domain to draw at a time: of 128 pixels 4 on a CPU, whose cache holds no more, else 64."""
    pixels = 2**16 if domain.latent_mean.device.type == "cpu" else 2**20
    return max(1, pixels // domain.image_size**2)


@torch.no_grad()
def encode(images: Tensor, domain: Domain, batch: int | None = None) -> Tensor:
    """W+ codes (B, L, D) of images (B, 3, H, W) in [-1, 1], by the domain's encoder alone."""
    device = domain.latent_mean.device
    chunks = images.split(batch or 8 * batch_size(domain))  # an encoder's activations are small
    parts = [domain.encoder(resize(part.to(device), domain.image_size)) for part in chunks]
    return torch.cat(parts) if parts else domain.latent_mean.new_zeros(0, *domain.latent_mean.shape)


def features(domain: Domain, images: Tensor) -> Tensor:
    """L2-normalised identity features (B, E) of images, by the domain's identity network, which it must have."""
    from sdd.nets.arcface import IRSE, identity_features

    assert isinstance(domain.identity, IRSE), "asked only of domains that have an identity network"
    return identity_features(domain.identity, images)


def invert(
    images: Tensor,
    domain: Domain,
    refine: int = 0,
    batch: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Inversion:
    """Codes of images by the domain's encoder, then `refine` steps of optimisation in W+, with a report.

    A refined code is never worse than the encoder's: of all steps each image keeps its best.

    Args:
        images: (B, 3, H, W) in [-1, 1]; resized to the domain's size.
        refine: steps of optimisation; each costs one pass forward and back through the generator.
        batch: images at a time; None for what fits a few hundred megabytes.
        progress: called with (images done, images in all).
    """
    images = resize(images.to(domain.latent_mean.device), domain.image_size)
    batch = batch or batch_size(domain)
    parts = []
    done = 0
    for part in images.split(batch):
        codes = encode(part, domain, batch)
        parts.append(_refine(part, codes, domain, refine) if refine > 0 else codes)
        done += len(part)
        if progress is not None:
            progress(done, len(images))
    codes = torch.cat(parts) if parts else encode(images, domain)
    return report(images, codes, domain, batch)


@torch.no_grad()
def report(images: Tensor, codes: Tensor, domain: Domain, batch: int | None = None) -> Inversion:
    """How well `codes` (B, L, D) draw `images` (B, 3, S, S at the domain's size)."""
    batch = batch or batch_size(domain)
    drawn = [domain.generator.synthesis(part) for part in codes.split(batch)]
    reconstructions = torch.cat(drawn) if drawn else torch.zeros_like(images)
    identity = None
    if domain.identity is not None and len(images):
        pairs = zip(images.split(batch), reconstructions.split(batch), strict=True)
        identity = torch.cat([(features(domain, a) * features(domain, b)).sum(1) for a, b in pairs])
    return Inversion(codes, reconstructions, psnr(reconstructions, images), identity)


def _refine(images: Tensor, codes: Tensor, domain: Domain, steps: int) -> Tensor:
    """Adam on the codes, in units of their standard deviation, against L2 at three scales.

    The coarse scales carry the layout past details that do not yet line up; a small pull keeps the code near the
    encoder's, where the generator's prior (and so the editor) holds.
    """
    unit = domain.latent_std.clamp_min(1e-6)
    move = torch.zeros_like(codes, requires_grad=True)
    optimizer = torch.optim.Adam([move], lr=0.05)
    best, best_error = codes.clone(), torch.full((len(codes),), torch.inf, device=codes.device)
    for step in range(steps + 1):
        drawn = domain.generator.synthesis(codes + move * unit)
        difference = drawn - images
        error = difference.square().flatten(1).mean(1)
        with torch.no_grad():
            better = error < best_error
            best[better] = (codes + move * unit)[better]
            best_error = torch.minimum(error, best_error)
        if step == steps:
            break
        loss = error.sum() + 1e-4 * move.square().flatten(1).mean(1).sum()
        for scale in (2, 4):
            loss = loss + F.avg_pool2d(difference, scale).square().flatten(1).mean(1).sum()
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / steps) + 0.002  # settle: large steps first, small ones last
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return best.detach()


class Inverter(nn.Module):
    """An encoder behind the resizing its published use has: images (B, 3, S, S) in [-1, 1] to W+ codes (B, L, D).

    For cars the generator's picture lies in the middle three quarters of the square, and the encoder sees that alone.
    """

    def __init__(self, net: nn.Module, car: bool = False) -> None:
        super().__init__()
        self.net, self.car = net, car

    def forward(self, images: Tensor) -> Tensor:
        if self.car:
            size = images.shape[-2]
            images = images[..., size // 8 : size - size // 8, :]
        shape = (192, 256) if self.car else (256, 256)
        if tuple(images.shape[-2:]) != shape:
            images = F.interpolate(images, shape, mode="bilinear", antialias=True, align_corners=False)
        codes: Tensor = self.net(images)
        return codes


class MeanCode(nn.Module):
    """Stands in where there is no encoder: the mean code for every image, from where optimisation may start."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.get_buffer("mean").expand(len(images), -1, -1)
