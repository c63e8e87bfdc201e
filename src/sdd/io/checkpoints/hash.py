"""A name for a network by what it holds."""

from __future__ import annotations

import hashlib

from torch import nn


def generator_hash(generator: nn.Module) -> str:
    """SHA-256 over the names and values of a network's tensors, in the order of their names, in hexadecimal."""
    digest = hashlib.sha256()
    for key, tensor in sorted(generator.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
