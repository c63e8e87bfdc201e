"""Files of W+ or StyleSpace codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sdd.errors import SddError
from sdd.io.checkpoints.weights import take, times
from sdd.io.readers.unwrap import Read

# --- Latents ---------------------------------------------------------------------------------------------------------

LATENT_KEYS = ("latents", "latent", "wplus", "w_plus", "codes", "w", "styles", "styles_space", "stylespace")


def is_latents(raw: Any) -> bool:
    """Does this look like codes: W+ (N, L, D) or StyleSpace, alone or under a usual name?"""
    found = _codes(raw)
    if isinstance(found, Tensor):
        shape = tuple(found.shape)
        plausible = (
            len(shape) in (2, 3) or (len(shape) == 5 and shape[3:] == (1, 1)) or (len(shape) == 4 and shape[1] == 1)
        )
        return found.is_floating_point() and plausible
    return found is not None


def read_latents(raw: Any, label: str = "the latents") -> Read:
    """Codes: W+ as a tensor (N, L, D); W as (N, D); StyleSpace as a list of tensors (N, C), one per style vector.

    One image's code, (L, D), becomes (1, L, D): with an even number of rows from 4 to 18 it is taken for a W+ code, as
    StyleCLIP's inference writes it, not for that many W codes. StyleSpace files may be StyleCLIP's list of
    (N, 1, C, 1, 1) or SDD's tensor (N, 1, V·512, 1, 1) of zero-padded vectors.

    Raises:
        SddError: the shape is none of these.
    """
    found = _codes(raw)
    if isinstance(found, list):
        vectors = [_real(v, label).flatten(1) for v in found]
        if len({len(v) for v in vectors}) != 1:
            raise SddError(f"{label} is a list of style vectors for different numbers of images")
        return vectors, {"space": "style", "count": len(vectors[0]), "dims": [v.shape[1] for v in vectors]}, []
    if found is None or not found.is_floating_point():
        raise SddError(f"{label} holds no codes: W+ codes are a tensor (N, layers, dimension)")
    codes = _real(found, label)
    if codes.ndim == 5 and codes.shape[3:] == (1, 1) and codes.shape[1] == 1 and codes.shape[2] % 512 == 0:
        vectors = _unpadded(codes.reshape(len(codes), -1, 512))
        return vectors, {"space": "style", "count": len(codes), "dims": [v.shape[1] for v in vectors]}, []
    warnings: list[str] = []
    if codes.ndim == 4 and codes.shape[1] == 1:  # per-image codes that were stacked
        codes = codes[:, 0]
    if codes.ndim == 2 and codes.shape[0] in range(4, 19, 2):
        codes = codes[None]
        warnings.append(f"the file has {codes.shape[1]} rows and is taken for the W+ code of one image")
    if codes.ndim == 2:
        return codes, {"space": "w", "count": codes.shape[0], "style_dim": codes.shape[1]}, warnings
    if codes.ndim != 3:
        raise SddError(f"{label} is a tensor {times(codes.shape)}, but W+ codes are (N, layers, dimension)")
    n, layers, width = codes.shape
    return codes, {"space": "wplus", "count": n, "n_latent": layers, "style_dim": width}, warnings


def _real(codes: Tensor, label: str) -> Tensor:
    return take({"codes": codes}, "codes", codes.shape, label, "latents")


def _codes(raw: Any) -> Tensor | list[Tensor] | None:
    """The codes inside the usual wrappings."""
    if isinstance(raw, Mapping):
        named = [raw[k] for k in LATENT_KEYS if k in raw]
        if not named and len(raw) == 1:
            named = [v for v in raw.values() if isinstance(v, Tensor) and v.ndim >= 2]
        return _codes(named[0]) if named and not isinstance(named[0], Mapping) else None
    if isinstance(raw, Tensor):
        return raw
    if isinstance(raw, list | tuple) and len(raw) > 1 and all(isinstance(v, Tensor) and v.ndim >= 2 for v in raw):
        return list(raw)
    return None


def _unpadded(codes: Tensor) -> list[Tensor]:
    """Style vectors (N, C) of zero-padded ones (N, V, 512): every C is a power of two, in all published generators."""
    if codes.is_meta:
        return list(codes.unbind(1))
    used = (codes != 0).any(0)
    vectors = []
    for v, row in zip(codes.unbind(1), used, strict=True):
        last = int(row.nonzero().max()) + 1 if bool(row.any()) else 1
        vectors.append(v[:, : 1 << (last - 1).bit_length()])
    return vectors
