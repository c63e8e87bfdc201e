"""Teachers that match a flow: Stable Diffusion 3 and Flux, seen as variance-preserving ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.errors import SddError
from sdd.teachers.latent import LatentTeacher
from sdd.teachers.protocol import Conditioning


class FlowMatching(LatentTeacher):
    """Teachers that predict the velocity v = ε − x₀ at x_σ = (1 − σ) x₀ + σ ε; see the head of this file.

    Attributes:
        sigmas: σ_t, (T,) float64, rising to 1; shifted as the model's own sampler shifts them.
    """

    def _schedule(self, config: Any) -> None:
        if "num_train_timesteps" not in config or "shift" not in config:
            raise SddError(
                f"the teacher {self.name} has a {config.get('_class_name')}; a flow-matching one was expected"
            )
        self.num_timesteps = int(config["num_train_timesteps"])
        sigmas = torch.arange(1, self.num_timesteps + 1, dtype=torch.float64) / self.num_timesteps
        shift = 1.0 if config.get("use_dynamic_shifting") else float(config["shift"])
        self.sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
        kept = (1 - self.sigmas) ** 2
        self.alphas_cumprod = kept / (kept + self.sigmas**2)

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """See `Teacher`."""
        raise NotImplementedError

    def _velocity(self, latents: Tensor, sigma: Tensor, condition: Conditioning) -> Tensor:
        """v at x_σ (B, C, h, w) and σ (B,)."""
        raise NotImplementedError

    @torch.no_grad()
    def velocity(self, latents: Tensor, sigma: Tensor, condition: Conditioning) -> Tensor:
        """v = ε − x₀ as the network has it: latents x_σ = (1 − σ) x₀ + σ ε (B, C, h, w) and σ (B,) in (0, 1]."""
        return self._velocity(latents.to(self.dtype), sigma, condition).to(latents.dtype)

    @torch.no_grad()
    def predict_noise(self, latents: Tensor, t: Tensor, condition: Conditioning) -> Tensor:
        """See `Teacher`. ε = x_σ + (1 − σ) v."""
        sigma = self.sigmas[t.cpu()].to(latents)
        wide = sigma.view(-1, 1, 1, 1)
        flow = latents * ((1 - wide) ** 2 + wide**2).sqrt()
        return flow + (1 - wide) * self.velocity(flow, sigma, condition)


class StableDiffusion3(FlowMatching):
    """Stable Diffusion 3 and 3.5; T5 may be left out of the folder, as its makers allow."""

    def __init__(
        self, name: str, pipeline: Any, device: torch.device, dtype: torch.dtype, image_size: int | None = None
    ) -> None:
        self.net = pipeline.transformer
        config = self.net.config
        super().__init__(
            name, pipeline, self.net, device, dtype, int(config.sample_size), image_size, int(config.patch_size)
        )
        self._takes(int(config.in_channels))
        self._schedule(pipeline.scheduler.config)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """See `Teacher`."""
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), None, None, device=self.device, do_classifier_free_guidance=False
        )
        return Conditioning(embeds.float(), {"pooled": pooled.float()})

    def _velocity(self, latents: Tensor, sigma: Tensor, condition: Conditioning) -> Tensor:
        out: Tensor = self.net(
            hidden_states=latents,
            timestep=1000 * sigma,
            encoder_hidden_states=condition.embeds.to(self.dtype),
            pooled_projections=condition.extras["pooled"].to(self.dtype),
        ).sample
        return out


class Flux(FlowMatching):
    """Flux.1: 2×2 patches of latents as tokens. Where guidance is distilled in, 1 is asked for: the method adds it."""

    SIDE = 128  # of the latents; the transformer's config does not say

    def __init__(
        self, name: str, pipeline: Any, device: torch.device, dtype: torch.dtype, image_size: int | None = None
    ) -> None:
        self.net = pipeline.transformer
        super().__init__(name, pipeline, self.net, device, dtype, self.SIDE, image_size, 2)
        self._takes(int(self.net.config.in_channels) // 4)
        self._schedule(pipeline.scheduler.config)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """See `Teacher`."""
        embeds, pooled, _ = self.pipeline.encode_prompt(list(prompts), None, device=self.device)
        return Conditioning(embeds.float(), {"pooled": pooled.float()})

    def _velocity(self, latents: Tensor, sigma: Tensor, condition: Conditioning) -> Tensor:
        text = condition.embeds.to(self.dtype)
        tokens = F.pixel_unshuffle(latents, 2)
        rows, columns = tokens.shape[-2:]
        places = torch.cartesian_prod(torch.arange(1), torch.arange(rows), torch.arange(columns)).to(latents)
        out = self.net(
            hidden_states=tokens.flatten(2).transpose(1, 2),
            timestep=sigma.to(self.dtype),
            guidance=torch.ones_like(sigma) if self.net.config.guidance_embeds else None,
            pooled_projections=condition.extras["pooled"].to(self.dtype),
            encoder_hidden_states=text,
            txt_ids=text.new_zeros(text.shape[1], 3),
            img_ids=places,
        ).sample
        return F.pixel_shuffle(out.transpose(1, 2).unflatten(2, (rows, columns)), 2)
