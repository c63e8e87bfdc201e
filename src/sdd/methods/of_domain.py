"""The models of a domain, or of what a user gives in their place.

models = models_of(domain)                          # the domain's own
models = models_of(domain, {"clip": "ViT-B-32/"})   # with some of the user's
models.get("teacher", "sdedit")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from sdd.device import pick_device
from sdd.domains.embedded import EMBEDDED, weights_folder
from sdd.errors import SddError
from sdd.methods.models import OPTIONS, Models

if TYPE_CHECKING:
    from sdd.domains.domain import Domain


def models_of(
    domain: Domain, given: Mapping[str, str | None] | None = None, device: torch.device | str | None = None
) -> Models:
    """The models of a domain, each read when a method asks for it.

    The embedded domain's lie beside its other weights, in a file or folder of the role's name.

    Args:
        given: role → file, folder, hub id or name of the zoo, in place of the domain's own; None counts for nothing.
        device: None for that of the domain's networks, or the CPU.

    Raises:
        SddError: a role that there is not.
    """
    wanted = {role: str(name) for role, name in (given or {}).items() if name is not None}
    if strange := [role for role in wanted if role not in OPTIONS]:
        raise SddError(f"there is no role {strange[0]!r} for a model; there are {', '.join(OPTIONS)}")
    own = {} if not domain.teacher else {"teacher": domain.teacher}
    if domain.name == EMBEDDED:
        for role in OPTIONS:
            for place in (weights_folder(EMBEDDED) / role, weights_folder(EMBEDDED) / f"{role}.safetensors"):
                if role != "teacher" and place.exists():
                    own[role] = str(place)
    where = domain.backbone.device if device is None and domain.backbone is not None else pick_device(device or "cpu")
    names = own | wanted
    return Models({role: partial(_READ[role], name, where) for role, name in names.items()}, names)


# --- Readers: of a file or folder and a device -----------------------------------------------------------------------


def _teacher(name: str, device: torch.device) -> Any:
    from sdd.teachers.load import load_teacher

    return load_teacher(name, device)


def _clip(name: str, device: torch.device) -> Any:
    from sdd.methods.clip import load

    return load(name).to(device)


def _ddpm(name: str, device: torch.device) -> Any:
    from sdd.io import load

    return _network(load(name), name, "ddpm", device, ("unet", "ddpm", "improved-ddpm"))


def _diffae(name: str, device: torch.device) -> Any:
    from sdd.methods.diffae import Autoencoder

    found = Autoencoder.load(name)
    found.net.to(device)
    return found


def _instructed(name: str, device: torch.device) -> Any:
    from sdd.teachers.instructed import load_instructed

    return load_instructed(name).to(device)


def _network(loaded: Any, name: str, role: str, device: torch.device, kinds: tuple[str, ...]) -> Any:
    """What a reader found, frozen, on a device, with its configuration, where the role can take it."""
    if loaded.kind not in kinds:
        what, option = OPTIONS[role]
        raise SddError(f"{name} holds a {loaded.kind}, where {option} takes {what}; `sdd inspect` says what a file is")
    loaded.module.to(device).eval().requires_grad_(False)
    return loaded


_READ: dict[str, Callable[[str, torch.device], Any]] = {
    "teacher": _teacher, "clip": _clip, "ddpm": _ddpm, "diffae": _diffae, "instructed": _instructed,
}  # fmt: skip
