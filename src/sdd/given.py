"""What users hand in to be edited, and the result as the kind that they handed in.

tensor (B, 3, H, W)             tensor of the same shape, precision and device
PIL picture                     PIL picture of the same size and mode, its transparency kept
path                            PIL picture, RGB or RGBA
list of pictures and paths      list of PIL pictures
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.Image import Image as Picture
from torch import Tensor

from sdd.beyond.blend import blend as lay_in
from sdd.errors import SddError, guarded
from sdd.io.pictures.crop import crop, drawn_in, quads
from sdd.io.pictures.read import flattened, open_layers, parse_colour
from sdd.io.pictures.shape import fit, to_tensor
from sdd.io.pictures.transparency import transparent_again
from sdd.io.pictures.write import from_tensor

File: TypeAlias = str | os.PathLike[str]
Pictures: TypeAlias = Sequence["Picture | File"]
Images: TypeAlias = Tensor | Picture | File | Pictures

BACKGROUND = "white"  # what shows through transparent parts
AT_ONCE = 16  # pictures of a list that are held as tensors at a time
FARTHEST = 2.0  # of a value meant to lie in [-1, 1]: what resampling overshoots is less, what counts to 255 is more
HOLDS_EDITS = ("RGB", "RGBA", "L", "LA", "CMYK", "YCbCr", "LAB", "HSV")  # others have no room for what an edit draws


class Ready(Protocol):
    """A batch of pictures that was opened for editing (`sdd.editor.Opened`)."""

    @property
    def unedited(self) -> Tensor:
        """The pictures at strength 0 as they are drawn, (B, 3, S, S)."""
        ...


# From a batch of pictures, float32 (B, 3, H, W), and their numbers to the edited ones: True lays them into these.
Edit = Callable[[Tensor, Sequence[int], bool], tuple[Tensor, Ready]]


def edited(images: Images, edit: Edit, rule: str | None, size: int, blend: bool) -> Any:
    """Edit what was handed in, and give back the same kind.

    Args:
        images: see above; tensors in [-1, 1].
        edit: edits a batch of one size.
        rule: which part of a picture is edited (`sdd.io.pictures.crop`); None for all of it. Tensors are taken whole.
        size: side S of the pictures drawn.
        blend: lay the edit into each picture; else it comes back as it is drawn, at its size.

    Raises:
        SddError: something else was handed in, or a picture that cannot be read.
    """
    if isinstance(images, Tensor):
        check(images)
        whole = images.float()
        result = edit(whole, range(len(images)), blend)[0].to(images.device)
        if result.shape != images.shape:
            return result.to(images.dtype)
        return torch.where(result == whole, images, result.to(images.dtype))  # float32 would round doubles
    if not isinstance(images, list | tuple):
        return _edited(_listed(images), 0, edit, rule, size, blend)[0]
    starts = range(0, len(images), AT_ONCE)
    parts = (_edited(images[start : start + AT_ONCE], start, edit, rule, size, blend) for start in starts)
    return [picture for part in parts for picture in part]


def count(images: Images) -> int:
    """How many pictures were handed in."""
    return len(images) if isinstance(images, Tensor | list | tuple) else 1


def squares(images: Images, rule: str | None, size: int) -> Tensor:
    """What was handed in as one batch: a tensor as it is, pictures as the squares that a manipulator sees.

    Returns:
        (B, 3, H, W) in [-1, 1], of pictures (B, 3, S, S).

    Raises:
        SddError: see `edited`.
    """
    if isinstance(images, Tensor):
        check(images)
        return images.float()
    pictures = [_layers(one) for one in _listed(images)]
    seen = [_seen(picture.before, rule, size)[0] for picture in pictures]
    return torch.stack(seen) if seen else torch.zeros(0, 3, size, size)


def _listed(images: Any) -> list[Any]:
    """A list of whatever was handed in; what it is, is checked one by one."""
    return list(images) if isinstance(images, list | tuple) else [images]


def check(images: Tensor) -> None:
    """Raise SddError unless images are (B, 3, H, W), floating point, and may be meant to lie in [-1, 1]."""
    if not isinstance(images, Tensor):
        raise SddError(f"this takes a tensor (B, 3, H, W), not a {type(images).__name__}; sdd.open makes one of files")
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        shape = f"{tuple(images.shape)} of {str(images.dtype).removeprefix('torch.')}"
        hint = "" if images.is_floating_point() else "; of 0 to 255, x.float() / 127.5 - 1 makes them so"
        raise SddError(f"images must be a float tensor (B, 3, H, W) in [-1, 1], not {shape}{hint}")
    if images.numel() == 0:
        return
    low, high = (float(value) for value in images.detach().aminmax())
    if not (low >= -FARTHEST and high <= FARTHEST):  # NaN is refused too
        raise SddError(
            f"images must lie in [-1, 1], and these reach from {low:.4g} to {high:.4g}; of 0 to 255, x / 127.5 - 1 "
            f"makes them so"
        )
    if low >= 0 and 0.5 < high <= 1:
        warnings.warn(
            "no value of these images lies below 0, as if they were in [0, 1]; they should be in [-1, 1], and "
            "2 * x - 1 makes them so",
            stacklevel=2,
        )


@dataclass(frozen=True)
class _Layers:
    """A picture as it was handed in: as it is seen on white, RGB; as it is, if parts can be transparent, RGBA."""

    given: Picture
    before: Picture
    layer: Picture | None


def _layers(one: Picture | File) -> _Layers:
    if isinstance(one, Picture):
        with guarded("the picture", "one that can be edited"):
            upright = ImageOps.exif_transpose(one)
            before, layer = flattened(upright, parse_colour(BACKGROUND))
            return _Layers(upright, before, layer)
    if isinstance(one, str | os.PathLike):
        if Path(one).suffix.lower() == ".safetensors":
            raise SddError(f"{one} is no picture; an editor is read with sdd.Editor.load")
        before, layer = open_layers(Path(one), BACKGROUND)
        return _Layers(before if layer is None else layer, before, layer)
    hint = {"ndarray": "; PIL.Image.fromarray makes a picture of an array", "Tensor": "; torch.stack makes one tensor"}
    name = type(one).__name__
    raise SddError(
        f"an editor takes a tensor (B, 3, H, W), a PIL picture, a path, or a list of pictures and paths, not a {name}"
        + (" in a list" if name == "Tensor" else "")
        + hint.get(name, "")
    )


def _seen(before: Picture, rule: str | None, size: int) -> tuple[Tensor, NDArray[np.float64] | None]:
    """What the manipulator sees of a picture, (3, S, S), and where that lies; None for all of it."""
    if rule is None:
        return fit(before, size, "pad"), None
    quad = quads(before, rule)[0]
    return crop(before, quad, rule, size), quad


def _edited(given: Pictures, first: int, edit: Edit, rule: str | None, size: int, blend: bool) -> list[Picture]:
    """Some pictures edited, those of one size together; `first` is the number of the first of them."""
    pictures = [_layers(one) for one in given]
    whole = rule is None and blend
    tensors, places = [], []
    for picture in pictures:
        tensor, quad = (to_tensor(picture.before), None) if whole else _seen(picture.before, rule, size)
        tensors.append(tensor)
        places.append(quad)
    groups: dict[torch.Size, list[int]] = {}
    for index, tensor in enumerate(tensors):
        groups.setdefault(tensor.shape, []).append(index)
    results: dict[int, Picture] = {}
    for indices in groups.values():
        batch = torch.stack([tensors[i] for i in indices])
        drawn, ready = edit(batch, [first + i for i in indices], whole)
        for row, i in enumerate(indices):
            image = drawn[row].cpu()
            quad = places[i]
            if blend and quad is not None:
                pair = (drawn_in(image, rule), drawn_in(ready.unedited[row].cpu(), rule))
                image = lay_in(to_tensor(pictures[i].before), *pair, quad)
            results[i] = _alike(pictures[i], from_tensor(image)) if blend else from_tensor(image)
    return [results[i] for i in range(len(given))]


def _alike(source: _Layers, after: Picture) -> Picture:
    """An edited RGB picture in its source's mode; a pixel that the edit left alone keeps all that it had."""
    result = source.given.copy()
    if result.mode not in HOLDS_EDITS or (source.layer is not None and "A" not in result.mode):
        result = (source.before if source.layer is None else source.layer).copy()
    full = after
    if source.layer is not None:
        full = transparent_again(source.layer, source.before, after, parse_colour(BACKGROUND))
    changed = (np.asarray(source.before) != np.asarray(after)).any(2)
    result.paste(full.convert(result.mode), mask=Image.fromarray(changed.astype(np.uint8) * 255))
    return result
