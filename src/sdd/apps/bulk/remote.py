"""Shards that lie here, or where pyarrow reaches: s3://, gs://, hdfs://, file:// and so on."""

from __future__ import annotations

import glob
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sdd.errors import SddError, guarded

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


def is_remote(path: str) -> bool:
    """Whether it is the address of a file rather than its path."""
    return "://" in path


def open_binary(path: str) -> Any:
    """A file to read bytes from, at any place in it; close it after use.

    Raises:
        SddError: it cannot be opened.
    """
    if is_remote(path):
        system, inner = _system(path)
        with guarded(path, "a file that can be opened"):
            return system.open_input_file(inner)
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise SddError(f"{path} cannot be read ({error.strerror})") from error


def matching(pattern: str) -> list[str]:
    """Addresses that match a pattern of `*`, `?` and `[…]`, in order; without these the address itself."""
    if not glob.has_magic(pattern):
        return [pattern]
    system, inner = _system(pattern)
    parts = PurePosixPath(inner).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    from pyarrow.fs import FileSelector, FileType

    with guarded(pattern, "a place that can be listed"):
        deep = len(parts) - fixed > 1
        found = system.get_file_info(FileSelector(str(PurePosixPath(*parts[:fixed])), recursive=deep))
    files = [PurePosixPath(info.path) for info in found if info.type == FileType.File]
    fit = [path for path in files if len(path.parts) == len(parts) and path.match(inner)]
    scheme = pattern.split("://", 1)[0]
    return sorted(f"{scheme}://{path}" for path in fit)


def _system(address: str) -> tuple[FileSystem, str]:
    from sdd.apps.bulk.manifest import arrow

    arrow()
    from pyarrow.fs import FileSystem

    head, mark, _ = address.partition("*")
    with guarded(address, "an address that can be opened"):
        # What matches any name is no part of an address, and some of it means something else there (`?`).
        system, inner = FileSystem.from_uri(head if mark else address)
    return system, inner + address[len(head) :]
