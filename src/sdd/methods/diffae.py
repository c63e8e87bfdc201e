"""Diffusion autoencoders (arXiv 2111.15640): a picture is a semantic code and the noise that it denoises from; the code
moves along a direction, the noise stays.

The direction is a linear classifier's (section 5.1, the authors'), or one along which CLIP sees the texts' change
(ours). The computations, as functions; `predict` is (x, timestep, code) → noise:

    linear_abar, timesteps      the schedule, and the timesteps that n steps visit
    encode_stochastic, render   picture → x_T and back, given the semantic code
    moved                       the code moved by a strength along a direction, in the units of the training set's codes
    train_classifier            the authors' attribute classifier
    clip_direction              the direction of codes along which CLIP's scores of texts rise

By default encoding and rendering are matched pairs, so that many steps return the picture. `published=True` does as the
authors' code: x̂₀ is clamped to [−1, 1] and the noise recomputed from it, in encoding too; encoding takes the noise of
the timestep it moves *from*, and ends with a move to ᾱ = 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.methods.clip import clip_of
from sdd.methods.models import Models, is_small
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.nets.diffae import DiffAE, LatentClassifier
from sdd.nets.resize import resize

if TYPE_CHECKING:
    from sdd.domains.domain import Domain

Predictor = Callable[[Tensor, int, Tensor], Tensor]  # x (B, 3, H, W), timestep, code (B, D) → noise

TOTAL = 1000
RATE, DECAY = 1e-3, 0.9999  # of the classifier's Adam, and of its moving average
SEEN = 512  # pictures of the domain that a direction from text is found on
BATCH = 16
PUBLISHED, SMALL = (250, 100), (50, 50)  # steps of encoding and of rendering; SMALL of networks to try things with
USUAL = 1.0  # strength of a small network, whose codes hold less of a picture; the authors' is the knob's default


# --- Both codes ------------------------------------------------------------------------------------------------------


def linear_abar(total: int = TOTAL) -> Tensor:
    """ᾱ of linear betas from 1e-4 to 0.02 of 1000 steps, (total,) float64."""
    scale = 1000 / total
    betas = torch.linspace(scale * 1e-4, scale * 0.02, total, dtype=torch.float64)
    return torch.cumprod(1 - betas, 0)


def timesteps(total: int, steps: int) -> list[int]:
    """0, total / steps, 2 total / steps, …, ascending.

    Raises:
        SddError: the timesteps cannot be divided so.
    """
    if not (1 <= steps <= total and total % steps == 0):
        raise SddError(f"the number of steps divides {total}, as 20, 100 and 250 do, and {steps} does not")
    return list(range(0, total, total // steps))


def _clean(x: Tensor, noise: Tensor, here: float, clamp: bool) -> tuple[Tensor, Tensor]:
    """x̂₀, and the noise that goes with it."""
    clean = (x - (1 - here) ** 0.5 * noise) / here**0.5
    if clamp:
        clean = clean.clamp(-1, 1)
        noise = (x / here**0.5 - clean) / (1 / here - 1) ** 0.5
    return clean, noise


def _at(clean: Tensor, noise: Tensor, there: float) -> Tensor:
    return there**0.5 * clean + (1 - there) ** 0.5 * noise


@torch.no_grad()
def encode_stochastic(
    predict: Predictor, image: Tensor, code: Tensor, abar: Tensor, steps: int, published: bool = False,
    report: Report = silent,
) -> Tensor:  # fmt: skip
    """x_T, the stochastic code (section 3.3): DDIM's step, reversed.

    Args:
        image: (B, 3, H, W) in [-1, 1]. code: (B, D). abar: ᾱ, (T,).
    """
    visited = timesteps(len(abar), steps)
    values = [float(abar[t]) for t in visited]
    x = image
    for k, t in enumerate(visited):
        if published:
            clean, noise = _clean(x, predict(x, t, code), values[k], True)
            x = _at(clean, noise, values[k + 1] if k + 1 < steps else 0.0)
        else:
            clean, noise = _clean(x, predict(x, t, code), values[k - 1] if k else 1.0, False)
            x = _at(clean, noise, values[k])
        report("encoding", k + 1, steps)
    return x


@torch.no_grad()
def render(
    predict: Predictor, x_T: Tensor, code: Tensor, abar: Tensor, steps: int, published: bool = False,
    report: Report = silent,
) -> Tensor:  # fmt: skip
    """The picture of both codes, (B, 3, H, W), about [-1, 1]: DDIM without noise, down to ᾱ = 1."""
    visited = timesteps(len(abar), steps)
    values = [1.0, *(float(abar[t]) for t in visited)]
    x = x_T
    for k in reversed(range(steps)):
        clean, noise = _clean(x, predict(x, visited[k], code), values[k + 1], published)
        x = _at(clean, noise, values[k])
        report("rendering", steps - k, steps)
    return x


# --- Directions ------------------------------------------------------------------------------------------------------


def moved(code: Tensor, direction: Tensor, strength: float, mean: Tensor, std: Tensor) -> Tensor:
    """Codes moved along a direction: by strength · √D of its unit vector, in units of the training set's deviations.

    Args:
        code: (B, D). direction: in normalised codes, (D,), of any length. mean, std: of the training set's codes.
    """
    step = strength * direction.numel() ** 0.5 * F.normalize(direction.flatten(), dim=0)
    return ((code - mean) / std + step) * std + mean


@dataclass(frozen=True)
class Learned:
    """A classifier trained on codes, and its moving average; losses are those before each step."""

    classifier: nn.Linear
    average: nn.Linear
    losses: list[float]


def train_classifier(
    batches: Sequence[tuple[Tensor, Tensor]], mean: Tensor, std: Tensor, weight: Tensor, bias: Tensor,
    rate: float = RATE, decay: float = DECAY, report: Report = silent,
) -> Learned:  # fmt: skip
    """The authors' attribute classifier: linear on normalised codes, Adam, binary cross-entropy over batch and classes.

    Their notebook edits along the weights, not along their moving average.

    Args:
        batches: codes (B, D), not normalised, and labels (B, classes), above 0 where an attribute is there; one a step.
        weight, bias: to start from, (classes, D) and (classes,).
    """
    net, average = (nn.Linear(weight.shape[1], weight.shape[0]).to(weight) for _ in range(2))
    for one in (net, average):
        one.load_state_dict({"weight": weight, "bias": bias})
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    losses = []
    with torch.enable_grad():
        for k, (codes, labels) in enumerate(batches):
            loss = F.binary_cross_entropy_with_logits(net((codes - mean) / std), (labels > 0).to(codes))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            with torch.no_grad():
                for mine, own in zip(average.parameters(), net.parameters(), strict=True):
                    mine.copy_(decay * mine + (1 - decay) * own)
            report("classifier", k + 1, len(batches))
    return Learned(net.requires_grad_(False), average.requires_grad_(False), losses)


def clip_direction(codes: Tensor, images: Tensor, texts: Tensor, ridge: float = 0.1) -> Tensor:
    """The direction of normalised codes along which pictures come nearer to the second text and farther from the first.

    Ridge regression of the difference of both cosines on the codes: with it, what any of them tells is used once.

    Args:
        codes: normalised, (N, D). images: CLIP features of the same pictures, (N, E). texts: of both, (2, E).
        ridge: of the codes' variance, which is 1.

    Returns:
        (D,), of unit length.
    """
    source, target = F.normalize(texts, dim=1)
    scores = F.normalize(images, dim=1) @ (target - source)
    scores = ((scores - scores.mean()) / scores.std().clamp_min(1e-8)).to(codes)
    centred = codes - codes.mean(0)
    gram = centred.T @ centred / len(codes) + ridge * torch.eye(codes.shape[1]).to(codes)
    return F.normalize(torch.linalg.solve(gram, centred.T @ scores / len(codes)), dim=0)


# --- The method ------------------------------------------------------------------------------------------------------


class Sees(Protocol):
    """A CLIP: features of pictures (B, 3, H, W) in [-1, 1] and of texts, (…, E), not normalised."""

    def features(self, images: Tensor) -> Tensor: ...

    def texts(self, texts: Sequence[str]) -> Tensor: ...


@dataclass(frozen=True)
class Autoencoder:
    """A diffusion autoencoder and what is known of its codes.

    Attributes:
        net: the network. size: side of its pictures, None where any will do.
        mean, std: of the training set's codes, (D,); None where they have to be measured.
        classifier: of attributes; `classes` names its rows as "attribute=value".
    """

    net: DiffAE
    size: int | None = None
    mean: Tensor | None = None
    std: Tensor | None = None
    classifier: LatentClassifier | None = None
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: Any) -> Autoencoder:
        """Of what `sdd.io.load` makes of a checkpoint, or one that is made already."""
        if isinstance(found, Autoencoder):
            return found
        statistics = {
            name: found.config[key].flatten()
            for name, key in (("mean", "conds_mean"), ("std", "conds_std"))
            if key in found.config
        }
        classifier = found.parts.get("classifier")
        classes = tuple(found.config.get("classes", ()))
        return cls(found.module, found.config.get("image_size"), classifier=classifier, classes=classes, **statistics)

    @classmethod
    def load(cls, path: str | Path) -> Autoencoder:
        """Of a file: one of `to_bytes`, or a checkpoint of the authors'.

        Raises:
            SddError: neither, or damaged.
        """
        from safetensors import SafetensorError, safe_open

        import sdd.io

        try:
            with safe_open(path, "pt") as file:
                config = json.loads((file.metadata() or {}).get("diffae", "null"))
                # Half precision on disk, float32 in memory.
                tensors = {k: file.get_tensor(k).float() for k in file.keys()} if config else {}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError):
            config = None
        if config is None:
            return cls.of(sdd.io.load(path))
        try:
            net = DiffAE(**config["net"])
            net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
            classifier = LatentClassifier(int(config["net"]["code"]), len(config["classes"]))
            classifier.classifier.load_state_dict({k: tensors[f"classifier.{k}"] for k in ("weight", "bias")})
            found = cls(
                net.eval().requires_grad_(False), config["size"], tensors["mean"], tensors["std"],
                classifier.requires_grad_(False), tuple(config["classes"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise SddError(
                f"{path} is a damaged diffusion autoencoder ({str(error)[:150]}); make it again: "
                "python -m recipes.diffae"
            ) from error
        return found

    def to_bytes(self) -> bytes:
        """As a safetensors file in half precision.

        Raises:
            ValueError: the codes' statistics or the classifier are missing.
        """
        from safetensors.torch import save

        if self.mean is None or self.std is None or self.classifier is None:
            raise ValueError("an autoencoder is saved with its statistics and its classifier")
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"classifier.{k}": v for k, v in self.classifier.classifier.state_dict().items()}
        tensors |= {"mean": self.mean, "std": self.std}
        config = {"net": self.net.config(), "size": self.size, "classes": list(self.classes)}
        return save({k: v.half().contiguous() for k, v in tensors.items()}, {"diffae": json.dumps(config)})

    def small(self) -> bool:
        """Whether it has fewer than ten million weights: a network to try things with."""
        return is_small(self.net)

    def predict(self, x: Tensor, t: int, code: Tensor) -> Tensor:
        """Noise, as the functions of this file ask for it."""
        noise: Tensor = self.net(x, t, code)
        return noise

    def resized(self, images: Tensor) -> Tensor:
        """Pictures of the side that the network knows."""
        return images if self.size is None else resize(images, self.size)

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """Semantic codes, (B, D)."""
        return torch.cat([self.net.encode(self.resized(part)) for part in images.split(BATCH)])


class Moving(Fitted):
    """An autoencoder and a direction.

    Args:
        direction: in normalised codes, (D,). mean, std: of the codes. steps: of encoding and of rendering.
    """

    def __init__(
        self, auto: Autoencoder, direction: Tensor, mean: Tensor, std: Tensor, steps: tuple[int, int], published: bool
    ) -> None:
        self.auto, self.direction, self.mean, self.std = auto, direction, mean, std
        self.steps, self.published = steps, published
        self.abar = linear_abar()

    def unedited(self, images: Tensor) -> Tensor:
        """The pictures through both codes, of their size."""
        return self.edit(images, 0.0)

    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """See `Fitted`; the knob is the strength, by default `USUAL` for a small network."""
        usual = USUAL if self.auto.small() else CARD.knob.default
        strength = usual if knob is None else knob
        found, parts = [], images.split(BATCH)
        for b, part in enumerate(parts):
            small, total = self.auto.resized(part), sum(self.steps)

            def tell(done: int, b: int = b, total: int = total) -> None:
                report("editing", b * total + done, len(parts) * total)

            code = self.auto.codes(small)
            x = encode_stochastic(
                self.auto.predict, small, code, self.abar, self.steps[0], self.published, lambda _, k, __: tell(k)
            )
            x = render(
                self.auto.predict, x, moved(code, self.direction, strength, self.mean, self.std), self.abar,
                self.steps[1], self.published, lambda _, k, __: tell(self.steps[0] + k),
            )  # fmt: skip
            found.append(resize(x, (images.shape[-2], images.shape[-1])).clamp(-1, 1))
        return torch.cat(found)

    def learned(self) -> dict[str, Tensor]:
        """See `Fitted`."""
        return {"direction": self.direction, "mean": self.mean, "std": self.std}


CARD = Card(
    name="diffae",
    title="Diffusion autoencoder: the semantic code moved along a direction",
    paper="Preechakul et al., CVPR 2022, arXiv 2111.15640",
    needs=("diffae",),
    trains="a direction of 512 numbers",
    calls="250 + 100",
    licence="MIT",
    knob=Knob("strength", 0.3, (0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5), "how far the code moves, in deviations · √D"),
)


class DiffusionAutoencoder(Method):
    """DiffAE.

    Args:
        steps: of encoding and of rendering; None for `PUBLISHED`, and `SMALL` where the network has fewer than ten
            million weights. published: encode and render as the authors' code does.
    """

    card = CARD

    def __init__(self, steps: tuple[int, int] | None = None, published: bool = False) -> None:
        self.steps, self.published = steps, published

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
        """See `Method`: the direction is the classifier's of an attribute that the prompt names, else CLIP's.

        Raises:
            SddError: no autoencoder, or an attribute that no classifier knows and no CLIP to find it with.
        """
        auto = _embedded(domain) if models is None else Autoencoder.of(models.get("diffae", CARD.name))
        steps = self.steps or (SMALL if auto.small() else PUBLISHED)
        if learned is not None:
            return Moving(auto, learned["direction"], learned["mean"], learned["std"], steps, self.published)
        mean, std = auto.mean, auto.std
        row = _row(auto, prompt)
        images = codes = None
        if row is None or mean is None or std is None:
            images = domain.images(SEEN, seed)
            codes = auto.codes(images)
        if mean is None or std is None:
            assert codes is not None
            mean, std = codes.mean(0), codes.std(0)
        if row is not None:
            assert auto.classifier is not None
            direction = auto.classifier.classifier.weight[row].detach()
        else:
            assert images is not None and codes is not None
            clip = clip_of(domain, models, CARD.name)
            direction = _seen(clip, images, (codes - mean) / std, source_prompt, prompt)
        return Moving(auto, direction, mean, std, steps, self.published)


def _embedded(domain: Domain) -> Autoencoder:
    """The autoencoder that comes with the embedded domain.

    Raises:
        SddError: another domain, or its weights are not there.
    """
    from sdd.domains.embedded import EMBEDDED, weights_folder

    path = weights_folder(EMBEDDED) / "diffae.safetensors"
    if domain.name != EMBEDDED or not path.exists():
        raise SddError(
            f"the method {CARD.name} needs a diffusion autoencoder, and the domain {domain.name!r} has none; give one "
            "with --diffae, or make that of the avatars: python -m recipes.diffae"
        )
    return Autoencoder.load(path)


def _row(auto: Autoencoder, prompt: str) -> int | None:
    """The classifier's row of the attribute that a prompt names."""
    from sdd.domains.avatars.meaning import meaning

    if auto.classifier is None:
        return None
    wanted = {f"{name}={value}" for name, value in meaning(prompt).items()} | {prompt.strip()}
    rows = [k for k, name in enumerate(auto.classes) if name in wanted]
    return rows[0] if len(rows) == 1 else None


@torch.no_grad()
def _seen(clip: Sees, images: Tensor, codes: Tensor, source: str, target: str) -> Tensor:
    """The direction that CLIP sees."""
    if not target.strip():
        raise SddError(f"the method {CARD.name} needs a prompt, such as 'white hair'; give one")
    features = torch.cat([clip.features(part) for part in images.split(BATCH)])
    return clip_direction(codes, features, clip.texts([source, target]))


METHOD = DiffusionAutoencoder()
