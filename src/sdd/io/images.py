"""Pictures in and out: any file Pillow reads becomes a float32 tensor in [-1, 1], safely; outputs are atomic PNGs."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sdd.errors import SddError
from sdd.io.files import atomic_path

if TYPE_CHECKING:
    from PIL import Image as PillowImage
    from torch import Tensor

    Picture = PillowImage.Image

MAX_PIXELS = 178_956_970  # Pillow's own limit: a quarter of a gigabyte at eight bits, three channels, twice over
_RUNS_PROGRAMS = {"EPS", "PS", "WMF", "EMF"}  # decoded by an interpreter outside Pillow: not for strangers' files
_SUFFIXES = {
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg",
    ".jpf", ".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".sgi", ".tga", ".tif",
    ".tiff", ".webp",
}  # fmt: skip
Fit = Literal["pad", "crop"]


# Reading


def open_image(path: str | Path, background: str = "white") -> Picture:
    """The picture in a file: upright, eight-bit RGB, transparent parts on `background` (a colour name or #rrggbb).

    Greyscale, palette, CMYK, Lab, 16-bit, 32-bit and float pictures are converted, EXIF rotation is applied, of an
    animation the first frame is taken. The size is checked before anything is decoded.

    Raises:
        SddError: no such file, not a picture, truncated, or larger than `MAX_PIXELS`; an unknown colour.
    """
    from PIL import Image, UnidentifiedImageError

    path = Path(path)
    colour = parse_colour(background)
    if not path.is_file():
        if path.is_dir():
            raise SddError(f"{path} is a folder, not a picture")
        raise SddError(f"no such file: {path}" if not path.exists() else f"{path} is not a regular file")
    if path.stat().st_size == 0:
        raise SddError(f"{path} is empty, not a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit speaks below; odd metadata is not the user's concern
            with Image.open(path) as image:
                if image.format in _RUNS_PROGRAMS:
                    raise SddError(f"{path} is {image.format}, which needs another program to draw; save it as PNG")
                if image.width * image.height > MAX_PIXELS:
                    raise _too_large(path, f"{image.width} x {image.height}")
                image.load()
                return _flatten(_upright(image), colour)
    except SddError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far too large") from error
    except UnidentifiedImageError as error:
        hint = "; save it as PNG first" if path.suffix.lower() in (".svg", ".pdf", ".heic", ".heif") else ""
        raise SddError(f"{path} is not a picture that can be read (PNG, JPEG, WebP, TIFF, GIF, ...){hint}") from error
    except PermissionError as error:
        raise SddError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except Exception as error:  # decoders of broken files raise anything from OSError to IndexError
        raise SddError(f"{path} is a broken or truncated picture ({_one_line(error)})") from error


def read_image(path: str | Path, background: str = "white") -> Tensor:
    """`open_image` as a tensor: float32 (3, H, W) in [-1, 1]."""
    return to_tensor(open_image(path, background))


def read_fitted(path: str | Path, size: int, how: Fit = "crop", background: str = "white") -> Tensor:
    """`open_image` and `fit`: a file as float32 (3, size, size) in [-1, 1]."""
    return fit(open_image(path, background), size, how)


def fit(image: Picture, size: int, how: Fit = "crop") -> Tensor:
    """A picture ready for a network: float32 (3, size, size) in [-1, 1], made square by `how` (see `square`).

    Very large pictures are reduced by a whole factor first, which costs no quality and keeps memory small.
    """
    factor = min(image.size) // (4 * size)
    if factor > 1:
        image = image.reduce(factor)
    return resize(square(to_tensor(image), how)[None], size)[0]


def parse_colour(colour: str) -> tuple[int, int, int]:
    """Red, green, blue in 0..255 of a colour name ("white", "lightblue") or code ("#b6e3f4").

    Raises:
        SddError: no such colour.
    """
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise SddError(f"{colour!r} is not a colour; give a name such as white or a code such as #b6e3f4") from error


def to_tensor(image: Picture) -> Tensor:
    """An RGB picture as float32 (3, H, W) in [-1, 1]."""
    import numpy as np
    import torch

    pixels = torch.from_numpy(np.array(image.convert("RGB")))
    return pixels.permute(2, 0, 1).float().div_(127.5).sub_(1.0)


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


def _upright(image: Picture) -> Picture:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # malformed EXIF: the pixels are fine, so show them as they are stored
        return image


def _flatten(image: Picture, background: tuple[int, int, int]) -> Picture:
    """Any Pillow mode to RGB, transparency composited on `background`."""
    from PIL import Image

    if image.mode == "La":  # premultiplied greyscale, which Pillow takes no straight way from
        image = image.convert("LA")
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if "A" in image.mode.upper().removeprefix("LAB") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(canvas, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Picture) -> Picture:
    """Greyscale of 16 or 32 bits or floats to eight bits; Pillow's own conversion clips instead of scaling."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("pixel values that are not numbers")
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 1 and image.mode == "F":
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    elif low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    # else: no convention says what black and white are, so the picture's own range does
    grey = Image.fromarray(((values - low) * (255.0 / max(high - low, 1e-12))).round().astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # one grey level that means "nothing here"
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _too_large(path: Path, size: str) -> SddError:
    return SddError(f"{path} is too large ({size}; at most {MAX_PIXELS // 10**6} megapixels); make it smaller first")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


# Shape


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """(B, 3, H, W) to (B, 3, size, size) or (B, 3, *size), antialiased, differentiable, kept in [-1, 1].

    Bicubic: a drawing shrunk by it is 3 dB closer to the same drawing made at that size than one shrunk bilinearly.
    """
    from torch.nn import functional as F

    height, width = (size, size) if isinstance(size, int) else size
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bicubic", antialias=True).clamp(-1, 1)


def square(image: Tensor, how: Fit = "crop") -> Tensor:
    """(3, H, W) to a square: `crop` keeps the middle, `pad` keeps everything and extends the picture's own background.

    The background is the median colour of the upper corners, where a portrait has nothing else.
    """
    import torch

    height, width = image.shape[-2:]
    if height == width:
        return image
    if how == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return image[:, top : top + side, left : left + side]
    side, patch = max(height, width), max(1, min(height, width) // 16)
    corners = [image[:, :patch, :patch].flatten(1), image[:, :patch, -patch:].flatten(1)]
    canvas = torch.cat(corners, dim=1).median(dim=1).values[:, None, None].expand(3, side, side).clone()
    top, left = (side - height) // 2, (side - width) // 2
    canvas[:, top : top + height, left : left + width] = image
    return canvas


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


# Folders


@dataclass(frozen=True)
class Source:
    """A picture to work on: where it is, and its name relative to the folder the user gave."""

    path: Path
    name: Path


def find(paths: Iterable[str | Path], skip: str | Path | None = None) -> list[Source]:
    """The pictures among `paths`: files as they are, folders searched through in a fixed order, each picture once.

    In folders only files with a picture's suffix count, hidden ones and everything under `skip` (the output folder,
    which may lie inside the input) are left out.

    Raises:
        SddError: a path that does not exist, a folder that cannot be read, or no picture at all.
    """
    given = [Path(path) for path in paths]
    apart = Path(skip).resolve() if skip is not None else None
    found: dict[Path, Source] = {}
    for path in given:
        if path.is_dir():
            files = _walk(path, apart)
        elif path.exists():
            files = [Source(path, Path(path.name))]
        else:
            raise SddError(f"no such file or folder: {path}")
        for source in files:
            found.setdefault(source.path.resolve(), source)
    if not found:
        raise SddError(f"no pictures in {', '.join(map(str, given)) or 'nothing'}")
    return list(found.values())


def _walk(root: Path, apart: Path | None) -> list[Source]:
    def refuse(error: OSError) -> None:
        raise SddError(f"cannot read the folder {error.filename} ({error.strerror})") from error

    sources = []
    for folder, subfolders, names in os.walk(root, onerror=refuse):
        here = Path(folder)
        if here != root and apart is not None and here.resolve() == apart:
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in _SUFFIXES:
                sources.append(Source(here / name, (here / name).relative_to(root)))
    return sources


def output_paths(sources: Sequence[Source], folder: str | Path) -> list[Path]:
    """Where each source's result goes under `folder`: the same name as PNG, never an input, never the same path twice.

    `a.jpg` becomes `a.png`; where that is taken (by an input, or by another source's result) the result is called
    `a.jpg.png` (`a-edited.png` for `a.png`), then `<parent>-a.png`, then `a-2.png`, `a-3.png` and so on.
    """
    folder = Path(folder)
    taken = {_identity(source.path) for source in sources}
    # Names that need no change are given out first, so that `a.png` keeps its name whatever comes before it.
    order = sorted(range(len(sources)), key=lambda i: sources[i].name.suffix.lower() != ".png")
    chosen: dict[int, Path] = {}
    for index in order:
        source = sources[index]
        name = source.name
        second = f"{name.stem}-edited.png" if name.suffix.lower() == ".png" else f"{name.name}.png"
        parent = source.path.resolve().parent.name or "root"
        candidates = [name.with_suffix(".png"), name.with_name(second), name.with_name(f"{parent}-{name.stem}.png")]
        number = 2
        while candidates:
            target = folder / candidates.pop(0)
            if _identity(target) not in taken:
                break
            if not candidates:
                candidates.append(name.with_name(f"{name.stem}-{number}.png"))
                number += 1
        taken.add(_identity(target))
        chosen[index] = target
    return [chosen[index] for index in range(len(sources))]


def _identity(path: Path) -> str:
    # Case-folded, so that A.png and a.png do not overwrite each other on file systems that ignore case.
    return str(path.resolve()).casefold()
