"""From a configuration to the guidance and the terms that `sdd.paper.algorithm` is handed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from sdd.beyond.draws import Draws
from sdd.beyond.guidances import Bound
from sdd.beyond.held import OutsideChange, Shown
from sdd.beyond.mask import Masked, Outside, edit_mask
from sdd.beyond.offline import Distance, changes_of
from sdd.beyond.published import TopK
from sdd.domains.domain import Domain
from sdd.io.progress import Report, counting
from sdd.manipulators.protocol import Manipulator
from sdd.manipulators.stylegan import StyleGAN
from sdd.nets.arcface import identity_features
from sdd.paper.objective import ChangeL2, Identity, ScoreDistillation
from sdd.paper.step import Guidance, Term
from sdd.teachers.protocol import Teacher
from sdd.training.config import DistillConfig
from sdd.training.source import Source

MASK_DRAWS = 2  # noises over which an image's mask is averaged; a third costs more than it clears


def masks_of(
    prompt: str,
    teacher: Teacher,
    source: Source,
    settings: DistillConfig,
    timesteps: list[int],
    seed: int,
    report: Report,
) -> Tensor | None:
    """Where the prompt asks for a change, (N, 1, h, w); None where nothing asks for it."""
    if not settings.mask and settings.outside_weight == 0:
        return None
    advance = counting(report, "find where to edit", MASK_DRAWS * len(source))
    return edit_mask(
        teacher,
        source.latents,
        teacher.encode_text([""]),
        teacher.encode_text([prompt]),
        timesteps,
        torch.Generator().manual_seed(seed + 3),
        MASK_DRAWS,
        settings.mask_saturation,
        advance=advance,
    )


def guidance_of(
    prompt: str, teacher: Teacher, source: Source, settings: DistillConfig, masks: Tensor | None
) -> Guidance:
    """Which way latents should move: the paper's guidance or another, and what is listened to of it."""
    guidance: Guidance
    if settings.guidance == "sds":
        guidance = ScoreDistillation(teacher, prompt, settings.scale)
    else:
        guidance = Bound(
            settings.guidance,
            teacher,
            prompt,
            settings.scale,
            source.latents,
            settings.source_prompt,
            settings.fidelity,
        )
    if settings.mask and masks is not None:
        guidance = Masked(guidance, masks)
    if settings.topk is not None:
        guidance = TopK(guidance, settings.topk, settings.topk_over == "image")
    return guidance


def distance_of(
    manipulator: Manipulator,
    teacher: Teacher,
    guidance: Guidance,
    source: Source,
    settings: DistillConfig,
    timesteps: Callable[[float], Sequence[int]],
    seed: int,
    report: Report,
) -> Distance:
    """How far a manipulator is from what the guidance makes of the source pictures.

    Args:
        timesteps: to train at when a share of the training is done.
    """
    advance = counting(report, "see where the guidance leads", settings.offline_steps * len(source))
    random = torch.Generator().manual_seed(seed + 4)
    several = Draws(guidance, settings.draws, random)

    def now(done: float) -> Sequence[int]:
        several.timesteps = timesteps(done)
        return several.timesteps

    changes = changes_of(
        teacher, several, source.latents, now, random, settings.offline_steps, settings.offline_rate, advance=advance
    )
    return Distance(manipulator, changes)


def terms_of(
    domain: Domain, manipulator: Manipulator, source: Source, settings: DistillConfig, masks: Tensor | None
) -> dict[str, Term]:
    """What else should be small, by name."""
    terms: dict[str, Term] = {}
    if settings.outside_weight > 0 and masks is not None:
        weight, sharpness, warmup = settings.outside_weight, settings.mask_sharpness, settings.outside_warmup
        if isinstance(manipulator, StyleGAN):
            terms["outside"] = Outside(source.seen, masks, weight, sharpness, warmup)
        else:
            terms["outside"] = OutsideChange(masks, weight, sharpness, warmup)
    if settings.shown_weight > 0:
        terms["shown"] = Shown(manipulator, settings.shown_weight, settings.outside_warmup)
    if settings.l2 > 0:
        terms["l2"] = ChangeL2(manipulator, settings.l2)
    if settings.identity > 0 and source.features is not None and domain.identity is not None:
        terms["identity"] = Identity(partial(identity_features, domain.identity), source.features, settings.identity)
    return terms
