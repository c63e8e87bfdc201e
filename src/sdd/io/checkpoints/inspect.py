"""Say what a checkpoint is, its shapes and hyperparameters, without executing anything in it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sdd.errors import SddError, guarded, one_line, printable
from sdd.io.checkpoints.load import folder_contents, folder_kind, read_any, read_json
from sdd.io.checkpoints.weights import times
from sdd.io.untrusted import containers
from sdd.io.untrusted.claims import MAX_TENSORS, too_many

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_OTHER = 200  # settings that are listed, and characters of each
MAX_DEPTH = 50  # of settings
MAX_FILES = 10_000  # of a folder; a pipeline has some 30


@dataclass
class TensorInfo:
    """One tensor of a file: its name there (containers joined by dots), type and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass
class Inspection:
    """What a file or folder is, found without running anything and without reading tensor values.

    `kind` is what `load` would make of it, None if nothing; `problem` why it would not load, if so. `values` counts
    numbers in all tensors. `other` are settings beside the tensors, `globals` the names a pickle mentions, `refused`
    those of them that are not allowed.
    """

    path: str
    format: str
    size: int
    kind: str | None = None
    tensors: list[TensorInfo] = field(default_factory=list)
    values: int = 0
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    globals: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    licence: str | None = None
    problem: str | None = None
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`; tensors among the hyperparameters appear as their shapes."""
        plain: dict[str, Any] = _plain(vars(self) | {"tensors": [vars(tensor) for tensor in self.tensors]})
        return plain

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=100, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(render(self))
        return printable(capture.get().rstrip())


def _plain(value: Any, depth: int = 0) -> Any:
    """As JSON has it: a tensor by its shape; what JSON does not know, as infinity, by its text."""
    if depth > MAX_DEPTH:  # a folder's configuration may nest as deep as it likes
        return "…"
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if hasattr(value, "shape"):
        return times(value.shape)
    known = value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
    return value if known else str(value)


# --- inspect ---


def inspect(path: str | Path) -> Inspection:
    """What a file or folder is: kind, tensors, hyperparameters, and for pickles every name it mentions. Runs nothing,
    loads nothing.

    Raises:
        SddError: there is nothing to inspect: no such file, or it is not (or no longer) in a format that can be taken
        apart.
    """
    path = Path(path).expanduser()
    with guarded(str(path), "a checkpoint that can be inspected"):
        return _inspect_folder(path) if path.is_dir() else _inspect_file(path)


def _inspect_file(path: Path) -> Inspection:
    contents = containers.describe(path)
    found = Inspection(str(path), contents.format, contents.size, globals=contents.globals, refused=contents.refused)
    found.other.update({k[:MAX_OTHER]: _cut(v) for k, v in list(contents.metadata.items())[:50]})
    licence = contents.metadata.get("license") or contents.metadata.get("licence")
    found.licence = _cut(licence) if licence else _zoo_licence(path)
    for name, leaf in _leaves(contents.data):
        if isinstance(leaf, containers.TensorClaim):
            found.tensors.append(TensorInfo(name, str(leaf.dtype).removeprefix("torch."), leaf.shape))
            found.values += math.prod(leaf.shape)
        elif len(found.other) < MAX_OTHER:
            found.other[name] = _brief(leaf)
    if contents.refused:
        found.problem = f"it asks for {contents.refused[0]}, which no checkpoint needs; load refuses it"
        return found
    if "sdd" in contents.metadata and contents.format == "safetensors":
        found.kind = "editor"
        return found
    try:
        loaded = read_any(_shapes_only(contents.data), str(path), None, {}, beside=path.parent)
    except SddError as error:
        found.problem = str(error)
        return found
    found.kind, found.hyperparameters, found.warnings = loaded.kind, loaded.config, loaded.warnings
    return found


def _cut(text: str) -> str:
    return text if len(text) < MAX_OTHER else f"{text[:MAX_OTHER]}…"


def _brief(leaf: Any) -> str:
    """The text of a leaf, which may be a list of a million numbers or a string of megabytes."""
    if isinstance(leaf, (str, bytes)):
        return repr(leaf[:MAX_OTHER])[:MAX_OTHER]
    if isinstance(leaf, (list, tuple, set)):
        first = [item[:MAX_OTHER] if isinstance(item, (str, bytes)) else item for item in islice(leaf, MAX_OTHER)]
        return repr(first if isinstance(leaf, list) else type(leaf)(first))[:MAX_OTHER]
    return repr(leaf)[:MAX_OTHER]


def _inspect_folder(path: Path) -> Inspection:
    files = list(islice((p for p in path.rglob("*") if p.is_file()), MAX_FILES + 1))
    if len(files) > MAX_FILES:
        raise SddError(f"the folder {path} has more than {MAX_FILES} files; give the checkpoint in it")
    found = Inspection(str(path), "folder", sum(p.stat().st_size for p in files), kind=folder_kind(path))
    found.hyperparameters = read_json(path / "model_index.json") or read_json(path / "config.json")
    for part in sorted(p for p in files if p.suffix == ".safetensors" or p.name.endswith(".bin")):
        contents = containers.describe(part)
        prefix = str(part.relative_to(path))
        claims = [(n, c) for n, c in _leaves(contents.data) if isinstance(c, containers.TensorClaim)]
        found.tensors += [TensorInfo(f"{prefix}:{n}", str(c.dtype).removeprefix("torch."), c.shape) for n, c in claims]
        if len(found.tensors) > 10 * MAX_TENSORS:
            raise too_many(str(path))
        found.values += sum(math.prod(c.shape) for _, c in claims)
        found.globals += contents.globals
        found.refused += contents.refused
    card = path / "README.md"
    if card.is_file():
        with card.open(errors="replace") as file:
            lines = [file.readline(1000) for _ in range(60)]
        found.licence = next((s.split(":", 1)[1].strip()[:80] for s in lines if s.startswith("license:")), None)
    if found.refused:
        found.problem = f"it asks for {found.refused[0]}, which no checkpoint needs; load refuses it"
    elif found.kind is None:
        found.problem = folder_contents(path)
    return found


def _leaves(data: Any) -> Iterator[tuple[str, Any]]:
    """Named leaves of a structure, in order. Its depth and size have been bounded by `containers`."""
    stack = [("", data)]
    while stack:
        name, node = stack.pop()
        if isinstance(node, containers.Record):
            stack.append((f"{name}<{node.class_name[:60]}>", node.state))
        elif isinstance(node, dict):
            dot = f"{name}." if name else ""
            stack += [(f"{dot}{str(key)[:120]}", value) for key, value in reversed(node.items())]
        elif isinstance(node, (list, tuple)) and not all(isinstance(v, (int, float, str)) for v in node):
            stack += [(f"{name}[{i}]", node[i]) for i in reversed(range(len(node)))]
        else:
            yield name, node


def _shapes_only(data: Any) -> Any:
    """The structure with tensors that have shapes but no values and take no memory, for the readers to look at. What is
    shared stays shared.
    """
    done: dict[int, Any] = {}

    def walk(node: Any) -> Any:
        if not isinstance(node, (containers.TensorClaim, containers.Record, dict, list, tuple)):
            return node
        if id(node) not in done:
            if isinstance(node, containers.TensorClaim):
                done[id(node)] = torch.empty(node.shape, dtype=node.dtype, device="meta")
            elif isinstance(node, containers.Record):
                done[id(node)] = containers.Record(node.class_name, walk(node.state))
            elif isinstance(node, dict):
                done[id(node)] = {k: walk(v) for k, v in node.items()}
            else:
                done[id(node)] = type(node)(walk(v) for v in node)
        return done[id(node)]

    return walk(data)


def _zoo_licence(path: Path) -> str | None:
    """The licence of the published file of this name, where the zoo knows one."""
    from sdd.io.zoo import ENTRIES

    entry = next(
        (e for e in ENTRIES.values() if e.file and Path(e.file).name == path.name and path.name != "last.ckpt"), None
    )
    return f"{entry.licence} (if it is the published {entry.name})" if entry else None


def render(found: Inspection, every: bool = False) -> RenderableType:
    """An inspection for the terminal.

    Args:
        every: list all tensors, not the first and last few.
    """
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")

    def fact(name: str, value: Any) -> None:
        facts.add_row(name, escape(str(value)))

    fact("file", found.path)
    fact("format", f"{found.format}, {found.size / 1e6:,.1f} MB")
    fact("is", found.kind or "nothing that sdd can load")
    fact("tensors", f"{len(found.tensors)}, {found.values / 1e6:,.2f} M values")
    for name, value in found.hyperparameters.items():
        text = json.dumps(_plain(value))
        fact(str(name)[:MAX_OTHER], text if len(text) < 400 else f"{text[:400]}…")
    if found.licence:
        fact("licence", found.licence)
    if found.globals:
        allowed = ", ".join(n for n in found.globals if n not in found.refused)
        fact("names in it", one_line(allowed) or "none that are allowed")
    parts: list[RenderableType] = [facts]
    if found.refused:
        parts.append(
            Text(f"UNSAFE: it asks for {one_line(', '.join(found.refused))}. Nothing was run.", style="bold red")
        )
    if found.problem and not found.refused:
        parts.append(Text(found.problem, style="yellow"))
    parts += [Text(warning, style="yellow") for warning in found.warnings]
    if found.other:
        settings = Table("setting", "value", box=None, padding=(0, 2, 0, 0))
        for name, value in list(found.other.items())[: None if every else 20]:
            settings.add_row(escape(name), escape(value))
        parts.append(settings)
    if found.tensors:
        table = Table("tensor", "type", "shape", box=None, padding=(0, 2, 0, 0))
        shown = found.tensors if every or len(found.tensors) <= 16 else [*found.tensors[:8], *found.tensors[-6:]]
        for i, tensor in enumerate(shown):
            if i == 8 and len(shown) < len(found.tensors):
                table.add_row(f"… {len(found.tensors) - len(shown)} more", "", "")
            table.add_row(escape(tensor.name), tensor.dtype, times(tensor.shape))
        parts.append(table)
    return Group(*parts)
