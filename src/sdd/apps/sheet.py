"""Editors side by side, in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sdd.editor import Composition, Editor
from sdd.errors import SddError
from sdd.given import Images, squares
from sdd.io.pictures.shape import resize, square
from sdd.io.pictures.write import grid

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

AnyEditor = Editor | Composition


def compare(
    images: Images,
    editors: AnyEditor | Sequence[AnyEditor] | Mapping[str, AnyEditor],
    strength: float | Sequence[float] = 1.0,
    size: int | None = None,
) -> Picture:
    """A picture of pictures: a row for each source, with the source first and then what each editor makes of it.

    Args:
        images: what an editor takes (`sdd.given`).
        editors: one, several, or several by the names that are written below their pictures.
        strength: of all editors; several for a picture each.
        size: side of each picture, pixels; by default the largest that an editor draws.

    Raises:
        SddError: no editor, no picture, or one that cannot be edited.
    """
    named = _named(editors)
    if not named:
        raise SddError("there is no editor to compare; give at least one")
    strengths = [strength] if isinstance(strength, int | float) else list(strength)
    columns: list[tuple[str, Any]] = [("source", None)]
    columns += [(f"{name} · {s:g}" if len(strengths) > 1 else name, (e, s)) for name, e in named for s in strengths]
    side = size or max(_side(editor) for _, editor in named)
    given = squares(images, None, side)
    sources = resize(_square(given), side)
    whole = [sources]
    for _, chosen in columns[1:]:
        editor, s = chosen
        edited = editor(images, strength=s)
        whole.append(resize(_square(squares(edited, None, side)), side))
    cells = [column[row] for row in range(len(sources)) for column in whole]
    return grid(cells, columns=len(columns), labels=[name for name, _ in columns] * len(sources))


def _square(images: Any) -> Any:
    import torch

    return torch.stack([square(image, "pad") for image in images]) if len(images) else images


def _side(editor: AnyEditor) -> int:
    return (editor if isinstance(editor, Composition) else Composition([editor])).image_size


def _named(editors: AnyEditor | Sequence[AnyEditor] | Mapping[str, AnyEditor]) -> list[tuple[str, AnyEditor]]:
    if isinstance(editors, Mapping):
        return list(editors.items())
    several = [editors] if isinstance(editors, Editor | Composition) else list(editors)
    return [(_name(editor), editor) for editor in several]


def _name(editor: AnyEditor) -> str:
    parts = editor.editors if isinstance(editor, Composition) else [editor]
    return " + ".join(part.prompt or "?" for part in parts)
