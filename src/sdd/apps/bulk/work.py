"""What a worker does with a task: read, edit in batches of one size, write, commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import torch

from sdd.apps.bulk.manifest import BROKEN, EDITED, Row, commit, is_settled, part_name, read, rows_of, whole
from sdd.apps.bulk.task import AT_ONCE, Layers, Place, Report, Task
from sdd.apps.pictures import Crop, Edits, Wish, cut, laid
from sdd.domains.foreign import domain_warning
from sdd.errors import SddError, guarded, one_line
from sdd.io.pictures.write import from_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

    from sdd.editor import Edit

PIXELS = 48 * 2**20  # of the pictures that are held at a time, or one picture more


@dataclass(frozen=True)
class Order:
    """What a worker needs to begin; can be sent to another process or machine.

    Attributes:
        opener: from the name of a device (None for the best there is) to what edits.
        wish: how to edit.
        run: the folder that parts of this run go to, in the output folder's state folder.
    """

    opener: Callable[[str | None], Edits]
    wish: Wish
    run: Path


@dataclass
class _Picture:
    """One picture on its way."""

    place: Place
    seconds: float = 0.0
    layers: Layers | None = None
    crops: Sequence[Crop] = ()
    error: str = ""
    data: bytes | None = None
    psnr: float | None = None

    def row(self) -> Row:
        place = self.place
        status, output = (EDITED, place.output) if self.data is not None else (BROKEN, "")
        return Row(place.source, place.index, place.member, output, status, self.seconds, self.psnr, self.error)


class Worker:
    """Edits tasks. Several threads may call one worker: while one computes, others read and write.

    Args:
        order: what to edit with and where to put it. device: to compute on.

    Raises:
        SddError: there is no such editor, domain or device, or it cannot edit as it is asked to.
    """

    def __init__(self, order: Order, device: str | None = None) -> None:
        self.order, self.edits = order, order.opener(device)
        self._computing = Lock()
        side = self.edits.image_size
        self._edit(torch.zeros(1, 3, side, side))  # says what is wrong with a wish once, not of every picture

    def __call__(self, task: Task) -> Report:
        """Edit the pictures of a task that no part of it holds yet, and commit them.

        Raises:
            SddError: results cannot be written, or another run has begun.
        """
        report, held, run = Report(task), set[tuple[str, int]](), self.order.run

        def part_of(number: int) -> Path:
            return run / part_name(task.number, number, bool(task.shard))

        while (part := part_of(len(report.parts))).exists():  # of a worker that died in the midst of it
            if not task.shard:
                settle(part)
            rows = rows_of(part)
            held.update((row.source, row.index) for row in rows)
            self._count(report, part, rows)
        for window in self._windows(task, [place for place in task.places if place.key not in held]):
            self._compute(window)
            rows, pictures = [picture.row() for picture in window], [picture.data for picture in window]
            part = commit(part_of(len(report.parts)), rows, pictures)
            if not task.shard:
                put(rows, pictures, run)
                commit(part, rows, None)
            self._count(report, part, rows)
        return report

    def _count(self, report: Report, part: Path, rows: Sequence[Row]) -> None:
        report.parts.append(part.name)
        own = {place.key for place in report.task.places}
        for row in rows:
            if (row.source, row.index) not in own:  # of a task that was given out again in pieces
                continue
            if row.inversion_db is None:
                report.broken.append(row.error)
                continue
            report.edited += 1
            report.psnr += row.inversion_db
            report.foreign += domain_warning(row.inversion_db, self.edits.domain) is not None

    def _windows(self, task: Task, places: Sequence[Place]) -> Iterator[list[_Picture]]:
        """The pictures, read, as many as fit in memory at a time."""
        window, pixels = list[_Picture](), 0
        for picture in self._read(task, places):
            window.append(picture)
            pixels += 0 if picture.layers is None else picture.layers[0].width * picture.layers[0].height
            if len(window) == AT_ONCE or pixels > PIXELS:
                yield window
                window, pixels = [], 0
        if window:
            yield window

    def _read(self, task: Task, places: Sequence[Place]) -> Iterator[_Picture]:
        able = [place for place in places if not place.error]
        found = self._layers(task, able)
        for place in places:
            began = time.perf_counter()
            picture = _Picture(place, error=place.error)
            if not place.error:
                with _said_of(picture):
                    layers = next(found)
                    if isinstance(layers, SddError):
                        raise layers
                    picture.layers, picture.crops = layers, cut(0, layers[0], self.edits, self.order.wish)
            picture.seconds = time.perf_counter() - began
            yield picture

    def _layers(self, task: Task, places: Sequence[Place]) -> Iterator[Layers | SddError]:
        """One answer for each place, whatever becomes of the file."""
        given = 0
        try:
            with guarded(places[0].source if places else "", "a file whose pictures can be read"):
                for layers in task.reader.read(places, self.order.wish.background) if places else ():
                    yield layers
                    given += 1
                if given < len(places):
                    raise SddError(f"{places[0].source} has changed while its pictures were edited")
        except SddError as error:
            for _ in places[given:]:
                yield error

    def _edit(self, batch: torch.Tensor) -> Edit:
        wish = self.order.wish
        strengths = list(wish.strengths) if len(wish.strengths) > 1 else wish.strengths[0]
        with self._computing:
            return self.edits.edit(
                batch, strengths, wish.levels, None, wish.refine, identity=False,
                register=wish.registers(self.edits.crop),
            )  # fmt: skip

    def _compute(self, window: Sequence[_Picture]) -> None:
        """Edit all crops of some pictures together; one by one where that fails."""
        able = [picture for picture in window if picture.crops]
        crops = [(picture, crop) for picture in able for crop in picture.crops]
        if not crops:
            return
        began = time.perf_counter()
        try:
            edit = self._edit(torch.stack([crop.image for _, crop in crops]))
        except Exception as error:  # memory, most often
            if len(able) > 1:
                for picture in able:
                    self._compute([picture])
                return
            with _said_of(able[0]):
                raise error
            return
        share, at = (time.perf_counter() - began) / len(able), 0
        for picture in able:
            numbers = range(at, at := at + len(picture.crops))
            began = time.perf_counter()
            with _said_of(picture):
                result = self._result(picture, edit, numbers)
                picture.psnr = float(edit.psnr[numbers.start : numbers.stop].mean())
                picture.data = _png(result)
            picture.seconds += share + time.perf_counter() - began
            picture.layers = None

    def _result(self, picture: _Picture, edit: Edit, numbers: Sequence[int]) -> Image:
        if not self.order.wish.blend:
            return from_tensor(edit.images[numbers[0]])
        assert picture.layers is not None, "it was read"
        return laid(picture.layers, picture.crops, edit, numbers, self.edits, self.order.wish)


def put(rows: Sequence[Row], pictures: Sequence[bytes | None], run: Path) -> None:
    """Put edited pictures where they belong: into a file each. Once more is no harm.

    Raises:
        SddError: see `whole`.
    """
    for row, picture in zip(rows, pictures, strict=True):
        if picture is not None:
            with whole(run, run.parent.parent / row.output) as aside:
                aside.write_bytes(picture)


def settle(part: Path) -> None:
    """Put the pictures of a part where they belong, unless they are there."""
    if not is_settled(part):
        rows = rows_of(part)
        put(rows, read(part, ["picture"])["picture"].to_pylist(), part.parent)
        commit(part, rows, None)


def _png(picture: Image) -> bytes:
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


@contextmanager
def _said_of(picture: _Picture) -> Iterator[None]:
    """Whatever goes wrong inside is said of this picture, and of no other."""
    source = picture.place.source
    try:
        with guarded(source, "a picture that can be edited"):
            yield
    except SddError as error:
        picture.layers, picture.crops, picture.data, picture.psnr = None, (), None, None
        picture.error = str(error) if source in str(error) else f"{one_line(source)}: {error}"
