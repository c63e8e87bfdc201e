"""A run: what is left to edit goes through an engine; what was edited goes where it belongs, and into the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

from sdd.apps.bulk.manifest import BROKEN, NAME, Parts, Row, is_of_shard, is_settled, read, rows_of, strip, whole
from sdd.apps.bulk.sources import Shard, Source, discover
from sdd.apps.bulk.task import Report, Task
from sdd.apps.bulk.work import Order, settle
from sdd.apps.pictures import Edits, Wish
from sdd.errors import SddError

Engine = Callable[[Order, Iterator[Task]], Iterator[Report]]
Progress = Callable[[int, int], None]  # called with (pictures done by this run, all that are left to it)
NAMED = 5  # sentences about broken pictures that are kept


@dataclass
class Summary:
    """What came of a run.

    Attributes:
        before: pictures that were done before it. edited, broken: by it.
        sentences: of the first broken ones. psnr: sum over the edited, dB. foreign: those far below their domain's.
        manifest: the file.
    """

    manifest: Path
    before: int = 0
    edited: int = 0
    broken: int = 0
    sentences: list[str] = field(default_factory=list)
    psnr: float = 0.0
    foreign: int = 0

    def add(self, report: Report) -> None:
        """Count a task."""
        self.edited += report.edited
        self.psnr += report.psnr
        self.foreign += report.foreign
        self.fail(report.broken)

    def fail(self, sentences: Sequence[str]) -> None:
        """Count broken ones."""
        self.broken += len(sentences)
        self.sentences += sentences[: NAMED - len(self.sentences)]


def bulk(
    inputs: Sequence[str], out: Path, opener: Callable[[str | None], Edits], wish: Wish, settings: dict[str, Any],
    engine: Engine, column: str | None = None, progress: Progress | None = None,
) -> Summary:  # fmt: skip
    """Edit pictures in bulk; those that an earlier run has done are left as they are.

    Args:
        inputs: folders, files, patterns and addresses (`sdd.apps.bulk.sources`).
        out: where results go, with the manifest.
        opener: from a device's name to what edits; sent to workers.
        settings: what makes a difference to results, in words of JSON.
        column: see `discover`.

    Raises:
        SddError: nothing to edit, an output folder that holds other edits, workers that cannot begin, a full disk.
    """
    out = out.absolute()
    sources, unreadable = discover(inputs, out, column)
    if not sources and unreadable:
        raise SddError(unreadable[0].error)
    if not any(source.left(set()) for source in sources):
        raise SddError(f"no pictures in {', '.join(inputs)}")
    parts = Parts(out, settings)
    shelf, done = _Shelf(parts), parts.done()
    left, finished = sum(source.left(done) for source in sources), 0
    summary = Summary(out / NAME, len(done))
    summary.fail([place.error for place in unreadable])
    tasks = shelf.tasks(sources, done)
    try:
        # Where nothing is left, no worker has to begin for that.
        for report in engine(Order(opener, wish, parts.run), tasks) if left else cast(Iterator[Report], tasks):
            shelf.take(report)
            summary.add(report)
            finished += len(report.task.places)
            if progress is not None:
                progress(finished, left)
    finally:  # also of a run that was stopped: what is done is done
        parts.merge([Row(p.source, p.index, "", "", BROKEN, 0.0, None, p.error) for p in unreadable])
    return summary


@dataclass
class _Open:
    """A shard that is not written yet: the parts that hold its pictures, and how many of these are being edited."""

    shard: Shard
    parts: set[Path]
    waiting: int = 0
    listed: bool = False


class _Shelf:
    """The shards that wait for their pictures; each is written as soon as it has all of them."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.open: dict[str, _Open] = {}
        self.unsettled: dict[str, set[Path]] = {}  # what earlier runs left, of each shard
        for part in parts:
            if is_settled(part):
                continue
            if is_of_shard(part):
                self.unsettled.setdefault(rows_of(part)[0].source, set()).add(part)
            else:
                settle(part)

    def tasks(self, sources: Sequence[Source], done: set[tuple[str, int]]) -> Iterator[Task]:
        """All that is left to edit.

        Raises:
            SddError: a shard's result would be written over a file that is none of ours.
        """
        known = {source for source, _ in done}
        numbers = count()
        for source in sources:
            if not source.shard:
                for places in source.tasks(done):
                    yield Task(next(numbers), source.reader, places)
                continue
            shard = cast(Shard, source)
            if (self.parts.out / shard.shard).exists():
                if shard.path not in known:
                    raise SddError(f"{self.parts.out / shard.shard} is there already; name another folder with -o")
                for part in self.unsettled.get(shard.path, ()):  # a run was killed before it came to this
                    strip(part)
                continue
            self.open[shard.path] = waits = _Open(shard, self.unsettled.get(shard.path, set()))
            for places in shard.tasks(done):
                waits.waiting += len(places)
                yield Task(next(numbers), shard.reader, places, shard.shard)
            waits.listed = True
            self._write(shard.path)

    def take(self, report: Report) -> None:
        """A task is done."""
        if report.task.shard:
            path = report.task.places[0].source
            self.open[path].waiting -= len(report.task.places)
            self.open[path].parts |= {self.parts.run / name for name in report.parts}
            self._write(path)

    def _write(self, path: str) -> None:
        waits = self.open[path]
        if waits.waiting or not waits.listed:
            return
        del self.open[path]
        if waits.parts or not waits.shard.left(set()):
            with whole(self.parts.run, self.parts.out / waits.shard.shard) as aside:
                waits.shard.assemble(_pictures(waits.parts), aside)
            for part in waits.parts:
                strip(part)


def _pictures(parts: set[Path]) -> Iterator[tuple[int, bytes | None]]:
    """Numbers and pictures of all parts of a shard, in order."""
    first = sorted((read(part, ["index"])["index"][0].as_py(), part) for part in parts)
    for _, part in first:
        table = read(part, ["index", "picture"])
        yield from zip(table["index"].to_pylist(), table["picture"].to_pylist(), strict=True)
