"""NIQE: how far pictures are from natural ones in the statistics of their local contrast, without any reference.

    niqe(photos)                        # one number of all pictures together; the larger, the less natural
    distance(features(small, 32))       # the same in two parts: what is seen in each block, and how far that is

Mittal, Soundararajan and Bovik, "Making a 'Completely Blind' Image Quality Analyzer", IEEE Signal Processing Letters
20(3), 2013. The natural pictures are the paper's own 125 photographs, as the 36 means and the covariance that its
authors published (`sdd/weights/niqe`). The figure is that of the authors' MATLAB program, except where a picture has
parts of one colour: their contrast is 0 here and not what rounding leaves of it, and a block without any is left out.

Photographs of ordinary size are what the figure is made for. Of drawings, and with blocks other than the 96 pixels of
the natural pictures, it says nothing by itself: NIQE of drawn avatars can be compared only with NIQE of other drawn
avatars, of one size, in blocks of one size, and about equally many.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.errors import SddError

BLOCK = 96  # pixels, of the natural pictures' blocks
LEAST_BLOCK = 16  # pixels: half of it still gives a fit 64 values
LUMA = (65.481, 128.553, 24.966)  # ITU-R BT.601 in the studio range, 16 to 235, of R, G, B in [0, 1]
WINDOW, SIGMA = 7, 7 / 6  # of the Gaussian weights around a pixel
TURNS = ((0, 1), (1, 0), (1, 1), (1, -1))  # (down, right) to a pixel's neighbour: along rows, columns, both diagonals
SHAPES = torch.arange(200, 10001, dtype=torch.float64) / 1000  # among which the fit looks for α
NOTHING = 1e-9  # contrast below which there is none: what rounding leaves where a picture is of one colour
AT_ONCE = 256  # blocks that are fitted together: each is compared with every shape


def niqe(images: Tensor, block: int = BLOCK) -> float:
    """NIQE of pictures (B, 3, H, W) in [-1, 1], whose blocks are one sample: at least 0, of photographs mostly 2 to 10.

    Equation 10. One large picture has blocks enough; of small ones several are needed, and the figure is then of the
    set: see `features` for what a block is, and the head of this file for what may be compared.

    Raises:
        SddError: as `features` and `distance` do.
    """
    return distance(features(images, block).flatten(0, 1))


def features(images: Tensor, block: int = BLOCK) -> Tensor:
    """What is seen in each block of pictures, (B, N, 36) float64; nan where a block has no contrast to fit.

    Section II: of the normalised luma (equations 1 to 3) at full size, then at half: the shape and mean width of an
    asymmetric generalised Gaussian; and the shape, mean, left and right widths of one of the products of neighbours
    along each of four directions (equations 7 and 8).

    Args:
        images: (B, 3, H, W) in [-1, 1]; what lies outside is clamped, and luma is rounded to whole levels of 255, as
            it is in a file.
        block: side of the blocks in pixels, even. They lie side by side from the top left corner, `H // block` times
            `W // block` of them, and what is left at the right and at the bottom is not seen.

    Raises:
        SddError: the pictures are of another shape or smaller than a block, or the block is odd or below 16.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        shape = f"{tuple(images.shape)} of {images.dtype}"
        raise SddError(f"images must be a float tensor (B, 3, H, W) in [-1, 1], not {shape}")
    if block < LEAST_BLOCK or block % 2:
        raise SddError(f"a block of NIQE must have an even side of at least {LEAST_BLOCK} pixels, not {block}")
    down, right = images.shape[-2] // block, images.shape[-1] // block
    if not down * right:
        size = f"{images.shape[-1]} x {images.shape[-2]}"
        raise SddError(f"pictures of {size} are smaller than NIQE's block of {block} pixels; give a smaller block")
    light = _luma(images[..., : down * block, : right * block])
    found = [_seen(_tiles(_normalised(x), side)) for x, side in ((light, block), (_halved(light), block // 2))]
    return torch.cat(found, -1).reshape(len(images), down * right, 36)


def distance(seen: Tensor) -> float:
    """How far a sample of blocks (M, 36), as `features` gives them, is from natural pictures: equation 10.

    √((ν₁ − ν₂)ᵀ ((Σ₁ + Σ₂) / 2)⁺ (ν₁ − ν₂)), of means ν and covariances Σ, ⁺ being the pseudo-inverse. Blocks with nan
    are left out.

    Raises:
        SddError: fewer than two blocks are left, so that there is no covariance.
    """
    kept = seen[~seen.isnan().any(1)]
    if len(kept) < 2:
        raise SddError(
            f"NIQE needs at least two blocks with contrast and there {'is' if len(kept) == 1 else 'are'} {len(kept)}; "
            "give more or larger pictures, or smaller blocks"
        )
    mean, covariance = natural()
    off = kept.mean(0) - mean
    inverse = torch.linalg.pinv((covariance + kept.T.cov()) / 2, hermitian=True)
    return float((off @ inverse @ off).clamp_min(0).sqrt())


@cache
def natural() -> tuple[Tensor, Tensor]:
    """Mean (36,) and covariance (36, 36) of natural pictures' blocks, float64, as NIQE's authors published them.

    Raises:
        SddError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with as_file(files("sdd") / "weights" / "niqe" / "natural.safetensors") as path:
            found = load_file(path)
        return found["mean"], found["covariance"]
    except (OSError, SafetensorError, KeyError) as error:
        raise SddError(f"NIQE's statistics of natural pictures cannot be read ({error}); reinstall sdd") from error


def fit(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The asymmetric generalised Gaussian of each row of values (R, V): α, β_left, β_right, each (R,) float64.

    By moments, equation 7 and Lasmar, Stitou and Berthoumieu (ICIP 2009): α in [0.2, 10] to three digits; 2 is a
    Gaussian, whose β is √2 standard deviations, and 1 a Laplacian. nan where a side has no values.
    """
    values = values.double()
    left, right = (_width(values.clamp(**side)) for side in ({"max": 0.0}, {"min": 0.0}))
    skew = left / right
    ratio = values.abs().mean(1).square() / values.square().mean(1)
    wanted = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1).square()
    nearest = [(_ratio(SHAPES) - part[:, None]).abs().argmin(1) for part in wanted.split(AT_ONCE)]
    shape = SHAPES[torch.cat(nearest)].where(wanted.isfinite(), torch.nan)
    scale = ((1 / shape).lgamma() - (3 / shape).lgamma()).mul(0.5).exp()
    return shape, left * scale, right * scale


def _width(values: Tensor) -> Tensor:
    """Root mean square of what is not 0 in each row; nan where nothing is."""
    return (values.square().sum(1) / (values != 0).sum(1)).sqrt()


def _ratio(shape: Tensor) -> Tensor:
    """(E|x|)² / E x² of a symmetric generalised Gaussian: Γ(2/α)² / (Γ(1/α) Γ(3/α))."""
    return (2 * (2 / shape).lgamma() - (1 / shape).lgamma() - (3 / shape).lgamma()).exp()


def _seen(tiles: Tensor) -> Tensor:
    """18 features of each normalised block (M, side, side)."""
    shape, left, right = fit(tiles.flatten(1))
    columns = [shape, (left + right) / 2]
    for turn in TURNS:
        # Around the block's edge, as in the authors' program: the natural pictures' figures have it in them.
        shape, left, right = fit((tiles * tiles.roll(turn, (1, 2))).flatten(1))
        mean = (right - left) * ((2 / shape).lgamma() - (1 / shape).lgamma()).exp()
        columns += [shape, mean, left, right]
    return torch.stack(columns, 1)


def _luma(images: Tensor) -> Tensor:
    """(B, 1, H, W) float64 in whole levels, 16 to 235."""
    weights = torch.tensor(LUMA, dtype=torch.float64)[:, None, None]
    rgb = (images.detach().cpu().double().clamp(-1, 1) + 1) / 2
    return (16 + (rgb * weights).sum(1, keepdim=True)).round()


def _normalised(light: Tensor) -> Tensor:
    """(I − μ) / (σ + 1), of the mean and spread around each pixel, in levels: equations 1 to 3."""
    place = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-place.square() / (2 * SIGMA**2))
    weights = weights / weights.sum()

    def around(x: Tensor) -> Tensor:
        x = F.pad(x, [WINDOW // 2] * 4, mode="replicate")
        return F.conv2d(F.conv2d(x, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))

    mean = around(light)
    spread = (around(light.square()) - mean.square()).abs().sqrt()
    contrast = (light - mean) / (spread + 1)
    return contrast.where(contrast.abs() > NOTHING, 0.0)


def _halved(x: Tensor) -> Tensor:
    """(B, 1, H / 2, W / 2), as MATLAB's imresize does it: bicubic (Keys, a = −1/2), stretched against aliasing, over a
    picture that goes on as in a mirror.
    """
    away = torch.tensor([1.75, 1.25, 0.75, 0.25], dtype=torch.float64)  # of the eight pixels, in pixels of the result
    near, far = 1.5 * away**3 - 2.5 * away**2 + 1, -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2
    side = torch.where(away <= 1, near, far) / 2
    weights = torch.cat([side, side.flip(0)])
    for axis in (2, 3):
        length, reach = x.shape[axis], len(away) - 1
        x = torch.cat([x.narrow(axis, 0, reach).flip(axis), x, x.narrow(axis, length - reach, reach).flip(axis)], axis)
        shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
        x = F.conv2d(x, weights.view(shape), stride=(2, 1) if axis == 2 else (1, 2))
    return x


def _tiles(x: Tensor, side: int) -> Tensor:
    """Blocks (B · N, side, side), picture by picture."""
    return x.unfold(2, side, side).unfold(3, side, side).reshape(-1, side, side)
