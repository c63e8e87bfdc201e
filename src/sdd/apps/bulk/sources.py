"""What there is to edit, from what was typed: folders, patterns, picture files, Parquet files, tar shards."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from sdd.apps.bulk.files import Files, Named
from sdd.apps.bulk.remote import is_remote, matching
from sdd.apps.bulk.table import Table
from sdd.apps.bulk.tar import Tar
from sdd.apps.bulk.task import Place, Reader
from sdd.errors import SddError
from sdd.io.pictures.folder import SUFFIXES

TABLES, TARS = (".parquet", ".pq"), (".tar",)
PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")


class Source(Protocol):
    """Pictures that are read in one way.

    Attributes:
        shard: the one file that all results will be in, relative to the output folder; empty if each has its own.
    """

    shard: str

    @property
    def reader(self) -> Reader:
        """What workers read it with."""
        ...

    def left(self, done: set[tuple[str, int]]) -> int:
        """How many pictures are not done."""
        ...

    def tasks(self, done: set[tuple[str, int]]) -> Iterator[tuple[Place, ...]]:
        """The pictures that are not done, as many as a task has at a time."""
        ...


class Shard(Source, Protocol):
    """A file of many pictures, and one of their results."""

    path: str

    def assemble(self, pictures: Iterator[tuple[int, bytes | None]], path: Path) -> None:
        """Write the result to `path`; `pictures` are all of them in order, None for one that could not be edited."""
        ...


def discover(inputs: Sequence[str], out: Path, column: str | None = None) -> tuple[list[Source], list[Place]]:
    """What was named, and the shards that cannot be read.

    Args:
        inputs: folders, files, patterns, addresses (`s3://…`) of Parquet files and tar shards.
        out: the output folder.
        column: of Parquet files the column of pictures; of tar shards the extension of the files that are pictures.

    Raises:
        SddError: there is nothing there, or two would be written to one file.
    """
    folders, shards, files = list[str](), list[Named](), list[Named]()
    for given in inputs:
        found = _found(given)
        for path, name in found:
            lower = path.lower()
            if lower.endswith(PACKED):
                raise SddError(
                    f"{path} is compressed, so that no picture of it can be reached alone; unpack it to .tar"
                )
            if not is_remote(path) and os.path.isdir(path):
                folders.append(path)
            elif lower.endswith((*TABLES, *TARS)):
                shards.append((path, name))
            elif is_remote(path):
                raise SddError(f"{path} is neither a Parquet file nor a tar shard; bring pictures here first")
            elif len(found) == 1 or os.path.splitext(lower)[1] in SUFFIXES:
                files.append((path, name))
    sources: list[Source] = []
    if folders or files:
        sources.append(Files(out, _roots(folders, out, bool(files)), tuple(files)))
    readable, broken = _shards(shards, out, column)
    return [*sources, *readable], broken


def _found(given: str) -> list[tuple[str, str]]:
    """What an argument stands for: paths, each with its name relative to the output folder."""
    if is_remote(given):
        found = [(path, path.rsplit("/", 1)[-1]) for path in matching(given)]
    elif os.path.exists(given) or not glob.has_magic(given):
        path = os.path.abspath(given)
        found = [(path, os.path.basename(path))] if os.path.exists(path) else []
    else:
        fixed = Path(*_until_magic(Path(given).parts))
        every = sorted(glob.glob(given, recursive=True))
        found = [(os.path.abspath(path), os.path.relpath(path, fixed)) for path in every]
        if any(os.path.isfile(path) for path, _ in found):  # `**` names the folders between, too
            found = [(path, name) for path, name in found if os.path.isfile(path)]
    if not found:
        raise SddError(f"no such file or folder: {given}")
    return found


def _until_magic(parts: Sequence[str]) -> list[str]:
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return list(parts[:first])


def _roots(folders: Sequence[str], out: Path, several: bool) -> tuple[tuple[str, str], ...]:
    """Each folder, and the one below the output folder that its results go to: its own, if there are several."""
    folders = list(dict.fromkeys(os.path.realpath(folder) for folder in folders))
    for folder in folders:
        if folder == os.path.realpath(out):
            raise SddError(f"{out} is the folder of the pictures, which are not written over; name another one with -o")
    if len(folders) == 1 and not several:
        return ((folders[0], ""),)
    names = [os.path.basename(folder) or "root" for folder in folders]
    _check_distinct(names, "folders")
    return tuple(zip(folders, names, strict=True))


def _shards(found: Sequence[Named], out: Path, column: str | None) -> tuple[list[Source], list[Place]]:
    shards: list[Source] = []
    broken: list[Place] = []
    found = list(dict.fromkeys(found))
    _check_distinct([name for _, name in found], "files")
    for path, name in found:
        if os.path.realpath(path) == os.path.realpath(out / name):
            raise SddError(f"{path} would be written over by its result; name another folder with -o")
        make: Callable[..., Table | Tar] = Table if path.lower().endswith(TABLES) else Tar
        try:
            shards.append(make(path, name, column))
        except SddError as error:
            broken.append(Place(path, -1, error=str(error)))
    return shards, broken


def _check_distinct(names: Sequence[str], what: str) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise SddError(f"two of the {what} are called {name}; edit them into different output folders")
