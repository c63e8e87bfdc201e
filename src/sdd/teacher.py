"""The teacher: a frozen text-to-image latent diffusion model, behind three questions.

    latents = teacher.encode_image(images)             differentiable; the gradient of the guidance flows back through it
    condition = teacher.encode_text(["white hair"])
    eps = teacher.predict_noise(noisy, t, condition)   never differentiated: the Jacobian of the U-Net is skipped

The small avatars teacher and Stable Diffusion are loaded by the same code: a diffusers pipeline, from a folder, a hub id or
a single file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.errors import SddError


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
        image_size: side of the pictures it was trained on, pixels.
        latent_shape: (C, h, w).
        num_timesteps: T.
        alphas_cumprod: ᾱ_t, (T,) float64.
    """

    name: str
    image_size: int
    latent_shape: tuple[int, int, int]
    num_timesteps: int
    alphas_cumprod: Tensor

    def encode_image(self, images: Tensor, sample: bool = True, generator: torch.Generator | None = None) -> Tensor:
        """Images (B, 3, H, W) in [−1, 1], any size → latents (B, C, h, w); differentiable.

        With `sample` the posterior is sampled, otherwise its mean is taken.
        """
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


def resize(images: Tensor, size: int) -> Tensor:
    """Bilinear, without antialiasing, as the paper's code feeds its teacher: (B, 3, H, W) → (B, 3, size, size)."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)


class LatentDiffusion:
    """Stable Diffusion 1.x and 2.x and what is built like them: one CLIP text encoder, ε- or v-prediction."""

    def __init__(self, name: str, pipeline: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.name = name
        self.device, self.dtype = device, dtype
        self.vae, self.unet = pipeline.vae, pipeline.unet
        self.text_encoder, self.tokenizer = pipeline.text_encoder, pipeline.tokenizer
        for net in (self.vae, self.unet, self.text_encoder):
            net.to(device, dtype).eval().requires_grad_(False)
        config = pipeline.scheduler.config
        self.prediction = config.get("prediction_type", "epsilon")
        if self.prediction not in ("epsilon", "v_prediction"):
            raise SddError(f"the teacher {name} predicts {self.prediction!r}; epsilon and v_prediction are understood")
        self.alphas_cumprod = pipeline.scheduler.alphas_cumprod.double()
        self.num_timesteps = len(self.alphas_cumprod)
        factor = 2 ** (len(self.vae.config.get("block_out_channels", self.vae.config.get("encoder_block_out_channels"))) - 1)
        side = int(self.unet.config.sample_size)
        self.image_size = side * factor
        self.latent_shape = (int(self.unet.config.in_channels), side, side)

    def encode_image(self, images: Tensor, sample: bool = True, generator: torch.Generator | None = None) -> Tensor:
        """See `Teacher`."""
        found = self.vae.encode(resize(images, self.image_size).to(self.dtype))
        if hasattr(found, "latent_dist"):
            posterior = found.latent_dist
            latents = posterior.mean
            if sample:
                noise = torch.randn(posterior.mean.shape, generator=generator, dtype=torch.float32)
                latents = latents + posterior.std * noise.to(latents)
        else:  # AutoencoderTiny has no posterior, and its latents are already scaled
            return found.latents.to(images.dtype)
        shift = self.vae.config.get("shift_factor") or 0.0
        return ((latents - shift) * self.vae.config.scaling_factor).to(images.dtype)

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

    @torch.no_grad()
    def predict_noise(self, latents: Tensor, t: Tensor, condition: Conditioning) -> Tensor:
        """See `Teacher`. A v-prediction is turned into noise: ε = √ᾱ v + √(1 − ᾱ) x_t (arXiv 2202.00512)."""
        out = self.unet(latents.to(self.dtype), t, condition.embeds.to(self.dtype)).sample.to(latents.dtype)
        if self.prediction == "v_prediction":
            a = self.alphas_cumprod.to(t.device)[t].to(latents).view(-1, 1, 1, 1)
            out = a.sqrt() * out + (1 - a).sqrt() * latents
        return out

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """See `Teacher`."""
        a = self.alphas_cumprod.to(t.device)[t].to(x0).view(-1, 1, 1, 1)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise

    def unknown_words(self, prompt: str) -> list[tuple[str, list[str]]]:
        """See `Teacher`. Vocabularies of general English (thousands of words) know every spelling, so only small ones are asked."""
        vocabulary = self.tokenizer.get_vocab()
        if len(vocabulary) > 5000:
            return []
        known = [token.removesuffix("</w>") for token in vocabulary if token.endswith("</w>") and len(token) > 5]
        asked = re.findall(r"[a-z0-9']+", prompt.lower())
        return [(w, difflib.get_close_matches(w, known, 3)) for w in asked if f"{w}</w>" not in vocabulary]


def load_teacher(
    name: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    vae: str | Path | None = None,
) -> LatentDiffusion:
    """A teacher from a diffusers folder, a hub id or a single checkpoint file, frozen, on a device.

    Raises:
        SddError: nothing there, not a diffusion pipeline, or one of an architecture that is not understood.
    """
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()
    path = Path(name)
    parts: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    if vae is not None:
        parts["vae"] = _load_vae(vae)
    try:
        if path.is_file():
            pipeline = StableDiffusionPipeline.from_single_file(str(path), **parts)  # type: ignore[no-untyped-call]
        else:
            if not path.is_dir() and (path.is_absolute() or str(name).count("/") != 1):
                raise SddError(f"there is no teacher at {name}; give a diffusers folder, a hub id or a checkpoint file")
            pipeline = StableDiffusionPipeline.from_pretrained(str(name), use_safetensors=True, **parts)
    except SddError:
        raise
    except Exception as error:  # diffusers and the hub raise many kinds; a user needs one sentence
        first = str(error).strip().split("\n")[0][:200]
        raise SddError(f"could not load the teacher {name} ({first}); give a diffusers folder, a hub id or a checkpoint file") from error
    return LatentDiffusion(str(name), pipeline, torch.device(device), dtype)


def _load_vae(name: str | Path) -> Any:
    import json

    from diffusers import AutoencoderKL, AutoencoderTiny

    path = Path(name)
    try:
        config = path / "config.json" if path.is_dir() else None
        kind = json.loads(config.read_text())["_class_name"] if config else "AutoencoderKL"
        return (AutoencoderTiny if kind == "AutoencoderTiny" else AutoencoderKL).from_pretrained(str(name))  # type: ignore[no-untyped-call]
    except Exception as error:
        first = str(error).strip().split("\n")[0][:200]
        raise SddError(f"could not load the autoencoder {name} ({first}); give a diffusers folder or a hub id") from error
