"""Pictures in and out: any file Pillow reads becomes a float32 tensor in [-1, 1], safely; outputs are atomic PNGs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from sdd.errors import SddError

if TYPE_CHECKING:
    from PIL import Image as PillowImage
    from torch import Tensor

    Picture = PillowImage.Image
from sdd.io.pictures.shape import Fit, fit, to_tensor

MAX_PIXELS = 178_956_970  # Pillow's own limit: a quarter of a gigabyte at eight bits, three channels, twice over
_RUNS_PROGRAMS = {"EPS", "PS", "WMF", "EMF"}  # decoded by an interpreter outside Pillow: not for strangers' files


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
