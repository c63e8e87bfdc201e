"""Cut a part out of a photo, and lay it back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sdd.errors import SddError
from sdd.io.pictures.faces import find, pick
from sdd.io.pictures.quad import box_quad, centre_quad, ffhq_quad, sides

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor


CROPS = ("face", "centre", "car")
_LONGEST = 4096  # px; a crop is sampled at so many points a side at most


def quads(
    photo: Image, crop: str, which: str = "1", box: tuple[float, float, float, float] | None = None
) -> list[NDArray[np.float64]]:
    """Which parts of a photo to edit, by the crop rule of a domain.

    Args:
        crop: `face` (FFHQ alignment), `centre` (a square in the middle) or `car` (4:3 in the middle, as LSUN cars are).
        which: for faces, which of them; see `pick`.
        box: overrides the rule with this box.

    Raises:
        SddError: an unknown rule, no such face, or an empty box.
    """
    if crop not in CROPS:
        raise SddError(f"there is no crop rule {crop!r}; give one of {', '.join(CROPS)}")
    if box is not None:
        return [box_quad(box)]
    if crop == "face":
        return [ffhq_quad(face.landmarks) for face in pick(find(photo), which)]
    return [centre_quad(*photo.size, aspect=4 / 3 if crop == "car" else 1.0)]


# --- There and back ------------------------------------------------------------------------------------------------


def crop(photo: Image, quad: NDArray[np.float64], kind: str | None, size: int) -> Tensor:
    """The quad of an RGB photo as a generator of `size` knows it: (3, size, size) float32 in [-1, 1].

    Cars are 4:3 and lie in the middle of a black square, as their generator draws them.
    """
    import torch.nn.functional as F

    if kind != "car":
        return align(photo, quad, size)
    return F.pad(align(photo, quad, (size * 3 // 4, size)), (0, 0, size // 8, size // 8), value=-1.0)


def drawn_in(drawing: Tensor, kind: str | None) -> Tensor:
    """The part of a drawing (3, S, S) that shows what `crop` cut out: for cars the middle three quarters."""
    if kind != "car":
        return drawing
    margin = drawing.shape[-2] // 8
    return drawing[:, margin : drawing.shape[-2] - margin]


def align(photo: Image, quad: NDArray[np.float64], size: int | tuple[int, int]) -> Tensor:
    """Cut the quad out of an RGB photo: (3, H, W) float32 in [-1, 1], without aliasing.

    Where the quad leaves the photo, the photo is mirrored and fades to a blur and to its median, as in FFHQ.

    Args:
        size: the side of the crop in pixels, or its (height, width).
    """
    import torch
    import torch.nn.functional as F

    height, width = (size, size) if isinstance(size, int) else size
    quad_width, quad_height = sides(quad)
    if max(quad.max(0) - photo.size) > max(photo.size) or min(quad.min(0)) < -max(photo.size):
        raise SddError(f"the crop reaches far outside the photo, which has {photo.size[0]} x {photo.size[1]} pixels")
    # A crop of which no more than every second pixel is looked at is made from a smaller photo, which is as good.
    most = max(_LONGEST, 2 * max(height, width))
    if (longest := max(quad_width, quad_height)) > most:
        shrink = math.ceil(longest / most)
        return align(photo.reduce(shrink), quad / shrink, size)
    # Cut to what is needed: a crop of a 50-megapixel photo must not cost a float copy of all of it.
    low = np.floor(quad.min(0)).astype(int) - 3
    high = np.ceil(quad.max(0)).astype(int) + 3
    inside = (*np.maximum(low, 0), *np.minimum(high, photo.size))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise SddError(f"the crop lies outside the photo, which has {photo.size[0]} x {photo.size[1]} pixels")
    pixels = torch.from_numpy(np.array(photo.crop(inside).convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1
    over = np.concatenate([np.maximum(-low, 0), np.maximum(high - photo.size, 0)])
    origin = np.array(inside[:2], dtype=np.float64)
    if over.max() > 3:
        pixels, shift = _pad(pixels, over, max(quad_width, quad_height))
        origin -= shift
    # Sample at least as densely as the photo's own pixels, then average: a box filter of the right width.
    dense = max(1, math.ceil(max(quad_width / width, quad_height / height)))
    dense = min(dense, max(1, _LONGEST // max(width, height)))
    u = (torch.arange(width * dense, dtype=torch.float64) + 0.5) / (width * dense)
    v = (torch.arange(height * dense, dtype=torch.float64) + 0.5) / (height * dense)
    corner, right, down = (torch.from_numpy(p) for p in (quad[0] - origin, quad[3] - quad[0], quad[1] - quad[0]))
    where = corner + u[None, :, None] * right + v[:, None, None] * down
    grid = (2 * where / torch.tensor([pixels.shape[2], pixels.shape[1]]) - 1).float()
    out = F.grid_sample(pixels[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(out, dense)[0] if dense > 1 else out[0]


def _pad(pixels: Tensor, over: NDArray[np.int_], side: float) -> tuple[Tensor, NDArray[np.float64]]:
    """Mirror `pixels` (3, H, W) outwards and fade what is far out; returns them and the margin (left, top).

    The rule and its numbers are FFHQ's: margins of at least 0.3 of the crop's side, a blur of 0.02 of it that sets in
    at the border, the median that takes over beyond it.
    """
    import torch
    import torch.nn.functional as F

    left, top, right, bottom = (max(int(o), round(0.3 * side)) for o in over)
    mirrored = np.pad(pixels.numpy(), ((0, 0), (top, bottom), (left, right)), mode="reflect")
    padded = torch.from_numpy(mirrored)
    height, width = padded.shape[1:]
    x, y = torch.arange(width)[None, :], torch.arange(height)[:, None]
    near_x = torch.minimum(x / left, (width - 1 - x) / right)
    near_y = torch.minimum(y / top, (height - 1 - y) / bottom)
    out = 1 - torch.minimum(near_x, near_y)
    # The blur is wide, so it is computed on a coarse copy, where it is cheap.
    sigma = 0.02 * side
    coarse = max(1, int(sigma / 4))
    small = F.interpolate(padded[None], size=(max(1, height // coarse), max(1, width // coarse)), mode="area")[0]
    sigma /= coarse
    radius = math.ceil(4 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    for _ in range(2):  # along the rows, then, transposed, along the columns
        rows = small.reshape(-1, 1, small.shape[2])
        blurred = F.conv1d(F.pad(rows, (radius, radius), mode="replicate"), kernel)
        small = blurred.reshape(small.shape).transpose(1, 2).contiguous()
    soft = F.interpolate(small[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    padded = padded + (soft - padded) * (3 * out + 1).clamp(0, 1)
    median = padded.flatten(1).median(1).values[:, None, None]
    return padded + (median - padded) * out.clamp(0, 1), np.array([left, top], dtype=np.float64)
