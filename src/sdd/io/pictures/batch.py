"""Pictures as one tensor, from files and into files."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sdd.errors import SddError
from sdd.io.pictures.folder import find
from sdd.io.pictures.read import open_image
from sdd.io.pictures.shape import fit, to_tensor
from sdd.io.pictures.write import save_png

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from torch import Tensor

File: TypeAlias = str | PathLike[str]


def open_pictures(paths: File | Sequence[File], size: int | None = None, background: str = "white") -> Tensor:
    """Pictures as one tensor: float32 (B, 3, H, W) in [-1, 1], upright, transparent parts on `background`.

    Args:
        paths: a file, a folder, or several of either; folders are searched through in a fixed order.
        size: side S of squares that the pictures are padded to and resized, (B, 3, S, S); None leaves their size, which
            must be the same.

    Raises:
        SddError: there is no such file, one that is no picture, or pictures of several sizes where `size` is None.
    """
    import torch

    given = [Path(paths)] if isinstance(paths, str | PathLike) else [Path(path) for path in paths]
    if editors := [path for path in given if path.suffix.lower() == ".safetensors"]:
        raise SddError(f"{editors[0]} is no picture; an editor is read with sdd.Editor.load")
    found = find(given)
    pictures = [open_image(source.path, background) for source in found]
    if size is not None:
        return torch.stack([fit(picture, size, "pad") for picture in pictures])
    sizes = ["x".join(map(str, picture.size)) for picture in pictures]
    for source, found_size in zip(found, sizes, strict=True):
        if found_size != sizes[0]:
            raise SddError(
                f"one tensor holds pictures of one size, but {found[0].path} has {sizes[0]} pixels and {source.path} "
                f"{found_size}; give size=, or hand the paths to an editor as a list"
            )
    return torch.stack([to_tensor(picture) for picture in pictures])


def save_pictures(images: Tensor | Picture | Sequence[Tensor | Picture], path: File) -> Path | list[Path]:
    """Write pictures as PNG, each whole or not at all.

    Args:
        images: one picture (PIL, or a tensor (3, H, W) or (1, 3, H, W) in [-1, 1]) for a file, or several (a list, or
            (B, 3, H, W)) for a folder of `0000.png`, `0001.png` and so on.
        path: a file that ends with .png, or a folder.

    Returns:
        What was written: a path, or for a folder a list of paths.

    Raises:
        SddError: several pictures for one file, a file of another format, no pictures, or nothing can be written there.
    """
    from PIL.Image import Image

    target = Path(path)
    several: list[Any] = list(images) if not isinstance(images, Image) and getattr(images, "ndim", 4) == 4 else [images]
    for image in several:
        if not isinstance(image, Image) and not hasattr(image, "ndim"):
            raise SddError(f"a picture to save is a PIL picture or a tensor, not a {type(image).__name__}")
    if not several:
        raise SddError("there are no pictures to save")
    if not target.suffix or target.is_dir():
        return [save_png(_storable(image), target / f"{i:04d}.png") for i, image in enumerate(several)]
    if target.suffix.lower() != ".png":
        raise SddError(f"pictures are written as PNG, not as {target.suffix}; name it {target.with_suffix('.png')}")
    if len(several) != 1:
        raise SddError(f"{target} is one file, but there are {len(several)} pictures; name a folder for them")
    return save_png(_storable(several[0]), target)


def _storable(image: Tensor | Picture) -> Tensor | Picture:
    """A picture in a mode that PNG has."""
    from PIL.Image import Image

    if isinstance(image, Image) and image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        return image.convert("RGB")
    return image
