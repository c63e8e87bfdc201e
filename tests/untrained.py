"""What nobody trained and is there at once: an editor of the avatars, which changes much, and a judge."""

import torch

from sdd.domains import avatars
from sdd.domains.embedded import embedded
from sdd.editor import Editor
from sdd.editor_file import EditorInfo
from sdd.evaluate.judge import Judge
from sdd.nets.compact import AttributeClassifier
from sdd.nets.mapper_kinds import build_mapper

HEADS = {n: len(avatars.values(n)) for n in (*avatars.SHAPES, *avatars.COLORS)} | {n: 1 for n in avatars.RANGES}


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


def untrained_judge():
    """Without a CLIP; its weights are torch's next random numbers."""
    return Judge(AttributeClassifier(HEADS, channels=(8, 16, 16, 16, 16)))
