"""Quadrilaterals: which part of a photo a generator knows, by its corners."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdd.errors import SddError

if TYPE_CHECKING:
    from numpy.typing import NDArray


# --- Quads -----------------------------------------------------------------------------------------------------------


def ffhq_quad(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """The quad of a face, by the rule of FFHQ and CelebA-HQ (Karras et al., arXiv 1710.10196, appendix C).

    Args:
        landmarks: (5, 2) as in `Face`, or (68, 2) in the order of iBUG 300-W (what dlib gives).

    Raises:
        SddError: another number of landmarks, or a face without extent.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape == (68, 2):
        left, right = points[36:42].mean(0), points[42:48].mean(0)
        mouth_left, mouth_right = points[48], points[54]
    elif points.shape == (5, 2):
        left, right, _, mouth_left, mouth_right = points
    else:
        raise SddError(f"face landmarks must be 5 or 68 points (x, y), but their shape is {points.shape}")
    eyes = (left + right) / 2
    across, down = right - left, (mouth_left + mouth_right) / 2 - eyes
    x = across - np.array([-down[1], down[0]])  # both lean the same way; their mean is steadier than either
    length = np.hypot(*x)
    if not np.isfinite(length) or length == 0:
        raise SddError("these face landmarks lie on one point; give the crop with --box instead")
    x *= max(np.hypot(*across) * 2.0, np.hypot(*down) * 1.8) / length
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * down + 0.5
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def centre_quad(width: int, height: int, aspect: float = 1.0) -> NDArray[np.float64]:
    """The largest quad with `aspect` = width / height in the middle of a photo of `width` x `height` pixels."""
    w, h = min(width, height * aspect), min(height, width / aspect)
    left, top = (width - w) / 2, (height - h) / 2
    return box_quad((left, top, left + w, top + h))


def box_quad(box: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """The quad of a box (left, top, right, bottom) in pixels.

    Raises:
        SddError: the box is empty, or far larger than any photo.
    """
    left, top, right, bottom = box
    if not all(abs(side) <= 1e6 for side in box):
        raise SddError(f"the box {box} is far larger than any photo; give LEFT,TOP,RIGHT,BOTTOM in pixels")
    if not (right > left and bottom > top):
        raise SddError(f"the box {box} is empty; give LEFT,TOP,RIGHT,BOTTOM in pixels, left < right, top < bottom")
    return np.array([[left, top], [left, bottom], [right, bottom], [right, top]], dtype=np.float64)


def sides(quad: NDArray[np.float64]) -> tuple[float, float]:
    return float(np.linalg.norm(quad[3] - quad[0])), float(np.linalg.norm(quad[1] - quad[0]))
