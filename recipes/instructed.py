"""The instructed U-Net: the teacher's, which also sees a picture and learns to do to it what it is told.

    python -m recipes.instructed --draw           # pairs of pictures (minutes)
    python -m recipes.instructed

InstructPix2Pix (arXiv 2211.09800) on pairs that are exact: a person and the same person with one attribute changed, in
both directions. The U-Net starts from the teacher's with as many input channels more, zero-initialised, for the
picture: the autoencoder's mode, *not scaled*, as in the released weights, so that diffusers' pipeline runs it as it is.
The middle block and the embeddings stay the teacher's, so that only what learned has to be shipped.

An instruction is a phrase of the captions, bare ("white hair"), in a caption's frame ("a person with white hair") or
as an order ("make the hair white"). Errors of noisy steps count more, up to five times: their share of the noise is
small, and the edit is decided there.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from recipes import muon
from recipes.common import Average, autocast, device, fit, grid, ramp, rng, to_images
from recipes.data import home
from recipes.ship import WEIGHTS
from sdd.domains import avatars
from sdd.domains.avatars.captions import word
from sdd.domains.avatars.meaning import shows
from sdd.domains.avatars.phrases import FRAMES, PHRASES
from sdd.methods.instruct_pix2pix import drop_conditions, edited
from sdd.teachers.instructed import learns, of_teacher, save_learned

CHUNK = 250  # people a file
CHANGES = 3  # counterfactuals a person
EMPHASIS = 5.0  # how many times more the error of a very noisy step counts
# How often each attribute is changed.
OFTEN = {
    "hair": 1.5, "hair_color": 2.0, "hat": 1.0, "mouth": 2.0, "eyes": 1.0, "brows": 1.0, "facial_hair": 1.5,
    "accessories": 2.0, "clothes": 0.7, "clothes_color": 1.0, "skin_color": 1.5, "background_color": 1.0, "tilt": 0.7,
}  # fmt: skip
TILTS = {"left": -10.0, "none": 0.0, "right": 10.0}
NOUNS = {"hair_color": "hair", "skin_color": "skin", "clothes_color": "clothes", "background_color": "background"}
ORDERS = ("make it {}", "add {}", "give the person {}")
SHOWN = ("white hair", "sunglasses", "a smile", "a beard", "make the skin dark")


def change(person: avatars.Avatar, stream: np.random.Generator) -> tuple[str, str]:
    """An attribute and the word it becomes, of which this person's picture can show the difference."""
    share = np.array(list(OFTEN.values()))
    while True:
        name = str(stream.choice(list(OFTEN), p=share / share.sum()))
        value = str(stream.choice(list(PHRASES[name])))
        if shows(person, {name: value}):
            return name, value


def changed(person: avatars.Avatar, name: str, value: str) -> avatars.Avatar:
    """The counterfactual."""
    return person.replace(**{name: TILTS[value] if name == "tilt" else value})


def instruction(name: str, value: str, stream: np.random.Generator) -> str:
    """Words for a change."""
    phrase = " ".join(str(stream.choice(PHRASES[name][value])).replace("{c}", "").split())
    kind = stream.random()
    if kind < 0.5:
        return phrase
    if kind < 0.75:
        return str(stream.choice(FRAMES)).format(phrase)
    if name in NOUNS:
        return f"make the {NOUNS[name]} {value}"
    return str(stream.choice(ORDERS)).format(phrase)


def people(start: int) -> list[tuple[avatars.Avatar, list[tuple[str, str]]]]:
    """CHUNK people of the training split, each with what is changed."""
    found = []
    for i in range(start, start + CHUNK):
        person, stream = avatars.draw(rng(0, 0, i), seed=i), rng(13, i)
        while person.round_crop:  # every change is to be seen whole
            person = avatars.draw(stream, seed=i)
        found.append((person, [change(person, stream) for _ in range(CHANGES)]))
    return found


@torch.no_grad()
def draw(pipe: Any, count: int) -> None:
    """Draw and encode `count` people (rounded up to chunks) and their counterfactuals, keeping those already there.

    A file holds modes of the autoencoder, unscaled, (CHUNK, 1 + CHANGES, C, h, w) in half precision.
    """
    folder = home() / "instructed" / "pairs"
    folder.mkdir(parents=True, exist_ok=True)
    todo = [s for s in range(0, count, CHUNK) if not (folder / f"{s:07d}.pt").exists()]
    for start in track(todo, "drawing"):
        pixels = np.stack(
            [p.pixels() for one, asked in people(start) for p in (one, *(changed(one, *what) for what in asked))]
        )
        with autocast():
            modes = [pipe.vae.encode(to_images(part, 64)).latent_dist.mode() for part in np.array_split(pixels, 8)]
        aside = folder / f"{start:07d}.part"
        torch.save(torch.cat(modes).half().unflatten(0, (CHUNK, 1 + CHANGES)), aside)
        aside.rename(folder / f"{start:07d}.pt")


class Pairs:
    """Latents of people and of their counterfactuals, and what was changed."""

    def __init__(self, count: int) -> None:
        folder = home() / "instructed" / "pairs"
        starts = list(range(0, count, CHUNK))
        self.modes = torch.cat([torch.load(folder / f"{s:07d}.pt", weights_only=True) for s in starts]).to(device())
        self.people = [one for s in starts for one in people(s)]

    def draw(self, n: int, stream: np.random.Generator) -> tuple[Tensor, Tensor, list[str]]:
        """Sources, targets (n, C, h, w) and instructions; a third goes back from the counterfactual."""
        which, k = stream.integers(0, len(self.people), n), stream.integers(0, CHANGES, n)
        before, after = np.zeros(n, dtype=int), k + 1
        texts = []
        for j in range(n):
            person, asked = self.people[which[j]]
            name, value = asked[k[j]]
            own = word(person, name)
            if stream.random() < 1 / 3 and own is not None and shows(changed(person, name, value), {name: own}):
                before[j], after[j], value = after[j], 0, own
            texts.append(instruction(name, value, stream))
        return self.modes[which, before].float(), self.modes[which, after].float(), texts


def to_small(images: Tensor) -> Tensor:
    """Pictures at the side the U-Net works at."""
    return F.avg_pool2d(images, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="draw the pairs and stop")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--count", type=int, default=5000, help="people")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    made = home() / "teacher" / "pipeline"
    pipe = of_teacher(made if made.exists() else WEIGHTS / "teacher")
    pipe.to(device())
    draw(pipe, args.count)
    if args.draw:
        return
    train(pipe, Pairs(args.count), args)


def train(pipe: Any, pairs: Pairs, args: argparse.Namespace) -> None:
    """Train the pipeline's U-Net and save what learned."""
    unet, scale = pipe.unet, pipe.vae.config.scaling_factor
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(learns(name))
    average = Average(unet, 0.995)
    optimizer = muon.Muon(muon.groups((unet, 1.0)), args.lr, weight_decay=1e-2)
    abar = pipe.scheduler.alphas_cumprod.to(device())
    null = read(pipe, [""])

    def step(i: int) -> dict[str, float]:
        stream, noise = rng(args.seed, 14, i), torch.Generator().manual_seed(args.seed * 1_000_003 + i)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["part"] * ramp(i, args.steps)
        source, target, texts = pairs.draw(args.batch, stream)
        eps = torch.randn(target.shape, generator=noise).to(device())
        share = (torch.arange(args.batch) + torch.rand(args.batch, generator=noise)) / args.batch
        t = (share**0.7 * 1000).long().clamp_max(999).to(device())
        a = abar[t][:, None, None, None]
        text, image = drop_conditions(torch.rand(args.batch, generator=noise), read(pipe, texts), source, null)
        with autocast():
            noisy = a.sqrt() * scale * target + (1 - a).sqrt() * eps
            guess = unet(torch.cat([noisy, image], 1), t, text).sample.float()
        weight = ((1 - a) / a).clamp(1, EMPHASIS)
        loss = (weight * (guess - eps).square()).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        average.update()
        return {"loss": loss.item(), "plain": F.mse_loss(guess, eps).item()}

    folder = home() / "instructed"

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        """Pictures of people who were not trained on, edited."""
        images = avatars.render(avatars.sample(8, 4, "train")).to(device())
        with average.applied():
            save_learned(folder / "unet.safetensors", unet)
            schedule = pipe.scheduler
            rows = [edited(pipe, images, told, steps=20, text_scale=4.0) for told in SHOWN]
            pipe.scheduler = schedule
        grid(folder / "samples.png", to_small(images), *rows)
        return {}

    fit("instructed", {"unet": unet, "average": average, "optimizer": optimizer}, step, args.steps, evaluate, every=250)
    print(f"wrote {folder / 'unet.safetensors'}")


@torch.no_grad()
def read(pipe: Any, texts: list[str]) -> Tensor:
    """What the text encoder makes of texts, (B, L, D)."""
    tokenizer = pipe.tokenizer
    found = tokenizer(
        texts, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    )
    hidden: Tensor = pipe.text_encoder(found["input_ids"].to(device())).last_hidden_state
    return hidden


if __name__ == "__main__":
    main()
