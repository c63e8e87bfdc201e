"""From tensors to picture files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdd.errors import SddError
from sdd.io.files import atomic_path

if TYPE_CHECKING:
    from PIL import Image as PillowImage
    from torch import Tensor

    Picture = PillowImage.Image


def from_tensor(image: Tensor) -> Picture:
    """A tensor (3, H, W) in [-1, 1] as an eight-bit RGB picture; values outside are clipped.

    Raises:
        SddError: the tensor is not (3, H, W), or holds NaN or infinity.
    """
    import torch
    from PIL import Image

    if image.ndim != 3 or image.shape[0] != 3:
        raise SddError(f"a picture is a tensor (3, H, W), not {tuple(image.shape)}")
    if not torch.isfinite(image).all():
        raise SddError("the picture to save holds NaN or infinity")
    pixels = image.detach().float().cpu().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


# Writing


def save_png(image: Tensor | Picture, path: str | Path) -> Path:
    """Write a tensor (3, H, W) in [-1, 1] or a Pillow picture as PNG, whole or not at all, and return its path.

    Raises:
        SddError: the folder cannot be written, the disk is full, or the tensor is no picture.
    """
    from PIL import Image

    picture = image if isinstance(image, Image.Image) else from_tensor(image)
    with atomic_path(path) as aside:
        picture.save(aside, format="PNG")
    return Path(path)


def grid(
    images: Iterable[Tensor], columns: int | None = None, labels: Sequence[str] | None = None, gap: int = 4
) -> Picture:
    """Pictures (3, H, W) of one size side by side on white, row by row, each with an optional line of text below.

    Raises:
        SddError: no pictures, or a number of labels that differs from that of the pictures.
    """
    from PIL import Image, ImageDraw, ImageFont

    pictures = [from_tensor(image) for image in images]
    if not pictures:
        raise SddError("a grid needs at least one picture")
    if labels is not None and len(labels) != len(pictures):
        raise SddError(f"{len(labels)} labels for {len(pictures)} pictures")
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    width, height = pictures[0].size
    font = ImageFont.load_default(max(10, min(width // 12, 24)))
    text = int(font.getbbox("Ag")[3]) + 4 if labels else 0
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + text + gap) + gap), "white")
    pen = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        x = gap + index % columns * (width + gap)
        y = gap + index // columns * (height + text + gap)
        sheet.paste(picture, (x, y))
        if labels:
            label = labels[index]
            while label and pen.textlength(label, font=font) > width:
                label = label[:-2] + "…" if len(label) > 2 else ""
            pen.text((x + width / 2, y + height + 1), label, fill="black", font=font, anchor="ma")
    return sheet
