"""Editors of the toy domain that change something."""

import torch

from sdd.editor import Editor
from sdd.editor_file import EditorInfo
from sdd.manipulators.image_to_image import ImageToImage
from sdd.nets.mapper_kinds import build_mapper
from toy import SIZE, STYLE_DIM, toy_domain


def toy_editor(kind="levels", seed=0, size=0.5, **info):
    """An editor with a random mapper of that kind, or (`image-to-image`) a random U-Net."""
    domain, random = toy_domain(), torch.Generator().manual_seed(seed)
    if kind == "image-to-image":
        manipulator = ImageToImage(SIZE, SIZE, 8)
        learned, config = manipulator.learned, manipulator.config()
    else:
        learned = build_mapper(_config(kind, domain))
        config = {"kind": "stylegan", "mapper": learned.config()}
    with torch.no_grad():
        for parameter in learned.parameters():
            parameter.normal_(0, size if kind != "image-to-image" else size / 10, generator=random)
    said = {"prompt": "more red", "domain": "toy", "manipulator": config, "timesteps": [500]}
    said |= {"hqs": {"timesteps": [100, 500, 900], "hqs": [0.1, 0.9, 0.3]}}
    if kind != "image-to-image":
        said["generator"] = domain.stylegan.generator_hash
    return Editor(learned, EditorInfo(**{**said, **info}), domain)


def _config(kind, domain):
    if "tyle" in kind:
        styles = domain.generator.styles(domain.stylegan.latent_mean[None])
        return {"kind": kind, "dims": [style.shape[1] for style in styles]}
    return {"kind": kind, "n_latent": domain.generator.n_latent, "style_dim": STYLE_DIM}
