"""Picture files: those of a folder tree, which is read as it is walked, and those that are named one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdd.apps.bulk.task import AT_ONCE, Layers, Place
from sdd.errors import SddError, one_line
from sdd.io.pictures.folder import LISTING, SHEET, SUFFIXES
from sdd.io.pictures.read import open_layers

Named = tuple[str, str]  # a file, and its name relative to the output folder


class FileReader:
    """Reads files."""

    def read(self, places: Sequence[Place], background: str) -> Iterator[Layers | SddError]:
        """See `Reader`."""
        for place in places:
            try:
                yield open_layers(place.source, background)
            except SddError as error:
                yield error


@dataclass
class Files:
    """Pictures with a file each, and a file for each result: PNG, of the same name, in the same folders.

    Args:
        out: the output folder; what lies there is never listed and never written over.
        roots: folders, each with the folder below `out` that its results go to.
        named: single files.
    """

    out: Path
    roots: tuple[tuple[str, str], ...] = ()
    named: tuple[Named, ...] = ()
    shard: str = ""
    reader: FileReader = FileReader()  # noqa: RUF009 (it has no state)

    def left(self, done: set[tuple[str, int]]) -> int:
        """How many pictures are not done."""
        single = sum((_text(file), 0) not in done for file, _ in self.named)
        walked = ((os.path.join(folder, name)) for folder, _, names in self._folders() for name in names)
        return single + sum((_text(file), 0) not in done for file in walked)

    def tasks(self, done: set[tuple[str, int]]) -> Iterator[tuple[Place, ...]]:
        """Pictures that are not done; memory holds the names in one folder at a time."""
        waiting: list[Place] = []
        for place in self._places(done):
            waiting.append(place)
            if len(waiting) == AT_ONCE:
                yield tuple(waiting)
                waiting = []
        if waiting:
            yield tuple(waiting)

    def _places(self, done: set[tuple[str, int]]) -> Iterator[Place]:
        taken: set[str] = set()
        for file, name in sorted(self.named, key=lambda named: _changes(named[1])):
            if (_text(file), 0) not in done:
                yield self._place(file, name, taken)
        for folder, below, names in self._folders():
            taken = set()
            for name in sorted(names, key=_changes):
                if (_text(file := os.path.join(folder, name)), 0) not in done:
                    yield self._place(file, os.path.join(below, name), taken)

    def _folders(self) -> Iterator[tuple[str, str, list[str]]]:
        """Each folder, where its results go, and its pictures, as `sdd.io.pictures.folder.find` has them."""
        apart = os.path.realpath(self.out)

        def refuse(error: OSError) -> None:
            raise SddError(f"cannot read the folder {error.filename} ({error.strerror})") from error

        for root, under in self.roots:
            for folder, below, names in os.walk(root, onerror=refuse):
                inside = (name for name in below if not name.startswith("."))
                below[:] = sorted(n for n in inside if os.path.realpath(os.path.join(folder, n)) != apart)
                sheet = SHEET if LISTING in names else None
                pictures = [
                    name
                    for name in sorted(names)
                    if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES and name != sheet
                ]
                yield folder, os.path.normpath(os.path.join(under, os.path.relpath(folder, root))), pictures

    def _place(self, file: str, name: str, taken: set[str]) -> Place:
        """A picture, and where its result goes."""
        source = _text(file)
        if source != file:
            return Place(source, error=f"{one_line(source)}: its name is not valid UTF-8 text; rename it")
        output = self._free(os.path.normpath(name), taken)
        if output is None:
            why = "its name is too long, or a file lies where its folder would be"
            return Place(source, error=f"{one_line(source)}: {why}; rename it")
        taken.add(output.casefold())
        return Place(source, output=output)

    def _free(self, name: str, taken: set[str]) -> str | None:
        """A name that nothing has yet: `a.png`, else `a.jpg.png` (`a-edited.png`), else `a-2.png` and so on."""
        stem, suffix = os.path.splitext(name)
        for number in range(10_000):
            match number:
                case 0:
                    file = f"{stem}.png"
                case 1:
                    file = f"{stem}-edited.png" if suffix.lower() == ".png" else f"{name}.png"
                case _:
                    file = f"{stem}-{number}.png"
            if file.casefold() in taken:
                continue
            try:
                os.lstat(self.out / file)
            except FileNotFoundError:
                return file
            except OSError:  # a name that is too long, a file for a folder
                return None
        return None


def _changes(name: str) -> bool:
    """Whether the result is called otherwise: names that need no change are given out first."""
    return not name.lower().endswith(".png")


def _text(path: str) -> str:
    """A path as text that a Parquet file can hold; the path itself, unless it is no text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
