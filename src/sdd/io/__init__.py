"""Everything that touches a disk or a hub. `load` and `inspect` read any checkpoint of this field; they are imported
when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdd.io.checkpoints.inspect import Inspection, inspect
    from sdd.io.checkpoints.load import load
    from sdd.io.checkpoints.loaded import Loaded


__all__ = ["Inspection", "Loaded", "inspect", "load"]

_FROM = {
    "Inspection": "sdd.io.checkpoints.inspect",
    "inspect": "sdd.io.checkpoints.inspect",
    "load": "sdd.io.checkpoints.load",
    "Loaded": "sdd.io.checkpoints.loaded",
}


def __getattr__(name: str) -> Any:
    # torch is slow to import, and `sdd --help` imports this package
    if name in _FROM:
        return getattr(import_module(_FROM[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
