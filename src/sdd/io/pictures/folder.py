"""Which pictures there are, and where their results go."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdd.errors import SddError

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    Picture = PillowImage.Image

SUFFIXES = {
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg",
    ".jpf", ".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".sgi", ".tga", ".tif",
    ".tiff", ".webp",
}  # fmt: skip

LISTING, SHEET = "samples.json", "grid.png"  # what `sdd sample` writes beside its pictures; the sheet is none of them


# Folders


@dataclass(frozen=True)
class Source:
    """A picture to work on: where it is, and its name relative to the folder the user gave."""

    path: Path
    name: Path


def find(paths: Iterable[str | Path], skip: str | Path | None = None) -> list[Source]:
    """The pictures among `paths`: files as they are, folders searched through in a fixed order, each picture once.

    In folders only files with a picture's suffix count; hidden ones, the sheet of all pictures that `sdd sample` makes,
    and everything under `skip` (the output folder, which may lie inside the input) are left out.

    Raises:
        SddError: a path that does not exist, a folder that cannot be read, or no picture at all.
    """
    given = [Path(path) for path in paths]
    apart = os.path.realpath(skip) if skip is not None else None
    found: dict[str, Source] = {}
    for path in given:
        if os.path.isdir(path):  # unlike `is_dir`, no error where a name is too long
            files = _walk(path, apart)
        elif os.path.exists(path):
            files = [Source(path, Path(path.name))]
        else:
            raise SddError(f"no such file or folder: {path}")
        for source in files:
            found.setdefault(os.path.realpath(source.path), source)  # unlike `resolve`, not stopped by a loop of links
    if not found:
        raise SddError(f"no pictures in {', '.join(map(str, given)) or 'nothing'}")
    return list(found.values())


def _walk(root: Path, apart: str | None) -> list[Source]:
    def refuse(error: OSError) -> None:
        raise SddError(f"cannot read the folder {error.filename} ({error.strerror})") from error

    sources = []
    for folder, subfolders, names in os.walk(root, onerror=refuse):
        here = Path(folder)
        if here != root and apart is not None and os.path.realpath(here) == apart:
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        if LISTING in names and SHEET in names:
            names.remove(SHEET)
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                sources.append(Source(here / name, (here / name).relative_to(root)))
    return sources


def output_paths(sources: Sequence[Source], folder: str | Path) -> list[Path]:
    """Where each source's result goes under `folder`: the same name as PNG, never an input, never the same path twice.

    `a.jpg` becomes `a.png`; where that is taken (by an input, or by another source's result) the result is called
    `a.jpg.png` (`a-edited.png` for `a.png`), then `<parent>-a.png`, then `a-2.png`, `a-3.png` and so on.
    """
    folder = Path(folder)
    taken = {_identity(source.path) for source in sources}
    # Names that need no change are given out first, so that `a.png` keeps its name whatever comes before it.
    order = sorted(range(len(sources)), key=lambda i: sources[i].name.suffix.lower() != ".png")
    chosen: dict[int, Path] = {}
    for index in order:
        source = sources[index]
        name = source.name
        second = f"{name.stem}-edited.png" if name.suffix.lower() == ".png" else f"{name.name}.png"
        parent = Path(os.path.realpath(source.path)).parent.name or "root"
        candidates = [name.with_suffix(".png"), name.with_name(second), name.with_name(f"{parent}-{name.stem}.png")]
        number = 2
        while candidates:
            target = folder / candidates.pop(0)
            if _identity(target) not in taken:
                break
            if not candidates:
                candidates.append(name.with_name(f"{name.stem}-{number}.png"))
                number += 1
        taken.add(_identity(target))
        chosen[index] = target
    return [chosen[index] for index in range(len(sources))]


def _identity(path: Path) -> str:
    # Case-folded, so that A.png and a.png do not overwrite each other on file systems that ignore case.
    return os.path.realpath(path).casefold()
