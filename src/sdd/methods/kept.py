"""What methods have learned, kept and found again: one safetensors file that never executes anything.

fitted = kept(method, "white hair", "", domain)          # trained now, or found where it was trained before
write("e.safetensors", info, fitted.learned())           # a file to give away
info, fitted = opened("e.safetensors", domain)
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sdd.errors import SddError, guarded
from sdd.io.code import code_of
from sdd.io.files import write_bytes
from sdd.io.progress import Report, silent
from sdd.methods.of_domain import models_of
from sdd.methods.protocol import Fitted, Method
from sdd.training.run import slug

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models

FORMAT = 1
ENTRY = "sdd_method"  # of the metadata
MAX_TENSORS = 100_000
Text = Annotated[str, Field(max_length=1000)]


class MethodInfo(BaseModel):
    """What a file says about itself.

    Attributes:
        format: version of the file format.
        method: which learned it. prompt, source_prompt, domain, seed: of what.
        generator: SHA-256 of the domain's generator; empty where it has none.
        models: fingerprints of the models it was learned with, by role.
        versions: of the software.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    method: Text
    prompt: Text
    source_prompt: Text = ""
    domain: Text
    generator: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    seed: int = 0
    models: dict[Text, Text] = Field(default_factory=dict, max_length=20)
    versions: dict[Text, Text] = Field(default_factory=dict, max_length=20)


# --- Files -----------------------------------------------------------------------------------------------------------


def describe(
    method: Method, prompt: str, source_prompt: str, domain: Domain, models: Models, seed: int = 0
) -> MethodInfo:
    """What the file of a fit says."""
    return MethodInfo(
        method=method.card.name,
        prompt=prompt,
        source_prompt=source_prompt,
        domain=domain.name,
        generator=_generator(domain),
        seed=seed,
        models={role: models.fingerprint(role) for role in method.card.needs if role in models.names},
        versions={name: version(name) for name in ("sdd", "torch", "diffusers")},
    )


def write(path: str | Path, info: MethodInfo, learned: dict[str, Tensor]) -> None:
    """Write what was learned to one file, atomically; equal things give equal bytes.

    Raises:
        SddError: there is nothing to write, a number is not finite, or the file cannot be written.
    """
    if not learned:
        raise SddError(f"the method {info.method} trains nothing for a prompt, so that there is nothing to keep")
    _finite(learned, f"what {info.method} learned")
    text = json.dumps(info.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    write_bytes(path, save({k: v.detach().cpu().contiguous() for k, v in learned.items()}, {ENTRY: text}))


def is_kept(path: Path) -> bool:
    """Whether a file says of itself that a method learned it; a damaged file does not."""
    try:
        with safe_open(path, "pt") as file:
            return ENTRY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def read(path: Path) -> tuple[MethodInfo, dict[str, Tensor]]:
    """What a file says, and what was learned; everything is checked, nothing is executed.

    Raises:
        SddError: no such file, truncated, of another kind, made by a newer sdd, or numbers that are not finite.
    """
    if not path.is_file():
        raise SddError(f"there is no file {path}" + ("; it is a folder" if path.is_dir() else ""))
    with guarded(str(path), "what a method learned"):
        try:
            with safe_open(path, "pt") as file:
                said, names = (file.metadata() or {}).get(ENTRY), list(file.keys())
                if said is None:
                    raise SddError(f"{path} holds tensors but does not name a method; `sdd inspect` says what it is")
                if len(names) > MAX_TENSORS:
                    raise SddError(f"{path} holds {len(names)} tensors, more than any method learns; it is damaged")
                tensors = {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise SddError(f"{path} is truncated or no safetensors file ({error}); copy it again") from error
        info = _info(said, path)
        _finite(tensors, str(path))
        return info, tensors


def _info(text: str, path: Path) -> MethodInfo:
    try:
        raw = json.loads(text)
        if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] > FORMAT:
            raise SddError(f"{path} was written by a newer sdd (format {raw['format']}; this one reads {FORMAT})")
        return MethodInfo.model_validate(raw, strict=True)
    except (ValidationError, RecursionError, ValueError) as error:
        raise SddError(f"{path} is damaged: what it says of itself is not valid; train it again") from error


def _finite(tensors: dict[str, Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise SddError(f"{what} carries NaN or infinity in {name!r}; its training went wrong, so train it again")


def opened(path: Path, domain: Domain, models: Models | None = None) -> tuple[MethodInfo, Fitted]:
    """A file's method, fitted with what the file holds.

    Raises:
        SddError: the file is damaged, of a method that is not here, or was learned with another generator.
    """
    from sdd import methods

    info, tensors = read(path)
    if info.generator != _generator(domain):
        raise SddError(
            f"{path} was learned in the domain {info.domain!r}, and the generator of {domain.name!r} is another; name "
            "the right domain with --domain"
        )
    method = methods.get(info.method)
    with guarded(str(path), f"what the method {info.method} learned"):
        fitted = method.fit(info.prompt, info.source_prompt, domain, models, learned=tensors, seed=info.seed)
    return info, fitted


# --- The cache -------------------------------------------------------------------------------------------------------


def folder() -> Path:
    """Where what was learned is kept: `methods` in `$SDD_HOME`, or in ~/.cache/sdd."""
    return Path(os.environ.get("SDD_HOME", Path.home() / ".cache" / "sdd")) / "methods"


def kept(
    method: Method,
    prompt: str,
    source_prompt: str,
    domain: Domain,
    models: Models | None = None,
    *,
    seed: int = 0,
    report: Report = silent,
) -> Fitted:
    """A method made ready for a prompt: from what it learned before of the same, else learned now, and kept.

    "The same" is the method with its options and its code, the prompts, the domain with its generator and pictures,
    the models, and the seed.

    Raises:
        SddError: what `Method.fit` raises.
    """
    models = models or models_of(domain)
    path = _path(method, prompt, source_prompt, domain, models, seed)
    if path.is_file():
        _, learned = read(path)
        with guarded(str(path), f"what the method {method.card.name} learned"):
            return method.fit(prompt, source_prompt, domain, models, learned=learned, seed=seed)
    fitted = method.fit(prompt, source_prompt, domain, models, seed=seed, report=report)
    if learned := fitted.learned():
        write(path, describe(method, prompt, source_prompt, domain, models, seed), learned)
    return fitted


def run_folder(method: Method, prompt: str, source_prompt: str, domain: Domain, models: Models, seed: int) -> Path:
    """Where a method may keep checkpoints while it trains: the same fit finds the same folder."""
    return folder() / "runs" / _path(method, prompt, source_prompt, domain, models, seed).stem


def _path(method: Method, prompt: str, source_prompt: str, domain: Domain, models: Models, seed: int) -> Path:
    prompt = "" if method.once else prompt.strip()
    card = [
        method.card.name,
        {key: str(value) for key, value in vars(method).items()},
        code_of(type(method).__module__),
        prompt,
        source_prompt,
        domain.name,
        _generator(domain),
        _pictures(domain) if method.card.trains else "",
        {role: models.fingerprint(role) for role in method.card.needs},
        seed,
    ]
    key = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:12]
    return folder() / f"{method.card.name}-{slug(prompt or domain.name)}-{key}.safetensors"


def _generator(domain: Domain) -> str:
    return "" if domain.backbone is None else domain.backbone.generator_hash


def _pictures(domain: Domain) -> str:
    """A few of the domain's pictures tell it from another of its name."""
    few = domain.images(4, 0, "train").detach().float().cpu().contiguous()
    return hashlib.sha256(few.numpy().tobytes()).hexdigest()
