"""The teacher: a small text-to-image latent diffusion model of the avatars, as a diffusers `StableDiffusionPipeline`
folder.

    python -m recipes.vae && python -m recipes.teacher

Own vocabulary (the captions' words), a CLIPTextModel that first learns to read (attributes from captions, minutes),
then a UNet2DConditionModel with cross-attention on the autoencoder's latents: ε-prediction, scaled-linear betas, a
tenth of the captions dropped for classifier-free guidance. The text encoder learns no more then.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from recipes import muon
from recipes.common import Average, arguments, autocast, device, fit, grid, ramp, reading_loss, rng, to_images
from recipes.data import HEADS, home, labels, load
from sdd.domains import avatars
from sdd.domains.avatars.captions import caption, mentions, sentence, words
from sdd.nets.compact import by_head

LENGTH = 40  # tokens
TEXT = 128  # width of the text encoder
BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}


def build_tokenizer(folder: Path) -> Any:
    """A CLIPTokenizer in which every word of the captions is one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=100_000, end_of_word_suffix="</w>", show_progress=False)
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789,.-'!?")
    bpe.train_from_iterator([*words(), *letters, *(f"{a}x" for a in letters)] * 2, trainer)
    model = json.loads(bpe.to_str())["model"]
    vocab: dict[str, int] = {}
    for token in [*letters, *(f"{c}</w>" for c in letters), *model["vocab"], "<|startoftext|>", "<|endoftext|>"]:
        vocab.setdefault(token, len(vocab))
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    tokenizer = CLIPTokenizer(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=LENGTH
    )
    split = [w for w in words() if len(tokenizer(w)["input_ids"]) != 3]
    if split:
        raise SystemExit(f"the tokenizer splits {split[:5]}")
    return tokenizer


def build_text_encoder(tokenizer: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=TEXT, intermediate_size=4 * TEXT, num_hidden_layers=3,
            num_attention_heads=4, max_position_embeddings=LENGTH, hidden_act="gelu", projection_dim=TEXT,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def build_unet(channels: int) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(96, 160),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT,
        attention_head_dim=(3, 5),  # diffusers' historical name for the number of heads
        # The whole text also reaches every block with the time: much quicker to learn than attention alone.
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=16,
    )


class Captions:
    """Captions of the training people, worded anew every time, as tokens."""

    def __init__(self, tokenizer: Any, count: int) -> None:
        self.tokenizer = tokenizer
        self.people = [avatars.draw(rng(0, 0, i), seed=i) for i in range(count)]

    def tokens(self, texts: list[str]) -> Tensor:
        found = self.tokenizer(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
        return found["input_ids"].to(device())

    def draw(self, index: np.ndarray, stream: np.random.Generator, drop: float = 0.0) -> Tensor:
        return self.tokens(["" if stream.random() < drop else caption(self.people[i], stream) for i in index])


def read_first(text: Any, captions: Captions, steps: int, seed: int) -> None:
    """Teach the text encoder to read: from a caption's tokens to the attributes of the person it is about."""
    truth = {k: torch.from_numpy(v).to(device()) for k, v in labels(len(captions.people)).items()}
    heads = nn.Linear(TEXT, sum(HEADS.values())).to(device())
    optimizer = muon.Muon(muon.groups((text, 1.0), (heads, 1.0)), 3e-3, weight_decay=1e-2)
    discrete = [name for name in HEADS if name not in avatars.RANGES]

    def step(i: int) -> dict[str, float]:
        stream = rng(seed, 7, i)
        index = stream.integers(1000, len(captions.people), 64)
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * ramp(i, steps)
        said = [mentions(captions.people[i], stream) for i in index]
        tokens = captions.tokens([sentence([phrase for _, phrase in parts], stream) for parts in said])
        scores = by_head(heads(text(tokens).last_hidden_state.mean(1)), HEADS)
        known = {k: v[index] for k, v in truth.items()}
        # The rest can only be guessed. What is said must be read: "no beard" is not a beard.
        told = {n: torch.tensor([n in dict(parts) for parts in said], device=device()) for n in discrete}
        heard = reading_loss({n: scores[n] for n in told}, {n: known[n].where(m, -100) for n, m in told.items()})
        loss = reading_loss(scores, known) + 2 * heard
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "said": heard.item()}

    fit("teacher-text", {"text": text, "heads": heads, "optimizer": optimizer}, step, steps)


@torch.no_grad()
def encode_all(vae: Any, pixels: np.ndarray, path: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every picture's latent, scaled, in half precision; kept in `path`."""
    if path.exists():
        means, stds = torch.load(path, map_location=device(), weights_only=True)
        if len(means) == len(pixels):
            return means, stds
    found = []
    for i in track(range(0, len(pixels), 128), "encoding"):
        with autocast():
            posterior = vae.encode(to_images(pixels[i : i + 128], 64)).latent_dist
        found.append(torch.stack([posterior.mean, posterior.std]) * vae.config.scaling_factor)
    means, stds = torch.cat(found, 1).half()
    torch.save((means, stds), path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
    return means, stds


def main() -> None:
    args = arguments(__doc__, steps=6000, batch=64, lr=5e-3)
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline

    folder = home() / f"teacher{args.run}"
    tokenizer = build_tokenizer(folder / "tokenizer")
    pixels = load(args.count)
    vae = AutoencoderKL.from_pretrained(home() / "vae" / "vae").to(device()).eval()
    captions = Captions(tokenizer, len(pixels))
    text = build_text_encoder(tokenizer).to(device())
    read_first(text, captions, 3000, args.seed)
    text.eval().requires_grad_(False)
    means, stds = encode_all(vae, pixels, folder / "latents.pt")
    del pixels
    unet = build_unet(means.shape[1]).to(device())
    average = Average(unet, 0.998)
    optimizer = muon.Muon(muon.groups((unet, 1.0)), args.lr, weight_decay=1e-2)
    scheduler = DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    abar = scheduler.alphas_cumprod.to(device())

    def step(i: int) -> dict[str, float]:
        stream, noise = rng(args.seed, 8, i), torch.Generator().manual_seed(args.seed * 1_000_003 + i)
        index = stream.integers(500, len(means), args.batch)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["part"] * ramp(i, args.steps, 300)

        def normal() -> Tensor:
            return torch.randn(len(index), *means.shape[1:], generator=noise).to(device())

        x0 = means[index].float() + stds[index].float() * normal()
        eps = normal()
        # One timestep from each of as many equal parts as there are pictures: less variance than independent draws;
        # more of the noisy ones, in which the text decides.
        share = (torch.arange(len(index)) + torch.rand(len(index), generator=noise)) / len(index)
        t = (share**0.7 * 1000).long().clamp_max(999).to(device())
        a = abar[t][:, None, None, None]
        with autocast():
            with torch.no_grad():
                hidden = text(captions.draw(index, stream, drop=0.1)).last_hidden_state
            guess = unet(a.sqrt() * x0 + (1 - a).sqrt() * eps, t, hidden).sample
        loss = F.mse_loss(guess.float(), eps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        average.update()
        return {"loss": loss.item()}

    def pipeline() -> Any:
        return StableDiffusionPipeline(
            vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip

    prompts = [
        "white hair", "black hair", "bald", "a beard", "sunglasses", "a person with a smile and red hair",
        "an angry person", "dark skin", "a turban", "a pink hoodie, blonde hair", "head tilted left",
        "surprised, a blue background",
    ]  # fmt: skip

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        if i % 1000 and i != args.steps:
            return {}
        with average.applied():
            pipe = pipeline()
            pipe.set_progress_bar_config(disable=True)
            pictures = pipe(
                prompts, num_inference_steps=25, guidance_scale=5.0, height=64, width=64, output_type="pt",
                generator=torch.Generator().manual_seed(0),
            ).images  # fmt: skip
            pipe.save_pretrained(folder / "pipeline", safe_serialization=True)
        grid(folder / "samples.png", pictures * 2 - 1)
        return {}

    state = {"unet": unet, "text": text, "optimizer": optimizer, "average": average}
    fit(f"teacher{args.run}", state, step, args.steps, evaluate, every=250)
    with average.applied():
        pipeline().save_pretrained(folder / "pipeline", safe_serialization=True)
    print(f"wrote {folder / 'pipeline'}")


if __name__ == "__main__":
    main()
