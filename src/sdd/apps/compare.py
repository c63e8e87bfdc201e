"""One picture, or several, edited by every method: side by side, with the seconds of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdd.apps.pictures import whole_crop
from sdd.errors import SddError, one_line
from sdd.io.pictures.read import open_image
from sdd.io.pictures.write import from_tensor
from sdd.io.progress import Report, silent
from sdd.methods.kept import kept
from sdd.methods.protocol import Method

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    from sdd.domains.domain import Domain
    from sdd.io.pictures.folder import Source
    from sdd.methods.models import Models

MOST = 64  # pictures of one comparison
LARGEST = 256  # side of a picture in it, pixels
WIDE, WIDER = 7, 16  # columns of the sheet, of one picture and of several
GAP, INK, GREY = 6, (20, 20, 20), (110, 110, 110)


@dataclass
class Column:
    """What one method made of the pictures.

    Attributes:
        name: of the method.
        images: (N, 3, S, S) in [-1, 1]; None where it cannot.
        why: what it cannot do, one sentence; "" where it can.
        training: seconds to train, or to find what was trained; 0 where nothing is. editing: seconds a picture.
    """

    name: str
    images: Tensor | None
    why: str = ""
    training: float = 0.0
    editing: float = 0.0


def crops(sources: Sequence[Source], domain: Domain) -> tuple[Tensor, list[str]]:
    """The pictures as the domain sees them, (N, 3, S, S) in [-1, 1]; one sentence for each that cannot be used.

    Raises:
        SddError: there are too many, or none can be used.
    """
    if len(sources) > MOST:
        raise SddError(f"{len(sources)} pictures do not fit one comparison; give at most {MOST}")
    found, broken = [], list[str]()
    for source in sources:
        try:
            found.append(whole_crop(open_image(source.path), domain.crop, domain.image_size))
        except SddError as error:
            broken.append(str(error) if str(source.path) in str(error) else f"{source.path}: {error}")
    if not found:
        raise SddError(broken[0])
    return torch.stack(found), broken


def compare(
    images: Tensor,
    prompt: str,
    source_prompt: str,
    methods: Sequence[Method],
    domain: Domain,
    models: Models,
    seed: int = 0,
    report: Report = silent,
) -> list[Column]:
    """The pictures edited by each method, at its own default; one that cannot has its reason in place of pictures.

    Args:
        images: (N, 3, S, S) in [-1, 1].
    """
    columns = []
    for index, method in enumerate(methods):
        report("compare", index, len(methods))
        columns.append(_column(method, images, prompt, source_prompt, domain, models, seed, report))
    report("compare", len(methods), len(methods))
    return columns


def _column(
    method: Method, images: Tensor, prompt: str, source_prompt: str, domain: Domain, models: Models, seed: int,
    report: Report,
) -> Column:  # fmt: skip
    name = method.card.name

    def told(what: str, done: int, total: int) -> object:
        return report(f"{name}: {what}", done, total)

    try:
        for role in method.card.needs:  # what several methods share is nobody's time
            if role in models.loaders:
                models.get(role, name)
        began = time.perf_counter()
        fitted = kept(method, prompt, source_prompt, domain, models, seed=seed, report=told)
        ready = time.perf_counter()
        edited = fitted.edit(images, None, seed, told)
        if edited.shape != images.shape or not bool(torch.isfinite(edited).all()):
            raise SddError(f"the method {name} gave back what is no picture; another seed or prompt may help")
    except SddError as error:
        return Column(name, None, str(error))
    except Exception as error:  # what one method trips over must not cost the others' pictures
        return Column(name, None, one_line(f"the method {name} failed ({type(error).__name__}: {error}); report it"))
    trained = ready - began if method.card.trains else 0.0
    return Column(name, edited, "", trained, (time.perf_counter() - ready) / len(images))


# --- The picture -----------------------------------------------------------------------------------------------------


def sheet(images: Tensor, columns: Sequence[Column]) -> PillowImage.Image:
    """Sources and edits: a column a method with its name above and its seconds below, a row a picture.

    What a method cannot do is left blank. More columns than fit go on below.
    """
    from PIL import Image, ImageDraw, ImageFont

    side = min(images.shape[-1], LARGEST)
    font, small = (ImageFont.load_default(size) for size in (max(11, side // 10), max(10, side // 12)))
    high = int(font.getbbox("Ag")[3]) + 2
    low = int(small.getbbox("Ag")[3]) + 2
    count = WIDE if len(images) == 1 else WIDER
    everything = [Column("source", images), *columns]
    blocks = [everything[i : i + count] for i in range(0, len(everything), count)]
    block = high + len(images) * (side + GAP) + 2 * low + GAP
    width = GAP + min(count, len(everything)) * (side + GAP)
    whole = Image.new("RGB", (width, GAP + len(blocks) * block), "white")
    pen = ImageDraw.Draw(whole)
    for b, some in enumerate(blocks):
        top = GAP + b * block
        for c, column in enumerate(some):
            left = GAP + c * (side + GAP)
            middle = left + side / 2
            pen.text((middle, top), _fitting(column.name, font, side, pen), fill=INK, font=font, anchor="ma")
            for r in range(len(images)):
                place = (left, top + high + r * (side + GAP))
                if column.images is None:
                    pen.rectangle((*place, place[0] + side - 1, place[1] + side - 1), outline=(225, 225, 225))
                    continue
                picture = from_tensor(column.images[r])
                whole.paste(picture if picture.width == side else picture.resize((side, side)), place)
            foot = top + high + len(images) * (side + GAP)
            for line, text in enumerate(_times(column)):
                shown = _fitting(text, small, side, pen)
                pen.text((middle, foot + line * low), shown, fill=GREY, font=small, anchor="ma")
    return whole


def _times(column: Column) -> list[str]:
    if column.name == "source" or column.images is None:
        return []
    return [seconds(column.editing), *([f"trained: {seconds(column.training)}"] if column.training else [])]


def _pace(column: Column) -> str:
    trained = f", {seconds(column.training)} to train" if column.training else ""
    return f"{seconds(column.editing)} a picture{trained}"


def seconds(value: float) -> str:
    """Seconds with the digits that are worth reading."""
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def _fitting(text: str, font: object, width: int, pen: object) -> str:
    while len(text) > 2 and pen.textlength(text, font=font) > width:  # type: ignore[attr-defined]
        text = text[:-2] + "…"
    return text


def report_lines(columns: Sequence[Column]) -> list[str]:
    """One line a method: its seconds, or why it has none."""
    wide = max((len(c.name) for c in columns), default=0)
    return [f"{c.name:{wide}}  {c.why or _pace(c)}" for c in columns]


def destination(out: Path) -> Path:
    """Where the comparison goes.

    Raises:
        SddError: no PNG.
    """
    if out.suffix.lower() != ".png":
        raise SddError(f"a comparison is written as PNG, not as {out.suffix or out.name}; give -o compare.png")
    return out
