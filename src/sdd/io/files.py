"""Files that are never half-written: write aside, then rename."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sdd.errors import SddError

_PREFIX, _SUFFIX = ".sdd-", ".part"  # of temporary files
_ABANDONED = 3600.0  # seconds after which nobody can still be writing one
_swept: set[Path] = set()


def check_target(path: str | Path) -> None:
    """Refuse an output that is there and is no regular file: it would be replaced, not written to.

    Raises:
        SddError: a folder, a device, a pipe or a link.
    """
    target = Path(path)
    try:
        mode = target.lstat().st_mode
    except OSError:  # not there; whatever else is wrong is said when it is written
        return
    except ValueError as error:  # a null byte
        raise SddError(f"{path} cannot be the name of a file ({error}); choose another") from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        what = kinds.get(stat.S_IFMT(mode), "a device")
        raise SddError(f"{target} is {what}, which is not overwritten; choose another name for the output")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on any error `path` stays as it was.

    Temporary files that killed processes left in the folder are removed.

    Raises:
        SddError: `path` is there and is no regular file; the folder cannot be created or written; the disk is full.
    """
    target = Path(path)
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.parent not in _swept:  # once: a folder may be large
            _swept.add(target.parent)
            sweep(target.parent, _ABANDONED)
        # A short name of its own: one made of the target's would be too long where that is as long as may be.
        handle, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=target.parent)
    except OSError as error:
        raise SddError(f"cannot write to {target.parent} ({error.strerror}); choose another output folder") from error
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)  # mkstemp makes private files; outputs follow the user's umask instead
        os.replace(aside, target)
    except OSError as error:
        raise SddError(
            f"could not save {target} ({error.strerror or error}); the previous file, if any, is untouched"
        ) from error
    finally:
        aside.unlink(missing_ok=True)


def sweep(folder: Path, age: float = 0.0) -> None:
    """Remove temporary files in `folder` that nobody has written to for `age` seconds: killed processes leave them."""
    for part in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):  # another process may sweep too
            if time.time() - part.lstat().st_mtime >= age:
                part.unlink()


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as aside:
        aside.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8; what is no character (a lone surrogate) becomes a question mark."""
    write_bytes(path, text.encode(errors="replace"))


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
