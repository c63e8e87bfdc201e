"""From images to the codes that draw them, and how well they do: what part of a loss of fidelity is the inversion's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdd.manipulators.backbone import Backbone
from sdd.nets.resize import resize

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


@dataclass(frozen=True)
class Inversion:
    """Codes of images, and what the generator draws from them.

    Attributes:
        codes: W+, (B, L, D).
        images: the reconstructions, (B, 3, S, S), not clamped.
        psnr: of each reconstruction against its image, (B,) dB.
    """

    codes: Tensor
    images: Tensor
    psnr: Tensor


def batch_size(backbone: Backbone) -> int:
    """How many images to draw at a time: of 128 pixels 8 on a CPU, whose cache holds no more, else 64."""
    pixels = 2**17 if backbone.latent_mean.device.type == "cpu" else 2**20
    return max(1, pixels // backbone.image_size**2)


@torch.no_grad()
def encode(images: Tensor, backbone: Backbone, batch: int | None = None) -> Tensor:
    """W+ codes (B, L, D) of images (B, 3, H, W) in [-1, 1], by the encoder alone."""
    device = backbone.latent_mean.device
    chunks = images.split(batch or 8 * batch_size(backbone))  # an encoder's activations are small
    parts = [backbone.encoder(resize(part.to(device), backbone.image_size)) for part in chunks]
    return torch.cat(parts) if parts else backbone.latent_mean.new_zeros(0, *backbone.latent_mean.shape)


def invert(
    images: Tensor,
    backbone: Backbone,
    refine: int = 0,
    batch: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Inversion:
    """Codes of images by the encoder, then `refine` steps of optimisation in W+, with a report.

    A refined code is never worse than the encoder's: of all steps each image keeps its best.

    Args:
        images: (B, 3, H, W) in [-1, 1]; resized to the generator's size.
        refine: steps of optimisation; each costs one pass forward and back through the generator.
        batch: images at a time; None for what fits a few hundred megabytes.
        progress: called with (images done, images in all).
    """
    images = resize(images.to(backbone.latent_mean.device), backbone.image_size)
    batch = batch or batch_size(backbone)
    parts = []
    done = 0
    for part in images.split(batch):
        codes = encode(part, backbone, batch)
        parts.append(refine_codes(part, codes, backbone, refine) if refine > 0 else codes)
        done += len(part)
        if progress is not None:
            progress(done, len(images))
    codes = torch.cat(parts) if parts else encode(images, backbone)
    return report(images, codes, backbone, batch)


@torch.no_grad()
def report(images: Tensor, codes: Tensor, backbone: Backbone, batch: int | None = None) -> Inversion:
    """How well `codes` (B, L, D) draw `images` (B, 3, S, S) at the generator's size."""
    batch = batch or batch_size(backbone)
    drawn = [backbone.generator.synthesis(part) for part in codes.split(batch)]
    reconstructions = torch.cat(drawn) if drawn else torch.zeros_like(images)
    return Inversion(codes, reconstructions, psnr(reconstructions, images))


@torch.enable_grad()
def refine_codes(images: Tensor, codes: Tensor, backbone: Backbone, steps: int) -> Tensor:
    """Adam on the codes, in units of their standard deviation, against L2 at three scales.

    The coarse scales carry the layout past details that do not yet line up; a small pull keeps the code near the
    encoder's, where the generator's prior (and so the editor) holds.
    """
    unit = backbone.latent_std.clamp_min(1e-6)
    move = torch.zeros_like(codes, requires_grad=True)
    optimizer = torch.optim.Adam([move], lr=0.05)
    best, best_error = codes.clone(), torch.full((len(codes),), torch.inf, device=codes.device)
    for step in range(steps + 1):
        drawn = backbone.generator.synthesis(codes + move * unit)
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
        images = resize(images, shape)
        codes: Tensor = self.net(images)
        return codes


class MeanCode(nn.Module):
    """Stands in where there is no encoder: the mean code for every image, from where optimisation may start."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.get_buffer("mean").expand(len(images), -1, -1)
