"""Systems that edit an image by text, each in its own file, behind one call (`sdd.methods.protocol`)."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.methods.protocol import Method


@cache
def available() -> dict[str, Method]:
    """Every method by name: of each module here that has a `METHOD`."""
    modules = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    found: list[Method] = [module.METHOD for module in modules if hasattr(module, "METHOD")]
    return {method.card.name: method for method in found}


def get(name: str) -> Method:
    """A method by name.

    Raises:
        SddError: there is none of that name.
    """
    methods = available()
    if name not in methods:
        near = difflib.get_close_matches(name, methods, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(methods))}"
        raise SddError(f"there is no method {name!r}; {hint}")
    return methods[name]
