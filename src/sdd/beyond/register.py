"""A picture registered before it is encoded: turned, scaled, shifted and mirrored to where it inverts best.

An encoder knows the framing of the pictures it was trained on, and of a picture that is framed otherwise it makes
somebody else. What a pose is worth is seen from outside: what the picture shows there is redrawn (encoder and
generator), laid back through the pose on the picture's own ground, and compared with all of the picture, so that
framing a plain corner of it wins nothing. The edit is laid back the same way (`blend`, by `Pose.quad`).

The search looks at the quarter turns and the mirrored picture, then a step from these in each direction (size, turn,
place), and scans the direction that won most: an encoder knows its own framing to a hundredth, so that nothing but
trying comes closer than a few. What the picture lacks at a pose, parts that its border cut off, is taken from the
redrawing itself, encoded again, a few times; then guesses at random take its place, the best of them going on.

Unasked, a picture that inverts badly is first glanced at from a few poses, and searched only where one of them wins.
The numbers were chosen on people of seed 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.beyond.blend import Blending
from sdd.beyond.pose import Pose, carry, cut, lay, share_inside
from sdd.manipulators.inversion import psnr

Redraw = Callable[[Tensor], Tensor]  # pictures (K, 3, S, S) in [-1, 1] → the same encoded and drawn, not clamped

# dB below what the domain's pictures invert with, from which on a picture is glanced at as its size and side go (one in
# six of the domain's own), in all directions (one in fifty), and searched whatever a glance says.
DOUBTFUL, SUSPECT, FAR = 4.0, 8.0, 9.5
CLEARLY = 1.5  # dB a pose must win to be kept, and at a glance
HINT = 1.0  # dB that a few poses far apart must win for more to be tried
FOREIGN = 11.0  # dB below the domain's own: what inverts no better anywhere is no picture of the domain
LAID = Blending(feather=0.02)  # beyond the drawing nothing of the person goes on, as it does beside a crop
NEAREST = (*(Pose(turn=turn) for turn in (0.0, 90.0, -180.0, -90.0)), Pose(mirrored=True))
HOPELESS = 17.0  # dB below the domain's own: what comes no closer at any of a first few poses is left
STEPS = (
    {"scale": -0.25}, {"scale": 0.18}, {"turn": -20.0}, {"turn": 20.0},
    {"right": -0.18}, {"right": 0.18}, {"down": -0.18}, {"down": 0.18},
)  # fmt: skip
GLANCE = (*(Pose().moved(**step) for step in STEPS if "scale" in step), Pose(mirrored=True))
STANDS_OUT = 3.0  # dB by which a pose must lead for no other to be looked at
BEAM = 3  # poses from which a further step is taken
SCANNED = 2  # directions along which the best pose is then sought
UNITS = {"scale": 0.01, "right": 0.01, "down": 0.01, "turn": 1.25}  # `scale` as its logarithm
OFFSETS = (*range(-10, 0), *range(1, 11))  # units of a scan
FINE = (1.0, 0.5)  # units of the last steps: an encoder knows its framing to a hundredth
OUT = 0.12  # sides of the picture by which its border is drawn out before its ground begins
KEPT = (6, 3, 1)  # poses for which what the picture lacks is drawn, then drawn again, and once more
AGAIN, GAINS = 24, 0.01  # times it is drawn anew for the pose that is taken, as long as that wins so many dB
# Rounds of guesses at it, how many a round, how far from the best drawing of it, and in how many patches a side.
ROUNDS, GUESSES, AMOUNT, PATCHES = 8, 6, 0.3, 3


@dataclass(frozen=True)
class Registered:
    """A picture at the pose where it inverts best.

    Attributes:
        pose: how the picture shows its person.
        image: what it shows there, (3, S, S) in [-1, 1], what it lacks completed: what is to be encoded.
        psnr: of the picture against its redrawing laid back, dB.
    """

    pose: Pose
    image: Tensor
    psnr: float


@torch.no_grad()
def registered_where(
    pictures: Tensor, before: Tensor, redraw: Redraw, expected: float | None, always: bool = False
) -> dict[int, Registered]:
    """Pictures that invert clearly better in another pose than as they are, by number.

    Args:
        pictures: (B, 3, S, S) in [-1, 1].
        before: what they invert with as they are, (B,) dB.
        redraw: encoder and generator.
        expected: dB, what a picture of the domain inverts with; None where that is not known.
        always: look at every picture, and be content with less than the domain's own; else at those that invert worse
            than the domain's and, at a glance, better in another pose.
    """
    found = {}
    for i, quality in enumerate(before.tolist()):
        if always or promising(pictures[i], quality, redraw, expected):
            enough = None if always or expected is None else max(expected - SUSPECT, quality + CLEARLY)
            one = _Look(pictures[i], redraw).search(expected, enough)
            known = always or expected is None or one.psnr > expected - FOREIGN
            if known and one.psnr > quality + CLEARLY:
                found[i] = one
    return found


@torch.no_grad()
def promising(picture: Tensor, quality: float, redraw: Redraw, expected: float | None) -> bool:
    """Whether a picture (3, S, S) that inverts with `quality` dB is worth a search: by how far that is below what its
    domain inverts with, and by whether it inverts better from one of a few other poses.
    """
    if expected is None or quality > expected - DOUBTFUL:
        return False
    look = _Look(picture, redraw)
    if quality > expected - SUSPECT:
        return max(seen.psnr for seen in look.at(GLANCE)) > quality + CLEARLY
    return quality < expected - FAR or look.coarse(expected, quality + CLEARLY)[0].psnr > quality + HINT


def laid_psnr(drawing: Tensor, picture: Tensor, pose: Pose) -> float:
    """How well a drawing (3, S, S), laid at a pose, is the picture (3, S, S): dB."""
    return float(psnr(lay(drawing[None], [pose], ground(picture)), picture[None]))


def ground(picture: Tensor) -> Tensor:
    """The colour behind what a picture (3, H, W) shows, (3, 1, 1): the median of its border."""
    border = torch.cat([picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]], 1)
    return border.median(1).values[:, None, None]


# Helpers


@dataclass(frozen=True)
class _Seen:
    """One pose tried: what was encoded there, what was drawn of it, and how well that is the picture."""

    pose: Pose
    image: Tensor
    drawn: Tensor
    psnr: float


class _Look:
    """A picture looked at from many poses."""

    def __init__(self, picture: Tensor, redraw: Redraw) -> None:
        self.picture, self.redraw, self.ground = picture, redraw, ground(picture)

    def at(self, poses: Iterable[Pose], beyond: Tensor | None = None, out: float = OUT) -> list[_Seen]:
        """The picture at some poses; what it lacks there is `beyond`, or else its border drawn out, then its ground."""
        poses = list(poses)
        if not poses:
            return []
        images = cut(self.picture, poses, *((self.ground, out) if beyond is None else (beyond, 0.0)))
        drawn = self.redraw(images).clamp(-1, 1)
        laid = lay(drawn, poses, self.ground)
        quality = psnr(laid, self.picture[None]).tolist()
        return [_Seen(*seen) for seen in zip(poses, images, drawn, quality, strict=True)]

    def search(self, expected: float | None, enough: float | None) -> Registered:
        """The best pose; where one of the first few inverts with `enough` dB, nothing far from it is looked at."""
        found = self.coarse(expected, enough)
        best = found[0]
        hopeless = expected is not None and best.psnr < expected - HOPELESS
        if not hopeless and (best.pose != Pose() or not _stands_out(found)):
            known = {seen.pose for seen in found}
            best = self.completed([best, *self.at({best.pose.mirror()} - known)])
            good = enough is not None and best.psnr > enough
            if best.pose not in NEAREST or not (good or _stands_out(found)):
                best = self.scanned(best, _directions(found), expected)
            for width in FINE:
                sides = [{name: sign * width * unit} for name, unit in UNITS.items() for sign in (-1, 1)]
                best = self.closer(best, sides)
            # What the picture lacks may be anything: the ground alone, or all of its border.
            for out in (0.0, 1.0) if share_inside(best.pose) < 1 else ():
                best = _ranked([best, self.completed(self.at([best.pose], out=out))])[0]
            best = self.guessed(self.settled(best))
        return Registered(best.pose, best.image, best.psnr)

    def coarse(self, expected: float | None, enough: float | None) -> list[_Seen]:
        """Poses far from each other, the best first, looked at until one inverts well or stands out."""
        found = _ranked(self.at(NEAREST))
        for starts in ([Pose()], [pose for pose in NEAREST if pose.turn], None):
            if enough is not None and found[0].psnr > enough:
                break
            known = {seen.pose for seen in found}
            starts = starts or [seen.pose for seen in found[:BEAM]]
            poses = dict.fromkeys(pose for start in starts for pose in _further(start))
            found = _ranked([*found, *self.at([pose for pose in poses if pose not in known])])
            if _stands_out(found) or (expected is not None and found[0].psnr < expected - HOPELESS):
                break
        return found

    def scanned(self, best: _Seen, names: Sequence[str], expected: float | None) -> _Seen:
        """The best along one direction; where it does not invert as expected yet, then along the next."""
        for name in names[:SCANNED]:
            found = self.at([best.pose.moved(**{name: UNITS[name] * offset}) for offset in OFFSETS])
            best = self.completed([best, *found])
            best = self.closer(best, [{name: sign * FINE[-1] * UNITS[name]} for sign in (-1, 1)])
            if expected is None or best.psnr > expected:
                break
        return best

    def closer(self, start: _Seen, steps: Sequence[dict[str, float]]) -> _Seen:
        """The best of a pose and those a step from it, what the picture lacks there as it was drawn here."""
        poses = [start.pose.moved(**step) for step in steps]
        return _ranked([start, *self.at(poses, carry(start.drawn, start.pose, poses))])[0]

    def settled(self, best: _Seen) -> _Seen:
        """A pose, what the picture lacks there drawn over again until that wins nothing."""
        for _ in range(AGAIN if share_inside(best.pose) < 1 else 0):
            (seen,) = self.at([best.pose], best.drawn[None])
            if seen.psnr < best.psnr + GAINS:
                break
            best = seen
        return best

    def guessed(self, best: _Seen) -> _Seen:
        """A pose, what the picture lacks there guessed anew in patches of colour, the best guess being drawn over."""
        random = torch.Generator().manual_seed(0)
        for _ in range(ROUNDS if share_inside(best.pose) < 1 else 0):
            patches = torch.randn(GUESSES, 3, PATCHES, PATCHES, generator=random).to(best.drawn)
            guesses = best.drawn + AMOUNT * F.interpolate(patches, best.drawn.shape[-2:], mode="bicubic")
            seen = _ranked(self.at([best.pose] * GUESSES, guesses.clamp(-1, 1)))
            again = self.at([best.pose] * KEPT[1], torch.stack([one.drawn for one in seen[: KEPT[1]]]))
            best = _ranked([best, *seen, *again])[0]
        return self.settled(best)

    def completed(self, seen: Sequence[_Seen]) -> _Seen:
        """The best of some poses, what the picture lacks there drawn a few times over."""
        seen = _ranked(seen)
        best = seen[0]
        for kept in KEPT if share_inside(best.pose) < 1 else ():
            seen = _ranked(self.at([one.pose for one in seen[:kept]], torch.stack([one.drawn for one in seen[:kept]])))
            best = _ranked([best, seen[0]])[0]
        return best


def _ranked(seen: Iterable[_Seen]) -> list[_Seen]:
    return sorted(seen, key=lambda one: -one.psnr)


def _further(start: Pose) -> list[Pose]:
    """A step on from a pose in each direction in which none was taken yet."""
    taken = {
        "scale": start.scale != 1,
        "right": start.right != 0,
        "down": start.down != 0,
        "turn": start.turn % 90 != 0,
    }
    return [start.moved(**step) for step in STEPS if not any(taken[name] for name in step)]


def _stands_out(ranked: Sequence[_Seen]) -> bool:
    return ranked[0].psnr > ranked[1].psnr + STANDS_OUT


def _directions(seen: Sequence[_Seen]) -> list[str]:
    """The directions of `STEPS`, those first along which a step was worth most."""
    known = {one.pose: one.psnr for one in seen}

    def worth(name: str) -> float:
        others = [start.moved(**step) for start in NEAREST for step in STEPS if name in step]
        return max((known[pose] for pose in others if pose in known), default=0.0)

    return sorted(UNITS, key=lambda name: -worth(name))
