"""From a photo to the crop a generator knows, and back: find faces, align them as FFHQ was, paste an edit back.

A *quad* (4, 2) float64 is the part of a photo that becomes a crop: its corners, in the order top left, bottom left,
bottom right, top right of the crop, in pixels of the photo measured from its top left edge (a pixel's centre lies at
+0.5). Quads are parallelograms, so crop and photo are related by an affine map and everything below works for faces,
centre crops and boxes alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sdd.errors import SddError
from sdd.io import zoo
from sdd.io.pictures.quad import ffhq_quad

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image


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
    """YuNet through OpenCV; its weights are `yunet` of the zoo."""

    def __init__(self) -> None:
        try:
            import cv2  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            cv2 = None  # type: ignore[assignment, unused-ignore]
        if cv2 is None or zoo.ENTRIES["yunet"].cached() is None:
            raise SddError("finding faces needs the extra `faces`: pip install 'sdd[faces]', or give the crop by --box")
        if not hasattr(cv2, "FaceDetectorYN_create"):
            raise SddError("the installed OpenCV lacks the face detector: pip install -U 'sdd[faces]'")
        weights = zoo.resolve("yunet")
        self.cv2: Any = cv2
        self.net: Any = cv2.FaceDetectorYN_create(str(weights), "", (_WINDOW, _WINDOW), _MIN_SCORE, 0.3, 5000)

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
