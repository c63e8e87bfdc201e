"""Null-text inversion (arXiv 2211.09794) with prompt-to-prompt (arXiv 2208.01626): the picture is inverted under a
prompt that describes it, the null prompt's embedding is optimised until guided sampling returns it, and then the target
prompt is sampled beside the source's under attention control.

The computations, as functions that know no network; `predict` is (latents, timestep, embeddings (B, L, D)) → noise:

    timesteps, levels         which timesteps n steps visit, and ᾱ at each of them and before the first
    move                      one DDIM step (eta 0) between two ᾱ, either way
    invert                    the latents of every step, from the picture up, under the source prompt
    optimise_null             the null embeddings, one a step (section 3.2)
    generate                  guided sampling with them; under attention control where one is given
    attention                 the control of a source and a target prompt (`attention_control`, `alignment`)

Inversion and sampling are matched pairs: each step's noise is that of its noisier timestep, so that they are inverse
but for the noise's change with the latents. Timesteps begin at 1 and the level before them is ᾱ₀.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd.domains.embedded import EMBEDDED
from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.methods import alignment
from sdd.methods.alignment import Bounds, Tokens
from sdd.methods.attention_control import Blend, Control, controlled, refined, replaced, reweighted
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.nets.resize import resize
from sdd.teachers.latent import LatentDiffusion
from sdd.teachers.protocol import Conditioning

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models

Predictor = Callable[[Tensor, int, Tensor], Tensor]  # latents, timestep, embeddings → noise; differentiable

OFFSET = 1  # of the timesteps
RATE, EPSILON, PATIENCE = 1e-2, 1e-5, 2e-5  # the optimiser's rate, and below which loss it stops at the first step,
INNER = 10  # rising by PATIENCE a step; and how often it moves at each
BATCH = 16  # pictures that are optimised side by side


def timesteps(total: int, steps: int) -> list[int]:
    """The timesteps of `steps` steps out of `total`, ascending: 1, 1 + total // steps, ….

    Raises:
        SddError: more steps than timesteps, or none.
    """
    if not 1 <= steps <= total:
        raise SddError(f"there can be between 1 and {total} steps, not {steps}")
    return [k * (total // steps) + OFFSET for k in range(steps)]


def levels(alphas_cumprod: Tensor, visited: Sequence[int]) -> list[float]:
    """ᾱ before the first timestep (that of timestep 0), and at each: one more than `visited`."""
    return [float(alphas_cumprod[0]), *(float(alphas_cumprod[t]) for t in visited)]


def move(x: Tensor, noise: Tensor, here: float, there: float) -> Tensor:
    """DDIM's step without noise (arXiv 2010.02502, equation 12, eta 0) between two values of ᾱ, up or down."""
    clean = (x - (1 - here) ** 0.5 * noise) / here**0.5
    return there**0.5 * clean + (1 - there) ** 0.5 * noise


@torch.no_grad()
def invert(predict: Predictor, latents: Tensor, source: Tensor, abar: Tensor, steps: int) -> list[Tensor]:
    """The latents of a picture at every level, from the clean ones up: steps + 1 of (B, C, h, w).

    Args:
        latents: (B, C, h, w). source: embedding of the prompt that describes them, (B, L, D). abar: ᾱ, (T,).
    """
    visited = timesteps(len(abar), steps)
    at = levels(abar, visited)
    states = [latents]
    for k, t in enumerate(visited):
        states.append(move(states[-1], predict(states[-1], t, source), at[k], at[k + 1]))
    return states


@dataclass(frozen=True)
class Optimised:
    """What `optimise_null` finds, by step from the noisiest.

    Attributes:
        embeddings: of the null prompt, each (B, L, D).
        losses: of each step a list of (B,), measured before each of the optimiser's moves; NaN where a picture's had
            stopped. rates: of learning.
        latents: what the last step arrives at, (B, C, h, w): the reconstruction.
    """

    embeddings: list[Tensor]
    losses: list[list[Tensor]]
    rates: list[float]
    latents: Tensor


def optimise_null(
    predict: Predictor, states: Sequence[Tensor], source: Tensor, null: Tensor, abar: Tensor, scale: float, *,
    inner: int = INNER, epsilon: float = EPSILON, report: Report = silent,
) -> Optimised:  # fmt: skip
    """Embeddings of the null prompt with which guided sampling follows an inversion back.

    At each step a fresh Adam of rate 0.01 (1 − k/100) moves the last step's embedding until the step's end, compared
    with the inversion's latents, is below epsilon + 2e-5 k in mean square, and at most `inner` times. Every picture has
    an embedding of its own, and its own loss; none depends on the others of its batch.

    Args:
        states: of `invert`. source: embedding, (B, L, D). null: the null prompt's, (1, L, D) or (B, L, D).
        scale: of guidance; pictures are then to be edited at the same one.
    """
    steps = len(states) - 1
    visited = timesteps(len(abar), steps)
    at = levels(abar, visited)
    x, current = states[-1], null.detach().expand(len(source), -1, -1).clone()
    embeddings, losses, rates = [], [], []
    for k in range(steps):
        level = steps - k
        t, wanted = visited[level - 1], states[level - 1]
        rate = RATE * (1 - k / 100)
        with torch.no_grad():
            told = predict(x, t, source)
        step = partial(_guided_step, predict, x, t, told, scale, at[level], at[level - 1])
        current, found = _moved(step, current, wanted, rate, inner, epsilon + PATIENCE * k)
        with torch.no_grad():
            x = step(current)
        embeddings.append(current)
        losses.append(found)
        rates.append(rate)
        report("null text", k + 1, steps)
    return Optimised(embeddings, losses, rates, x)


def _guided_step(
    predict: Predictor, x: Tensor, t: int, told: Tensor, scale: float, here: float, there: float, null: Tensor
) -> Tensor:
    empty = predict(x, t, null)
    return move(x, empty + scale * (told - empty), here, there)


def _moved(
    step: Callable[[Tensor], Tensor], start: Tensor, wanted: Tensor, rate: float, inner: int, enough: float
) -> tuple[Tensor, list[Tensor]]:
    """The embedding after one step's optimisation, and its losses."""
    embedding = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([embedding], lr=rate)
    active = torch.ones(len(start), dtype=torch.bool, device=start.device)
    losses = []
    for _ in range(inner):
        with torch.enable_grad():
            each = (step(embedding) - wanted).square().flatten(1).mean(1)
            (embedding.grad,) = torch.autograd.grad(each.sum(), [embedding])
        before = embedding.detach().clone()
        optimizer.step()
        with torch.no_grad():
            embedding.copy_(torch.where(active[:, None, None], embedding, before))
        losses.append(torch.where(active, each.detach(), torch.nan))
        active = active & (each.detach() >= enough)
        if not active.any():
            break
    return embedding.detach(), losses


@torch.no_grad()
def generate(
    predict: Predictor, start: Tensor, prompts: Tensor, nulls: Sequence[Tensor], abar: Tensor, scale: float,
    control: Control | None = None, report: Report = silent,
) -> Tensor:  # fmt: skip
    """Guided sampling from one picture's noisiest latents under several prompts, with a null embedding a step.

    Args:
        start: (1, C, h, w), or (P, C, h, w). prompts: embeddings, (P, L, D), the source's first where there is a
            control. nulls: of each step, (1, L, D) or (P, L, D).
        control: set on the network already (`attention_control.controlled`); it is told of each step.

    Returns:
        Latents (P, C, h, w).
    """
    steps, many = len(nulls), len(prompts)
    visited = timesteps(len(abar), steps)
    at = levels(abar, visited)
    x = start.expand(many, -1, -1, -1)
    for k, null in enumerate(nulls):
        level = steps - k
        both = torch.cat([null.expand(many, -1, -1), prompts])
        empty, told = predict(x.repeat(2, 1, 1, 1), visited[level - 1], both).chunk(2)
        x = move(x, empty + scale * (told - empty), at[level], at[level - 1])
        if control is not None:
            x = control.after(x)
        report("editing", k + 1, steps)
    return x


def attention(
    source: Tokens, target: Tokens, steps: int, length: int, *, cross: float | Mapping[str, Bounds] = 0.8,
    self_share: float = 0.5, replace: bool | None = None, weights: Mapping[str, float] | None = None,
    blend: tuple[Sequence[str], Sequence[str]] | None = None, published: bool = False,
) -> Control:  # fmt: skip
    """The attention control of a target prompt beside its source.

    Args:
        length: tokens of an embedding, padding included.
        cross: shares of the steps with the source's cross-attention (`alignment.time_shares`).
        self_share: share of the steps with the source's self-attention.
        replace: whether words are replaced, else added and left out; None where there are as many in both.
        weights: of words of the target. blend: words of the source and of the target between which latents are blended.
        published: align as the authors' code does (`alignment`).

    Raises:
        SddError: a word that is not there, or prompts of which words cannot be replaced.
    """
    if replace if replace is not None else len(source.words) == len(target.words):
        transform = replaced(alignment.replacement(source, target, length, published)[None])
    else:
        index, alphas = alignment.refinement(source, target, length, published)
        transform = refined(index[None], alphas[None])
    if weights:
        transform = reweighted(alignment.equalizer(target, weights, length, published), transform)
    found = None
    if blend is not None:
        words = torch.zeros(2, length)
        for row, prompt, named in ((0, source, blend[0]), (1, target, blend[1])):
            for word in named:
                words[row, alignment.word_tokens(prompt, word, published)] = 1
        found = Blend(words)
    shares = alignment.time_shares([target], steps, cross, length, published)
    return Control(transform, shares, int(steps * self_share), found)


# --- The method ------------------------------------------------------------------------------------------------------


class Network:
    """A teacher as `predict` wants it: differentiable in the embeddings, which hold all that a prompt tells it.

    Where a U-Net is told more than a sequence (the pooled text of SD XL), that is further rows of the embedding.

    Args:
        teacher: a Stable Diffusion 1, 2 or XL.
    """

    def __init__(self, teacher: LatentDiffusion) -> None:
        self.teacher = teacher
        self.shapes: dict[str, int] = {}
        self.length = 0

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings of prompts, (B, L, D), in float32."""
        found = self.teacher.encode_text(prompts)
        self.length, width = found.embeds.shape[1:]
        self.shapes = {name: value.shape[1] for name, value in found.extras.items()}
        rows = [found.embeds]
        for value in found.extras.values():
            padded = torch.nn.functional.pad(value, (0, -value.shape[1] % width))
            rows.append(padded.unflatten(1, (-1, width)))
        return torch.cat(rows, 1)

    def predict(self, latents: Tensor, t: int, embeddings: Tensor) -> Tensor:
        """The noise in latents (B, C, h, w) at a timestep, (B, C, h, w)."""
        teacher, extras, row = self.teacher, {}, self.length
        for name, size in self.shapes.items():
            rows = -(-size // embeddings.shape[2])
            extras[name] = embeddings[:, row : row + rows].flatten(1)[:, :size]
            row += rows
        told = Conditioning(embeddings[:, : self.length], extras)
        text, x = told.embeds.to(teacher.dtype), latents.to(teacher.dtype)
        at = torch.full((len(x),), t, device=x.device)
        out = teacher.unet(x, at, text, **teacher._extras(told)).sample.to(latents.dtype)
        if teacher.prediction == "v_prediction":
            a = float(teacher.alphas_cumprod[t])
            out = a**0.5 * out + (1 - a) ** 0.5 * latents
        return out


@dataclass(frozen=True)
class Inverted:
    """Pictures (B, 3, H, W) and what was found for them.

    Attributes:
        start: the noisiest latents, (B, C, h, w). nulls: the null embedding of each step, (B, L, D).
        latents: what guided sampling under the source prompt returns, (B, C, h, w).
    """

    images: Tensor
    start: Tensor
    nulls: list[Tensor]
    latents: Tensor


class Controlled(Fitted):
    """A source and a target prompt.

    Args:
        network: the teacher. source, target: prompts. options: of the method.
    """

    def __init__(self, network: Network, source: str, target: str, options: Options) -> None:
        self.network, self.source, self.target, self.options = network, source, target, options
        self.prompts = network.encode([source, target])
        self.null = network.encode([""])
        self.tokens = [alignment.tokens(network.teacher.tokenizer, text) for text in (source, target)]
        self._last: Inverted | None = None

    def inverted(self, images: Tensor, report: Report = silent) -> Inverted:
        """What an edit of pictures starts from; that of the last pictures is kept."""
        if self._last is None or self._last.images.shape != images.shape or not self._last.images.equal(images):
            parts, found = images.split(BATCH), []
            for b, part in enumerate(parts):

                def told(what: str, done: int, total: int, b: int = b) -> object:
                    return report(what, b * total + done, len(parts) * total)

                found.append(self._inverted(part, told))
            nulls = [torch.cat(same) for same in zip(*(one.nulls for one in found), strict=True)]
            start, latents = (torch.cat([getattr(one, name) for one in found]) for name in ("start", "latents"))
            self._last = Inverted(images.clone(), start, nulls, latents)
        return self._last

    def _inverted(self, images: Tensor, report: Report) -> Inverted:
        network, options = self.network, self.options
        abar = network.teacher.alphas_cumprod
        source = self.prompts[:1].expand(len(images), -1, -1)
        states = invert(network.predict, self._latents(images), source, abar, options.steps)
        found = optimise_null(
            network.predict, states, source, self.null, abar, options.scale, inner=options.inner, report=report
        )
        return Inverted(images, states[-1], found.embeddings, found.latents)

    @torch.no_grad()
    def _latents(self, images: Tensor) -> Tensor:
        teacher = self.network.teacher
        return teacher.encode_image(images.to(teacher.device), sample=False).float()

    def unedited(self, images: Tensor) -> Tensor:
        """What the teacher's autoencoder alone makes of pictures, of their size."""
        return self._drawn(self._latents(images), images)

    def reconstruct(self, images: Tensor, report: Report = silent) -> Tensor:
        """What guided sampling under the source prompt returns, (B, 3, H, W): the picture, if all is well."""
        return self._drawn(self.inverted(images, report).latents, images)

    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """See `Fitted`; the knob is the share of the steps that are sampled without the source's self-attention.

        Raises:
            SddError: a share outside [0, 1].
        """
        share = CARD.knob.default if knob is None else knob
        if not 0 <= share <= 1:
            raise SddError(f"the free share of {CARD.name} lies between 0 and 1, not {share:g}")
        kept, network, options = self.inverted(images, report), self.network, self.options
        cross = min(1.0, options.cross * (1 - share) / (1 - CARD.knob.default))
        source, target = self.tokens
        latents = []
        for i in range(len(images)):
            control = attention(source, target, options.steps, network.length, cross=cross, self_share=1 - share)
            with controlled(network.teacher.unet, control):
                both = generate(
                    network.predict, kept.start[i : i + 1], self.prompts, [null[i : i + 1] for null in kept.nulls],
                    network.teacher.alphas_cumprod, options.scale, control,
                )  # fmt: skip
            latents.append(both[1:])
            report("editing", i + 1, len(images))
        return self._drawn(torch.cat(latents), images)

    @torch.no_grad()
    def _drawn(self, latents: Tensor, images: Tensor) -> Tensor:
        found = self.network.teacher.decode(latents)
        return resize(found, (images.shape[-2], images.shape[-1])).clamp(-1, 1).to(images)


CARD = Card(
    name="null-text",
    title="Null-text inversion with prompt-to-prompt",
    paper="Mokady et al., CVPR 2023, arXiv 2211.09794; Hertz et al., arXiv 2208.01626",
    needs=("teacher",),
    trains="",
    calls="50 + up to 500 forward and backward + 4 × 50",
    licence="Apache-2.0",
    knob=Knob("free share", 0.5, (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0), "share of the steps with attention of its own"),
)


@dataclass(frozen=True)
class Options:
    """What an edit is made with.

    Attributes:
        steps: of inversion and of sampling. scale: of guidance. inner: the optimiser's moves a step, at most.
        cross: share of the steps with the source's cross-attention, at the knob's default.
    """

    steps: int = 50
    scale: float = 7.5
    inner: int = INNER
    cross: float = 0.8


AVATARS = Options(steps=15, scale=3.0, inner=5)  # for the embedded teacher, chosen on validation people


class NullText(Method):
    """Null-text inversion.

    Args:
        options: None for the authors', or for the embedded teacher what suits it.
    """

    card = CARD

    def __init__(self, options: Options | None = None) -> None:
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
    ) -> Fitted:
        """See `Method`: nothing is trained for a prompt; each picture is optimised when it is edited.

        Raises:
            SddError: no prompt, or a teacher without a U-Net that predicts noise.
        """
        if not prompt.strip():
            raise SddError(f"the method {CARD.name} needs a prompt, such as 'white hair'; give one")
        teacher = _teacher(domain) if models is None else models.get("teacher", CARD.name)
        if not isinstance(teacher, LatentDiffusion):
            raise SddError(
                f"the teacher {teacher.name} has no U-Net whose attention {CARD.name} could control; take a Stable "
                "Diffusion 1, 2 or XL"
            )
        small = domain.name == EMBEDDED and teacher.name == domain.teacher
        return Controlled(Network(teacher), source_prompt, prompt, self.options or (AVATARS if small else Options()))


def _teacher(domain: Domain) -> Any:
    from sdd.teachers.load import load_teacher

    return load_teacher(domain.teacher)


METHOD = NullText()
