"""Manipulators at their first step, and again from a checkpoint: of each kind, what a configuration makes of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdd.domains.domain import Domain
from sdd.manipulators.image_to_image import ImageToImage
from sdd.manipulators.one_step import OneStep
from sdd.manipulators.protocol import Manipulator
from sdd.manipulators.stylegan import (
    StyleGAN,
    levels_with_signal,
    mapper_config,
    signal_in,
    space_of,
    spread_of,
    standardise,
)
from sdd.nets.levels import LEVELS
from sdd.nets.mapper_kinds import build_mapper
from sdd.teachers.protocol import Teacher
from sdd.training.config import DistillConfig
from sdd.training.source import Source


def probe_of(domain: Domain, teacher: Teacher, settings: DistillConfig) -> Manipulator:
    """A manipulator of the kind asked for that changes nothing: to prepare pictures, and to ask the guidance with."""
    if settings.manipulator != "stylegan":  # these start at no change
        return _new(domain, teacher, settings)
    backbone = domain.stylegan
    config = mapper_config(settings.mapper, backbone, LEVELS, 1, 1, settings.latent_weight)
    return StyleGAN(backbone, build_mapper(config).to(backbone.device))


def with_units(probe: Manipulator, source: Source) -> Manipulator:
    """The probe with the units of the source pictures' codes, where its kind has units."""
    if isinstance(probe, StyleGAN):
        probe.spread = spread_of(probe.backbone, source.prepared.parts["codes"], probe.mapper.space)
    return probe


def first(
    domain: Domain,
    teacher: Teacher,
    settings: DistillConfig,
    source: Source,
    power: list[Tensor] | None,
    random: torch.Generator,
) -> tuple[Manipulator, list[Tensor] | None]:
    """The manipulator at its first step, and the part of the signal's power that it can answer to.

    Args:
        power: of the guidance's signal (`sdd.beyond.scale.signal`), where levels or units follow from it.
    """
    if settings.manipulator != "stylegan":
        made = _new(domain, teacher, settings)
        made.reset(random)
        return made, power
    levels: tuple[str, ...] = LEVELS if settings.levels == "auto" else settings.levels
    if settings.levels == "auto" and power is not None:
        levels = levels_with_signal(power, settings.level_share)
    backbone, codes = domain.stylegan, source.prepared.parts["codes"]
    config = mapper_config(settings.mapper, backbone, levels, settings.hidden, settings.depth, settings.latent_weight)
    mapper = build_mapper(config, random).to(backbone.device)
    standardise(mapper, backbone, codes)
    stylegan = StyleGAN(backbone, mapper, _spread(domain, settings, codes))
    return stylegan, None if power is None else signal_in(power, levels)


def again(
    domain: Domain, teacher: Teacher, settings: DistillConfig, source: Source, saved: dict[str, Any]
) -> Manipulator:
    """The manipulator of a checkpoint (`sdd.training.learner.Learner.dump`)."""
    if settings.manipulator != "stylegan":
        made = _new(domain, teacher, settings)
        made.learned.load_state_dict(saved["learned"])
        return made
    backbone = domain.stylegan
    mapper = build_mapper(saved["config"]["mapper"]).to(backbone.device)
    mapper.load_state_dict(saved["learned"])
    return StyleGAN(backbone, mapper, _spread(domain, settings, source.prepared.parts["codes"]))


def _new(domain: Domain, teacher: Teacher, settings: DistillConfig) -> OneStep | ImageToImage:
    """A manipulator of another kind than StyleGAN's, which starts at no change."""
    if settings.manipulator == "image-to-image":
        made = ImageToImage(domain.image_size, teacher.image_size, settings.width)
        return made.to(getattr(teacher, "device", torch.device("cpu")))
    return OneStep(teacher, domain.image_size, rank=settings.rank, t_edit=settings.t_edit)


def _spread(domain: Domain, settings: DistillConfig, codes: Tensor) -> list[Tensor] | None:
    """The units of a change; None for the code's own."""
    if settings.l2_units == "code":
        return None
    return spread_of(domain.stylegan, codes, space_of(settings.mapper))
