"""sdd: turn a sentence into a one-pass image editor (Selective Diffusion Distillation, arXiv 2307.08448).

    editor = sdd.distill("white hair", domain="avatars", seed=0)
    editor.save("white-hair.safetensors")
    edited = sdd.Editor.load("white-hair.safetensors")("me.png", strength=0.8)  # a PIL picture
    edited.save("out.png")

Names are imported when they are first used, so that `import sdd` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdd import io
    from sdd.apps.search import search
    from sdd.apps.sheet import compare
    from sdd.editor import Editor
    from sdd.errors import SddError
    from sdd.io.pictures.batch import open_pictures as open
    from sdd.io.pictures.batch import save_pictures as save
    from sdd.training.distil import distill

    __version__: str

__all__ = [
    "Editor", "SddError", "__version__", "compare", "distill", "domains", "io", "open", "save", "search",
]  # fmt: skip

_FROM = {
    "distill": ("sdd.training.distil", "distill"),
    "Editor": ("sdd.editor", "Editor"),
    "SddError": ("sdd.errors", "SddError"),
    "search": ("sdd.apps.search", "search"),
    "compare": ("sdd.apps.sheet", "compare"),
    "open": ("sdd.io.pictures.batch", "open_pictures"),
    "save": ("sdd.io.pictures.batch", "save_pictures"),
}


def __getattr__(name: str) -> Any:
    value: Any
    if name in _FROM:
        module, attribute = _FROM[name]
        value = getattr(import_module(module), attribute)
    elif name == "domains":
        value = import_module("sdd.domains")
    elif name == "io":
        value = import_module("sdd.io")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("sdd")
    else:
        raise AttributeError(f"module 'sdd' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
