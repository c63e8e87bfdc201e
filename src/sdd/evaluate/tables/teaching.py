"""The teacher's own pictures: does the judge find what was asked?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import track

from sdd.domains import avatars
from sdd.domains.avatars.captions import mentions, sentence, word
from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import EMBEDDED, weights_folder
from sdd.evaluate.command import CONSOLE, OUT, PICTURES, N, Out, Pictures, Quick, Seed, app, finish
from sdd.evaluate.judge import Judge
from sdd.evaluate.markdown import attribute_table, measured_by, number, picture_line
from sdd.evaluate.prompts import reads
from sdd.evaluate.realism import realism
from sdd.evaluate.sheet import save_rows
from sdd.evaluate.visible import shares

if TYPE_CHECKING:
    from sdd.domains.avatars.person import Avatar

NAME, EDITION = "teacher", 1


@torch.no_grad()
def teaching(pipeline: Any, judge: Judge, n: int, seed: int, steps: int = 50, scale: float = 5.0) -> dict[str, Any]:
    """The teacher's own pictures of `n` held-out captions: how much of what was said does the judge find?

    Pictures of several captions are drawn at once; each starts from noise of its own, by its number.
    """
    import numpy as np

    asked: list[tuple[Avatar, list[str], str]] = []
    for i, person in enumerate(AVATARS.people(seed, 0, n)):
        stream = np.random.default_rng([seed, 3, i])
        said = mentions(person, stream)
        asked.append((person, [name for name, _ in said], sentence([phrase for _, phrase in said], stream)))
    pipeline.set_progress_bar_config(disable=True)
    found: dict[str, list[bool]] = {}
    similarity, pictures = [], []
    for start in track(range(0, n, 16), "teacher", console=CONSOLE, disable=not CONSOLE.is_terminal):
        part = asked[start : start + 16]
        noise = [torch.Generator().manual_seed(seed * 1_000_003 + start + i) for i in range(len(part))]
        size = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        images = pipeline(
            [text for _, _, text in part], num_inference_steps=steps, guidance_scale=scale, height=size, width=size,
            generator=noise, output_type="pt",
        ).images.float() * 2 - 1  # fmt: skip
        pictures.append(images)
        for (person, names, text), image, row in zip(part, images, judge.words(images), strict=True):
            for name in names:
                found.setdefault(name, []).append(reads(name, word(person, name), row[name]))
            if judge.clip is not None:
                similarity.append(float(judge.similarity(image[None], text)))
    hits = [hit for row in found.values() for hit in row]
    drawn = torch.cat(pictures)
    figures = {
        "found": statistics.fmean(hits),
        "all_found": _whole(asked, found),
        "mentions": float(len(hits)),
        **realism(judge, avatars.render(list(AVATARS.people(seed, 0, n)), drawn.shape[-1]), drawn),
    }
    if similarity:
        figures["clip"] = statistics.fmean(similarity)
    return {
        "figures": figures,
        "attributes": shares(found),
        "pictures": drawn[:16],
    }


def _whole(asked: Sequence[tuple[Avatar, list[str], str]], found: dict[str, list[bool]]) -> float:
    """Share of captions of which everything was found."""
    left = {name: iter(hits) for name, hits in found.items()}
    return statistics.fmean(all([next(left[name]) for name in names]) for _, names, _ in asked)


@app.command("teacher")
def teacher_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, pictures: Pictures = PICTURES
) -> None:
    """The teacher's own pictures."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    n = n or (16 if quick else 128)
    folder = weights_folder(EMBEDDED) / "teacher"
    pipeline = StableDiffusionPipeline.from_pretrained(
        str(folder),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        torch_dtype=torch.float32,  # half precision is for the disk
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    found = teaching(pipeline, Judge.load(), n, seed)
    drawn = found.pop("pictures")
    if pictures is not None:
        save_rows(pictures / "teacher.png", [drawn[:8], *([drawn[8:16]] if len(drawn) == 16 else [])])
    finish(NAME, found, n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    f = part["figures"]
    return [
        "## The teacher",
        "",
        measured_by(part),
        "",
        f"50 DDIM steps at guidance 5 on held-out captions: the judge finds {number(f['found'], '%')} of the "
        f"{f['mentions']:.0f} things said, and everything in {number(f['all_found'], '%')} of the captions.",
        "",
        *picture_line(pictures, "teacher.png", "the teacher's own pictures"),
        *attribute_table("found", part["attributes"]),
    ]
