"""All readers, in the order in which they are asked: (kind, detects(raw), read(raw, label)).

A detector asked later may take what an earlier one would have known better, so that the order matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sdd.io.readers.clip import is_clip, read_clip
from sdd.io.readers.ddpm import is_ddpm, read_ddpm
from sdd.io.readers.diffae import (
    is_diffae,
    is_diffae_classifier,
    is_diffae_latents,
    read_diffae,
    read_diffae_classifier,
    read_diffae_latents,
)
from sdd.io.readers.encoders import is_e4e, is_psp, read_e4e, read_psp
from sdd.io.readers.identity import is_ir_se, read_ir_se
from sdd.io.readers.improved_ddpm import is_improved_ddpm, read_improved_ddpm
from sdd.io.readers.latents import is_latents, read_latents
from sdd.io.readers.mappers import is_sdd_mapper, is_styleclip_mapper, read_sdd_mapper, read_styleclip_mapper
from sdd.io.readers.nvidia import is_nvidia, read_nvidia
from sdd.io.readers.stylegan2 import is_stylegan2, read_stylegan2

Reader = tuple[str, Callable[[Any], bool], Callable[..., Any]]

READERS: tuple[Reader, ...] = (
    ("e4e", is_e4e, read_e4e),
    ("psp", is_psp, read_psp),
    ("styleclip-mapper", is_styleclip_mapper, read_styleclip_mapper),
    ("nvidia-stylegan2", is_nvidia, read_nvidia),
    ("stylegan2", is_stylegan2, read_stylegan2),
    ("ir-se50", is_ir_se, read_ir_se),
    ("sdd-mapper", is_sdd_mapper, read_sdd_mapper),
    ("ddpm", is_ddpm, read_ddpm),
    ("diffae", is_diffae, read_diffae),
    ("diffae-latents", is_diffae_latents, read_diffae_latents),
    ("diffae-classifier", is_diffae_classifier, read_diffae_classifier),
    ("improved-ddpm", is_improved_ddpm, read_improved_ddpm),
    ("clip", is_clip, read_clip),
    ("latents", is_latents, read_latents),  # last: any single tensor may be codes
)
