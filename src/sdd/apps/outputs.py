"""Where edited pictures go: a folder, or the file that the user names for the only one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sdd.errors import SddError
from sdd.io.files import check_target
from sdd.io.pictures.folder import SUFFIXES, Source, output_paths


def plan(sources: Sequence[Source], out: Path) -> tuple[Path, list[Path]]:
    """The folder that is written to, and the file of each picture.

    An `out` that ends as pictures do is the file of the one picture there is; anything else is a folder.

    Raises:
        SddError: `out` is a file of another format than PNG, or the picture itself, or there are several pictures.
    """
    if out.suffix.lower() not in SUFFIXES or os.path.isdir(out):
        return out, output_paths(sources, out)
    if out.suffix.lower() != ".png":
        raise SddError(f"edited pictures are written as PNG, not as {out.suffix}; give -o {out.with_suffix('.png')}")
    if len(sources) != 1:
        raise SddError(f"-o {out} is one file, but there are {len(sources)} pictures; name a folder for them")
    if os.path.realpath(out) == os.path.realpath(sources[0].path):
        raise SddError(f"{out} is the picture to edit, which is not overwritten; give another -o")
    check_target(out)
    return out.parent, [out]
