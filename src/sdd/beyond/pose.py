"""Where in a picture a drawing lies: a domain's own framing, turned, scaled, shifted, mirrored.

Pictures and drawings are squares here; places in both run from (-1, -1), top left, to (1, 1). A pose leads from places
of the drawing to places of the picture, and `cut` and `lay` are the two ways through it. A pose is a quad too, which is
what the blend lays an edit back through at the picture's own size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sdd.beyond.blend import Quad, padded_quad

Path = NDArray[np.float64]  # (2, 3): from places (x, y, 1) of one square to places of the other


@dataclass(frozen=True)
class Pose:
    """How a picture shows what the domain frames otherwise. The default is the domain's own framing.

    Attributes:
        scale: size of what is shown, as a factor.
        right, down: how far its middle lies from the picture's, in sides of the square.
        turn: degrees, clockwise.
        mirrored: left and right are swapped, before it is turned.
    """

    scale: float = 1.0
    right: float = 0.0
    down: float = 0.0
    turn: float = 0.0
    mirrored: bool = False

    def moved(self, scale: float = 0.0, right: float = 0.0, down: float = 0.0, turn: float = 0.0) -> Pose:
        """The pose a little further on; of `scale` the logarithm is added."""
        turned = (self.turn + turn + 180) % 360 - 180
        return Pose(self.scale * math.exp(scale), self.right + right, self.down + down, turned, self.mirrored)

    def mirror(self) -> Pose:
        """The same place, with left and right of the drawing swapped."""
        return replace(self, mirrored=not self.mirrored)

    def matrix(self) -> Path:
        """From places of the drawing to places of the picture."""
        # Rounded, so that quarter turns take every pixel to a pixel.
        cos, sin = (round(f(math.radians(self.turn)), 12) * self.scale for f in (math.cos, math.sin))
        hand = -1 if self.mirrored else 1
        return np.array([[cos * hand, -sin, 2 * self.right], [sin * hand, cos, 2 * self.down]])

    def inverse(self) -> Path:
        """From places of the picture to places of the drawing."""
        return np.linalg.inv(np.vstack([self.matrix(), [0, 0, 1]]))[:2]

    def quad(self, width: int, height: int) -> Quad:
        """Where the drawing's corners lie in a picture that was padded to a square, (4, 2) in pixels; see `blend`."""
        outer = padded_quad(width, height)
        corners = np.array([[-1, -1, 1], [-1, 1, 1], [1, 1, 1], [1, -1, 1]]) @ self.matrix().T
        return np.asarray(outer[0] + (corners + 1) / 2 * (outer[2] - outer[0]), dtype=np.float64)

    def __str__(self) -> str:
        said = [] if abs(self.turn) < 0.5 else [f"turned {abs(self.turn):.0f}°{' left' if self.turn < 0 else ''}"]
        said += [] if abs(self.scale - 1) < 0.005 else [f"{self.scale:.0%} of the usual size".replace("%", " %")]
        for share, ways in ((self.right, ("left", "right")), (self.down, ("up", "down"))):
            said += [] if round(100 * abs(share)) == 0 else [f"{100 * abs(share):.0f} % {ways[share > 0]}"]
        return ", ".join([*said, *(["mirrored"] if self.mirrored else [])]) or "as usual"


def cut(picture: Tensor, poses: Sequence[Pose], beyond: Tensor, out: float = 0.0) -> Tensor:
    """What a picture (3, S, S) shows at each pose, as the domain frames it: (K, 3, S, S); differentiable.

    Args:
        beyond: what takes the place of what the picture lacks, broadcastable to (K, 3, S, S).
        out: sides of the picture by which the pixels of its border go on first.
    """
    return _warped(picture.expand(len(poses), -1, -1, -1), [pose.matrix() for pose in poses], beyond, out)


def lay(drawings: Tensor, poses: Sequence[Pose], ground: Tensor) -> Tensor:
    """Drawings (K, 3, S, S), each laid at its pose on a ground, broadcastable to them: (K, 3, S, S); differentiable."""
    return _warped(drawings, [pose.inverse() for pose in poses], ground)


def carry(drawing: Tensor, pose: Pose, poses: Sequence[Pose]) -> Tensor:
    """A drawing (3, S, S) of one pose as it would be seen from others, its border drawn out: (K, 3, S, S)."""
    back = np.vstack([pose.inverse(), [0, 0, 1]])
    paths = [(back @ np.vstack([other.matrix(), [0, 0, 1]]))[:2] for other in poses]
    return _warped(drawing.expand(len(poses), -1, -1, -1), paths, drawing, np.inf)


def share_inside(pose: Pose, size: int = 128) -> float:
    """How much of the drawing the picture has, from 0 to 1."""
    return float(_inside(_places([pose.matrix()], torch.zeros(size, size))).float().mean())


# Helpers


def _warped(images: Tensor, paths: Sequence[Path], beyond: Tensor, out: float = 0.0) -> Tensor:
    """Images (K, 3, S, S) in [-1, 1] read where each path leads; `beyond` where that is further outside than `out`."""
    places = _places(paths, images)
    # Bicubic: bilinearly, a drawing laid at an angle loses a decibel to blur.
    found = F.grid_sample(images, places, mode="bicubic", padding_mode="border", align_corners=False).clamp(-1, 1)
    return torch.where(_inside(places, out), found, beyond)


def _places(paths: Sequence[Path], like: Tensor) -> Tensor:
    """(K, S, S, 2): where the path of each leads from every pixel."""
    size = [len(paths), 3, *like.shape[-2:]]
    return F.affine_grid(like.new_tensor(np.stack(paths).tolist()), size, align_corners=False)


def _inside(places: Tensor, out: float = 0.0) -> Tensor:
    """(K, 1, S, S), true where a place lies inside the square, or by no more than `out` of its sides outside."""
    return (places.abs() <= 1 + 2 * out).all(-1)[:, None]
