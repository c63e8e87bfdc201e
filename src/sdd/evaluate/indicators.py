"""What might tell, before any training, which timesteps teach: a number for each timestep, larger for better.

All are of source pictures and a prompt, free of the answer; each costs a few passes of the teacher a timestep, one of
them a backward pass too.

    HQS, as printed      Equation 12 of the gradient on the image, without w(t) and scale (`sdd.paper.search`)
    N̄, −H̄               its two parts alone
    HQS on latents       as the preset `default` has it
    ‖ε_γ − ε₀‖² dλ       what the prompt changes of the prediction, in the measure of the log-SNR λ = log ᾱ / (1 − ᾱ)
    SNR over draws       ‖mean‖² against the variance of the guidance over draws of noise
    after the Jacobian   power of the guidance's signal in the manipulator's own units (`sdd.beyond.scale.signal`)
    concentration        share of what the prompt changes that lies in its largest tenth of places
    one step ahead       how much a small step along the guidance lowers ‖ε_γ − ε‖² − ‖ε₀ − ε‖² over all timesteps
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdd.beyond.information import log_snr_slope
from sdd.beyond.scale import signal
from sdd.errors import SddError
from sdd.paper.objective import ScoreDistillation
from sdd.paper.search import search
from sdd.teachers.protocol import Teacher, predict
from sdd.training.config import DistillConfig
from sdd.training.making import probe_of

if TYPE_CHECKING:
    from sdd.domains.domain import Domain

NAMES = (
    "HQS, as printed", "N̄", "−H̄", "HQS on latents", "‖ε_γ − ε₀‖² dλ", "SNR over draws", "after the Jacobian",
    "concentration", "one step ahead",
)  # fmt: skip
DRAWS, SCALE, STEP = 4, 5.0, 0.1  # noises a picture, classifier-free scale, length of the step ahead in latents


def indicators(
    domain: Domain, teacher: Teacher, images: Tensor, text: str, timesteps: Sequence[int], seed: int = 0
) -> dict[str, list[float]]:
    """Every indicator of every timestep, by name.

    Args:
        images: sources, (N, 3, S, S) in [-1, 1].
    """
    printed = search(teacher, images, text, timesteps, seed=seed)
    settings = DistillConfig()
    latent = search(
        teacher, images, text, timesteps, gradient="latent", scale=settings.search_scale, weighted=True, seed=seed
    )
    found = {
        "HQS, as printed": printed.score.tolist(), "N̄": printed.norm_bar.tolist(),
        "−H̄": (-printed.entropy_bar).tolist(), "HQS on latents": latent.score.tolist(),
    }  # fmt: skip
    with torch.no_grad():
        z = teacher.encode_image(images, sample=False)
    probe = probe_of(domain, teacher, settings)
    prepared = probe.prepare(images)
    guidance = ScoreDistillation(teacher, text, SCALE)
    asked = _Asked(teacher, text, z, seed)
    for t in timesteps:
        difference, spread = asked.difference(t), asked.spread(t)
        power = difference.square().sum(2).mean(0).flatten(1)  # (N, h w): over draws, summed over channels
        top = power.sort(1, descending=True).values
        random = torch.Generator().manual_seed(seed * 1000 + t)
        try:
            felt = signal(probe, prepared, teacher, guidance, [t], random, len(images), 1)
            after = float(sum(part.clamp_min(0).sum() for part in felt))
        except SddError:  # the teacher sees no difference there
            after = 0.0
        row = {
            "‖ε_γ − ε₀‖² dλ": float(power.sum(1).mean()) * log_snr_slope(teacher.alphas_cumprod, t),
            "SNR over draws": spread,
            "after the Jacobian": after,
            "concentration": float((top[:, : max(1, top.shape[1] // 10)].sum(1) / top.sum(1).clamp_min(1e-30)).mean()),
            "one step ahead": asked.ahead(t, timesteps),
        }
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return found


class _Asked:
    """A teacher's predictions of the same latents with the same noises at any timestep."""

    def __init__(self, teacher: Teacher, text: str, z: Tensor, seed: int) -> None:
        self.teacher, self.z = teacher, z
        self.null, self.text = teacher.encode_text([""]), teacher.encode_text([text])
        random = torch.Generator().manual_seed(seed)
        self.noise = torch.randn(DRAWS, *z.shape, generator=random).to(z)

    @torch.no_grad()
    def predicted(self, z: Tensor, t: int, draw: int) -> tuple[Tensor, Tensor]:
        """ε₀ and ε_γ, (N, C, h, w) each."""
        at = torch.full((len(z),), t, device=z.device)
        noisy = self.teacher.add_noise(z, self.noise[draw], at)
        null, told = predict(self.teacher, [(noisy, self.null), (noisy, self.text)], at)
        return null, told

    def difference(self, t: int) -> Tensor:
        """ε_γ − ε₀ of every draw, (draws, N, C, h, w)."""
        pairs = [self.predicted(self.z, t, draw) for draw in range(DRAWS)]
        self.pairs = {t: pairs}
        return torch.stack([told - null for null, told in pairs])

    def guided(self, t: int) -> Tensor:
        """The guidance ε̂ − ε of every draw, (draws, N, C, h, w)."""
        pairs = self.pairs[t]
        return torch.stack([a + SCALE * (b - a) - e for (a, b), e in zip(pairs, self.noise, strict=True)])

    def spread(self, t: int) -> float:
        """‖mean over draws‖² over the variance, averaged over pictures."""
        g = self.guided(t).double().flatten(2)
        mean = g.mean(0)
        variance = (g - mean).square().sum(2).sum(0) / (DRAWS - 1)
        return float((mean.square().sum(1) / variance.clamp_min(1e-30)).mean())

    def ahead(self, t: int, timesteps: Sequence[int]) -> float:
        """By how much a step of `STEP` (root mean square) against the guidance at t lowers the objective."""
        g = self.guided(t).mean(0)
        unit = g.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
        return self.objective(self.z, timesteps) - self.objective(self.z - STEP * g / unit, timesteps)

    def objective(self, z: Tensor, timesteps: Sequence[int]) -> float:
        """‖ε_γ − ε‖² − ‖ε₀ − ε‖², averaged over pictures and timesteps: low where the prompt explains the picture."""
        total = 0.0
        for t in timesteps:
            null, told = self.predicted(z, t, 0)
            e = self.noise[0]
            total += float(((told - e).square() - (null - e).square()).mean())
        return total / len(timesteps)
