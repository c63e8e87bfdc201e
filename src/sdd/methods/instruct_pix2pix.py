"""InstructPix2Pix (arXiv 2211.09800): a diffusion model that sees the picture and is told what to do to it.

diffusers' `StableDiffusionInstructPix2PixPipeline` with the authors' sampler: its `EulerAncestralDiscreteScheduler`
with `timestep_spacing="linspace"`, whatever the pipeline's own configuration says (`scheduled`, `edited`).

The computations, as functions that know no network:

    sigmas, sigma_to_t        noise levels of n steps and the (unrounded) timestep of each
    combine, denoised         guidance with two scales (equation 3); the guided clean latents at a noise level
    euler_ancestral           k-diffusion's sampler, given the noise of every step
    drop_conditions           dropout of instruction and picture in training
    copied_steps, CopiedAttention, pair
                              the sampler of training pairs: two captions, one noise, self-attention copied
    clip_view, similarities, kept
                              the CLIP filter of training pairs

The conditioning picture is the autoencoder's mode, *not scaled*: the released weights were trained so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.nets.clip_pixels import pixels
from sdd.nets.resize import resize

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models

# Noisy latents, timestep (may be between two whole ones), text, picture or None → noise
Predictor = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Denoiser = Callable[[Tensor, Tensor], Tensor]  # noisy latents, sigma → clean latents

TEXT_SCALE, STEPS = 7.5, 100  # the authors'
BATCH = 16
# The authors' thresholds of the filter: captions, direction, pictures.
CAPTION, DIRECTION, PICTURES, MOST = 0.2, 0.2, 0.7, 4


# --- The sampler -----------------------------------------------------------------------------------------------------


def _log_sigmas(alphas_cumprod: Tensor) -> Tensor:
    a = alphas_cumprod.float()
    return ((1 - a) / a).sqrt().log()


def sigmas(alphas_cumprod: Tensor, steps: int) -> Tensor:
    """Noise levels of `steps` steps and the final 0, (steps + 1,).

    √((1 − ᾱ)/ᾱ) at timesteps from T − 1 to 0 equally far apart, its logarithm linear between whole ones.

    Args:
        alphas_cumprod: ᾱ of every timestep, (T,).
    """
    logs = _log_sigmas(alphas_cumprod)
    t = torch.linspace(len(logs) - 1, 0, steps)
    low, high = t.floor().long(), t.ceil().long()
    share = t.frac()
    found = ((1 - share) * logs[low] + share * logs[high]).exp()
    return torch.cat([found, found.new_zeros(1)])


def sigma_to_t(alphas_cumprod: Tensor, sigma: Tensor) -> Tensor:
    """The timestep of noise levels (N,), between whole ones where the level is: the inverse of `sigmas`."""
    logs, wanted = _log_sigmas(alphas_cumprod), sigma.log()
    low = (torch.searchsorted(logs, wanted, right=True) - 1).clamp(0, len(logs) - 2)
    share = ((wanted - logs[low]) / (logs[low + 1] - logs[low])).clamp(0, 1)
    return low + share


def combine(null: Tensor, image: Tensor, both: Tensor, text_scale: float, image_scale: float) -> Tensor:
    """Guidance with two scales (equation 3): e(∅,∅) + s_T (e(text, image) − e(∅, image)) + s_I (e(∅, image) − e(∅,∅)).

    Args:
        null, image, both: predictions without conditions, with the picture, with picture and text; of one shape.
    """
    return null + text_scale * (both - image) + image_scale * (image - null)


def denoised(
    predict: Predictor, z: Tensor, sigma: Tensor, alphas_cumprod: Tensor, text: Tensor, null_text: Tensor,
    image: Tensor, text_scale: float, image_scale: float,
) -> Tensor:  # fmt: skip
    """The guided clean latents at a noise level.

    Args:
        predict: the noise that a network finds; `image` is zeros where there is none.
        z: latents with noise of deviation `sigma` added, not scaled, (B, C, h, w). sigma: (1,) or (B,).
        text, null_text: encoded instruction and empty prompt, (B, L, D). image: latents of the picture, (B, C, h, w).
    """
    scaled = z / (sigma.view(-1, 1, 1, 1) ** 2 + 1).sqrt()
    t = sigma_to_t(alphas_cumprod, sigma).expand(len(z))
    both = predict(scaled, t, text, image)
    picture = predict(scaled, t, null_text, image)
    null = predict(scaled, t, null_text, torch.zeros_like(image))
    return z - sigma.view(-1, 1, 1, 1) * combine(null, picture, both, text_scale, image_scale)


def ancestral(sigma: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """From noise level `sigma` to `after`: the level to go down to, and the deviation of the noise added then."""
    up = torch.minimum(after, (after**2 * (sigma**2 - after**2) / sigma**2).sqrt())
    return (after**2 - up**2).sqrt(), up


def euler_ancestral(denoise: Denoiser, start: Tensor, levels: Tensor, noise: Sequence[Tensor]) -> Tensor:
    """k-diffusion's Euler sampler with ancestral noise.

    Args:
        denoise: latents and a level (1,) → clean latents.
        start: of the first level's deviation, (B, C, h, w). levels: (n + 1,). noise: of each step; n of start's shape.
    """
    z = start
    for k, (sigma, after) in enumerate(pairwise(levels)):
        down, up = ancestral(sigma, after)
        z = z + (z - denoise(z, sigma[None])) / sigma * (down - sigma)
        if after > 0:
            z = z + noise[k] * up
    return z


# --- How training data were made -------------------------------------------------------------------------------------


def drop_conditions(draw: Tensor, text: Tensor, image: Tensor, null_text: Tensor) -> tuple[Tensor, Tensor]:
    """Dropout in training, by one draw an example: 5 % lose the text, 5 % both, 5 % the picture.

    Args:
        draw: uniform in [0, 1), (B,). text: (B, L, D). image: (B, C, h, w). null_text: (1, L, D).

    Returns:
        Text, which is the empty prompt's where the draw is below 0.10, and picture, zeros where it is in [0.05, 0.15).
    """
    draw = draw.to(text)
    no_text, no_image = draw < 0.10, (draw >= 0.05) & (draw < 0.15)
    return torch.where(no_text[:, None, None], null_text, text), image * ~no_image[:, None, None, None]


def copied_steps(threshold: float, steps: int) -> list[bool]:
    """Whether the sampler of pairs copies self-attention, at each step k: while threshold > k / (steps − 1)."""
    return [threshold > k / (steps - 1) for k in range(steps)]


class CopiedAttention:
    """An attention processor for a batch of pairs: the second of each pair attends as the first does.

    The batch is [null 1, null 2, caption 1, caption 2, …]. For self-attention (`attn1`), while `copied_steps` says so.
    """

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None) -> Tensor:  # fmt: skip
        """Hidden states (B, N, C) to the same."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            attn.head_to_batch_dim(part) for part in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        shares = attn.get_attention_scores(query, key, attention_mask).unflatten(0, (-1, attn.heads))
        shares = shares[::2].repeat_interleave(2, dim=0).flatten(0, 1)
        out: Tensor = attn.to_out[0](attn.batch_to_head_dim(shares @ value))
        return out


def pair(
    predict: Callable[[Tensor, Tensor, Tensor], Tensor], start: Tensor, noise: Sequence[Tensor], alphas_cumprod: Tensor,
    captions: tuple[Tensor, Tensor], null_text: Tensor, scale: float, copying: Callable[[bool], object] | None = None,
    threshold: float = 0.0,
) -> Tensor:  # fmt: skip
    """Latents of both pictures of a training pair, (2, C, h, w): the same start and noise, classifier-free guidance.

    Args:
        predict: latents (4, …), timesteps (4,), text (4, L, D) → noise; the batch is as `CopiedAttention` has it.
        start: standard normal, (1, C, h, w). noise: of each step, of the same shape; as many as steps.
        captions: of the two, each (1, L, D). scale: of guidance.
        copying: told before each step whether self-attention is copied (`copied_steps` of `threshold`).
    """
    levels = sigmas(alphas_cumprod, len(noise)).to(start)
    copies = iter(copied_steps(threshold, len(noise)))
    text = torch.cat([null_text, null_text, *captions])

    def denoise(z: Tensor, sigma: Tensor) -> Tensor:
        if copying is not None:
            copying(next(copies))
        scaled = (z / (sigma**2 + 1).sqrt()).repeat(2, 1, 1, 1)
        null, told = predict(scaled, sigma_to_t(alphas_cumprod, sigma).expand(4), text).chunk(2)
        return z - sigma * (null + scale * (told - null))

    return euler_ancestral(
        denoise, (start * levels[0]).repeat(2, 1, 1, 1), levels, [n.repeat(2, 1, 1, 1) for n in noise]
    )


def clip_view(images: Tensor, size: int = 224) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] as the filter's CLIP sees them: resized by bicubic interpolation without
    antialiasing, less CLIP's mean, over its deviation."""
    return pixels(F.interpolate(images, (size, size), mode="bicubic", align_corners=False) * 2 - 1, size)


def similarities(images: Tensor, captions: Tensor) -> Tensor:
    """What the filter asks of pairs, (N, 4): cosines of picture and caption before and after, of the two changes, and
    of the two pictures.

    Args:
        images: CLIP features, (N, 2, D). captions: of the two captions, (2, D) or (N, 2, D). None need be normalised.
    """
    seen, read = F.normalize(images, dim=-1), F.normalize(captions, dim=-1)
    each = (seen * read).sum(-1)
    change = F.cosine_similarity(seen[:, 1] - seen[:, 0], (read[..., 1, :] - read[..., 0, :]).expand_as(seen[:, 0]))
    return torch.stack([each[:, 0], each[:, 1], change, (seen[:, 0] * seen[:, 1]).sum(-1)], 1)


def kept(found: Tensor, seeds: Sequence[int]) -> list[int]:
    """Seeds of the pairs that pass the filter, the best four: all thresholds met, by directional similarity, then seed.

    Args:
        found: (N, 4) of `similarities`. seeds: of the N samples.
    """
    limits = torch.tensor([CAPTION, CAPTION, DIRECTION, PICTURES], dtype=torch.float64)
    right = (found.double() >= limits).all(1).tolist()
    ranked = sorted(((float(row[2]), s) for row, s, ok in zip(found, seeds, right, strict=True) if ok), reverse=True)
    return [seed for _, seed in ranked[:MOST]]


# --- The method ------------------------------------------------------------------------------------------------------


def scheduled(pipe: Any) -> Any:
    """The authors' sampler for a pipeline, as diffusers has it."""
    from diffusers import EulerAncestralDiscreteScheduler

    return EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="linspace")


def _side(pipe: Any) -> int:
    """The side of the pictures that a pipeline's U-Net was trained on."""
    return int(pipe.unet.config.sample_size) * int(pipe.vae_scale_factor)


@torch.no_grad()
def edited(
    pipe: Any, images: Tensor, instruction: str, *, text_scale: float = TEXT_SCALE, image_scale: float = 1.5,
    steps: int = STEPS, seed: int = 0, report: Report = silent,
) -> Tensor:  # fmt: skip
    """Pictures edited by a pipeline.

    Args:
        pipe: diffusers' `StableDiffusionInstructPix2PixPipeline`; it is given the authors' scheduler.
        images: (B, 3, H, W) in [-1, 1]; they are edited at the side the U-Net was trained on.
        seed: of the noise, which is the same for every picture.

    Returns:
        (B, 3, S, S) in [-1, 1], S the pipeline's side.
    """
    pipe.scheduler = scheduled(pipe)
    pipe.set_progress_bar_config(disable=True)
    small = (resize(images, _side(pipe)).clamp(-1, 1) + 1) / 2
    batches = small.split(BATCH)
    found = []

    for b, part in enumerate(batches):

        def tell(_pipe: Any, k: int, _t: Any, tensors: dict[str, Any], b: int = b) -> dict[str, Any]:
            report("editing", b * steps + k + 1, len(batches) * steps)
            return tensors

        found.append(
            pipe(
                [instruction] * len(part),
                image=part,
                num_inference_steps=steps,
                guidance_scale=text_scale,
                image_guidance_scale=image_scale,
                output_type="pt",
                callback_on_step_end=tell,
                generator=[torch.Generator().manual_seed(seed) for _ in part],
            ).images
        )  # fmt: skip
    return torch.cat(found).to(images) * 2 - 1


class Instructed(Fitted):
    """A pipeline that was told what to do.

    Args:
        pipe: diffusers' `StableDiffusionInstructPix2PixPipeline`.
        instruction: what it is told.
        knob: the image scale where none is given. text_scale, steps: of every edit.
    """

    def __init__(self, pipe: Any, instruction: str, knob: float, text_scale: float, steps: int) -> None:
        self.pipe, self.instruction, self.knob = pipe, instruction, knob
        self.text_scale, self.steps = text_scale, steps

    @torch.no_grad()
    def unedited(self, images: Tensor) -> Tensor:
        """What the pipeline's autoencoder alone makes of pictures, of their size."""
        vae = self.pipe.vae
        small = resize(images, _side(self.pipe)).to(vae.device, vae.dtype)
        parts = [vae.decode(vae.encode(part).latent_dist.mode()).sample for part in small.split(BATCH)]
        return resize(torch.cat(parts).to(images), (images.shape[-2], images.shape[-1])).clamp(-1, 1)

    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """See `Fitted`; the knob is the image scale.

        Raises:
            SddError: an image scale below 1.
        """
        scale = self.knob if knob is None else knob
        if scale < 1:  # diffusers then leaves all guidance out, without a word
            raise SddError(f"the image scale of {CARD.name} is at least 1, not {scale:g}; lower means more is changed")
        found = edited(
            self.pipe, images, self.instruction, text_scale=self.text_scale, image_scale=scale, steps=self.steps,
            seed=seed, report=report,
        )  # fmt: skip
        return resize(found, (images.shape[-2], images.shape[-1])).clamp(-1, 1)


CARD = Card(
    name="instruct-pix2pix",
    title="InstructPix2Pix: a diffusion model that is told what to do",
    paper="Brooks, Holynski and Efros, CVPR 2023, arXiv 2211.09800",
    needs=("instructed",),
    trains="",
    calls="3 × 100",
    licence="MIT-style, of its own wording; its Stable Diffusion part CreativeML OpenRAIL",
    knob=Knob(
        "image scale",
        1.5,
        (2.2, 2.0, 1.8, 1.6, 1.5, 1.4, 1.2, 1.0),
        "how closely the picture is kept: lower edits more",
    ),
)


class InstructPix2Pix(Method):
    """InstructPix2Pix.

    Args:
        text_scale: how strictly the instruction is followed. steps: of the sampler. None for what suits the model: the
            authors' 7.5 and 100, where it says nothing else.
    """

    card = CARD

    def __init__(self, text_scale: float | None = None, steps: int | None = None) -> None:
        self.text_scale, self.steps = text_scale, steps

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
        """See `Method`: nothing is trained, and the source prompt is not asked for.

        Raises:
            SddError: no instruction, or no model that follows one.
        """
        if not prompt.strip():
            raise SddError(f"the method {CARD.name} needs an instruction, such as 'make the hair white'; give a prompt")
        pipe = _embedded(domain) if models is None else models.get("instructed", CARD.name)
        suited = getattr(pipe, "suited", {})
        scale = suited.get("text_scale", TEXT_SCALE) if self.text_scale is None else self.text_scale
        steps = suited.get("steps", STEPS) if self.steps is None else self.steps
        return Instructed(pipe, prompt, CARD.knob.default, scale, steps)


def _embedded(domain: Domain) -> Any:
    """The pipeline that comes with the embedded domain.

    Raises:
        SddError: another domain, or its weights are not there.
    """
    from sdd.domains.embedded import EMBEDDED, weights_folder
    from sdd.teachers.instructed import load_instructed

    learned = weights_folder(EMBEDDED) / "instructed"
    if domain.name != EMBEDDED or not learned.exists():
        raise SddError(
            f"the method {CARD.name} needs a model that follows instructions, and the domain {domain.name!r} has none; "
            "give one with --instructed, such as timbrooks/instruct-pix2pix"
        )
    return load_instructed(learned)


METHOD = InstructPix2Pix()
