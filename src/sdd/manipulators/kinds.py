"""Manipulators by name, and what each needs to be made again from an editor file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sdd.errors import SddError
from sdd.manipulators.backbone import Backbone
from sdd.manipulators.image_to_image import ImageToImage, unet_of
from sdd.manipulators.one_step import OneStep, updates_of
from sdd.manipulators.protocol import Manipulator
from sdd.manipulators.stylegan import StyleGAN
from sdd.nets.mapper import Mapper
from sdd.nets.mapper_kinds import build_mapper
from sdd.nets.residual_unet import ResidualUNet
from sdd.teachers.protocol import Teacher

KINDS = ("stylegan", "one-step", "image-to-image")


def learned_of(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """The part that learns, as `Manipulator.config` describes it, its weights yet to be loaded.

    Args:
        tensors: the file's, for a kind whose shapes are those of a network that is not in the file.

    Raises:
        ValueError: an unknown kind, or arguments that it cannot take.
    """
    match config.get("kind"):
        case "stylegan":
            return build_mapper(_part(config, "mapper"))
        case "one-step":
            return updates_of(tensors)
        case "image-to-image":
            return unet_of(config)
    raise ValueError(f"unknown manipulator {config.get('kind')!r}; there are {', '.join(KINDS)}")


def build(
    config: Mapping[str, Any], learned: nn.Module, backbone: Backbone | None = None, teacher: Teacher | None = None
) -> Manipulator:
    """A manipulator of its learned part and of what its kind needs beside (`needs`).

    Raises:
        SddError: the learned part was made for another teacher.
    """
    if config["kind"] == "stylegan":
        assert isinstance(learned, Mapper) and backbone is not None, "see `needs`"
        return StyleGAN(backbone, learned)
    if config["kind"] == "image-to-image":
        assert isinstance(learned, ResidualUNet), "see `learned_of`"
        return ImageToImage.of(config, learned)
    assert teacher is not None, "see `needs`"
    made = OneStep.of(teacher, config)
    try:
        made.learned.load_state_dict(learned.state_dict())
    except RuntimeError as error:
        raise SddError(
            f"what this editor learned does not fit the U-Net of {teacher.name}; give the teacher it was trained with"
        ) from error
    return made


def needs(kind: str) -> str:
    """What a kind needs beside its learned part: "generator", "teacher" or ""."""
    return {"stylegan": "generator", "one-step": "teacher", "image-to-image": ""}[kind]


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    if not isinstance(part, Mapping):
        raise ValueError(f"its {name} is not described")
    return part
