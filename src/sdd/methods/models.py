"""The models that methods ask for, each loaded when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sdd.errors import SddError
from sdd.training.run import fingerprint

if TYPE_CHECKING:
    from torch import nn

OPTIONS = {
    "teacher": ("a text-to-image diffusion model", "--teacher"),
    "clip": ("a CLIP", "--clip"),
    "ddpm": ("an unconditional diffusion model", "--ddpm"),
    "diffae": ("a diffusion autoencoder", "--diffae"),
    "instructed": ("a diffusion model that follows instructions", "--instructed"),
}


@dataclass
class Models:
    """Models by role, behind functions that load them.

    Attributes:
        loaders: role → loads it; roles are those of `OPTIONS`.
        names: role → the file, folder or hub id it comes from, where it has one.
    """

    loaders: dict[str, Callable[[], Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    _loaded: dict[str, Any] = field(default_factory=dict)

    def get(self, role: str, method: str) -> Any:
        """The model of a role, loaded once.

        Raises:
            SddError: there is none.
        """
        if role not in self._loaded:
            if role not in self.loaders:
                what, option = OPTIONS[role]
                raise SddError(f"the method {method} needs {what}, and this domain has none; give one with {option}")
            self._loaded[role] = self.loaders[role]()
        return self._loaded[role]

    def fingerprint(self, role: str) -> str:
        """What tells this model from another: of its file or folder, or its name; "" where there is none."""
        name = self.names.get(role, "")
        return fingerprint(name) or name


def is_small(net: nn.Module) -> bool:
    """Whether a network has fewer than ten million weights: one to try things with."""
    return sum(weight.numel() for weight in net.parameters()) < 10_000_000
