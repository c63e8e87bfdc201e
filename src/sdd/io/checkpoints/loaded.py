"""What a checkpoint turned out to hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
