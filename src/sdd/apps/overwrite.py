"""An editor file that was made otherwise is somebody's work: it is not written over by chance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.errors import SddError, one_line

if TYPE_CHECKING:
    from sdd.editor_file import EditorInfo


def existing(path: Path) -> EditorInfo | None:
    """What the editor file at `path` says of itself; None if there is no file.

    Raises:
        SddError: there is a file that is no editor.
    """
    if not path.exists():
        return None
    from sdd import editor_file

    try:
        return editor_file.read(path)[0]
    except SddError as error:
        raise SddError(f"{path} exists and is no editor that can be read; name another file, or --force") from error


def refuse_other(path: Path, info: EditorInfo | None, **facts: Any) -> None:
    """Refuse to write over an editor of which a fact is another.

    Args:
        info: what is there (`existing`).
        facts: fields of `EditorInfo` as they are about to be written.

    Raises:
        SddError: they differ; the message says in what.
    """
    if info is None:
        return
    for name, value in facts.items():
        found = getattr(info, name)
        if name == "config" and isinstance(found, dict) and found != value:
            name, found, value = _first_difference(found, value)
        if found != value:
            was, wish = one_line(repr(found), 60), one_line(repr(value), 60)
            raise SddError(
                f"{path} holds an editor that was made otherwise ({name} {was}, not {wish}); name another file with "
                f"-o, or write over it with --force"
            )


def _first_difference(found: dict[str, Any], wanted: dict[str, Any]) -> tuple[str, Any, Any]:
    names = sorted({*found, *wanted}, key=lambda name: (name == "preset", name))
    differing = [name for name in names if found.get(name) != wanted.get(name)]
    return differing[0], found.get(differing[0]), wanted.get(differing[0])
