"""An editor of the avatars that nobody trained: it changes much, and is there at once."""

import torch

from sdd.domains.embedded import embedded
from sdd.editor import Editor
from sdd.editor_file import EditorInfo
from sdd.nets.mapper_kinds import build_mapper


def untrained_editor():
    """By a mapper that knows nothing."""
    domain = embedded()
    layers, width = domain.stylegan.latent_mean.shape
    mapper = build_mapper({"kind": "levels", "n_latent": layers, "style_dim": width, "hidden": 8, "depth": 1})
    random = torch.Generator().manual_seed(0)
    for p in mapper.parameters():
        p.data.normal_(0, 0.3, generator=random)
    kind = {"kind": "stylegan", "mapper": mapper.config()}
    info = EditorInfo(prompt="x", domain="avatars", generator=domain.stylegan.generator_hash, manipulator=kind)
    return Editor(mapper, info, domain)
