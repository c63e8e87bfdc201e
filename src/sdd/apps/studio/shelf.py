"""The editors there are: those in the folders that the studio was started with, by name, and no others."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdd import editor_file
from sdd.domains import library
from sdd.editor import Composition, Editor
from sdd.errors import SddError, one_line

if TYPE_CHECKING:
    import torch

    from sdd.domains.domain import Domain
    from sdd.editor_file import EditorInfo

SUFFIX = ".safetensors"
MOST = 500  # editors of one shelf
COMPOSED = 32  # combinations that are kept ready

_Stamp = tuple[int, int]  # when a file was last written, and its size


class Shelf:
    """Editors by name.

    Args:
        folders: where they lie; trained ones go into the first.
        domain: whose pictures the studio is for; an editor of another generator brings its own.

    Raises:
        SddError: a folder that is none.
    """

    def __init__(self, folders: Sequence[Path], domain: Domain, device: torch.device) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise SddError(f"{folder} is no folder; name folders with editor files, or make it first")
        self.folders, self.device = list(folders), device
        self._domains: dict[str, Domain] = {domain.name: domain}
        self._read: dict[Path, tuple[_Stamp, EditorInfo | str]] = {}
        self._composed: dict[tuple[tuple[Path, _Stamp], ...], Composition] = {}
        self._lock = threading.RLock()

    def paths(self) -> dict[str, Path]:
        """Name → file, by name; a file that is no editor is left out."""
        with self._lock:
            found: dict[str, Path] = {}
            for folder in self.folders:
                for path in sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stem)[:MOST]:
                    if isinstance(self._look(path), str):
                        continue
                    name = one_line(path.stem, 60)
                    number = 2
                    while name in found:
                        name, number = f"{one_line(path.stem, 60)} ({folder.name or number})", number + 1
                    found[name] = path
            return found

    def names(self) -> list[str]:
        """All of them."""
        return list(self.paths())

    def broken(self) -> list[str]:
        """One sentence for each file that is no editor."""
        self.paths()
        return [said for _, said in self._read.values() if isinstance(said, str)]

    def path(self, name: str) -> Path:
        """The file of an editor.

        Raises:
            SddError: there is no editor of that name.
        """
        paths = self.paths()
        if name not in paths:
            raise SddError(f"there is no editor {one_line(str(name), 60)!r} here any more; choose another")
        return paths[name]

    def together(self, names: Sequence[str]) -> Composition:
        """Editors applied together.

        Raises:
            SddError: there is no such editor, its domain is not here, or they do not go together.
        """
        with self._lock:
            paths = [self.path(name) for name in names]
            key = tuple((path, _stamp(path)) for path in paths)
            if key not in self._composed:
                while len(self._composed) >= COMPOSED:
                    self._composed.pop(next(iter(self._composed)))
                self._composed[key] = Editor.compose([self._load(path) for path in paths])
            return self._composed[key]

    def free(self, stem: str) -> list[Path]:
        """Files that a new editor may be kept in: `stem`, then `stem-2` and so on."""
        return [self.folders[0] / f"{stem}{end}{SUFFIX}" for end in ("", *(f"-{i}" for i in range(2, 100)))]

    def _load(self, path: Path) -> Editor:
        info = editor_file.read(path)[0]
        domain = None
        if info.generator:
            domain = self._domains.get(info.domain)
            if domain is None or domain.backbone is None or domain.backbone.generator_hash != info.generator:
                domain = library.matching(info.domain, info.generator, self.device)
                self._domains.setdefault(info.domain, domain)
        return Editor.load(path, domain).to(self.device)

    def _look(self, path: Path) -> EditorInfo | str:
        """What an editor's file says, or why it is none; read again where it has changed."""
        try:
            stamp = _stamp(path)
        except OSError:
            return f"{path} cannot be read"
        known = self._read.get(path)
        if known is None or known[0] != stamp:
            try:
                said: EditorInfo | str = editor_file.read(path)[0]
            except SddError as error:
                said = str(error)
            self._read[path] = known = (stamp, said)
        return known[1]


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
