"""StyleCLIP's global directions (Patashnik et al., ICCV 2021, arXiv 2103.17249, Section 6): one direction of StyleSpace
for a text, put together from the channels that move CLIP's features the way the text does.

Plain functions of tensors and numbers: `sdd.methods.channels.single_channel` and `relevance` (what each channel means),
`text_direction`, `scores`, `boundary` (the direction at β), `automatic_beta`, `edited` (codes along it).
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import normalize

from sdd.domains.domain import Domain
from sdd.domains.embedded import weights_folder
from sdd.errors import SddError
from sdd.io import zoo
from sdd.io.checkpoints.hash import generator_hash
from sdd.io.files import write_bytes
from sdd.io.progress import Report, silent
from sdd.manipulators.inversion import batch_size
from sdd.methods.channels import movable, relevance, single_channel
from sdd.methods.clip import Clip, asked, clip_of
from sdd.methods.inverted import codes_of, drawn, framed, reconstructed, training_codes
from sdd.methods.models import Models
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.methods.templates import template_features
from sdd.nets.levels import is_rgb


def text_direction(target: Tensor, neutral: Tensor) -> Tensor:
    """The unit direction (D,) from a neutral text to the one asked for.

    Unlike `sdd.nets.clip_direction.text_direction` each text's mean over templates is normalised before they are
    subtracted.

    Args:
        target, neutral: features of the texts in every template, (T, D), not normalised.
    """
    ends = [normalize(normalize(text, dim=-1).mean(0), dim=0) for text in (target, neutral)]
    return normalize(ends[0] - ends[1], dim=0)


def scores(relevance: Tensor, direction: Tensor) -> Tensor:
    """How much each channel moves CLIP's features along a direction (D,): (K,) in [-1, 1]."""
    return relevance @ direction


def boundary(scores: Tensor, std: Tensor, channels: Tensor, beta: float) -> Tensor:
    """The direction of an edit in units of the code, (C,): 0 in every channel that is not relevant enough.

    Args:
        scores: of the channels that may move, (K,). channels: which those are, (K,).
        std: standard deviation of every channel, (C,).
        beta: below this |score| a channel does not move.

    Raises:
        SddError: no channel is relevant enough.
    """
    kept = torch.where(scores.abs() < beta, torch.zeros_like(scores), scores)
    largest = kept.abs().max()
    if not float(largest) > 0:
        raise SddError(
            f"no channel of the generator moves CLIP's features along this text by {beta:g}; the most relevant has "
            f"{float(scores.abs().max()):.3f}, so choose a smaller beta or other words"
        )
    whole = torch.zeros_like(std)
    whole[channels] = kept / largest
    return whole * std


def automatic_beta(scores: Tensor, more_than: int) -> float:
    """The largest of 0.10, 0.11 … 0.29 that leaves more than so many channels; 0.1 where none does.

    The published script asks for more than 20 channels for faces and 100 for anything else.
    """
    for hundredths in range(29, 9, -1):
        if int((scores.abs() >= hundredths / 100).sum()) > more_than:
            return hundredths / 100
    return 0.1


def edited(codes: Tensor, boundary: Tensor, alphas: Tensor) -> Tensor:
    """Codes (N, C) moved along a boundary (C,) by each of `alphas` (A,): (N, A, C)."""
    return codes[:, None] + alphas[:, None] * boundary


# Of the domain

PICTURES = 6  # at which channels are looked at
STATISTICS = 256  # pictures of which the channels' mean and standard deviation are taken
MORE_THAN = 20  # channels that an automatic beta leaves
KNOB = Knob("alpha", 4.0, (0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0), "how far along the direction the code goes")


def styles_of(codes: Tensor, domain: Domain) -> Tensor:
    """StyleSpace codes (N, C) of W+ codes (N, L, D)."""
    return torch.cat([style.flatten(1) for style in domain.generator.styles(codes)], 1)


def draw(styles: Tensor, domain: Domain) -> Tensor:
    """Pictures (N, 3, S, S) of StyleSpace codes (N, C)."""
    generator = domain.generator
    return generator.synthesis_from_styles(list(styles.split(generator.style_dims, 1)))


class Channels:
    """What is known of a generator's channels.

    Attributes:
        relevance: (K, D). channels: which those are, (K,). std: of every channel, (C,).
    """

    def __init__(self, relevance: Tensor, std: Tensor, domain: Domain) -> None:
        dims = domain.generator.style_dims
        self.channels = movable(dims, [is_rgb(i) for i in range(len(dims))])
        self.relevance, self.std = relevance, std


def key_of(domain: Domain, clip: Clip) -> str:
    """Names the two networks that statistics of channels belong to."""
    return f"{domain.stylegan.generator_hash[:24]}-{generator_hash(clip.net)[:24]}"


def channels_of(domain: Domain, clip: Clip, seed: int, report: Report) -> Channels:
    """The channels of a domain's generator as a CLIP sees them: those that come with it or were kept, else looked at.

    Raises:
        SddError: the domain has no generator, or no pictures.
    """
    key = key_of(domain, clip)
    kept = zoo.home() / "channels" / f"{key}.safetensors"
    for path in (weights_folder(domain.name) / "clip" / "channels.safetensors", kept):
        found = _read(path, key)
        if found is not None:
            return Channels(found["relevance"].float(), found["std"].float(), domain)
    made = look(domain, clip, seed, report)
    _keep(kept, key, made)
    return made


@torch.no_grad()
def look(domain: Domain, clip: Clip, seed: int, report: Report, pictures: int = PICTURES) -> Channels:
    """Look at every channel on some of the domain's training pictures."""
    styles = styles_of(training_codes(domain, STATISTICS, seed), domain)
    mean, std = styles.mean(0), styles.std(0)
    made = Channels(torch.empty(0), std, domain)
    total = len(made.channels)

    def features(codes: Tensor) -> Tensor:
        parts = codes.split(batch_size(domain.stylegan))
        return torch.cat([clip.features(draw(part, domain).clamp(-1, 1)) for part in parts])

    made.relevance = relevance(
        single_channel(
            styles[:pictures], mean, std, made.channels, features,
            advance=lambda done: report("look at the generator's channels", done, total),
        )
    )  # fmt: skip
    return made


def _read(path: Path, key: str) -> dict[str, Tensor] | None:
    """Kept channels; None where there are none of these networks, or the file was damaged."""
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("of") != key:
                return None
            return {name: file.get_tensor(name) for name in ("relevance", "std")}
    except (OSError, SafetensorError):
        return None


def _keep(path: Path, key: str, made: Channels) -> None:
    try:  # a convenience: a full or read-only disk must not stop an edit
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"relevance": made.relevance.contiguous(), "std": made.std.contiguous()}
        write_bytes(path, save(tensors, {"of": key}))
    except (OSError, SddError):
        return


class Direction(Fitted):
    """A direction (C,) of StyleSpace."""

    def __init__(self, direction: Tensor, domain: Domain) -> None:
        self.direction, self.domain = direction, domain

    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """See `Fitted`; nothing is drawn at random.

        Raises:
            SddError: an alpha that is not finite.
        """
        alpha = KNOB.default if knob is None else float(knob)
        if not math.isfinite(alpha):
            raise SddError(f"alpha must be a finite number, not {alpha}; {KNOB.default:g} is usual")
        codes = codes_of(images, self.domain.stylegan)
        with torch.no_grad():
            moved = edited(styles_of(codes, self.domain), self.direction, torch.tensor([alpha]).to(codes))[:, 0]
        return framed(drawn(moved, lambda part: draw(part, self.domain), self.domain.stylegan), images)

    def unedited(self, images: Tensor) -> Tensor:
        """What the generator makes of pictures that nobody edits, (B, 3, H, W)."""
        return reconstructed(images, self.domain.stylegan)

    def learned(self) -> dict[str, Tensor]:
        """See `Fitted`."""
        return {"direction": self.direction}


class GlobalDirection(Method):
    """See the module."""

    card = Card(
        name="styleclip-global",
        title="StyleCLIP, global direction",
        paper="Patashnik et al., 2021, arXiv 2103.17249",
        needs=("generator", "clip"),
        trains="",
        calls="1 encoder + 1 generator",
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
        """See `Method`; without a source prompt the neutral text is the templates' own.

        Raises:
            SddError: no channel is relevant enough.
        """
        target = asked(prompt)
        if learned is not None and learned.get("direction") is not None:
            return Direction(learned["direction"].to(domain.stylegan.latent_mean), domain)
        clip = clip_of(domain, models, self.card.name)
        known = channels_of(domain, clip, seed, report)
        direction = text_direction(template_features(clip, target), template_features(clip, source_prompt))
        found = scores(known.relevance.to(direction), direction)
        return Direction(boundary(found, known.std.to(found), known.channels, automatic_beta(found, MORE_THAN)), domain)


METHOD = GlobalDirection()
