"""Pictures in and out: any file Pillow reads becomes a float32 tensor in [-1, 1], safely; outputs are atomic PNGs."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from sdd.errors import SddError, one_line

if TYPE_CHECKING:
    from PIL import Image as PillowImage
    from torch import Tensor

    Picture = PillowImage.Image
from sdd.io.pictures.shape import Fit, fit, to_tensor

MAX_PIXELS = 178_956_970  # Pillow's own limit: a quarter of a gigabyte at eight bits, three channels, twice over
MAX_SIDE = 65_535  # px, the most a JPEG has; Pillow keeps a pointer for each row, so that height costs memory too
FREE_PIXELS = 16_000_000  # that any file may have; beyond them, at most
PER_BYTE = 1_000  # for each byte of the file: a photo has some 20, a flat drawing some 100
MAX_SCANS = 100  # of a JPEG, each a pass over all of it; a progressive one has a dozen
# Formats that photos and drawings come in, and Pillow's plug-in for each. Others are decoded by programs outside Pillow
# (EPS, WMF) or slowly in Python, and are not for strangers' files. HEIF comes with a plug-in that registers itself.
_FORMATS = {
    "PNG": "Png", "JPEG": "Jpeg", "MPO": "Mpo", "WEBP": "WebP", "GIF": "Gif", "TIFF": "Tiff", "BMP": "Bmp",
    "DIB": "Bmp", "AVIF": "Avif", "JPEG2000": "Jpeg2K", "PPM": "Ppm", "TGA": "Tga", "ICO": "Ico", "PCX": "Pcx",
    "PSD": "Psd",
    "QOI": "Qoi", "SGI": "Sgi", "HEIF": "",
}  # fmt: skip


# Reading


def open_image(path: str | Path, background: str = "white") -> Picture:
    """The picture in a file: upright, eight-bit RGB, transparent parts on `background` (a colour name or #rrggbb).

    See `open_layers`, of which it is the first.
    """
    return open_layers(path, background)[0]


def open_layers(path: str | Path, background: str = "white") -> tuple[Picture, Picture | None]:
    """The picture in a file as it is seen on `background`, and, if parts can be transparent, as it is: RGBA, else None.

    Greyscale, palette, CMYK, Lab, 16-bit, 32-bit and float pictures are converted, EXIF rotation is applied, of an
    animation the first frame is taken. The size is checked before anything is decoded.

    Raises:
        SddError: no such file, not a picture, truncated, larger than `MAX_PIXELS` or than `MAX_SIDE` on a side, or far
            larger than its file can hold; an unknown colour.
    """
    path = Path(path)
    parse_colour(background)
    if not os.path.isfile(path):  # unlike `is_file`, no error where a name is too long
        if os.path.isdir(path):
            raise SddError(f"{path} is a folder, not a picture")
        raise SddError(f"no such file: {path}" if not os.path.exists(path) else f"{path} is not a regular file")
    return _layers(path, path, background, MAX_PIXELS)


def read_layers(
    data: bytes, name: str, background: str = "white", most: int = MAX_PIXELS
) -> tuple[Picture, Picture | None]:
    """`open_layers` of a file's bytes, which messages call `name`, and of `most` pixels."""
    return _layers(data, Path(name), background, most)


def _layers(file: Path | bytes, path: Path, background: str, most: int) -> tuple[Picture, Picture | None]:
    from PIL import Image, UnidentifiedImageError

    colour = parse_colour(background)
    try:
        size = len(file) if isinstance(file, bytes) else file.stat().st_size
        if size == 0:
            raise SddError(f"{path} is empty, not a picture")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit speaks below; odd metadata is not the user's concern
            with Image.open(BytesIO(file) if isinstance(file, bytes) else file, formats=_formats()) as image:
                _check_size(path, image.size, size, most)
                if image.format in ("JPEG", "MPO"):
                    _check_scans(path, file if isinstance(file, bytes) else file.read_bytes())
                image.load()
                _check_size(path, image.size, size, most)  # an icon's picture may be another than its directory says
                return flattened(_upright(image), colour)
    except SddError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far too large", most) from error
    except UnidentifiedImageError as error:
        hint = "; save it as PNG first" if path.suffix.lower() in (".svg", ".pdf", ".heic", ".heif") else ""
        raise SddError(f"{path} is not a picture that can be read (PNG, JPEG, WebP, TIFF, GIF, ...){hint}") from error
    except MemoryError as error:
        raise SddError(f"{path} does not fit in this machine's memory; make it smaller first") from error
    except PermissionError as error:
        raise SddError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except Exception as error:  # decoders of broken files raise anything from OSError to IndexError
        raise SddError(
            f"{path} is a broken or truncated picture ({one_line(str(error), 120) or type(error).__name__})"
        ) from error


def read_image(path: str | Path, background: str = "white") -> Tensor:
    """`open_image` as a tensor: float32 (3, H, W) in [-1, 1]."""
    return to_tensor(open_image(path, background))


def read_fitted(path: str | Path, size: int, how: Fit = "crop", background: str = "white") -> Tensor:
    """`open_image` and `fit`: a file as float32 (3, size, size) in [-1, 1]."""
    return fit(open_image(path, background), size, how)


def parse_colour(colour: str) -> tuple[int, int, int]:
    """Red, green, blue in 0..255 of a colour name ("white", "lightblue") or code ("#b6e3f4").

    Raises:
        SddError: no such colour.
    """
    from PIL import ImageColor

    try:
        found = ImageColor.getrgb(colour)[:3]
        if max(found) > 255:
            raise ValueError("more than 255")
        return found
    except ValueError as error:
        raise SddError(f"{colour!r} is not a colour; give a name such as white or a code such as #b6e3f4") from error


def _upright(image: Picture) -> Picture:
    from PIL import ImageOps

    try:
        ImageOps.exif_transpose(image, in_place=True)  # a copy of a large picture would take as much again
        return image
    except MemoryError:
        raise
    except Exception:  # malformed EXIF: the pixels are fine, so show them as they are stored
        return image


def flattened(image: Picture, background: tuple[int, int, int]) -> tuple[Picture, Picture | None]:
    """Any Pillow mode to RGB, transparency composited on `background`; and RGBA, of what can be transparent."""
    from PIL import Image

    if image.mode == "La":  # premultiplied greyscale, which Pillow takes no straight way from
        image = image.convert("LA")
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if "A" in image.mode.upper().removeprefix("LAB") or "transparency" in image.info:
        layer = image.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (*background, 255))
        return Image.alpha_composite(canvas, layer).convert("RGB"), layer
    return (image if image.mode == "RGB" else image.convert("RGB")), None


def _eight_bits(image: Picture) -> Picture:
    """Greyscale of 16 or 32 bits or floats to eight bits; Pillow's own conversion clips instead of scaling."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
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
    levels = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), 256):  # in bands: in float64 all of it would take eight times the picture
        band = values[top : top + 256].astype(np.float64)
        levels[top : top + 256] = ((band - low) * (255.0 / max(high - low, 1e-12))).round()
    grey = Image.fromarray(levels)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # one grey level that means "nothing here"
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


@cache
def _formats() -> list[str]:
    """Those of `_FORMATS` that this Pillow was built with, and HEIF where its plug-in has been registered."""
    from PIL import Image

    for plugin in filter(None, _FORMATS.values()):  # `Image.init` would import thirty more
        with suppress(ImportError):  # what this Pillow is too old for
            import_module(f"PIL.{plugin}ImagePlugin")
    return [name for name in _FORMATS if name in Image.OPEN]


def _check_size(path: Path, size: tuple[int, int], held: int, most: int) -> None:
    width, height = size
    if width * height > most or max(size) > MAX_SIDE:
        raise _too_large(path, f"{width} x {height}", most)
    if width * height > FREE_PIXELS + PER_BYTE * held:
        raise SddError(
            f"{path} claims {width} x {height} pixels in a file of {held} bytes, as no photo or drawing does; make it "
            "smaller first"
        )


def _check_scans(path: Path, data: bytes) -> None:
    # The two bytes that begin a scan also occur by chance in what phones append to a JPEG, such as a short film.
    if data.count(b"\xff\xda") > MAX_SCANS + len(data) // 20_000:
        raise SddError(f"{path} is a JPEG of more than {MAX_SCANS} scans, as no camera writes; save it anew")


def _too_large(path: Path, size: str, most: int) -> SddError:
    limit = f"at most {most // 10**6} megapixels, and {MAX_SIDE} pixels a side"
    return SddError(f"{path} is too large ({size}; {limit}); make it smaller first")
