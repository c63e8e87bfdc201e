"""Edit picture files with editors: read, crop as the domain wants, edit in batches, save, and say what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sdd.editor import Composition, domain_warning
from sdd.errors import SddError
from sdd.io.pictures.folder import Source
from sdd.io.pictures.read import open_image
from sdd.io.pictures.shape import fit
from sdd.io.pictures.write import save_png

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from sdd.domains.domain import Domain


Box = tuple[float, float, float, float]
BATCH = 16  # pictures that wait for one another; how many are drawn at a time depends on the domain's size


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
        paste_back: blend the edited crop into the whole picture at its own resolution.
    """

    strengths: tuple[float, ...] = (1.0,)
    levels: tuple[str, ...] | None = None
    refine: int = 0
    background: str = "white"
    face: str = "1"
    box: Box | None = None
    paste_back: bool = False


@dataclass
class Outcome:
    """What came of it: files written, one sentence for each picture that could not be used, warnings, inversion dB."""

    written: list[Path] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Crop:
    source: int  # index of the picture it was cut from
    number: int | None  # of the face, where there are several
    quad: NDArray[np.float64]
    image: Tensor  # (3, S, S)


def edit_pictures(
    sources: Sequence[Source],
    outputs: Sequence[Path],
    editors: Composition,
    wish: Wish,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Edit pictures into files; pictures that cannot be used are named in the outcome and the rest goes on.

    Args:
        sources: the pictures.
        outputs: where each result goes (`sdd.io.images.output_paths`).
        progress: called with the number of pictures finished since the last call.

    Raises:
        SddError: an output cannot be written, or what is wished for does not exist (a level, say).
    """
    outcome = Outcome()
    domain = editors.domain
    taken = {path.resolve() for path in outputs} | {source.path.resolve() for source in sources}
    waiting: list[_Crop] = []
    since = 0
    for index, source in enumerate(sources):
        since += 1
        try:
            waiting += _crops(index, open_image(source.path, wish.background), domain, wish)
        except SddError as error:
            text = str(error)
            outcome.broken.append(text if str(source.path) in text else f"{source.path}: {text}")
        if waiting and (len(waiting) >= BATCH or index == len(sources) - 1):
            _flush(waiting, sources, outputs, editors, wish, taken, outcome)
            waiting = []
        if progress is not None and (not waiting or index == len(sources) - 1):
            progress(since)
            since = 0
    return outcome


def _crops(index: int, photo: Image, domain: Domain, wish: Wish) -> list[_Crop]:
    """The parts of a picture that the domain's generator knows."""
    from sdd.io.pictures.crop import crop, quads
    from sdd.io.pictures.quad import box_quad

    rule, size = domain.extra.get("crop"), domain.image_size
    if rule is None and wish.box is None:  # a drawn portrait: all of it, on its own background
        side, (width, height) = max(photo.size), photo.size
        left, top = (width - side) / 2, (height - side) / 2
        quad = box_quad((left, top, left + side, top + side))
        return [_Crop(index, None, quad, fit(photo, size, "pad"))]
    found = quads(photo, rule or "centre", wish.face, wish.box)
    cut = []
    for number, quad in enumerate(found, 1):
        cut.append(_Crop(index, number if len(found) > 1 else None, quad, crop(photo, quad, rule, size)))
    return cut


def _flush(
    crops: Sequence[_Crop],
    sources: Sequence[Source],
    outputs: Sequence[Path],
    editors: Composition,
    wish: Wish,
    taken: set[Path],
    outcome: Outcome,
) -> None:
    """Edit what waits, in one batch, and save it."""
    strengths = list(wish.strengths) if len(wish.strengths) > 1 else wish.strengths[0]
    batch = torch.stack([crop.image for crop in crops])
    # Of the report only the dB are told: identities need not be compared.
    edit = editors.edit(batch, strengths, wish.levels, None, wish.refine, identity=False)
    results = edit.images.cpu()
    for crop, quality in zip(crops, edit.inversion.psnr.tolist(), strict=True):
        outcome.psnr.append(quality)
        if (warning := domain_warning(quality, editors.domain)) is not None:
            outcome.warnings.append(f"{sources[crop.source].path}: {warning}")
    for index in dict.fromkeys(crop.source for crop in crops):
        mine = [i for i, crop in enumerate(crops) if crop.source == index]
        if wish.paste_back:
            photo = open_image(sources[index].path, wish.background)
            for i in mine:
                photo = _paste(photo, results[i], crops[i], editors.domain)
            outcome.written.append(save_png(photo, outputs[index]))
            continue
        for i in mine:
            path = outputs[index]
            if (number := crops[i].number) is not None:
                path = _free(path, number, taken)
            outcome.written.append(save_png(results[i], path))


def _paste(photo: Image, edited: Tensor, crop: _Crop, domain: Domain) -> Image:
    from sdd.io.pictures.crop import paste_back

    if domain.extra.get("crop") == "car":
        margin = edited.shape[1] // 8
        edited = edited[:, margin : edited.shape[1] - margin]
    return paste_back(photo, edited, crop.quad)


def _free(path: Path, number: int, taken: set[Path]) -> Path:
    """The name of one face's picture, which no other picture has."""
    name = f"{path.stem}-face{number}"
    while (candidate := path.with_name(f"{name}.png")).resolve() in taken:
        name += "-"
    taken.add(candidate.resolve())
    return candidate
