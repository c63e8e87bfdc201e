"""StyleCLIP's latent optimisation (Patashnik et al., ICCV 2021, arXiv 2103.17249, Section 4): each picture's code is
moved by Adam until CLIP finds the text in what it draws.

Plain functions, of codes, a function that draws, a function that gives CLIP's features, and numbers:
`rate` (learning rate of a step), `optimise` (editing in W+ or StyleSpace, and free generation without `source`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sdd.domains.domain import Domain
from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.manipulators.inversion import batch_size
from sdd.methods.clip import Clip, asked, clip_of, text_distance
from sdd.methods.inverted import codes_of, drawn, framed, reconstructed
from sdd.methods.models import Models
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.nets.arcface import identity_features

Features = Callable[[Tensor], Tensor]


def rate(step: int, steps: int, initial: float = 0.1, rampdown: float = 0.25, rampup: float = 0.05) -> float:
    """Learning rate of a step (from 0): a rise over the first `rampup` of all steps, a half cosine over the last
    `rampdown`. The first step has rate 0.
    """
    t = step / steps
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / rampdown))
    return initial * falling * min(1.0, t / rampup)


@dataclass
class Optimised:
    """What an optimisation did.

    Attributes:
        parts: the code after the last step, as it was given.
        images: what was drawn before the last step (B, 3, S, S), which is what the published code returns.
        rates, losses: of every step, the loss before it and summed over pictures.
    """

    parts: list[Tensor]
    images: Tensor
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def optimise(
    start: Sequence[Tensor],
    draw: Callable[[list[Tensor]], Tensor],
    features: Features,
    text: Tensor,
    *,
    steps: int = 300,
    initial: float = 0.1,
    l2: float = 0.008,
    identity: Callable[[Tensor], Tensor] | None = None,
    identity_weight: float = 0.0,
    source: Tensor | None = None,
    held: Sequence[int] = (),
    advance: Callable[[int], object] = lambda step: None,
) -> Optimised:
    """Minimise (1 - cos) + l2 · Σ (w - w₀)² + identity_weight · (1 - ⟨f(x), f(x₀)⟩) over a code (its equation 1).

    The loss is a sum over pictures, so that no picture's path depends on the others of its batch.

    Args:
        start: the code as tensors (B, …): one of W+, or all style vectors.
        draw: the code → images (B, 3, S, S).
        features: images → CLIP features (B, D). text: of the description, (1, D).
        l2: of the *sum* of squares; 0 for free generation.
        identity: images → L2-normalised identity features (B, E).
        source: the unedited pictures (B, 3, S, S), which identity is compared with.
        held: places in `start` that do not move, as StyleSpace's to-RGB vectors.
    """
    first = [part.detach() for part in start]
    parts = [part.clone().requires_grad_(i not in held) for i, part in enumerate(first)]
    optimizer = torch.optim.Adam([part for part in parts if part.requires_grad], lr=initial)
    same = None
    if identity is not None and identity_weight > 0 and source is not None:
        with torch.no_grad():
            same = identity(source)
    found = Optimised(parts, torch.empty(0))
    with torch.enable_grad():
        for step in range(steps):
            now = rate(step, steps, initial)
            for group in optimizer.param_groups:
                group["lr"] = now
            images = draw(parts)
            loss = text_distance(features(images), text).sum()
            if l2 > 0:
                loss = (
                    loss + l2 * torch.stack([(a - b).square().sum() for a, b in zip(parts, first, strict=True)]).sum()
                )
            if same is not None and identity is not None:
                loss = loss + identity_weight * (1 - (identity(images) * same).sum(1)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.images = images.detach()
            found.rates.append(now)
            found.losses.append(float(loss.detach()))
            advance(step + 1)
    found.parts = [part.detach() for part in parts]
    return found


STEPS, INITIAL, IDENTITY = 60, 0.1, 0.0
KNOB = Knob(
    "l2",
    0.001,
    (0.03, 0.008, 0.004, 0.002, 0.001, 0.0005, 0.00025),
    "what a squared change of the code costs: less, and the edit goes further",
)


class Optimisation(Fitted):
    """A text, and what its pictures are optimised with.

    A code is moved in units of its standard deviation, so that rate and L2 weight mean the same in every generator.
    """

    def __init__(self, text: Tensor, clip: Clip, domain: Domain, steps: int = STEPS, initial: float = INITIAL) -> None:
        self.text, self.clip, self.domain, self.steps, self.initial = text, clip, domain, steps, initial

    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """See `Fitted`; nothing is drawn at random.

        Raises:
            SddError: an L2 weight below 0.
        """
        l2 = KNOB.default if knob is None else float(knob)
        if not (math.isfinite(l2) and l2 >= 0):
            raise SddError(
                f"the weight of the L2 must be a finite number from 0, not {l2:g}; {KNOB.default:g} is usual"
            )
        backbone = self.domain.stylegan
        codes, unit = codes_of(images, backbone), backbone.latent_std.clamp_min(1e-6)
        net, size, edited = self.domain.identity, batch_size(backbone), list[Tensor]()
        for k, part in enumerate(codes.split(size)):

            def advance(step: int, k: int = k) -> None:
                report("optimise the codes", k * self.steps + step, self.steps * -(-len(codes) // size))

            found = optimise(
                [part / unit],
                lambda parts: backbone.generator.synthesis(parts[0] * unit),
                self.clip.features,
                self.text,
                steps=self.steps,
                initial=self.initial,
                l2=l2,
                identity=None if net is None else lambda x: identity_features(net, x),
                identity_weight=IDENTITY,
                source=drawn(part, backbone.generator.synthesis, backbone) if IDENTITY > 0 else None,
                advance=advance,
            )
            edited.append(found.parts[0] * unit)
        moved = torch.cat(edited) if edited else codes
        return framed(drawn(moved, backbone.generator.synthesis, backbone), images)

    def unedited(self, images: Tensor) -> Tensor:
        """What the generator makes of pictures that nobody edits, (B, 3, H, W)."""
        return reconstructed(images, self.domain.stylegan)


class LatentOptimisation(Method):
    """See the module."""

    card = Card(
        name="styleclip-optimization",
        title="StyleCLIP, latent optimisation",
        paper="Patashnik et al., 2021, arXiv 2103.17249",
        needs=("generator", "clip"),
        trains="",
        calls=f"1 encoder, {STEPS} × (generator + CLIP) there and back",
        licence="MIT",
        knob=KNOB,
    )

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
    ) -> Fitted:
        """See `Method`; the source prompt is not asked for."""
        clip = clip_of(domain, models, self.card.name)
        return Optimisation(clip.texts([asked(prompt)]), clip, domain)


METHOD = LatentOptimisation()
