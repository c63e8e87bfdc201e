"""The teacher: a frozen text-to-image latent diffusion model, behind three questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts: `embeds` (B, L, D), and what else an architecture wants (B, …)."""

    embeds: Tensor
    extras: dict[str, Tensor] = field(default_factory=dict)

    def repeat(self, n: int) -> Conditioning:
        """Each prompt n times, the whole list over and over: (B, …) → (n·B, …)."""
        return Conditioning(
            self.embeds.repeat(n, 1, 1), {k: v.repeat(n, *[1] * (v.ndim - 1)) for k, v in self.extras.items()}
        )

    @staticmethod
    def cat(conditions: Sequence[Conditioning]) -> Conditioning:
        """One list of prompts after the other."""
        keys = conditions[0].extras
        return Conditioning(
            torch.cat([c.embeds for c in conditions]), {k: torch.cat([c.extras[k] for c in conditions]) for k in keys}
        )


class Teacher(Protocol):
    """What the method asks of a teacher.

    Attributes:
        name: where it came from.
        image_size: side of the pictures it is asked about, pixels; by default what it was trained on.
        latent_shape: (C, h, w).
        num_timesteps: T.
        alphas_cumprod: ᾱ_t, (T,) float64.
    """

    name: str
    image_size: int
    latent_shape: tuple[int, int, int]
    num_timesteps: int
    alphas_cumprod: Tensor

    def encode_image(
        self, images: Tensor, sample: bool | Tensor = True, generator: torch.Generator | None = None
    ) -> Tensor:
        """Images (B, 3, H, W) in [−1, 1], any size → latents (B, C, h, w); differentiable.

        With `sample` the posterior is sampled, otherwise its mean is taken; noise (B, C, h, w) says with which.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) → images (B, 3, S, S), S = `image_size`, about [−1, 1], not clamped; differentiable."""
        ...

    def encode_text(self, prompts: Sequence[str]) -> Any:
        """Prompts → their conditioning; "" is the null prompt."""
        ...

    def predict_noise(self, latents: Tensor, t: Tensor, condition: Any) -> Tensor:
        """ε_θ(x_t, t, γ): noisy latents (B, C, h, w), timesteps (B,) → noise (B, C, h, w)."""
        ...

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) ε."""
        ...

    def unknown_words(self, prompt: str) -> list[tuple[str, list[str]]]:
        """Words of the prompt the teacher has never seen, each with the nearest it has."""
        ...


def predict(teacher: Teacher, asked: Sequence[tuple[Tensor, Any]], t: Tensor) -> Sequence[Tensor]:
    """The teacher's noise for several (noisy latents, condition) in one call, all at timesteps t (B,).

    A condition is of one prompt, or of B of them.
    """
    latents = torch.cat([noisy for noisy, _ in asked])
    condition = type(asked[0][1]).cat([c.repeat(len(t)) for _, c in asked])
    return teacher.predict_noise(latents, t.repeat(len(asked)), condition).chunk(len(asked))
