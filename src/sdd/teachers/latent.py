"""The teacher: a frozen text-to-image latent diffusion model, behind three questions.

    latents = teacher.encode_image(images)             differentiable; the guidance's gradient flows back through it
    condition = teacher.encode_text(["white hair"])
    eps = teacher.predict_noise(noisy, t, condition)   never differentiated: the Jacobian of the U-Net is skipped

All of them, the small avatars teacher included, are diffusers pipelines, from a folder, a hub id or a single file:

    LatentDiffusion      Stable Diffusion 1.x and 2.x: ε- or v-prediction
    LatentDiffusionXL    Stable Diffusion XL: two text encoders, pooled text, size conditioning
    StableDiffusion3     flow matching: two CLIPs and T5
    Flux                 flow matching: CLIP and T5, packed latents

Flow models are seen as variance-preserving ones. With x_σ = (1 − σ) x₀ + σ ε and r = √((1 − σ)² + σ²), x_σ / r is
√ᾱ x₀ + √(1 − ᾱ) ε for ᾱ = (1 − σ)² / r², so one schedule, one noising and one weight w(t) = 1 − ᾱ_t serve every
teacher; and since the velocity is v = ε − x₀, the noise is ε = x_σ + (1 − σ) v (arXiv 2210.02747, 2403.03206).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.nets.resize import resize
from sdd.teachers.protocol import Conditioning


class LatentTeacher:
    """What the teachers below share: an autoencoder, a schedule and a vocabulary."""

    num_timesteps: int
    alphas_cumprod: Tensor

    def __init__(
        self,
        name: str,
        pipeline: Any,
        net: Any,
        device: torch.device,
        dtype: torch.dtype,
        side: int,
        image_size: int | None,
        patch: int,
    ) -> None:
        """`side` is that of the latents the net was trained on, `patch` that of a token; `image_size` overrides."""
        self.name, self.pipeline, self.device, self.dtype = name, pipeline, device, dtype
        self.vae, self.tokenizer, self.text_encoder = pipeline.vae, pipeline.tokenizer, pipeline.text_encoder
        config = self.vae.config
        # Some autoencoders overflow in half precision, and say so.
        self.vae_dtype = torch.float32 if dtype == torch.float16 and config.get("force_upcast") else dtype
        self.vae.to(device, self.vae_dtype).eval().requires_grad_(False)
        net.to(device, dtype).eval().requires_grad_(False)
        for key in ("text_encoder", "text_encoder_2", "text_encoder_3"):
            encoder = getattr(pipeline, key, None)
            if encoder is not None:  # T5 keeps some layers in float32, so the precision is left to the loader
                encoder.to(device).eval().requires_grad_(False)
        factor = 2 ** (len(config.get("block_out_channels") or config["encoder_block_out_channels"]) - 1)
        channels = int(config["latent_channels"])
        self.image_size = image_size or side * factor
        if self.image_size % (factor * patch):
            raise SddError(
                f"the teacher {name} works on sides that are multiples of {factor * patch}, not on {self.image_size}"
            )
        self.latent_shape = (channels, self.image_size // factor, self.image_size // factor)

    def _takes(self, channels: int) -> None:
        if channels != self.latent_shape[0]:
            raise SddError(
                f"the teacher {self.name} takes {channels} channels and its autoencoder gives {self.latent_shape[0]}; "
                "inpainting and depth models, and autoencoders of other families, cannot be used"
            )

    def encode_image(
        self, images: Tensor, sample: bool | Tensor = True, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Teacher`. The noise of the posterior is drawn on the CPU, so that it is the same on every device."""
        found = self.vae.encode(resize(images, self.image_size, antialias=False).to(self.vae_dtype))
        if hasattr(found, "latent_dist"):
            posterior = found.latent_dist
            latents = posterior.mean
            if sample is not False:
                drawn = torch.randn(posterior.mean.shape, generator=generator) if sample is True else sample
                latents = latents + posterior.std * drawn.to(latents)
        else:  # AutoencoderTiny has no posterior
            latents = found.latents
        shift = self.vae.config.get("shift_factor") or 0.0
        return ((latents - shift) * self.vae.config["scaling_factor"]).to(images.dtype)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Teacher`."""
        shift = self.vae.config.get("shift_factor") or 0.0
        raw = latents / self.vae.config["scaling_factor"] + shift
        return self.vae.decode(raw.to(self.vae_dtype)).sample.to(latents.dtype)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """See `Teacher`."""
        a = self.alphas_cumprod[t.cpu()].to(x0).view(-1, 1, 1, 1)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise

    def unknown_words(self, prompt: str) -> list[tuple[str, list[str]]]:
        """See `Teacher`. Vocabularies of general English (thousands of words) and of bytes, which do not tell
        where a word ends, spell every word: they are not asked. A single letter is the tokenizer's, not a word.
        """
        vocabulary = self.tokenizer.get_vocab()
        if len(vocabulary) > 5000 or not any(str(token).endswith("</w>") for token in vocabulary):
            return []
        known = [token.removesuffix("</w>") for token in vocabulary if token.endswith("</w>") and len(token) > 5]
        asked = re.findall(r"[a-z0-9']+", prompt.lower())
        return [
            (w, difflib.get_close_matches(w, known, 3)) for w in asked if len(w) < 2 or f"{w}</w>" not in vocabulary
        ]


class LatentDiffusion(LatentTeacher):
    """Stable Diffusion 1.x and 2.x and what is built like them: one CLIP text encoder, ε- or v-prediction."""

    def __init__(
        self, name: str, pipeline: Any, device: torch.device, dtype: torch.dtype, image_size: int | None = None
    ) -> None:
        self.unet = pipeline.unet
        super().__init__(name, pipeline, self.unet, device, dtype, int(self.unet.config.sample_size), image_size, 1)
        self._takes(int(self.unet.config.in_channels))
        alphas = getattr(pipeline.scheduler, "alphas_cumprod", None)
        self.prediction = pipeline.scheduler.config.get("prediction_type", "epsilon")
        if alphas is None or self.prediction not in ("epsilon", "v_prediction"):
            raise SddError(
                f"the teacher {name} predicts {self.prediction!r} under {type(pipeline.scheduler).__name__}; "
                "epsilon and v_prediction under a DDPM schedule are understood"
            )
        self.alphas_cumprod = alphas.double()
        self.num_timesteps = len(self.alphas_cumprod)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """See `Teacher`."""
        length = min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)
        found = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        mask = None
        if getattr(self.text_encoder.config, "use_attention_mask", False):
            mask = found["attention_mask"].to(self.device)
        return Conditioning(self.text_encoder(found["input_ids"].to(self.device), attention_mask=mask)[0].float())

    def _extras(self, condition: Conditioning) -> dict[str, Any]:
        """What the U-Net takes beside the text."""
        return {}

    @torch.no_grad()
    def predict_noise(self, latents: Tensor, t: Tensor, condition: Conditioning) -> Tensor:
        """See `Teacher`. A v-prediction is turned into noise: ε = √ᾱ v + √(1 − ᾱ) x_t (arXiv 2202.00512)."""
        text = condition.embeds.to(self.dtype)
        out = self.unet(latents.to(self.dtype), t, text, **self._extras(condition)).sample.to(latents.dtype)
        if self.prediction == "v_prediction":
            a = self.alphas_cumprod[t.cpu()].to(latents).view(-1, 1, 1, 1)
            out = a.sqrt() * out + (1 - a).sqrt() * latents
        return out


class LatentDiffusionXL(LatentDiffusion):
    """Stable Diffusion XL: the last but one layers of two CLIPs, the second's pooled text, and the size."""

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """See `Teacher`. Where the pipeline was trained so, the null prompt is zeros."""
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False
        )
        if self.pipeline.config.get("force_zeros_for_empty_prompt"):
            said = torch.tensor([bool(prompt) for prompt in prompts], device=embeds.device)
            embeds, pooled = embeds * said.view(-1, 1, 1), pooled * said.view(-1, 1)
        return Conditioning(embeds.float(), {"pooled": pooled.float()})

    def _extras(self, condition: Conditioning) -> dict[str, Any]:
        side, pooled = float(self.image_size), condition.extras["pooled"].to(self.dtype)
        sizes = pooled.new_tensor([side, side, 0, 0, side, side])  # of the original, the crop's corner, of the target
        return {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes.expand(len(pooled), 6)}}
