"""From picture to picture by a small residual U-Net: no generator, no encoder, and no teacher once it is trained.

    paint a, matte m = U-Net(y)          y the picture at the side that the teacher worked at
    change = a − m y                     zero at the start: the edit starts at the identity
    edited = picture + change            the change enlarged to the picture's size

A matte says how much of what was there goes, and the paint, already multiplied by it, what comes in its stead: a colour
that does not depend on the one before is then one number for a network to know, and not one for each colour before.
Changes are of pixels, in a range of 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.errors import SddError
from sdd.manipulators.protocol import Change, Manipulator, Prepared
from sdd.nets.residual_unet import ResidualUNet, levels_for
from sdd.nets.resize import resize

FINE, COARSE = 2, 4  # pixels across that the U-Net sees as one place: of pictures up to ...
LARGE = 128  # ... so many pixels, and of larger ones


def unet_of(config: Mapping[str, Any]) -> ResidualUNet:
    """The U-Net that `ImageToImage.config` describes, its weights yet to be loaded.

    Raises:
        ValueError: a description that is none.
    """
    side, width = config.get("side"), config.get("width")
    if not (isinstance(side, int) and isinstance(width, int) and 8 <= side <= 4096 and 8 <= width <= 1024):
        raise ValueError(f"a side of {side!r} and a width of {width!r}")
    patch = FINE if side <= LARGE else COARSE
    return ResidualUNet(width, levels_for(side, patch), patch)


class ImageToImage(Manipulator):
    """A residual U-Net.

    Args:
        image_size: side S of the pictures it draws.
        side: of the pictures the U-Net sees and changes, a multiple of 4.
        width: channels of its first level.
        learned: its U-Net, if there is one already.

    Raises:
        SddError: a side or a width that it cannot have.
    """

    kind = "image-to-image"
    learned: ResidualUNet

    def __init__(self, image_size: int, side: int, width: int = 48, learned: ResidualUNet | None = None) -> None:
        super().__init__()
        self.image_size, self.side, self.width = image_size, side, width
        if side % COARSE:
            raise SddError(f"the manipulator {self.kind} sees sides that are multiples of {COARSE}, not {side}")
        if learned is not None:
            self.learned = learned
            return
        try:
            self.learned = unet_of({"side": side, "width": width})
        except ValueError as error:
            raise SddError(f"the manipulator {self.kind} cannot have {error}") from error
        self.reset(torch.Generator().manual_seed(0))

    @classmethod
    def of(cls, config: Mapping[str, Any], learned: ResidualUNet) -> Self:
        """As `config` describes it, with what it learned.

        Raises:
            SddError: a description that is none.
        """
        size, side, width = (config.get(name) for name in ("image_size", "side", "width"))
        if not (isinstance(size, int) and isinstance(side, int) and isinstance(width, int) and 8 <= size <= 4096):
            raise SddError("the editor's description of its manipulator is damaged; train it again")
        return cls(size, side, width, learned)

    def reset(self, generator: torch.Generator) -> None:
        """First weights, the same for the same state of a generator; nothing changes."""
        self.learned.reset(generator)

    @torch.no_grad()
    def prepare(self, images: Tensor) -> Prepared:
        """See `Manipulator`: the `picture`, and the same as it is `seen` by the U-Net."""
        return Prepared({"picture": resize(images, self.image_size), "seen": resize(images, self.side)})

    def change(self, y: Prepared) -> Change:
        """See `Manipulator`: one change of the pixels that the U-Net sees, (B, 3, side, side)."""
        seen = y.parts["seen"]
        if seen.shape[-1] != self.side:  # prepared by another editor of this kind, with which this one is composed
            seen = resize(y.parts["picture"], self.side)
        paint, matte = self.learned(seen)
        return Change((paint - matte * seen,))

    def shown(self, y: Prepared, *changes: Change) -> Tensor:
        """See `Manipulator`: the change itself, at the side that the U-Net sees."""
        return torch.stack([_at(change.parts[0], self.side) for change in changes]).sum(0)

    def draw(self, y: Prepared, *changes: Change) -> Tensor:
        """See `Manipulator`."""
        picture = y.parts["picture"]
        for change in changes:
            picture = picture + _at(change.parts[0], self.image_size)
        return picture

    def frozen_hash(self) -> str:
        """See `Manipulator`."""
        return f"{self.kind} {self.image_size} {self.side}"

    def config(self) -> dict[str, Any]:
        """See `Manipulator`."""
        return {"kind": self.kind, "image_size": self.image_size, "side": self.side, "width": self.width}


def _at(change: Tensor, side: int) -> Tensor:
    """A change at another side: smoothly enlarged, or reduced."""
    if change.shape[-1] < side:
        return F.interpolate(change, (side, side), mode="bicubic", align_corners=False)
    return resize(change, side)
