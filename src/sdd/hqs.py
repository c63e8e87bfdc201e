"""The hybrid quality score of each timestep for a prompt (arXiv 2307.08448, Equations 8–12), and what it selects.

For a source image y and the teacher's gradient d_t(y, γ) on its latent (8), with n = h·w·c entries:

    p_t = softmax(d_t),  H_t = −Σ p_t log p_t        (9)    low where the gradient is concentrated
    N_t = Σ |d_t|                                    (10)   high where it is strong
    N̄, H̄ = min-max over t, for each image            (11)
    HQS_t = E_y[N̄_t − H̄_t]                           (12)   in [−1, 1]

Entropies are computed in float64 and kept as their deficit log n − H_t, which for small gradients is far below float32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd import guidance
from sdd.device import check_seed
from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.teachers.protocol import Teacher


STRATEGIES = ("largest", "above:0.5", "random", "list:700,750")


def entropy_deficit(d: Tensor) -> Tensor:
    """log n − H(softmax(d)) for each sample: (B, …) → (B,) float64, at least 0 up to rounding; Equation 9.

    With d centred, log n − H = E_p[d] − log mean(exp d): no two nearly equal numbers are subtracted.
    """
    x = d.double().flatten(1)
    x = x - x.mean(1, keepdim=True)
    top = x.amax(1, keepdim=True)
    p = torch.softmax(x, 1)
    large = (p * x).sum(1) - (torch.exp(x - top).mean(1).log() + top[:, 0])
    mean = torch.expm1(x).mean(1)  # log1p of it keeps every digit of a small deficit
    small = (x * torch.exp(x)).mean(1) / (1 + mean) - torch.log1p(mean)
    return torch.where(top[:, 0] < 0.5, small, large)


def strength(d: Tensor) -> Tensor:
    """N = Σ |d| for each sample: (B, …) → (B,) float64; Equation 10."""
    return d.double().flatten(1).abs().sum(1)


def min_max(x: Tensor) -> Tensor:
    """Each row of (N, T) to [0, 1]; Equation 11. A row that does not vary becomes zeros."""
    low, high = x.min(1, keepdim=True).values, x.max(1, keepdim=True).values
    return torch.where(high > low, (x - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny), torch.zeros_like(x))


def published_deficit(gradient: Tensor) -> Tensor:
    """log(H·W) minus `published_entropy`, without the rounding that float32 gives it: (B, C, H, W) → (B,) float64."""
    return entropy_deficit(gradient.double().abs().mean(1))


def published_entropy(gradient: Tensor) -> Tensor:
    """The score of the paper's released code, to compare with: the gradient on the *image* (B, C, H, W) → (B,) float64.

    Not Equation 9: the entropy of a softmax over pixels of the channel mean of |gradient|. That code sums it over
    the batch.
    """
    return math.log(gradient.shape[-2] * gradient.shape[-1]) - published_deficit(gradient)


@dataclass(frozen=True)
class HQS:
    """Scores of `timesteps` (T,) for `prompt`: `deficit` = log n − H_t and `norm` = N_t, (N, T), rows are images."""

    prompt: str
    timesteps: tuple[int, ...]
    deficit: Tensor
    norm: Tensor
    entries: int  # n = h·w·c
    scale: float

    @property
    def norm_bar(self) -> Tensor:
        """N̄ averaged over images, (T,)."""
        return min_max(self.norm).mean(0)

    @property
    def entropy_bar(self) -> Tensor:
        """H̄ averaged over images, (T,). Min-max of the entropy is one minus min-max of its deficit."""
        flat = self.deficit.max(1, keepdim=True).values <= self.deficit.min(1, keepdim=True).values
        return torch.where(flat, torch.zeros_like(self.deficit), 1 - min_max(self.deficit)).mean(0)

    @property
    def score(self) -> Tensor:
        """HQS (T,) float64; Equation 12."""
        return self.norm_bar - self.entropy_bar

    def timestep_set(self, strategy: str) -> list[int]:
        """The timesteps a strategy selects; see `timestep_set`."""
        return timestep_set(self, strategy)

    def to_json(self) -> str:
        """As JSON text; the summary curves are included for readers that do not compute them."""
        return json.dumps(
            {
                "prompt": self.prompt,
                "scale": self.scale,
                "entries": self.entries,
                "timesteps": list(self.timesteps),
                "hqs": self.score.tolist(),
                "norm_bar": self.norm_bar.tolist(),
                "entropy_bar": self.entropy_bar.tolist(),
                "norm": self.norm.tolist(),
                "deficit": self.deficit.tolist(),
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> HQS:
        """Inverse of `to_json`.

        Raises:
            SddError: the text is not such JSON.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            norm, deficit = (torch.tensor(raw[k], dtype=torch.float64) for k in ("norm", "deficit"))
            steps = tuple(int(t) for t in raw["timesteps"])
            if norm.shape != deficit.shape or norm.ndim != 2 or norm.shape[1] != len(steps):
                raise ValueError("lengths differ")
            return cls(str(raw["prompt"]), steps, deficit, norm, int(raw["entries"]), float(raw["scale"]))
        except (ValueError, KeyError, TypeError) as error:
            raise SddError(f"this is not a saved HQS curve ({error}); make one with `sdd search`") from error

    def plot(self, path: str | Path) -> None:
        """Draw the curve with N̄ and H̄ (the paper's Figure 4) as a PNG."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        from sdd.io.files import atomic_path

        figure = Figure(figsize=(7, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.plot(self.timesteps, self.score, "k-o", markersize=4, linewidth=2, label="HQS = N̄ − H̄")
        axes.plot(self.timesteps, self.norm_bar, "C0--", label="N̄ (strength of the gradient)")
        axes.plot(self.timesteps, self.entropy_bar, "C1--", label="H̄ (its entropy)")
        best = int(self.score.argmax())
        axes.axvline(self.timesteps[best], color="0.7", linestyle=":", label=f"largest: t = {self.timesteps[best]}")
        axes.set(xlabel="timestep t", title=f"“{self.prompt}”, {len(self.norm)} source images")
        axes.legend(fontsize=8)
        with atomic_path(path) as aside:
            figure.savefig(aside, format="png", dpi=120)


def default_timesteps(count: int) -> tuple[int, ...]:
    """Every 20th part of the schedule, both ends left out: 50, 100, …, 950 of 1000."""
    step = max(1, count // 20)
    return tuple(range(step, count - step // 2, step))


@torch.no_grad()
def search(
    teacher: Teacher,
    images: Tensor,
    prompt: str,
    timesteps: Sequence[int] | None = None,
    *,
    scale: float = 7.5,
    seed: int = 0,
    batch: int = 64,
    progress: bool = True,
) -> HQS:
    """Score every timestep for `prompt` on source `images` (N, 3, H, W) in [−1, 1].

    d_t is the paper's gradient (`guidance.sds`) on the source's latent. An image's noise depends on `seed` and the
    image alone and is the same at every t, so that neither the batch size, the order, the other images nor the other
    timesteps change its row.

    Raises:
        SddError: no images, a seed or a timestep that is none, or an image or a gradient that is not finite.
    """
    check_seed(seed)
    count = teacher.num_timesteps
    steps = tuple(timesteps) if timesteps is not None else default_timesteps(count)
    if len(images) == 0 or not steps:
        raise SddError("the search needs at least one source image and one timestep")
    if not all(hasattr(t, "__index__") for t in steps):
        raise SddError(f"timesteps are whole numbers, as in 700, 750, not {', '.join(map(repr, steps[:5]))}")
    if any(not 0 <= t < count for t in steps):
        raise SddError(f"timesteps lie between 0 and {count - 1}, not {min(steps)}…{max(steps)}")
    if not bool(torch.isfinite(images).all()):
        raise SddError("a source image holds values that are not finite; images lie between -1 and 1")
    latents = torch.cat([teacher.encode_image(part, sample=False) for part in images.split(batch)])
    shape = latents.shape[1:]
    noise = torch.stack([torch.randn(shape, generator=_random(seed, image)) for image in images]).to(latents)
    null, text = teacher.encode_text([""]), teacher.encode_text([prompt])
    pairs = [(i, j) for j in range(len(steps)) for i in range(len(latents))]
    deficit = torch.zeros(len(latents), len(steps), dtype=torch.float64)
    norm = torch.zeros_like(deficit)
    from rich.progress import track

    starts = range(0, len(pairs), batch)
    for start in track(starts, f"HQS of {prompt!r}", disable=not progress, transient=True):
        part = pairs[start : start + batch]
        index = torch.tensor([i for i, _ in part], device=latents.device)
        t = torch.tensor([steps[j] for _, j in part], device=latents.device)
        noisy = teacher.add_noise(latents[index], noise[index], t)
        eps_null, eps_text = (teacher.predict_noise(noisy, t, c.repeat(len(part))) for c in (null, text))
        weight = guidance.weight(teacher.alphas_cumprod, t).to(latents)
        d = guidance.sds(eps_null, eps_text, noise[index], weight, scale)
        if not bool(torch.isfinite(d).all()):
            raise SddError("the teacher's prediction is not finite: broken weights, or too low a precision")
        for (i, j), h, n in zip(part, entropy_deficit(d.cpu()).tolist(), strength(d.cpu()).tolist(), strict=True):
            deficit[i, j], norm[i, j] = h, n
    return HQS(prompt, steps, deficit, norm, int(torch.Size(shape).numel()), scale)


def _random(seed: int, image: Tensor) -> torch.Generator:
    """A generator for an image: of its mean to three digits, which another machine's rounding does not change."""
    return torch.Generator().manual_seed((seed * 1_000_003 + round(1000 * float(image.cpu().double().mean()))) % 2**63)


def timestep_set(hqs: HQS | None, strategy: str, count: int = 1000) -> list[int]:
    """The timesteps to train at, for a schedule of `count`.

    `largest`: the one with the largest HQS. `above:ξ`: all with HQS > ξ (S of the paper). `random`: every timestep of
    [20, 980] (of 1000), whatever the HQS says (the paper's ablation). `list:700,750`: just those.

    Raises:
        SddError: an unknown strategy, one that selects nothing, or scores that are flat or not finite.
    """
    kind, _, rest = strategy.partition(":")
    if kind == "list":
        try:
            steps = [int(part) for part in rest.split(",")]
        except ValueError:
            raise SddError(f"{strategy!r} should list whole numbers, as in list:700,750") from None
        if any(not 0 <= t < count for t in steps):
            raise SddError(f"{strategy!r} holds a timestep outside 0…{count - 1}")
        return steps
    if kind == "random" and not rest:
        return list(range(count // 50, count - count // 50 + 1)) if count >= 50 else list(range(count))
    if hqs is not None and kind in ("largest", "above"):
        _check_says_something(hqs)
    if hqs is not None and kind == "largest" and not rest:
        return [hqs.timesteps[int(hqs.score.argmax())]]
    if hqs is not None and kind == "above":
        try:
            threshold = float(rest)
        except ValueError:
            raise SddError(f"{strategy!r} should hold a number, as in above:0.5") from None
        chosen = [t for t, score in zip(hqs.timesteps, hqs.score.tolist(), strict=True) if score > threshold]
        if not chosen:
            most = float(hqs.score.max())
            raise SddError(f"no timestep has an HQS above {threshold:g}; the largest is {most:.2f}: take 'largest'")
        return chosen
    if hqs is None and kind in ("largest", "above"):
        raise SddError(f"the strategy {strategy!r} needs a search first")
    raise SddError(f"unknown strategy {strategy!r}; strategies are {', '.join(STRATEGIES)}")


def _check_says_something(hqs: HQS) -> None:
    """Raise SddError if the scores cannot choose between timesteps."""
    score = hqs.score
    if not bool(torch.isfinite(hqs.norm + hqs.deficit).all()):
        raise SddError(
            f"the hybrid quality score of {hqs.prompt!r} is not a number at some timesteps, as broken weights or half "
            f"precision make it; search again in float32, or give timesteps yourself, as in list:700"
        )
    if len(score) > 1 and float(score.max()) == float(score.min()):
        raise SddError(
            f"the hybrid quality score of {hqs.prompt!r} is the same at every timestep, as when the teacher cannot see "
            f"the pictures or the prompt; use words that it knows, or give timesteps yourself, as in list:700"
        )
