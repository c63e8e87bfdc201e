"""One way in for every checkpoint: `load` makes networks of them, `inspect` says what they are without running or
loading them.

Which format a file has is told by its contents, never by its name. Each module of readers lists (kind, detects(raw),
read(raw, label)).
"""

from __future__ import annotations

import inspect as introspection
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.io import safe
from sdd.io.pixel_diffusion import bare
from sdd.io.weights import summary, times

if TYPE_CHECKING:
    from rich.console import RenderableType

READER_MODULES = ("sdd.io.stylegan", "sdd.io.pixel_diffusion", "sdd.io.clip")
MAX_JSON = 1 << 20  # bytes of a configuration file

Reader = tuple[str, Callable[[Any], bool], Callable[..., Any]]


@dataclass
class Loaded:
    """What a checkpoint turned out to be.

    `kind` is one of `kinds()`; `module` the network in eval mode on the CPU (for latents: tensors); `config` its
    hyperparameters, stored or inferred; `warnings` what had to be assumed, one sentence each; `parts` the file's other
    networks by name, such as the `decoder` of an e4e, pSp or StyleCLIP checkpoint.
    """

    kind: str
    module: Any
    config: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)


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
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=_plain))
        return plain

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=100, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(render(self))
        return capture.get().rstrip()


def _plain(value: Any) -> Any:
    """What JSON does not know: a tensor by its shape, anything else by its text."""
    return times(value.shape) if hasattr(value, "shape") else str(value)


def kinds() -> list[str]:
    """The kinds that `load` knows."""
    return sorted({kind for kind, _, _ in _readers()} | {"teacher", "unet", "editor"})


def load(
    path_or_tensors: str | Path | Mapping[str, Any] | list[Any] | Tensor, kind: str | None = None, **options: Any
) -> Loaded:
    """A network from any checkpoint of this field, with everything that shapes can tell inferred from the file.

    Args:
        path_or_tensors: a file, a folder (diffusers, transformers), a name that the zoo knows, or what such a file
            holds: named tensors (or arrays), or the whole container.
        kind: what it is (`kinds()`), where the contents do not tell or tell it wrongly.
        options: for the reader, e.g. `head_size` for improved DDPM, `quick_gelu` for CLIP.

    Raises:
        SddError: no such file, damaged or unsafe; nothing known looks like it; or a tensor is missing, of a wrong
        shape, or left over.
    """
    if kind is not None and kind not in kinds():
        raise SddError(f"there is no kind {kind!r} of checkpoint; the kinds are {', '.join(kinds())}")
    if not isinstance(path_or_tensors, (str, Path)):
        return _read(_from_numpy(path_or_tensors), "the given tensors", kind, options)
    path = Path(path_or_tensors).expanduser()
    if not path.exists():
        from sdd.io import zoo

        path = zoo.resolve(path_or_tensors) if str(path_or_tensors) in zoo.ENTRIES else path
    if path.is_dir():
        return _folder(path, kind, options)
    if kind in (None, "editor") and path.is_file() and _is_editor(path):
        from sdd.editor import Editor

        return Loaded("editor", Editor.load(path))
    return _read(safe.read(path), str(path), kind, options, beside=path.parent)


def _from_numpy(raw: Any) -> Any:
    """The container with tensors in the place of arrays."""
    if isinstance(raw, np.ndarray) and raw.dtype.kind in "fiub":
        return torch.from_numpy(raw)
    if isinstance(raw, dict):
        return {key: _from_numpy(value) for key, value in raw.items()}
    return [_from_numpy(value) for value in raw] if isinstance(raw, list) else raw


def _readers() -> list[Reader]:
    every = [reader for name in READER_MODULES for reader in import_module(name).READERS]
    return sorted(every, key=lambda reader: reader[0] == "latents")  # last: any single tensor may be codes


def _read(raw: Any, label: str, kind: str | None, options: Mapping[str, Any], beside: Path | None = None) -> Loaded:
    """The first reader that recognises `raw`, or that of the kind asked for."""
    candidates = [r for r in _readers() if kind in (None, r[0])]
    chosen = next((r for r in candidates if r[1](raw)), None)
    if chosen is None and kind is not None and candidates:
        chosen = candidates[0]  # forced: the reader itself says what is missing
    if chosen is None:
        raise SddError(f"{label} looks like {_looks_like(raw)}; {_advice(raw)}")
    name, _, read = chosen
    takes = introspection.signature(read).parameters
    unknown = [o for o in options if o not in takes]
    if unknown:
        known = [p for p in list(takes)[2:] if p != "beside"]
        raise SddError(
            f"{label} is read as {name}, which has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}"
        )
    given = {**options, "beside": beside} if "beside" in takes and beside else options
    try:
        found = read(raw, label, **given)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        # a stranger's container may be wrong in more ways than a reader can foresee
        raise SddError(
            f"{label} could not be read as {name} ({type(error).__name__}: {str(error)[:120]}); it is "
            f"{_looks_like(raw)}"
        ) from error
    if isinstance(found, Loaded):
        return found
    parts = found if isinstance(found, tuple) else (found,)
    config = dict(parts[1]) if len(parts) > 1 else {}
    warnings = list(parts[2]) if len(parts) > 2 else []
    return Loaded(name, parts[0], config, warnings, dict(parts[3]) if len(parts) > 3 else {})


def _folder(path: Path, kind: str | None, options: Mapping[str, Any]) -> Loaded:
    """A folder in the layouts of diffusers and transformers."""
    found = _folder_kind(path)
    if found is None or kind not in (None, found):
        raise SddError(
            f"the folder {path} is not {kind or 'a checkpoint'}: {_folder_contents(path)}; give the file inside that "
            "you mean"
        )
    if found == "teacher":
        from sdd.teacher import load_teacher

        teacher = load_teacher(str(path), **options)
        return Loaded(
            "teacher", teacher, {"image_size": teacher.image_size, "latent_shape": list(teacher.latent_shape)}
        )
    if found == "clip":
        from sdd.io.clip import load_clip

        module, config, warnings = load_clip(path)
        return Loaded("clip", module, config, warnings)
    from diffusers import UNet2DModel

    try:
        net = UNet2DModel.from_pretrained(path, use_safetensors=True, local_files_only=True).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise SddError(
            f"the folder {path} is not a loadable UNet2DModel ({str(error).splitlines()[0][:120]})"
        ) from error
    return Loaded("unet", net, {"net": dict(net.config), "image_size": net.config.sample_size})


def _folder_kind(path: Path) -> str | None:
    if (path / "model_index.json").is_file():
        return "teacher"
    config = _json(path / "config.json")
    if config.get("_class_name") == "UNet2DModel":
        return "unet"
    if config.get("model_type") == "clip" or (path / "open_clip_config.json").is_file():
        return "clip"
    return None


def _folder_contents(path: Path) -> str:
    names = sorted(p.name for p in path.iterdir())
    return f"it holds {', '.join(names[:6])}{' and more' if len(names) > 6 else ''}" if names else "it is empty"


def _json(path: Path) -> dict[str, Any]:
    """A small JSON object, {} where there is none."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_JSON:
            return {}
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_editor(path: Path) -> bool:
    """A safetensors file with our own metadata key."""
    with path.open("rb") as file:
        if file.read(9)[8:] != b"{":
            return False
    return "sdd" in safe.describe(path).metadata


def _looks_like(raw: Any) -> str:
    """What an unrecognised container looks like, for messages."""
    tensors, _ = bare(raw)
    families = {
        "model.diffusion_model.": "a one-file Stable Diffusion",
        "lora_": "a LoRA",
        "down_blocks.": "a diffusers network without its folder",
        "first_stage_model.": "a latent diffusion autoencoder",
        "text_model.": "a text encoder alone",
    }
    for prefix, name in families.items():
        if any(k.startswith(prefix) for k in tensors):
            return f"{name} ({summary(tensors)})"
    if tensors:
        return f"nothing that is known here ({summary(tensors)})"
    if isinstance(raw, Mapping):
        return (
            f"nothing that is known here (a container of {', '.join(str(k)[:30] for k in list(raw)[:6]) or 'nothing'})"
        )
    if isinstance(raw, Tensor):
        return f"nothing that is known here (one tensor {times(raw.shape)})"
    return f"nothing that is known here (a {type(raw).__name__})"


def _advice(raw: Any) -> str:
    tensors, _ = bare(raw)
    if any(k.startswith("model.diffusion_model.") for k in tensors):
        return "give it as --teacher"
    if any(k.startswith("down_blocks.") for k in tensors):
        return "give the folder with its config.json"
    return f"if you know what it is, give its kind ({', '.join(kinds())})"


# --- inspect ---


def inspect(path: str | Path) -> Inspection:
    """What a file or folder is: kind, tensors, hyperparameters, and for pickles every name it mentions. Runs nothing,
    loads nothing.

    Raises:
        SddError: there is nothing to inspect: no such file, or it is not (or no longer) in a format that can be taken
        apart.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _inspect_folder(path)
    contents = safe.describe(path)
    found = Inspection(str(path), contents.format, contents.size, globals=contents.globals, refused=contents.refused)
    found.other.update({k: v if len(v) < 200 else f"{v[:200]}…" for k, v in list(contents.metadata.items())[:50]})
    found.licence = contents.metadata.get("license") or contents.metadata.get("licence") or _zoo_licence(path)
    for name, leaf in _leaves(contents.data):
        if isinstance(leaf, safe.TensorClaim):
            found.tensors.append(TensorInfo(name, str(leaf.dtype).removeprefix("torch."), leaf.shape))
            found.values += math.prod(leaf.shape)
        elif len(found.other) < 200:
            found.other[name] = repr(leaf)[:200]
    if contents.refused:
        found.problem = f"it asks for {contents.refused[0]}, which no checkpoint needs; load refuses it"
        return found
    if "sdd" in contents.metadata and contents.format == "safetensors":
        found.kind = "editor"
        return found
    try:
        loaded = _read(_shapes_only(contents.data), str(path), None, {}, beside=path.parent)
    except SddError as error:
        found.problem = str(error)
        return found
    found.kind, found.hyperparameters, found.warnings = loaded.kind, loaded.config, loaded.warnings
    return found


def _inspect_folder(path: Path) -> Inspection:
    files = [p for p in path.rglob("*") if p.is_file()]
    found = Inspection(str(path), "folder", sum(p.stat().st_size for p in files), kind=_folder_kind(path))
    found.hyperparameters = _json(path / "model_index.json") or _json(path / "config.json")
    for part in sorted(p for p in files if p.suffix == ".safetensors" or p.name.endswith(".bin")):
        contents = safe.describe(part)
        prefix = str(part.relative_to(path))
        claims = [(n, c) for n, c in _leaves(contents.data) if isinstance(c, safe.TensorClaim)]
        found.tensors += [TensorInfo(f"{prefix}:{n}", str(c.dtype).removeprefix("torch."), c.shape) for n, c in claims]
        found.values += sum(math.prod(c.shape) for _, c in claims)
        found.globals += contents.globals
        found.refused += contents.refused
    card = path / "README.md"
    if card.is_file():
        with card.open(errors="replace") as file:
            lines = [next(file, "") for _ in range(60)]
        found.licence = next((s.split(":", 1)[1].strip()[:80] for s in lines if s.startswith("license:")), None)
    if found.refused:
        found.problem = f"it asks for {found.refused[0]}, which no checkpoint needs; load refuses it"
    elif found.kind is None:
        found.problem = _folder_contents(path)
    return found


def _leaves(data: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Named leaves of a structure. Its depth and size have been bounded by `safe`."""
    if isinstance(data, safe.Record):
        yield from _leaves(data.state, f"{name}<{data.class_name[:60]}>")
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _leaves(value, f"{name}.{str(key)[:120]}" if name else str(key)[:120])
    elif isinstance(data, (list, tuple)) and not all(isinstance(v, (int, float, str)) for v in data):
        for i, value in enumerate(data):
            yield from _leaves(value, f"{name}[{i}]")
    else:
        yield name, data


def _shapes_only(data: Any) -> Any:
    """The structure with tensors that have shapes but no values and take no memory, for the readers to look at."""
    if isinstance(data, safe.TensorClaim):
        return torch.empty(data.shape, dtype=data.dtype, device="meta")
    if isinstance(data, safe.Record):
        return safe.Record(data.class_name, _shapes_only(data.state))
    if isinstance(data, dict):
        return {k: _shapes_only(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(_shapes_only(v) for v in data)
    return data


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
        text = json.dumps(value, default=_plain)
        fact(name, text if len(text) < 400 else f"{text[:400]}…")
    if found.licence:
        fact("licence", found.licence)
    if found.globals:
        fact("names in it", ", ".join(n for n in found.globals if n not in found.refused) or "none that are allowed")
    parts: list[RenderableType] = [facts]
    if found.refused:
        parts.append(Text(f"UNSAFE: it asks for {', '.join(found.refused)}. Nothing was run.", style="bold red"))
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
