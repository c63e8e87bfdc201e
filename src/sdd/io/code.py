"""Which code made a result: a hash that comments and docstrings do not change."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path


@cache
def _tree(path: Path) -> ast.Module:
    """A file's syntax tree without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def root() -> Path:
    """The folder of this package."""
    return Path(str(files("sdd")))


def hash_of(paths: Iterable[Path]) -> str:
    """Names what files of this package compute."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(root())}{ast.dump(_tree(path))}".encode())
    return digest.hexdigest()


@cache
def code_of(module: str) -> str:
    """Names the code of a module of this package together with all of this package that it imports, wherever it does.

    A module from elsewhere has no code that is known here: its name stands for it.
    """
    found, waiting = set[Path](), [module]
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is None or path in found:
            continue
        found.add(path)
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                # `from package import module` is an import of the module
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return hash_of(found) if found else module


def _path(module: str) -> Path | None:
    """The file of a module of this package; of the package itself none: it imports, lazily, what users name."""
    if not module.startswith("sdd."):
        return None
    place = root().joinpath(*module.split(".")[1:])
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)
