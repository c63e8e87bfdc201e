"""sdd: turn a sentence into a one-pass image editor (Selective Diffusion Distillation, arXiv 2307.08448).

    editor = sdd.distill("white hair", domain="avatars", seed=0)
    editor.save("white-hair.safetensors")
    edited = sdd.Editor.load("white-hair.safetensors")(images, strength=0.8)

Names are imported when they are first used, so that `import sdd` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdd import io
    from sdd.editor import Editor
    from sdd.training.distil import distill

    __version__: str

__all__ = ["Editor", "__version__", "distill", "domains", "io"]

_FROM = {"distill": "sdd.training.distil", "Editor": "sdd.editor"}


def __getattr__(name: str) -> Any:
    value: Any
    if name in _FROM:
        value = getattr(import_module(_FROM[name]), name)
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
