"""Edit picture files with editors: read, crop as the domain wants, edit in batches, save, and say what went wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from sdd.beyond.blend import DEFAULT, padded_quad
from sdd.beyond.blend import blend as lay_in
from sdd.beyond.register import LAID
from sdd.domains.foreign import UNUSUAL, domain_warning
from sdd.editor import Edit
from sdd.errors import SddError, guarded
from sdd.io.pictures.crop import drawn_in
from sdd.io.pictures.folder import Source
from sdd.io.pictures.read import open_image, open_layers, parse_colour
from sdd.io.pictures.shape import fit, to_tensor
from sdd.io.pictures.transparency import transparent_again
from sdd.io.pictures.write import from_tensor, save_png

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from sdd.beyond.pose import Pose
    from sdd.domains.domain import Domain


Box = tuple[float, float, float, float]
NAMED = 5  # pictures in one warning
BATCH = 16  # pictures that wait for one another; how many are drawn at a time depends on the domain's size


class Edits(Protocol):
    """What edits pictures: `sdd.editor.Composition`, or a method in its place (`sdd.apps.by_method`)."""

    @property
    def crop(self) -> str | None:
        """Which part of a photo its pictures show; None takes a picture whole."""
        ...

    @property
    def image_size(self) -> int:
        """Side of the pictures drawn."""
        ...

    @property
    def domain(self) -> Domain | None:
        """Whose pictures come back well; None where that is not known."""
        ...

    def edit(
        self, images: Tensor, strength: float | Sequence[float], levels: Sequence[str] | None, batch: int | None,
        refine: int, *, identity: bool, register: bool | None,
    ) -> Edit:  # fmt: skip
        """Edited pictures (B, 3, H, W) in [-1, 1], and the same unedited."""
        ...


@dataclass(frozen=True)
class Wish:
    """How to edit.

    Attributes:
        strengths: one for all editors, or one each.
        levels: coarse, medium, fine; None for all.
        refine: steps of optimisation of each picture's code.
        background: what shows through transparent parts, a colour.
        face: which face of a photo, counted from 1 with the largest first, or `all`.
        box: left, top, right, bottom in pixels, instead of the domain's own crop.
        blend: lay the edit into the picture, at its own size; else what comes back is what the manipulator draws.
        register: find how each picture lies first (`sdd.beyond.register`); None for those that invert badly.
    """

    strengths: tuple[float, ...] = (1.0,)
    levels: tuple[str, ...] | None = None
    refine: int = 0
    background: str = "white"
    face: str = "1"
    box: Box | None = None
    blend: bool = True
    register: bool | None = None

    def registers(self, crop: str | None) -> bool | None:
        """`register`, where whole pictures are edited: what is cut out by a rule or a box lies as the rule says."""
        return self.register if self.blend and crop is None and self.box is None else False


@dataclass
class Outcome:
    """What came of it: files written, one sentence for each picture that could not be used, inversion dB.

    Attributes:
        foreign: pictures that came back far worse than their domain's own, each with its dB.
        registered: pictures that were found to lie otherwise than their domain's own, each with its pose.
    """

    written: list[Path] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    foreign: list[tuple[Path, float]] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    registered: list[tuple[Path, Pose]] = field(default_factory=list)


@dataclass(frozen=True)
class Crop:
    """A part of a picture, as a domain sees it."""

    source: int  # index of the picture it was cut from
    number: int | None  # of the face, where there are several
    quad: NDArray[np.float64]
    image: Tensor  # (3, S, S)


def edit_pictures(
    sources: Sequence[Source],
    outputs: Sequence[Path],
    editors: Edits,
    wish: Wish,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Edit pictures into files; pictures that cannot be used are named in the outcome and the rest goes on.

    Args:
        sources: the pictures.
        outputs: where each result goes (`sdd.io.pictures.folder.output_paths`).
        progress: called with the number of pictures finished since the last call.

    Raises:
        SddError: what is wished for does not exist (a level, say), or not together.
    """
    if wish.register and (not wish.blend or editors.crop is not None or wish.box is not None):
        why = "is cut out by its box or its domain's rule" if wish.blend else "is drawn anew"
        raise SddError(f"a picture that {why} cannot be registered too; leave --register out")
    outcome = Outcome()
    taken = {os.path.realpath(path) for path in (*outputs, *(source.path for source in sources))}
    waiting: list[Crop] = []
    since = 0
    for index, source in enumerate(sources):
        since += 1
        try:
            with guarded(str(source.path), "a picture that can be edited"):
                waiting += cut(index, open_image(source.path, wish.background), editors, wish)
        except SddError as error:
            outcome.broken.append(_about(source.path, error))
        if waiting and (len(waiting) >= BATCH or index == len(sources) - 1):
            _flush(waiting, sources, outputs, editors, wish, taken, outcome)
            waiting = []
        if progress is not None and (not waiting or index == len(sources) - 1):
            progress(since)
            since = 0
    return outcome


def foreign_warning(foreign: Sequence[tuple[Path, float]], domain: Domain | None) -> str | None:
    """One sentence for all pictures that came back far worse than their domain's own; None if there are none."""
    if not foreign or domain is None or domain.expected_psnr is None:
        return None
    if len(foreign) == 1:
        path, quality = foreign[0]
        return f"{path}: {domain_warning(quality, domain)}"
    worst = sorted(foreign, key=lambda found: found[1])
    names = ", ".join(f"{path.name} ({quality:.1f} dB)" for path, quality in worst[:NAMED])
    more = f" and {len(worst) - NAMED} more" if len(worst) > NAMED else ""
    return (
        f"{len(worst)} pictures invert far below the {domain.expected_psnr:.0f} dB of domain {domain.name!r}, "
        f"{names}{more}: {UNUSUAL}"
    )


def registered_note(registered: Sequence[tuple[Path, Pose]]) -> str | None:
    """One sentence for all pictures that were registered; None if there are none."""
    if not registered:
        return None
    if len(registered) == 1:
        path, pose = registered[0]
        return f"registered: {path} shows its person {pose}; --no-register takes it as it is"
    names = ", ".join(f"{path.name} ({pose})" for path, pose in registered[:NAMED])
    more = f" and {len(registered) - NAMED} more" if len(registered) > NAMED else ""
    return f"registered {len(registered)} pictures: {names}{more}; --no-register takes them as they are"


def _about(path: Path, error: SddError) -> str:
    return str(error) if str(path) in str(error) else f"{path}: {error}"


def cut(index: int, photo: Image, editors: Edits, wish: Wish) -> list[Crop]:
    """The parts of a picture that the domain's generator knows."""
    from sdd.io.pictures.crop import crop, quads

    rule, size = editors.crop, editors.image_size
    if rule is None and wish.box is None:  # a drawn portrait: all of it, on its own background
        return [Crop(index, None, padded_quad(*photo.size), fit(photo, size, "pad"))]
    found = quads(photo, rule or "centre", wish.face, wish.box)
    return [
        Crop(index, number if len(found) > 1 else None, quad, crop(photo, quad, rule, size))
        for number, quad in enumerate(found, 1)
    ]


def whole_crop(photo: Image, rule: str | None, size: int) -> Tensor:
    """What a domain sees of a picture, (3, size, size) in [-1, 1]: of a photo its first part by the rule, else all.

    Raises:
        SddError: there is no such part, a face for instance.
    """
    from sdd.io.pictures.crop import crop, quads

    return fit(photo, size, "pad") if rule is None else crop(photo, quads(photo, rule)[0], rule, size)


def _flush(
    crops: Sequence[Crop],
    sources: Sequence[Source],
    outputs: Sequence[Path],
    editors: Edits,
    wish: Wish,
    taken: set[str],
    outcome: Outcome,
) -> None:
    """Edit what waits, in one batch, and save it."""
    strengths = list(wish.strengths) if len(wish.strengths) > 1 else wish.strengths[0]
    batch = torch.stack([crop.image for crop in crops])
    # Of the report only the dB are told: identities need not be compared.
    edit = editors.edit(
        batch, strengths, wish.levels, None, wish.refine, identity=False, register=wish.registers(editors.crop)
    )
    outcome.registered += [(sources[crops[i].source].path, pose) for i, pose in enumerate(edit.poses) if pose]
    for crop, quality in zip(crops, edit.psnr.tolist(), strict=True):
        outcome.psnr.append(quality)
        if domain_warning(quality, editors.domain) is not None:
            outcome.foreign.append((sources[crop.source].path, quality))
    for index in dict.fromkeys(crop.source for crop in crops):
        mine = [i for i, crop in enumerate(crops) if crop.source == index]
        try:
            with guarded(str(sources[index].path), "a picture that can be edited"):
                if wish.blend:
                    layers = open_layers(sources[index].path, wish.background)
                    picture = laid(layers, [crops[i] for i in mine], edit, mine, editors, wish)
                    outcome.written.append(save_png(picture, outputs[index]))
                    continue
                for i in mine:
                    path = outputs[index]
                    if (number := crops[i].number) is not None:
                        path = _free(path, number, taken)
                    outcome.written.append(save_png(edit.images[i], path))
        except SddError as error:  # such as an output that is a link: the other pictures have other outputs
            outcome.broken.append(_about(sources[index].path, error))


def laid(
    layers: tuple[Image, Image | None], crops: Sequence[Crop], edit: Edit, at: Sequence[int], editors: Edits, wish: Wish
) -> Image:
    """The edits of a picture's parts laid into it, at its own size, its transparency kept.

    Args:
        layers: the picture (`sdd.io.pictures.read.open_layers`).
        crops: its parts. at: their numbers in the edit.
    """
    before, layer = layers
    result = to_tensor(before)
    for crop, i in zip(crops, at, strict=True):
        edited, unedited = (drawn_in(drawn[i].cpu(), editors.crop) for drawn in (edit.images, edit.unedited))
        pose = edit.poses[i] if edit.poses else None
        quad, how = (crop.quad, DEFAULT) if pose is None else (pose.quad(*before.size), LAID)
        result = lay_in(result, edited, unedited, quad, how)
    after = from_tensor(result)
    return after if layer is None else transparent_again(layer, before, after, parse_colour(wish.background))


def _free(path: Path, number: int, taken: set[str]) -> Path:
    """The name of one face's picture, which no other picture has."""
    name = f"{path.stem}-face{number}"
    while os.path.realpath(candidate := path.with_name(f"{name}.png")) in taken:
        name += "-"
    taken.add(os.path.realpath(candidate))
    return candidate
