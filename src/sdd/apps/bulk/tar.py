"""WebDataset shards: tar files in which the files of one sample share the name before the first dot.

A stranger's tar is read where it lies: nothing is unpacked to disk, links and devices are never followed, and the names
in what is written lead nowhere outside the folder that it will be unpacked to.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from sdd.apps.bulk.remote import open_binary
from sdd.apps.bulk.table import expect
from sdd.apps.bulk.task import AT_ONCE, Layers, Place
from sdd.errors import SddError, guarded, one_line, printable
from sdd.io.pictures.folder import SUFFIXES
from sdd.io.pictures.read import read_layers

MOST = 2**29  # bytes of a picture's file
HEADER = 2**24  # bytes of a header, long names included


@dataclass(frozen=True)
class TarReader:
    """Reads pictures of one shard, each at its offset."""

    path: str

    def read(self, places: Sequence[Place], background: str) -> Iterator[Layers | SddError]:
        """See `Reader`."""
        with open_binary(self.path) as file:
            for place in places:
                file.seek(place.span[0])
                try:
                    yield read_layers(file.read(place.span[1]), f"{self.path}: {place.member}", background)
                except SddError as error:
                    yield error


@dataclass
class Tar:
    """One shard; the result is one with the same files, in which the edited pictures, as PNG, take the pictures' place.

    Args:
        path: the file. shard: the result, relative to the output folder. extension: which files of a sample are
            pictures to edit (`jpg`); None for all that have a picture's.

    Raises:
        SddError: it is no tar file, or a truncated one.
    """

    path: str
    shard: str
    extension: str | None = None

    def __post_init__(self) -> None:
        with _opened(self.path) as tar:
            self.pictures = sum(self._is_picture(member) for member in _members(tar, self.path))

    @property
    def reader(self) -> TarReader:
        """What workers read it with."""
        return TarReader(self.path)

    def left(self, done: set[tuple[str, int]]) -> int:
        """How many pictures are not done."""
        return self.pictures - sum((self.path, index) in done for index in range(self.pictures if done else 0))

    def tasks(self, done: set[tuple[str, int]]) -> Iterator[tuple[Place, ...]]:
        """Pictures that are not done, in runs without gaps."""
        waiting, index = list[Place](), 0
        with _opened(self.path) as tar:
            for member in _members(tar, self.path):
                if not self._is_picture(member):
                    continue
                if (self.path, index) not in done:
                    waiting.append(self._place(member, index))
                if waiting and (len(waiting) == AT_ONCE or waiting[-1].index != index):
                    yield tuple(waiting)
                    waiting = []
                index += 1
        if waiting:
            yield tuple(waiting)

    def _place(self, member: tarfile.TarInfo, index: int) -> Place:
        name = safe_name(member.name)
        error = ""
        if member.size > MOST:
            error = f"{self.path}: {one_line(name)} has {member.size} bytes, more than any picture ({MOST})"
        return Place(self.path, index, name, self.shard, (member.offset_data, member.size), error)

    def _is_picture(self, member: tarfile.TarInfo) -> bool:
        name = member.name.rsplit("/", 1)[-1].lower()
        if self.extension is not None:
            return name.partition(".")[2] == self.extension.lower().lstrip(".")
        return not name.startswith(".") and PurePosixPath(name).suffix in SUFFIXES

    def assemble(self, pictures: Iterator[tuple[int, bytes | None]], path: Path) -> None:
        """Write the result to `path`; `pictures` are all, in order, None for one that is broken and left out."""
        index = 0
        with _opened(self.path) as tar:
            names = {safe_name(member.name) for member in _members(tar, self.path)}
        with _opened(self.path) as tar, tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as result:
            for member in _members(tar, self.path):
                info = tarfile.TarInfo(safe_name(member.name))
                info.size, info.mtime = member.size, _time(member)
                if not self._is_picture(member):
                    result.addfile(info, tar.extractfile(member))
                    continue
                data = expect(pictures, index, self.path)
                index += 1
                if data is not None:
                    info.name, info.size = _as_png(info.name, names), len(data)
                    result.addfile(info, BytesIO(data))


def safe_name(name: str) -> str:
    """A name of a tar's file that is text and leads to no other folder."""
    text = printable(name).replace("\n", " ").replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "unnamed"


def _as_png(name: str, names: set[str]) -> str:
    """`a/b.jpg` as `a/b.png`; as `a/b.jpg.png` where the shard has a file of that name."""
    path = PurePosixPath(name)
    changed = str(path.with_suffix(".png"))
    return changed if changed == name or changed not in names else f"{name}.png"


def _time(member: tarfile.TarInfo) -> int:
    """When it was written, seconds; 0 if that is no time."""
    return int(member.mtime) if 0 <= member.mtime < 2**33 else 0  # NaN is no time either


def _members(tar: tarfile.TarFile, path: str) -> Iterator[tarfile.TarInfo]:
    """The plain files of a tar, one after another; links, devices and sparse files are passed over."""
    last = -1
    while True:
        with guarded(path, "a tar file that can be read"):
            member = tar.next()
            if member is None:
                return
            if member.size < 0 or member.offset_data <= last:  # or one that leads back would go on for ever
                raise ValueError("a file of it has no size")
            last = member.offset_data
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
        if member.isreg() and not member.issparse():
            yield member


class _Bounded:
    """A file of which no more is read at once than any header of a tar has: what a header claims is not believed."""

    def __init__(self, raw: Any) -> None:
        self.raw, self.seek, self.tell = raw, raw.seek, raw.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= HEADER:
            raise ValueError("a header that is far too long")
        data: bytes = self.raw.read(size)
        return data


@contextmanager
def _opened(path: str) -> Iterator[tarfile.TarFile]:
    with open_binary(path) as raw:
        with guarded(path, "a tar file that can be read"):  # uncompressed, so that it can be sought in
            tar = tarfile.open(fileobj=cast(BinaryIO, _Bounded(raw)), mode="r:")  # noqa: SIM115 (closed below)
        with tar:
            yield tar
