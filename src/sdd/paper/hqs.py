"""The hybrid quality score of each timestep for a prompt (arXiv 2307.08448, Equations 9–12). Pure functions.

For a source image y and the teacher's gradient d_t(y, γ) on it (8; `sdd.paper.search`), with n = H·W·C entries:

    p_t = softmax(d_t),  H_t = −Σ p_t log p_t        (9)    low where the gradient is concentrated
    N_t = Σ |d_t|                                    (10)   high where it is strong
    N̄, H̄ = min-max over t, for each image            (11)
    HQS_t = E_y[N̄_t − H̄_t]                           (12)   in [−1, 1]

Entropies are computed in float64 and kept as their deficit log n − H_t, which for small gradients is far below float32.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sdd.errors import SddError


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


@dataclass(frozen=True)
class HQS:
    """Scores of `timesteps` (T,) for `prompt`.

    Attributes:
        deficit: log n − H_t, (N, T) float64; rows are images.
        norm: N_t, (N, T) float64.
        entries: n = H·W·C.
        scale: of the classifier-free guidance; 1 is the conditional prediction, as in Equation 8.
        gradient: where it was taken, "image" (Equation 8) or "latent".
        weighted: whether it was times w(t).
    """

    prompt: str
    timesteps: tuple[int, ...]
    deficit: Tensor
    norm: Tensor
    entries: int
    scale: float = 1.0
    gradient: str = "image"
    weighted: bool = False

    @property
    def norm_bar(self) -> Tensor:
        """N̄ averaged over images, (T,)."""
        return min_max(self.norm).mean(0)

    @property
    def entropy_bar(self) -> Tensor:
        """H̄ averaged over images, (T,)."""
        return self._entropies.mean(0)

    @property
    def _entropies(self) -> Tensor:
        """H̄ of each image, (N, T): min-max of the entropy is one minus min-max of its deficit."""
        flat = self.deficit.max(1, keepdim=True).values <= self.deficit.min(1, keepdim=True).values
        return torch.where(flat, torch.zeros_like(self.deficit), 1 - min_max(self.deficit))

    @property
    def score(self) -> Tensor:
        """HQS (T,) float64; Equation 12."""
        return self.norm_bar - self.entropy_bar

    @property
    def of_each(self) -> Tensor:
        """N̄ − H̄ of each image, (N, T) float64; their mean is the score."""
        return min_max(self.norm) - self._entropies

    def to_json(self) -> str:
        """As JSON text; the summary curves are included for readers that do not compute them."""
        return json.dumps(
            {
                "prompt": self.prompt,
                "scale": self.scale,
                "gradient": self.gradient,
                "weighted": self.weighted,
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
            return cls(
                str(raw["prompt"]),
                steps,
                deficit,
                norm,
                int(raw["entries"]),
                float(raw["scale"]),
                str(raw["gradient"]),
                bool(raw["weighted"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise SddError(f"this is not a saved HQS curve ({error}); make one with `sdd search`") from error
