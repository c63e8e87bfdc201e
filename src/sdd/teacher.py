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
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.device import pick_device
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


class _Latent:
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

    def encode_image(self, images: Tensor, sample: bool = True, generator: torch.Generator | None = None) -> Tensor:
        """See `Teacher`. The noise of the posterior is drawn on the CPU, so that it is the same on every device."""
        found = self.vae.encode(resize(images, self.image_size).to(self.vae_dtype))
        if hasattr(found, "latent_dist"):
            posterior = found.latent_dist
            latents = posterior.mean
            if sample:
                noise = torch.randn(posterior.mean.shape, generator=generator, dtype=torch.float32)
                latents = latents + posterior.std * noise.to(latents)
        else:  # AutoencoderTiny has no posterior
            latents = found.latents
        shift = self.vae.config.get("shift_factor") or 0.0
        return ((latents - shift) * self.vae.config["scaling_factor"]).to(images.dtype)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """See `Teacher`."""
        a = self.alphas_cumprod[t.cpu()].to(x0).view(-1, 1, 1, 1)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise

    def unknown_words(self, prompt: str) -> list[tuple[str, list[str]]]:
        """See `Teacher`. Vocabularies of general English (thousands of words) spell every word: they are not asked."""
        vocabulary = self.tokenizer.get_vocab()
        if len(vocabulary) > 5000:
            return []
        known = [token.removesuffix("</w>") for token in vocabulary if token.endswith("</w>") and len(token) > 5]
        asked = re.findall(r"[a-z0-9']+", prompt.lower())
        return [(w, difflib.get_close_matches(w, known, 3)) for w in asked if f"{w}</w>" not in vocabulary]


class LatentDiffusion(_Latent):
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


class _FlowMatching(_Latent):
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

    def _velocity(self, latents: Tensor, sigma: Tensor, condition: Conditioning) -> Tensor:
        """v at x_σ (B, C, h, w) and σ (B,)."""
        raise NotImplementedError

    @torch.no_grad()
    def predict_noise(self, latents: Tensor, t: Tensor, condition: Conditioning) -> Tensor:
        """See `Teacher`. ε = x_σ + (1 − σ) v."""
        sigma = self.sigmas[t.cpu()].to(latents)
        wide = sigma.view(-1, 1, 1, 1)
        flow = latents * ((1 - wide) ** 2 + wide**2).sqrt()
        return flow + (1 - wide) * self._velocity(flow.to(self.dtype), sigma, condition).to(latents.dtype)


class StableDiffusion3(_FlowMatching):
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


class Flux(_FlowMatching):
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


_KINDS: dict[str, type[LatentDiffusion] | type[StableDiffusion3] | type[Flux]] = {
    "StableDiffusionPipeline": LatentDiffusion,
    "StableDiffusionXLPipeline": LatentDiffusionXL,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "FluxPipeline": Flux,
}
_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
_GIVE = "give a diffusers folder, a hub id (owner/name) or a checkpoint file"


def load_teacher(
    name: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    vae: str | Path | None = None,
    image_size: int | None = None,
) -> LatentDiffusion | StableDiffusion3 | Flux:
    """A teacher from a diffusers folder, a hub id, a name of the zoo or a single checkpoint file, frozen, on a device.

    Which kind it is, is read from the pipeline itself. Folders need no network. A single file holds no configuration:
    diffusers takes that from the hub the first time.

    Args:
        vae: another autoencoder (folder or hub id; AutoencoderTiny too) in place of the teacher's own.
        image_size: side to work at, pixels; by default what the teacher was trained on. Smaller is quicker.

    Raises:
        SddError: nothing there, not a diffusion pipeline, or one of an architecture that is not understood.
    """
    import diffusers
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    from sdd.io import zoo

    device = pick_device(device)
    path = Path(name)
    if not path.exists() and str(name) in zoo.ENTRIES:
        path = Path(name := zoo.resolve(str(name)))
    if not path.exists() and not _HUB_ID.fullmatch(str(name)):
        raise SddError(f"there is no teacher at {name}; {_GIVE}")
    logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        if not path.exists():
            _check_hub("the teacher", str(name), "model_index.json")
        kind = _kind_of_file(path) if path.is_file() else _kind_of_pipeline(name)
        if kind not in _KINDS:
            raise SddError(f"the teacher {name} is a {kind}, which is not understood; {', '.join(_KINDS)} are")
        parts: dict[str, Any] = {} if dtype == torch.float32 else {"torch_dtype": dtype}
        if kind == "StableDiffusionPipeline":
            parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        if vae is not None:
            parts["vae"] = _load_vae(vae)
        maker = getattr(diffusers, kind)
        if path.is_file():
            pipeline = maker.from_single_file(str(path), **parts)
        else:
            pipeline = maker.from_pretrained(str(name), use_safetensors=True, **parts)
        missing = [k for k in ("vae", "tokenizer", "text_encoder", "scheduler") if getattr(pipeline, k, None) is None]
        if missing:
            raise SddError(f"the teacher {name} has no {', no '.join(missing)}; take the complete pipeline")
    except SddError:
        raise
    except Exception as error:  # diffusers and the hub raise many kinds; a user needs one sentence
        raise SddError(f"could not load the teacher {name} ({_first_line(error)}); {_GIVE}") from error
    label = str(name) if vae is None else f"{name} with the autoencoder {vae}"
    return _KINDS[kind](label, pipeline, device, dtype, image_size)


def _check_hub(what: str, name: str, file: str) -> None:
    """Raise SddError if `file` of the hub's model `name` is neither in the cache nor to be had: at once, with no retry.

    The file is asked for, not the model: what is gated can be seen by all, and read by those who were let in alone.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        hf_hub_download(name, file, local_files_only=True)
        return
    except LocalEntryNotFoundError:
        pass
    try:
        get_hf_file_metadata(hf_hub_url(name, file))
    except OfflineModeIsEnabled as error:
        raise SddError(
            f"{what} {name} is not in the hub's cache, and HF_HUB_OFFLINE is set; unset it, or give a folder"
        ) from error
    except GatedRepoError as error:
        raise SddError(
            f"{what} {name} is gated: accept its licence on its page, log in with `hf auth login`, and try again"
        ) from error
    except RepositoryNotFoundError as error:
        raise SddError(f"the hub has no model {name}, or it is private; {_GIVE}") from error
    except EntryNotFoundError as error:
        raise SddError(f"the hub's model {name} has no {file}, so that it cannot be {what}; {_GIVE}") from error
    except Exception as error:  # the network's own errors are of many kinds
        raise SddError(
            f"{what} {name} is not here and the hub cannot be reached ({_first_line(error)}); connect to the network, "
            f"or give a folder"
        ) from error


def _kind_of_pipeline(name: str | Path) -> str:
    """The pipeline class that a folder or a hub id names."""
    from diffusers import DiffusionPipeline

    path = Path(name)
    if path.is_dir():
        index = path / "model_index.json"
        if not index.is_file():
            raise SddError(f"the folder {name} is not a teacher: it has no model_index.json; {_GIVE}")
        return str(json.loads(index.read_text())["_class_name"])
    return str(DiffusionPipeline.load_config(str(name))["_class_name"])


def _kind_of_file(path: Path) -> str:
    """The pipeline class a single-file checkpoint belongs to, by the names of its tensors."""
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            names = list(file.keys())
    else:
        names = list(torch.load(path, map_location="meta", weights_only=True, mmap=True).get("state_dict", {}))
    for part, kind in (
        ("conditioner.embedders.1.", "StableDiffusionXLPipeline"),
        ("joint_blocks.0.", "StableDiffusion3Pipeline"),
        ("double_blocks.0.", "FluxPipeline"),
        ("model.diffusion_model.input_blocks.0.", "StableDiffusionPipeline"),
    ):
        if any(part in key for key in names):
            return kind
    raise SddError(f"{path} is not a Stable Diffusion or Flux checkpoint; {_GIVE}")


def _load_vae(name: str | Path) -> Any:
    import diffusers

    if not Path(name).exists() and _HUB_ID.fullmatch(str(name)):
        _check_hub("the autoencoder", str(name), "config.json")
    try:
        config = diffusers.AutoencoderKL.load_config(str(name))
        tiny = config.get("_class_name") == "AutoencoderTiny"
        return (diffusers.AutoencoderTiny if tiny else diffusers.AutoencoderKL).from_pretrained(str(name))
    except Exception as error:
        raise SddError(
            f"could not load the autoencoder {name} ({_first_line(error)}); give a diffusers folder or a hub id"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:200]
