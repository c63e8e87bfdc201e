"""Domains: images with a generator, an encoder and, where it exists, an identity network.

Names are imported when they are first used, so that `sdd --help` does not pay for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdd.domains import avatars
    from sdd.domains.domain import Domain
    from sdd.domains.library import get, names


__all__ = ["Domain", "avatars", "get", "names"]


def __getattr__(name: str) -> Any:
    if name == "avatars":
        return import_module("sdd.domains.avatars")
    if name == "Domain":
        return import_module("sdd.domains.domain").Domain
    if name in ("get", "names"):
        return getattr(import_module("sdd.domains.library"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
