"""A training step, a search and an edit against the published loop, re-enacted on the same models in the same run.

    python benchmarks/published_loop.py --rounds 5        about two minutes on two cores; nothing else may run

What is re-enacted is what the released code does for "white hair": float32, two pictures a step, both texts encoded
anew at every step, one timestep at a time, the source drawn beside the edit, networks that nobody froze and that go on
collecting gradients, the 1024 largest entries of the gradient, edits one by one with every gradient kept track of. Ours
is the preset `default`. Everything is counted a picture, since batches differ. The generator is ours in both: the
released one convolves each picture by a kernel of its own, which is slower still.

Prints medians of the rounds and their ratios, keeps them in docs/figures/published-loop.json, and writes their part of
docs/performance.md; `--page` does only that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from performance_page import put, where
from torch import Tensor

from sdd.beyond.published import topk_clip
from sdd.device import precision
from sdd.domains import avatars
from sdd.domains.avatars.truth import AVATARS
from sdd.domains.domain import Domain
from sdd.domains.embedded import embedded
from sdd.editor import Editor
from sdd.evaluate.machine import machine
from sdd.io.files import write_text
from sdd.io.progress import silent
from sdd.io.quiet import quiet_libraries
from sdd.manipulators.stylegan import StyleGAN
from sdd.memory import keep_memory
from sdd.nets.arcface import identity_features
from sdd.nets.mapper_kinds import build_mapper
from sdd.paper import guidance
from sdd.paper.search import search
from sdd.teachers.load import load_teacher
from sdd.training.config import DistillConfig
from sdd.training.distil import distill
from sdd.training.train import Training

FIGURES, TITLE = Path("docs/figures/published-loop.json"), "Against the published loop"
PROMPT, T = "white hair", 800  # of the released configuration, whose other options are the preset `published`
PUBLISHED_STEPS = tuple(range(100, 901, 50))  # of its search
PICTURES = 64  # of a batch of edits


class Published:
    """The released loop over our models."""

    def __init__(self, domain: Domain, teacher: Any, codes: Tensor) -> None:
        self.domain, self.teacher, self.codes = domain, teacher, codes
        dim = codes.shape[-1]
        self.how = how = DistillConfig.make("published")
        shape = {"kind": how.mapper, "style_dim": dim, "levels": list(how.levels), "latent_weight": how.latent_weight}
        self.mapper = build_mapper(shape, torch.Generator().manual_seed(0))
        self.optimizer = torch.optim.AdamW(self.mapper.parameters(), lr=how.lr, weight_decay=how.weight_decay)

    def thaw(self, thawed: bool) -> None:
        """Let the networks that are not trained collect gradients, as nobody forbade them to."""
        for net in (self.domain.generator, self.teacher.vae, self.domain.identity):
            if net is not None:
                net.requires_grad_(thawed)
                net.zero_grad()

    def moved(self, w: Tensor) -> Tensor:
        """The edited codes."""
        change = self.mapper(w)
        assert isinstance(change, Tensor), "a mapper of W+ codes"
        return w + self.mapper.latent_weight * change

    def gradient(self, latents: Tensor, t: int) -> Tensor:
        """What the teacher says at one timestep, both texts told to it anew."""
        teacher = self.teacher
        null, text = teacher.encode_text([""] * len(latents)), teacher.encode_text([PROMPT] * len(latents))
        noise, now = torch.randn_like(latents), torch.full((2 * len(latents),), t)
        with torch.no_grad():
            noisy = teacher.add_noise(latents, noise, now[: len(latents)])
            without, told = teacher.predict_noise(noisy.repeat(2, 1, 1, 1), now, type(null).cat([null, text])).chunk(2)
        weight = guidance.weight(teacher.alphas_cumprod, now[: len(latents)]).to(latents)
        assert self.how.topk is not None, "the preset's"
        return topk_clip(guidance.sds(without, told, noise, weight, self.how.scale), self.how.topk, per_sample=False)

    def step(self, number: int) -> None:
        """One training step."""
        batch = self.how.batch
        w = self.codes[torch.arange(number * batch, (number + 1) * batch) % len(self.codes)]
        generator, identity = self.domain.generator, self.domain.identity
        source, codes = generator(w), self.moved(w)
        latents = self.teacher.encode_image(generator(codes))
        loss = (latents * self.gradient(latents.detach(), T)).sum() + self.how.l2 * (codes - w).square().mean()
        if identity is not None:  # the source with itself, which is nothing, and is computed all the same
            loss = loss + 1 - (identity_features(identity, source) * identity_features(identity, source)).sum(1).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def search(self) -> int:
        """One batch of pictures at every timestep of its search, each rendered and encoded anew; how many those are."""
        for t in PUBLISHED_STEPS:
            images = self.domain.generator(self.moved(self.codes[: self.how.batch]))
            images.retain_grad()
            latents = self.teacher.encode_image(images)
            latents.backward(self.gradient(latents.detach(), t))
        return self.how.batch * len(PUBLISHED_STEPS)

    def edit(self, images: Tensor) -> None:
        """Pictures one by one: encoded, drawn as they are and edited."""
        for image in images:
            w = self.domain.encoder(image[None])
            self.domain.generator(w)
            self.domain.generator(self.moved(w))


def measure(rounds: int, steps: int, seed: int) -> dict[str, Any]:
    """Seconds a picture of each, in turns, as medians of the rounds."""
    domain = embedded()
    teacher = load_teacher(domain.teacher)
    device = torch.device("cpu")
    torch.manual_seed(seed)
    images = avatars.render(list(AVATARS.people(seed, 0, PICTURES)))
    default = DistillConfig(steps=(rounds + 1) * steps + 2)
    ours = Training(PROMPT, domain, teacher, default, seed, None, device, silent)
    same = DistillConfig.make("published", steps=default.steps, images=default.images)
    theirs = Training(PROMPT, domain, teacher, same, seed, None, device, silent)
    with torch.no_grad():
        published = Published(domain, teacher, domain.encoder(images))
    editor: Editor = distill(PROMPT, domain, teacher=teacher, seed=seed, steps=2, progress=False)
    walks = iter(ours), iter(theirs)

    def train(walk: Iterator[Any], batch: int) -> int:
        for _ in range(steps):
            next(walk)
        return steps * batch

    def publish() -> int:
        for number in range(steps):
            published.step(number)
        return steps * published.how.batch

    def scored(**how: Any) -> int:
        found = search(teacher, images[: default.search_images], PROMPT, **how)
        return len(found.norm) * len(found.timesteps)

    def edited(edit: Callable[[Tensor], object]) -> int:
        edit(images)
        return len(images)

    latent: dict[str, Any] = {"gradient": "latent", "scale": default.search_scale, "weighted": True}
    works: dict[str, Callable[[], int]] = {
        "step, published": publish,
        "step, published, computed by us": lambda: train(walks[1], same.batch),
        "step": lambda: train(walks[0], default.batch),
        "search, published": published.search,
        "search, Equation 8": lambda: scored(),
        "search": lambda: scored(**latent),
        "edit, published": lambda: edited(published.edit),
        "edit": lambda: edited(editor),
    }
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            published.thaw("published" in name and "us" not in name)
            began = time.perf_counter()
            count = work()
            if number:  # the first is to warm up
                found[name].append((time.perf_counter() - began) / count)
    published.thaw(False)
    seconds = {name: statistics.median(each) for name, each in found.items()}
    ratios = {name: [a / b for a, b in zip(found[f"{name}, published"], found[name], strict=True)]
              for name in ("step", "search", "edit")}  # fmt: skip
    return {
        "rounds": rounds, "steps": steps, "seed": seed, "seconds": seconds,
        "ratios": {name: [statistics.median(each), min(each), max(each)] for name, each in ratios.items()},
        "outside": outside(ours, seconds["step"] * default.batch, rounds),
    }  # fmt: skip


def outside(training: Training, step: float, rounds: int) -> float:
    """The share of a step that is not the arithmetic of teacher and generator, those timed alone in equal batches."""
    teacher, asked, plain = training.teacher, [], training.teacher.predict_noise

    def listening(latents: Tensor, t: Tensor, condition: Any) -> Tensor:
        asked.append((latents, t, condition))
        return plain(latents, t, condition)

    teacher.predict_noise = listening  # type: ignore[method-assign]
    next(iter(training))
    teacher.predict_noise = plain  # type: ignore[method-assign]
    settings, manipulator = training.settings, training.manipulator
    assert isinstance(manipulator, StyleGAN), "the default's"
    codes = training.source.prepared.parts["codes"][: settings.batch].clone().requires_grad_()
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        with precision(torch.device("cpu"), settings.precision):
            for latents, t, condition in asked:
                plain(latents, t, condition)
            teacher.encode_image(manipulator.backbone.generator(codes)).sum().backward()
        times.append(time.perf_counter() - began)
    return 1 - statistics.median(times[1:]) / step


def section(found: dict[str, Any]) -> list[str]:
    """The part of docs/performance.md."""
    seconds, ratios = found["seconds"], found["ratios"]

    def row(name: str, said: str, bar: str) -> str:
        least, most = (f"{x:.1f}" for x in ratios[name][1:])
        cells = f"{1e3 * seconds[f'{name}, published']:.1f} ms | {1e3 * seconds[name]:.1f} ms"
        return f"| {said} | {cells} | {ratios[name][0]:.1f} × ({least}–{most}) | {bar} |"

    return [
        f"`python benchmarks/published_loop.py --rounds {found['rounds']}`, seed {found['seed']}; {where(found)}: the "
        "released loop re-enacted on the same models (float32, texts encoded at every step, two pictures, one timestep "
        "at a time, nothing frozen) beside the preset `default`, in turns. Medians of the rounds, least and most of "
        "the ratio in brackets:",
        "",
        "| | published | ours | ratio | bar |",
        "|---|---|---|---|---|",
        row("step", "a training step, a picture", "3 ×"),
        row("search", "the search, a picture and timestep", "8 ×"),
        row("edit", "an edit, a picture", "2 ×"),
        "",
        f"The preset `published` computed by us takes {1e3 * seconds['step, published, computed by us']:.1f} ms a "
        f"picture of a step. The search by Equation 8 as printed, through the encoder, takes "
        f"{1e3 * seconds['search, Equation 8']:.1f} ms, "
        f"{seconds['search, published'] / seconds['search, Equation 8']:.1f} × less than the published one. Of a step "
        f"of `default`, {found['outside']:.0%} is not the arithmetic of teacher and generator (bar 15 %). Our edit is "
        f"laid into the source and comes in batches of {PICTURES}, the published one neither.",
    ]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    if not given.page:
        keep_memory()  # as `sdd` does; the published loop has it, too
        with quiet_libraries():
            found = {**machine(), **measure(given.rounds, given.steps, given.seed)}
        write_text(FIGURES, json.dumps(found, indent=1) + "\n")
        print(json.dumps(found, indent=1))
    put(TITLE, section(json.loads(FIGURES.read_text("utf-8"))))


if __name__ == "__main__":
    main()
