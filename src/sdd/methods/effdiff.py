"""effdiff (Starodubcev, Baranchuk, Khrulkov, Babenko; CVPR Workshops 2023, arXiv 2304.04344): DiffusionCLIP made quick.
Pictures are noised to t₀ in one shot, the loss is of the one-step estimate x̂₀ there (one network call an update), and
few steps decode.

Plain functions, of noise predictors, tensors and numbers:
`sdd.methods.ddim`: `steps`, `noised` (stochastic encoding), `estimate` (x̂₀), `invert`, `decode`;
`sdd.methods.directional.objective`, `sdd.methods.finetune.finetune`, `sdd.methods.mixing.ratio` as in DiffusionCLIP;
here: `estimate_losses`, `train`, and `noise_of`, which draws the noise of encodings. Single-image mode is `train` on
one picture: an epoch is then one update, and `after` sees each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from sdd.io.progress import Report, silent
from sdd.methods.clip import asked, clip_of
from sdd.methods.ddim import Noise, at, decode, estimate, invert, noised, steps
from sdd.methods.diffusionclip import Objective, goal_of
from sdd.methods.directional import Weights
from sdd.methods.finetune import Update, finetune
from sdd.methods.mixing import ratio
from sdd.methods.of_domain import models_of
from sdd.methods.pixel_diffusion import PixelDiffusion
from sdd.methods.protocol import Card, Fitted, Method
from sdd.methods.tuned import RATIO, SOURCE, Tuned, fitting, laid, recogniser, share_of

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models


def estimate_losses(
    predict: Noise, images: Tensor, latents: Tensor, abar: Tensor, t0: int, goal: Objective
) -> Iterator[tuple[Tensor, Tensor]]:
    """One loss, of the one-step estimate at t₀: one network call, and one backward through it."""
    yield goal(estimate(latents, predict(latents, t0), at(abar, t0)), images, None)


def train(
    predict: Noise,
    parameters: Iterable[Tensor],
    images: Tensor,
    latents: Tensor,
    *,
    abar: Tensor,
    t0: int,
    goal: Objective,
    rate: float,
    epochs: int,
    growth: float = 1.3,
    batch: int = 1,
    after: Callable[[int], object] = lambda epoch: None,
    report: Report = silent,
) -> list[Update]:
    """Fine-tune `parameters`, on which `predict` depends, for pictures (N, 3, S, S) and their states at t₀.

    The states are given, hence the same in every epoch, as published.
    """

    def losses(index: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
        return estimate_losses(predict, images[index], latents[index], abar, t0, goal)

    return finetune(
        parameters, losses, len(images), rate=rate, epochs=epochs, growth=growth, batch=batch, after=after,
        report=report,
    )  # fmt: skip


def noise_of(count: int, like: Tensor, seed: int) -> Tensor:
    """Standard normal noise (count, 3, S, S): the i-th depends on `seed` and i alone."""
    drawn = [torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed + i)) for i in range(count)]
    return torch.stack(drawn).to(like) if drawn else like[:0]


@dataclass(frozen=True)
class Settings:
    """How to train and edit.

    The defaults are the authors' README; their code's own defaults are t₀ 400, rate 2e-6, L1 0 and one epoch.

    Attributes:
        t0: where pictures are encoded to: 200-350 for shallow edits, 350-500 for strong ones.
        decoded: steps of editing. The published code ignores its option for them and takes those of its training, which
            are as many by default.
        encoding: of the pictures that are edited: noised in one shot as in training, or inverted in `inverted` steps.
        pictures: how many of the domain's are trained on. updates: of single-image mode.
    """

    t0: int = 350
    decoded: int = 6
    encoding: Literal["stochastic", "inverted"] = "stochastic"
    inverted: int = 40
    pictures: int = 50
    batch: int = 1
    rate: float = 6e-6
    growth: float = 1.3
    epochs: int = 5
    updates: int = 5
    weights: Weights = field(default_factory=Weights)


PUBLISHED = Settings()
# A network a thousandth of the size moves further before it forgets; measured on validation avatars (docs/methods.md).
SMALL = Settings(rate=3e-4, batch=2)


def encoder(settings: Settings) -> Callable[[PixelDiffusion, Tensor, int], Tensor]:
    """How pictures that are edited become states at t₀: all with the same noise, whatever their batch."""
    s = settings

    def encode(network: PixelDiffusion, images: Tensor, seed: int) -> Tensor:
        if s.encoding == "inverted":
            return invert(network, images, network.abar, steps(s.inverted, s.t0))
        return noised(images, noise_of(1, images, seed), at(network.abar, s.t0))

    return encode


def learn(
    tuned: PixelDiffusion, images: Tensor, latents: Tensor, goal: Objective, s: Settings, epochs: int, report: Report
) -> None:
    """Fine-tune a network in place."""
    tuned.net.requires_grad_(True)
    train(
        tuned, tuned.net.parameters(), images, latents, abar=tuned.abar, t0=s.t0, goal=goal, rate=s.rate,
        growth=s.growth, epochs=epochs, batch=s.batch, report=report,
    )  # fmt: skip
    tuned.net.requires_grad_(False)


class Single(Fitted):
    """Single-image mode: every picture has the network fine-tuned for itself alone, from the original's weights."""

    def __init__(self, original: PixelDiffusion, goal: Objective, settings: Settings) -> None:
        self.original, self.goal, self.settings = original, goal, settings
        self.tuned: PixelDiffusion | None = None

    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        s, chain = self.settings, steps(self.settings.decoded, self.settings.t0)
        small = fitting(images, self.original.size).to(self.original.device)
        encode, share = encoder(s), share_of(knob)
        done = [small[:0]]
        for i in range(len(small)):
            picture = small[i : i + 1]
            tuned, latent = self.original.copy(), encode(self.original, picture, seed)
            learn(tuned, picture, latent, self.goal, s, s.updates, silent)
            with torch.no_grad():
                done.append(decode(ratio(tuned, self.original, share), latent, tuned.abar, chain))
            self.tuned = tuned
            report("editing", i + 1, len(small))
        return laid(torch.cat(done), small, images.to(small)).to(images)

    @torch.no_grad()
    def unedited(self, images: Tensor) -> Tensor:
        small = fitting(images, self.original.size).to(self.original.device)
        latent = encoder(self.settings)(self.original, small, 0)
        chain = steps(self.settings.decoded, self.settings.t0)
        return laid(decode(self.original, latent, self.original.abar, chain), small, images.to(small)).to(images)

    def learned(self) -> dict[str, Tensor]:
        """The network tuned for the picture edited last; nothing before the first."""
        return {} if self.tuned is None else self.tuned.tensors()


class EffDiff(Method):
    """The method.

    Args:
        settings: None for `Settings()`, and `SMALL` where the network has fewer than ten million weights.
        single: single-image mode: `fit` trains nothing, every edited picture trains a network of its own.
    """

    card = Card(
        name="effdiff",
        title="a diffusion model fine-tuned by directional CLIP on its one-step estimate",
        paper="Starodubcev, Baranchuk, Khrulkov and Babenko, 2023, arXiv 2304.04344",
        needs=("ddpm", "clip"),
        trains="the whole U-Net",
        calls="6",
        licence="none",
        knob=RATIO,
    )

    def __init__(self, settings: Settings | None = None, single: bool = False) -> None:
        self.settings, self.single = settings, single

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
        original = PixelDiffusion.of((models or models_of(domain)).get("ddpm", self.card.name))
        s = self.settings or (SMALL if original.small() else Settings())
        tuned = original.copy()
        if learned:
            tuned.fill(learned)
        else:
            clip = clip_of(domain, models, self.card.name)
            goal = goal_of(asked(prompt), source_prompt.strip() or SOURCE, clip, s.weights, recogniser(domain))
            if self.single:
                return Single(original, goal, s)
            images = fitting(domain.images(s.pictures, seed, "train"), original.size).to(original.device)
            latents = noised(images, noise_of(len(images), images, seed), at(original.abar, s.t0))
            learn(tuned, images, latents, goal, s, s.epochs, report)
        return Tuned(original, tuned, encoder(s), steps(s.decoded, s.t0))


METHOD = EffDiff()
