"""StyleCLIP's latent mapper (Patashnik et al., ICCV 2021, arXiv 2103.17249, Section 5): manipulator, networks and
training loop are those of selective diffusion distillation (`sdd.paper.algorithm`); what guides is CLIP.

    g ← ∇_x (1 - cos(CLIP(x), CLIP(γ)))                      in place of line 5 of Algorithm 1

Plain functions, of a manipulator, prepared codes, functions that give features, and numbers: `ClipGuidance` (the loss
and its gradient), `terms_of` (the two other losses), `train` (the training, step by step), `sdd.methods.ranger.Ranger`
(the optimiser).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, cast

import torch
from torch import Tensor

from sdd.domains.domain import Domain
from sdd.editor import Editor
from sdd.editor_file import EditorInfo
from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.manipulators.protocol import Manipulator, Prepared
from sdd.manipulators.stylegan import StyleGAN, mapper_config, spread_of, standardise
from sdd.methods.clip import asked, clip_of, text_distance
from sdd.methods.inverted import drawn, framed, reconstructed, training_codes
from sdd.methods.models import Models
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.methods.ranger import Ranger
from sdd.nets.arcface import identity_features
from sdd.nets.levels import LEVELS
from sdd.nets.mapper_kinds import build_mapper
from sdd.paper.algorithm import distil
from sdd.paper.objective import ChangeL2, Identity
from sdd.paper.step import Step, Term
from sdd.teachers.protocol import Teacher


class ClipGuidance:
    """Where pictures should go for CLIP to find a text in them: a `sdd.paper.step.Guidance` on pictures.

    Args:
        features: images → CLIP features (B, D). text: of the description, (1, D).

    Attributes:
        loss: 1 - cos, averaged over the pictures that were last asked about.
    """

    def __init__(self, features: Callable[[Tensor], Tensor], text: Tensor, weight: float = 1.0) -> None:
        self.features, self.text, self.weight = features, text, weight
        self.loss = 0.0

    def __call__(self, latents: Tensor, t: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """The gradient of the weighted loss of each picture (B, 3, S, S)."""
        with torch.enable_grad():
            images = latents.detach().requires_grad_()
            distance = text_distance(self.features(images), self.text)
            (gradient,) = torch.autograd.grad(distance.sum(), images)
        self.loss = float(distance.detach().mean())
        return self.weight * gradient


class Pictures:
    """What Algorithm 1 asks of a teacher where guidance is on pictures: latents are pictures, and none is noised."""

    latent_shape = (0,)


def terms_of(
    manipulator: Manipulator,
    l2: float,
    identity: Callable[[Tensor], Tensor] | None = None,
    sources: Tensor | None = None,
    identity_weight: float = 0.0,
) -> dict[str, Term]:
    """l2 · mean (ŵ - w)² in the manipulator's units, and identity_weight · mean(1 - ⟨f(x), f(x₀)⟩).

    Args:
        identity: images → L2-normalised features (B, E). sources: those of the unedited pictures, (N, E).
    """
    terms: dict[str, Term] = {}
    if identity is not None and sources is not None and identity_weight > 0:
        terms["identity"] = Identity(identity, sources, identity_weight)
    if l2 > 0:
        terms["l2"] = ChangeL2(manipulator, l2)
    return terms


def train(
    manipulator: Manipulator,
    sources: Prepared,
    guidance: ClipGuidance,
    terms: dict[str, Term],
    optimizer: torch.optim.Optimizer,
    random: torch.Generator,
    batch: int = 2,
    choose: Callable[[int], Tensor] | None = None,
) -> Iterator[Step]:
    """Algorithm 1 with CLIP for a guide, for ever; each step's `terms` have "clip" as a number, weighted as the others.

    Args:
        choose: pictures (B,) of a step (from 0); by default drawn at random.
    """
    steps = distil(
        manipulator, sources, cast(Teacher, Pictures()), guidance, lambda step: [0], optimizer, random,
        terms=terms, batch=batch, choose=choose, encode=lambda y, change, images: images,
    )  # fmt: skip
    for step in steps:
        del step.terms["guidance"]  # ⟨g, x⟩, whose gradient alone means something
        step.terms["clip"] = torch.tensor(guidance.weight * guidance.loss)
        step.loss = torch.stack([term.detach().double() for term in step.terms.values()]).sum()
        yield step


@dataclass(frozen=True)
class Options:
    """How a mapper is trained.

    Attributes:
        clip, l2, identity: weights of the losses.
        spread: whether a change counts in standard deviations of the code; else in the code's own units.
        levels: which may change.
    """

    steps: int
    batch: int
    lr: float
    clip: float
    l2: float
    identity: float
    mapper: str
    spread: bool
    levels: Sequence[str] = LEVELS
    latent_weight: float = 0.1
    images: int = 128
    hidden: int = 256
    depth: int = 3
    warmup: int = 0


PUBLISHED = Options(50_000, 2, 0.5, 1.0, 0.8, 0.1, "LevelsMapper", False)
DEFAULT = Options(160, 8, 0.05, 1.0, 0.02, 0.1, "levels", True)
KNOB = Knob("strength", 1.0, (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5), "what the mapper's change is multiplied by")


class Mapped(Fitted):
    """An editor whose mapper CLIP has taught.

    Attributes:
        editor: the same as an editor file holds it.
    """

    def __init__(self, editor: Editor, domain: Domain) -> None:
        self.editor, self.domain = editor, domain

    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """See `Fitted`; nothing is drawn at random.

        Raises:
            SddError: a strength that is not finite.
        """
        strength = KNOB.default if knob is None else float(knob)
        if not math.isfinite(strength):
            raise SddError(f"the strength must be a finite number, not {strength}; 1 is the edit as trained")
        return framed(self.editor(images, strength, blend=False), images)

    def unedited(self, images: Tensor) -> Tensor:
        """What the generator makes of pictures that nobody edits, (B, 3, H, W)."""
        return reconstructed(images, self.domain.stylegan)

    def learned(self) -> dict[str, Tensor]:
        """See `Fitted`: the mapper's weights."""
        return {name: tensor.detach() for name, tensor in self.editor.learned.state_dict().items()}


class LatentMapper(Method):
    """See the module.

    Args:
        options: how it is trained; `PUBLISHED` is as its authors did, for hours.
    """

    card = Card(
        name="styleclip",
        title="StyleCLIP, latent mapper",
        paper="Patashnik et al., 2021, arXiv 2103.17249",
        needs=("generator", "clip"),
        trains="the mapper",
        calls="1 encoder + 1 generator",
        licence="MIT",
        knob=KNOB,
    )

    def __init__(self, options: Options = DEFAULT) -> None:
        self.options = options

    def fit(
        self,
        prompt: str,
        source_prompt: str,
        domain: Domain,
        models: Models | None = None,
        *,
        learned: dict[str, Tensor] | None = None,
        seed: int = 0,
        report: Report = silent,
    ) -> Mapped:
        """See `Method`; the source prompt is not asked for.

        Raises:
            SddError: what was learned does not fit this domain's generator.
        """
        target, backbone, how = asked(prompt), domain.stylegan, self.options
        random = torch.Generator().manual_seed(seed)
        config = mapper_config(how.mapper, backbone, how.levels, how.hidden, how.depth, how.latent_weight)
        mapper = build_mapper(config, random).to(backbone.device)
        if learned is not None:
            try:
                mapper.load_state_dict(learned)
            except RuntimeError as error:
                raise SddError("this mapper does not fit the domain's generator; train it again here") from error
            return Mapped(Editor(mapper, _info(target, domain, config, seed), domain), domain)
        clip = clip_of(domain, models, self.card.name)
        codes = training_codes(domain, how.images, seed)
        standardise(mapper, backbone, codes)
        manipulator = StyleGAN(backbone, mapper, spread_of(backbone, codes, mapper.space) if how.spread else None)
        net, same, features = domain.identity, None, None
        if net is not None and how.identity > 0:
            features = partial(identity_features, net)
            same = drawn(codes, lambda part: identity_features(net, backbone.generator.synthesis(part)), backbone)
        steps = train(
            manipulator,
            Prepared({"codes": codes}),
            ClipGuidance(clip.features, clip.texts([target]), how.clip),
            terms_of(manipulator, how.l2, features, same, how.identity),
            optimizer := Ranger(mapper.parameters(), lr=how.lr),
            random,
            how.batch,
        )
        for done in range(how.steps):
            for group in optimizer.param_groups:
                group["lr"] = how.lr * min(1.0, (done + 1) / max(how.warmup, 1))
            next(steps)
            report(f"train a mapper for {target!r}", done + 1, how.steps)
        return Mapped(Editor(mapper, _info(target, domain, config, seed), domain), domain)


def _info(prompt: str, domain: Domain, mapper: dict[str, Any], seed: int) -> EditorInfo:
    """What its editor file says."""
    return EditorInfo(
        prompt=prompt,
        domain=domain.name,
        generator=domain.stylegan.generator_hash,
        manipulator={"kind": "stylegan", "mapper": mapper},
        crop=domain.crop,
        preset="styleclip",
        seed=seed,
        versions={name: version(name) for name in ("sdd", "torch")},
        notes=list(domain.notes),
    )


METHOD = LatentMapper()
