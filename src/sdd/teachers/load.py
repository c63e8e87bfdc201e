"""A teacher from a folder, a hub id, a name of the zoo or a single file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from sdd.device import pick_device
from sdd.errors import SddError, first_line
from sdd.io.quiet import quiet_libraries
from sdd.io.untrusted import containers
from sdd.teachers.flow import Flux, StableDiffusion3
from sdd.teachers.latent import LatentDiffusion, LatentDiffusionXL

_KINDS: dict[str, type[LatentDiffusion] | type[StableDiffusion3] | type[Flux]] = {
    "StableDiffusionPipeline": LatentDiffusion,
    "StableDiffusionXLPipeline": LatentDiffusionXL,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "FluxPipeline": Flux,
}
_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
_GIVE = "give a diffusers folder, a hub id (owner/name) or a checkpoint file"


@quiet_libraries()
def load_teacher(
    name: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    vae: str | Path | None = None,
    image_size: int | None = None,
) -> LatentDiffusion | StableDiffusion3 | Flux:
    """A teacher from a diffusers folder, a hub id, a name of the zoo or a single checkpoint file, frozen, on a device.

    Which kind it is, is read from the pipeline itself. Folders need no network. A single file holds no configuration:
    diffusers takes that from the hub the first time.

    Args:
        vae: another autoencoder (folder or hub id; AutoencoderTiny too) in place of the teacher's own.
        image_size: side to work at, pixels; by default what the teacher was trained on. Smaller is quicker.

    Raises:
        SddError: nothing there, not a diffusion pipeline, or one of an architecture that is not understood.
    """
    import diffusers

    from sdd.io import zoo

    device = pick_device(device)
    path = Path(name)
    if not path.exists() and str(name) in zoo.ENTRIES:
        path = Path(name := zoo.resolve(str(name)))
    if not path.exists() and not _HUB_ID.fullmatch(str(name)):
        raise SddError(f"there is no teacher at {name}; {_GIVE}")
    try:
        if not path.exists():
            _check_hub("the teacher", str(name), "model_index.json")
        kind = _kind_of_file(path) if path.is_file() else _kind_of_pipeline(name)
        if kind not in _KINDS:
            raise SddError(f"the teacher {name} is a {kind}, which is not understood; {', '.join(_KINDS)} are")
        parts: dict[str, Any] = {} if dtype == torch.float32 else {"torch_dtype": dtype}
        if kind == "StableDiffusionPipeline":
            parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        if vae is not None:
            parts["vae"] = _load_vae(vae)
        maker = getattr(diffusers, kind)
        if path.is_file():
            pipeline = maker.from_single_file(str(path), **parts)
        else:
            pipeline = maker.from_pretrained(str(name), use_safetensors=True, **parts)
        missing = [k for k in ("vae", "tokenizer", "text_encoder", "scheduler") if getattr(pipeline, k, None) is None]
        if missing:
            raise SddError(f"the teacher {name} has no {', no '.join(missing)}; take the complete pipeline")
    except SddError:
        raise
    except Exception as error:  # diffusers and the hub raise many kinds; a user needs one sentence
        raise SddError(f"could not load the teacher {name} ({first_line(error)}); {_GIVE}") from error
    label = str(name) if vae is None else f"{name} with the autoencoder {vae}"
    return _KINDS[kind](label, pipeline, device, dtype, image_size)


def _check_hub(what: str, name: str, file: str) -> None:
    """Raise SddError if `file` of the hub's model `name` is neither in the cache nor to be had: at once, with no retry.

    The file is asked for, not the model: what is gated can be seen by all, and read by those who were let in alone.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        hf_hub_download(name, file, local_files_only=True)
        return
    except LocalEntryNotFoundError:
        pass
    try:
        get_hf_file_metadata(hf_hub_url(name, file))
    except OfflineModeIsEnabled as error:
        raise SddError(
            f"{what} {name} is not in the hub's cache, and HF_HUB_OFFLINE is set; unset it, or give a folder"
        ) from error
    except GatedRepoError as error:
        raise SddError(
            f"{what} {name} is gated: accept its licence on its page, log in with `hf auth login`, and try again"
        ) from error
    except RepositoryNotFoundError as error:
        raise SddError(f"the hub has no model {name}, or it is private; {_GIVE}") from error
    except EntryNotFoundError as error:
        raise SddError(f"the hub's model {name} has no {file}, so that it cannot be {what}; {_GIVE}") from error
    except Exception as error:  # the network's own errors are of many kinds
        raise SddError(
            f"{what} {name} is not here and the hub cannot be reached ({first_line(error)}); connect to the network, "
            f"or give a folder"
        ) from error


def _kind_of_pipeline(name: str | Path) -> str:
    """The pipeline class that a folder or a hub id names."""
    from diffusers import DiffusionPipeline

    path = Path(name)
    if path.is_dir():
        index = path / "model_index.json"
        if not index.is_file():
            raise SddError(f"the folder {name} is not a teacher: it has no model_index.json; {_GIVE}")
        return str(json.loads(index.read_text())["_class_name"])
    return str(DiffusionPipeline.load_config(str(name))["_class_name"])


def _kind_of_file(path: Path) -> str:
    """The pipeline class a single-file checkpoint belongs to, by the names of its tensors.

    Raises:
        SddError: no checkpoint, one that asks for what no checkpoint needs, or no diffusion model's.
    """
    contents = containers.describe(path)
    if contents.refused:
        raise SddError(f"{path} asks for {contents.refused[0]}, which no checkpoint needs; it was refused")
    inside = contents.data.get("state_dict", contents.data) if isinstance(contents.data, dict) else {}
    names = [key for key in inside if isinstance(key, str)] if isinstance(inside, dict) else []
    for part, kind in (
        ("conditioner.embedders.1.", "StableDiffusionXLPipeline"),
        ("joint_blocks.0.", "StableDiffusion3Pipeline"),
        ("double_blocks.0.", "FluxPipeline"),
        ("model.diffusion_model.input_blocks.0.", "StableDiffusionPipeline"),
    ):
        if any(part in key for key in names):
            return kind
    raise SddError(f"{path} is not a Stable Diffusion or Flux checkpoint; {_GIVE}")


def _load_vae(name: str | Path) -> Any:
    import diffusers

    if not Path(name).exists() and _HUB_ID.fullmatch(str(name)):
        _check_hub("the autoencoder", str(name), "config.json")
    try:
        config = diffusers.AutoencoderKL.load_config(str(name))
        tiny = config.get("_class_name") == "AutoencoderTiny"
        return (diffusers.AutoencoderTiny if tiny else diffusers.AutoencoderKL).from_pretrained(str(name))
    except Exception as error:
        raise SddError(
            f"could not load the autoencoder {name} ({first_line(error)}); give a diffusers folder or a hub id"
        ) from error
