"""Everything that touches a disk or a hub. `load` and `inspect` read any checkpoint of this field; they are imported
when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdd.io.checkpoints import Inspection, Loaded, inspect, load

__all__ = ["Inspection", "Loaded", "inspect", "load"]


def __getattr__(name: str) -> Any:
    # torch is slow to import, and `sdd --help` imports this package
    if name in __all__:
        from sdd.io import checkpoints

        return getattr(checkpoints, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
