"""One way in for every checkpoint: `load` makes networks of them, `inspect` says what they are without running or
loading them.

Which format a file has is told by its contents, never by its name (`sdd.io.readers.kinds`).
"""

from __future__ import annotations

import inspect as introspection
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from sdd.errors import SddError, guarded, one_line
from sdd.io.checkpoints.loaded import Loaded
from sdd.io.checkpoints.weights import summary, times
from sdd.io.readers.kinds import READERS
from sdd.io.readers.unwrap import bare
from sdd.io.untrusted import containers

MAX_JSON = 1 << 20  # bytes of a configuration file


def kinds() -> list[str]:
    """The kinds that `load` knows."""
    return sorted({kind for kind, _, _ in READERS} | {"teacher", "unet", "editor"})


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
        return read_any(_from_numpy(path_or_tensors), "the given tensors", kind, options)
    path = Path(path_or_tensors).expanduser()
    with guarded(str(path), "a checkpoint that can be read"):
        if not path.exists():
            from sdd.io import zoo

            path = zoo.resolve(path_or_tensors) if str(path_or_tensors) in zoo.ENTRIES else path
        if path.is_dir():
            return _folder(path, kind, options)
        if kind in (None, "editor") and path.is_file() and _is_editor(path):
            return _editor(path)
        return read_any(containers.read(path), str(path), kind, options, beside=path.parent)


def _from_numpy(raw: Any) -> Any:
    """The container with tensors in the place of arrays."""
    if isinstance(raw, np.ndarray) and raw.dtype.kind in "fiub":
        return torch.from_numpy(raw)
    if isinstance(raw, dict):
        return {key: _from_numpy(value) for key, value in raw.items()}
    return [_from_numpy(value) for value in raw] if isinstance(raw, list) else raw


def read_any(raw: Any, label: str, kind: str | None, options: Mapping[str, Any], beside: Path | None = None) -> Loaded:
    """The first reader that recognises `raw`, or that of the kind asked for."""
    candidates = [r for r in READERS if kind in (None, r[0])]
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
    except (SddError, MemoryError):
        raise
    except Exception as error:  # a stranger's container may be wrong in more ways than a reader can foresee
        why = f"{type(error).__name__}: {one_line(str(error), 120)}"
        raise SddError(f"{label} could not be read as {name} ({why}); it is {_looks_like(raw)}") from error
    if isinstance(found, Loaded):
        return found
    parts: tuple[Any, ...] = found if isinstance(found, tuple) else (found,)
    config = dict(parts[1]) if len(parts) > 1 else {}
    warnings = list(parts[2]) if len(parts) > 2 else []
    return Loaded(name, parts[0], config, warnings, dict(parts[3]) if len(parts) > 3 else {})


def _editor(path: Path) -> Loaded:
    """An editor file as data: its tensors by name, and what it says of itself; `sdd.Editor.load` makes one of it."""
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["sdd"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Loaded("editor", tensors, said if isinstance(said, dict) else {})


def _folder(path: Path, kind: str | None, options: Mapping[str, Any]) -> Loaded:
    """A folder in the layouts of diffusers and transformers."""
    found = folder_kind(path)
    if found is None or kind not in (None, found):
        raise SddError(
            f"the folder {path} is not {kind or 'a checkpoint'}: {folder_contents(path)}; give the file inside that "
            "you mean"
        )
    if found == "teacher":
        return Loaded("teacher", path, read_json(path / "model_index.json"))
    if found == "clip":
        from sdd.io.readers.clip import load_clip

        return Loaded("clip", *load_clip(path)[:3])
    from diffusers import UNet2DModel

    try:
        net = UNet2DModel.from_pretrained(path, use_safetensors=True, local_files_only=True).eval()
    except Exception as error:  # diffusers raises whatever a wrong configuration leads to
        raise SddError(f"the folder {path} is not a loadable UNet2DModel ({one_line(str(error), 120)})") from error
    return Loaded("unet", net, {"net": dict(net.config), "image_size": net.config.sample_size})


def folder_kind(path: Path) -> str | None:
    if (path / "model_index.json").is_file():
        return "teacher"
    config = read_json(path / "config.json")
    if config.get("_class_name") == "UNet2DModel":
        return "unet"
    if config.get("model_type") == "clip" or (path / "open_clip_config.json").is_file():
        return "clip"
    return None


def folder_contents(path: Path) -> str:
    names = sorted(p.name[:60] for p in path.iterdir())
    return f"it holds {', '.join(names[:6])}{' and more' if len(names) > 6 else ''}" if names else "it is empty"


def read_json(path: Path) -> dict[str, Any]:
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
    return "sdd" in containers.describe(path).metadata


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
