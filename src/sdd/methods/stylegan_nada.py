"""StyleGAN-NADA (Gal et al., SIGGRAPH 2022, arXiv 2108.00946): the generator itself is adapted until its pictures
differ from those of the frozen one as the target text differs from the source text.

Plain functions, of generators, codes, `Guide`s (what a CLIP sees and wants) and numbers: `layers_of` (which layer an
index means), `code_change` and `chosen` (the layer selection), `directional` (the loss), `adapt` (the training),
`between` (weights between two generators).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sdd.domains.domain import Domain
from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.methods.clip import Clip, asked, clip_of, text_distance
from sdd.methods.inverted import codes_of, drawn, framed, reconstructed, training_codes
from sdd.methods.models import Models
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.methods.templates import template_features
from sdd.nets.clip_direction import direction_loss, text_direction
from sdd.nets.stylegan2 import Generator, Noise

Unchosen = Literal["dropped", "zeroed"]


@dataclass(frozen=True)
class Guide:
    """A CLIP, and what it wants.

    Attributes:
        features: images → features (B, D).
        direction: from source to target text, (1, D) (`sdd.nets.clip_direction.text_direction`).
        target: features of the bare target text, (1, D), which layers are chosen by.
        weight: of its loss.
    """

    features: Callable[[Tensor], Tensor]
    direction: Tensor
    target: Tensor
    weight: float = 1.0


def layers_of(generator: Generator, published: bool = False) -> list[nn.Module]:
    """The layer that is trained where the code of W+ layer i asks for a change, by index.

    By default the convolution that reads that code; the last code drives a to-RGB layer alone, which has none.

    Args:
        published: as its authors' list has it: the first convolution, the first to-RGB layer, then all other
            convolutions, so that each of these stands one behind the code it reads.
    """
    first: list[nn.Module] = [generator.conv1]
    return [*first, *([generator.to_rgb1] if published else []), *generator.convs]


def code_change(
    generator: Generator, w: Tensor, guides: Sequence[Guide], steps: int, rate: float = 0.01, noise: Noise = "const"
) -> Tensor:
    """How much each layer's code moves when codes are moved towards the target text: (L,), mean |Δw|.

    Args:
        w: codes of the mapping network, (B, D).
        steps: of plain gradient descent on Σ weight · (1 - cos(image, target text)).
    """
    start = w.detach()[:, None].repeat(1, generator.n_latent, 1)
    change = torch.zeros_like(start)  # kept by itself: it is far smaller than what a code is rounded to
    for _ in range(steps):
        moved = (start + change).requires_grad_()
        with torch.enable_grad():
            images = generator.synthesis(moved, noise)
            parts = [g.weight * text_distance(g.features(images), g.target).mean() for g in guides]
            (gradient,) = torch.autograd.grad(torch.stack(parts).sum(), moved)
        change = change - rate * gradient
    return change.abs().mean((0, 2))


def chosen(change: Tensor, k: int) -> Tensor:
    """Indices of the k layers whose code moved most, the most moved first."""
    return change.topk(min(k, len(change))).indices


def directional(guides: Sequence[Guide], before: Tensor, after: Tensor) -> Tensor:
    """Σ weight · mean(1 - cos(ΔI, ΔT)) (its equation 3) of the frozen generator's pictures and the trained one's."""
    parts = []
    for guide in guides:
        with torch.no_grad():
            source = guide.features(before)
        parts.append(guide.weight * direction_loss(source, guide.features(after), guide.direction))
    return torch.stack(parts).sum()


@dataclass(frozen=True)
class Adapting:
    """How a generator is adapted.

    Attributes:
        k: layers that train in a step; 0 for all convolutions in every step, without a selection.
        select_steps, select_rate: of the layer selection.
        lr: before the factor 4/5 that StyleGAN2 has for its lazy regularisation, which is not run here.
        published: the authors' list of layers (`layers_of`).
        unchosen: what Adam hears of layers that do not train in a step: nothing ("dropped", as torch does today), or
            zeros, which it counts and averages ("zeroed", as with the authors' torch 1.7).
        noise: of both generators; the same, so that the pictures differ by the adaptation alone.
        strengths: whether the strength of that noise trains too, as its authors let it; grain is the first thing that a
            small CLIP likes.
    """

    k: int = 0
    select_steps: int = 1
    select_rate: float = 0.01
    lr: float = 0.002
    published: bool = False
    unchosen: Unchosen = "dropped"
    noise: Noise = "const"
    strengths: bool = True


@dataclass(frozen=True)
class Adapted:
    """What a step did: its loss before it, mean |Δw| of every layer (L,), the layers that trained, most moved first."""

    loss: float
    change: Tensor | None
    layers: list[int]


def adapt(
    frozen: Generator,
    trained: Generator,
    codes: Callable[[int], Tensor],
    guides: Sequence[Guide],
    how: Adapting,
    select: Callable[[int], Tensor] | None = None,
) -> Iterator[Adapted]:
    """Train a copy of a generator (in place), for ever; yields after every step.

    Args:
        codes: step (from 0) → W codes (B, D) or W+ codes (B, L, D) of the frozen mapping network.
        select: step → W codes (B, D) that layers are chosen on.
    """
    layers = layers_of(trained, how.published)
    weights = list(trained.parameters())
    optimizer = torch.optim.Adam(weights, lr=how.lr * 4 / 5, betas=(0.0, 0.99 ** (4 / 5)))
    step = 0
    while True:
        change, picked = None, list(range(len(layers)))
        if how.k > 0 and select is not None:
            trained.requires_grad_(False)
            change = code_change(trained, select(step), guides, how.select_steps, how.select_rate, how.noise)
            picked = chosen(change[: len(layers)], how.k).tolist()
        trained.requires_grad_(False)
        for index in picked:
            layers[index].requires_grad_(True)
        if not how.strengths:
            for name, weight in trained.named_parameters():
                if name.endswith("noise.weight"):
                    weight.requires_grad_(False)
        optimizer.zero_grad(set_to_none=True)
        if how.unchosen == "zeroed":
            for weight in weights:
                weight.grad = torch.zeros_like(weight)
        with torch.no_grad():
            w = codes(step)
            before = frozen.synthesis(w, how.noise)
        with torch.enable_grad():
            loss = directional(guides, before, trained.synthesis(w, how.noise))
            loss.backward()
        optimizer.step()
        step += 1
        yield Adapted(float(loss.detach()), change, picked)


def between(frozen: Generator, trained: Generator, share: float) -> Generator:
    """A generator whose weights lie between two, or beyond: 0 is the frozen one, 1 the trained one."""
    made = copy.deepcopy(frozen)
    ends = dict(trained.named_parameters())
    with torch.no_grad():
        for name, weight in made.named_parameters():
            weight.lerp_(ends[name], share)
    return made


# Of the domain

STEPS, BATCH, PICTURES = 100, 4, 64
DEFAULT = Adapting(lr=0.03, strengths=False)
KNOB = Knob(
    "adaptation", 1.0, (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5), "how far the weights go from the frozen generator"
)


class AdaptedGenerator(Fitted):
    """A picture's inversion, drawn by an adapted generator."""

    def __init__(self, trained: Generator, domain: Domain) -> None:
        self.trained, self.domain = trained.requires_grad_(False), domain

    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """See `Fitted`; nothing is drawn at random.

        Raises:
            SddError: a share of the adaptation that is not finite.
        """
        share = KNOB.default if knob is None else float(knob)
        if not math.isfinite(share):
            raise SddError(f"the share of the adaptation must be a finite number, not {share}; 1 is all of it")
        backbone = self.domain.stylegan
        codes = codes_of(images, backbone)
        return framed(drawn(codes, between(backbone.generator, self.trained, share).synthesis, backbone), images)

    def unedited(self, images: Tensor) -> Tensor:
        """What the generator makes of pictures that nobody edits, (B, 3, H, W)."""
        return reconstructed(images, self.domain.stylegan)

    def learned(self) -> dict[str, Tensor]:
        """See `Fitted`: the weights that differ from the domain's generator."""
        ours = dict(self.domain.generator.named_parameters())
        weights = self.trained.named_parameters()
        return {name: w.detach() for name, w in weights if not torch.equal(w, ours[name])}


class NADA(Method):
    """See the module."""

    card = Card(
        name="stylegan-nada",
        title="StyleGAN-NADA",
        paper="Gal et al., 2021, arXiv 2108.00946",
        needs=("generator", "clip"),
        trains="the generator",
        calls="1 encoder + 1 generator",
        licence="MIT; its StyleGAN2 files NVIDIA's",
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
        """See `Method`; without a source prompt the source text is the templates' own.

        Raises:
            SddError: what was learned is not of this domain's generator.
        """
        target = asked(prompt)
        frozen = domain.generator
        trained = copy.deepcopy(frozen)
        if learned is not None:
            return AdaptedGenerator(_filled(trained, learned), domain)
        clip = clip_of(domain, models, self.card.name)
        codes = training_codes(domain, PICTURES, seed)
        random = torch.Generator().manual_seed(seed)
        batches = [torch.randperm(len(codes), generator=random)[:BATCH] for _ in range(STEPS)]
        guide = guide_of(clip, target, source_prompt)
        steps = adapt(
            frozen, trained, lambda i: codes[batches[i].to(codes.device)], [guide], DEFAULT,
            lambda i: codes[batches[i].to(codes.device)].mean(1),
        )  # fmt: skip
        for done, _ in zip(range(STEPS), steps, strict=False):
            report(f"adapt the generator to {target!r}", done + 1, STEPS)
        return AdaptedGenerator(trained, domain)


def guide_of(clip: Clip, target: str, source: str) -> Guide:
    """What a CLIP wants where a picture is to go from one text to another."""
    ends = template_features(clip, source), template_features(clip, target)
    return Guide(clip.features, text_direction(*ends), clip.texts([target]))


def _filled(generator: Generator, learned: dict[str, Tensor]) -> Generator:
    """A generator with the weights that were learned in their places."""
    weights = dict(generator.named_parameters())
    with torch.no_grad():
        for name, tensor in learned.items():
            if name not in weights or weights[name].shape != tensor.shape:
                raise SddError(f"the adapted generator does not fit this domain's in {name!r}; train it again here")
            weights[name].copy_(tensor)
    return generator


METHOD = NADA()
