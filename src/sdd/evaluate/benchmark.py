"""Measure the embedded domain, its teacher, its judge and its editors, on avatars nothing was trained on.

    python -m sdd.evaluate.benchmark reconstruction     encoder and generator: PSNR, attributes that survive
    python -m sdd.evaluate.benchmark judge              the judge against the truth
    python -m sdd.evaluate.benchmark teacher            50 DDIM steps at guidance 5: does the judge find what was asked?
    python -m sdd.evaluate.benchmark guidance           sds, csd and dds against each other
    python -m sdd.evaluate.benchmark editors            one editor for each prompt: success, side effects, gain
    python -m sdd.evaluate.benchmark hqs                the hybrid quality score against measured gain; strategies
    python -m sdd.evaluate.benchmark speed              training, editing, start-up
    python -m sdd.evaluate.benchmark all

Every figure is printed and saved as JSON with seed, machine and date; `python -m sdd.evaluate.report` makes
docs/avatars.md of them. Editors are kept and used again as long as the generator, the teacher and the training options
are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from sdd import domains
from sdd.config import DistillConfig
from sdd.domains import avatars
from sdd.domains.captions import mentions, sentence, word
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.evaluate import metrics
from sdd.evaluate.judge import Judge, in_words, same
from sdd.evaluate.prompts import PROMPTS, Prompt, people, prompt, reads, subjects
from sdd.evaluate.report import BARS
from sdd.guidance import GUIDANCES
from sdd.inversion import encode, psnr
from sdd.io.files import sha256_file, write_text

if TYPE_CHECKING:
    from sdd.domains import Domain
    from sdd.domains.avatars import Avatar

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
HQS_PROMPTS = ("white hair", "sunglasses", "dark skin", "a beard", "smile", "pink clothes")
HQS_TIMESTEPS = tuple(range(50, 1000, 100))
HQS_IMAGES = 32  # sources of each of its many trainings, to keep them short
CONSOLE = Console()
Rows = list[dict[str, Any]]


# What each command measures


@torch.no_grad()
def reconstruction(domain: Domain, judge: Judge, n: int, seed: int) -> dict[str, Any]:
    """Encoder and generator on `n` held-out avatars: PSNR, and the share of visible attributes read the same after."""
    persons = people(seed, 0, n)
    images = avatars.render(list(persons))
    drawn = _invert(images, domain)
    quality = psnr(drawn, images)
    before, after = judge.read(images), judge.read(drawn)
    hits = {name: _shown(same(name, before[name], after[name]), persons, name) for name in avatars.ATTRIBUTES}
    whole = [hit for row in hits.values() for hit in row]
    figures = {
        "psnr": float(quality.mean()),
        "psnr_median": float(quality.median()),
        "psnr_worst": float(quality.min()),
        "unchanged": statistics.fmean(whole),
        "distance": float(judge.distance(drawn, images).mean()),
        **_fid(judge, images, drawn),
    }
    if domain.identity is not None:
        figures["identity"] = float(metrics.identity_similarity(domain, images, drawn).mean())
    return {"figures": figures, "attributes": _shares(hits)}


def judging(judge: Judge, n: int, seed: int) -> dict[str, Any]:
    """The judge on `n` held-out renders: the share read right of those the picture can show."""
    persons = people(seed, 0, n)
    readings = judge.read(avatars.render(list(persons)))
    hits = {}
    for name in avatars.ATTRIBUTES:
        if name in avatars.RANGES:
            truth = torch.tensor([float(p.attributes[name]) for p in persons])
        else:
            truth = torch.tensor([avatars.values(name).index(p.attributes[name]) for p in persons])
        hits[name] = _shown(same(name, readings[name], truth), persons, name)
    each = _shares(hits)
    figures = {"mean": statistics.fmean(each.values()), "worst": min(each.values())}
    return {"figures": figures, "attributes": each}


@torch.no_grad()
def teaching(pipeline: Any, judge: Judge, n: int, seed: int, steps: int = 50, scale: float = 5.0) -> dict[str, Any]:
    """The teacher's own pictures of `n` held-out captions: how much of what was said does the judge find?

    Pictures of several captions are drawn at once; each starts from noise of its own, by its number.
    """
    import numpy as np

    asked: list[tuple[Avatar, list[str], str]] = []
    for i, person in enumerate(people(seed, 0, n)):
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
        **_fid(judge, avatars.render(list(people(seed, 0, n)), drawn.shape[-1]), drawn),
    }
    if similarity:
        figures["clip"] = statistics.fmean(similarity)
    return {
        "figures": figures,
        "attributes": _shares(found),
        "pictures": drawn[:16],
    }


@dataclass
class Subjects:
    """Everything about the people one prompt is tried on that does not depend on the editor."""

    asked: Prompt
    people: list[Avatar]
    images: Tensor
    codes: Tensor
    reconstructions: Tensor
    readings: dict[str, Tensor]
    counterfactuals: list[Tensor]
    kept: list[list[str]]

    @classmethod
    def make(cls, asked: Prompt, domain: Domain, judge: Judge, n: int, seed: int) -> Subjects:
        """The first `n` held-out people of `seed` on whom the prompt can be tried."""
        persons = subjects(asked, n, seed)
        images = avatars.render(persons)
        codes = encode(images, domain)
        drawn = _invert(images, domain)
        after = [p.replace(**asked.changes[0]) for p in persons]
        return cls(
            asked, persons, images, codes, drawn, judge.read(drawn),
            [metrics.counterfactuals(p, asked.changes) for p in persons],
            [metrics.others(p, q, [asked.attribute]) for p, q in zip(persons, after, strict=True)],
        )  # fmt: skip

    def judge(self, edited: Tensor, domain: Domain, judge: Judge, full: bool = True) -> dict[str, Any]:
        """Figures of edited pictures, averaged over the people; `full` adds those that cost networks' time."""
        found = metrics.measure(edited, self.images, self.reconstructions, self.counterfactuals)
        figures: dict[str, Any] = {
            "editability": _mean(found.editability),
            "fidelity": _mean(found.fidelity),
            "gain": _mean(found.gain),
        }
        readings = judge.read(edited)
        right = [reads(self.asked.attribute, self.asked.word, row[self.asked.attribute]) for row in in_words(readings)]
        share, each = metrics.side_effects(self.readings, readings, self.kept)
        figures |= {"success": statistics.fmean(right), "side_effects": _mean(share)}
        if not full:
            return figures
        figures["distance"] = _mean(judge.distance(edited, self.images))
        if domain.identity is not None:
            figures["identity"] = _mean(metrics.identity_similarity(domain, edited, self.images))
        if judge.clip is not None:
            figures["clip"] = _mean(judge.similarity(edited, self.asked.text))
            before = self.asked.before
            figures["directional"] = _mean(judge.directional(self.images, edited, before, self.asked.text))
        answers = torch.stack([c[int(k)] for c, k in zip(self.counterfactuals, found.chosen, strict=True)])
        figures |= _fid(judge, answers, edited)
        figures["changed"] = {k: v for k, v in sorted(each.items(), key=lambda kv: -kv[1]) if v > 0}
        return figures


class Editors:
    """Editors by prompt and options, trained when they are first asked for and kept in a folder."""

    def __init__(self, folder: Path, domain: Domain) -> None:
        self.folder, self.domain = folder, domain
        index = Path(domain.teacher) / "unet" / "diffusion_pytorch_model.safetensors"
        self.teacher_hash = sha256_file(index) if index.is_file() else domain.teacher
        self.teacher: Any = None

    def path(self, text: str, seed: int, options: dict[str, Any]) -> Path:
        """Where the editor of a prompt, a seed and training options lies."""
        card = [
            text,
            seed,
            DistillConfig.make(None, **options).model_dump(mode="json"),
            self.domain.generator_hash,
            self.teacher_hash,
        ]
        key = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:10]
        return self.folder / f"{text.replace(' ', '-')}-{key}.safetensors"

    def get(self, text: str, seed: int = 0, **options: Any) -> Editor:
        """The editor, trained now if it is not there yet."""
        path = self.path(text, seed, options)
        if path.is_file():
            return Editor.load(path, self.domain)
        if self.teacher is None:
            from sdd.teacher import load_teacher

            self.teacher = load_teacher(self.domain.teacher)
        from sdd.distillation import distill

        # The teacher's name, not the object, goes into the file: the same as `sdd train` writes.
        self.teacher.name = self.domain.name
        began = time.perf_counter()
        editor = distill(text, self.domain, teacher=self.teacher, seed=seed, progress=False, **options)
        seconds = time.perf_counter() - began
        editor.info = editor.info.model_copy(update={"figures": editor.info.figures | {"seconds": round(seconds, 1)}})
        editor.save(path)
        CONSOLE.print(f"trained {text!r} at t = {_list(editor.info.timesteps)} in {seconds:.0f} s: {path.name}")
        return editor


def editing(
    domain: Domain, judge: Judge, editors: Editors, n: int, seed: int, prompts: Sequence[Prompt] = PROMPTS,
    pictures: Path | None = None, **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """One editor for each prompt, at one strength for all.

    The strength is the one that meets the most bars on *other* held-out people (`seed` + 1, half as many), and of
    those the one that comes nearest to the bars it misses; so the figures are not those it was chosen by.
    """
    curves: dict[str, Rows] = {}
    for asked in prompts:
        editor = editors.get(asked.text, **options)
        trial = Subjects.make(asked, domain, judge, max(2, n // 2), seed + 1)
        curves[asked.text] = _curve(editor, trial, domain, judge)
    means: Rows = []
    for k, s in enumerate(STRENGTHS):
        here = [curves[p.text][k] for p in prompts]
        mean = {name: statistics.fmean(row[name] for row in here) for name in here[0]}
        means.append({**mean, "strength": s, "worst_success": min(row["success"] for row in here)})
    strength = float(max(means, key=_standing)["strength"])
    rows: Rows = []
    for asked in prompts:
        editor = editors.get(asked.text, **options)
        there = Subjects.make(asked, domain, judge, n, seed)
        edited = Editor.compose([editor]).draw(there.codes, strength)
        row: dict[str, Any] = {"prompt": asked.text, "attribute": asked.attribute, "timesteps": editor.info.timesteps}
        row |= {"levels": editor.info.mapper.get("levels", []), **there.judge(edited, domain, judge)}
        row["nothing_done"] = there.judge(there.reconstructions, domain, judge)["editability"]
        row["train_seconds"] = editor.info.figures.get("seconds", float("nan"))
        row["steps"] = editor.info.figures.get("steps", float("nan"))
        rows.append(row)
        if pictures is not None:
            save_grid(pictures / f"{asked.text.replace(' ', '-')}.png", there, edited)
    names = (
        "success",
        "side_effects",
        "editability",
        "fidelity",
        "gain",
        "identity",
        "clip",
        "directional",
        "distance",
        "fid",
    )
    figures = {k: statistics.fmean(r[k] for r in rows) for k in names if k in rows[0]}
    figures |= {"worst_success": min(r["success"] for r in rows), "strength": strength}
    return {"figures": figures, "rows": rows, "curves": curves, "means": means}


def _standing(means: dict[str, float]) -> tuple[int, float]:
    """How many of the editors' bars are met, and how near the others are, as shares of them."""
    bars = [bar for bar in BARS if bar.part == "editors"]
    missed = [bar for bar in bars if not bar.met(means[bar.key])]
    near = sum(bar.value / means[bar.key] if bar.most else means[bar.key] / bar.value for bar in missed)
    return len(bars) - len(missed), near


def guiding(
    domain: Domain, judge: Judge, editors: Editors, n: int, seed: int, texts: Sequence[str] = HQS_PROMPTS,
    **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """The guidances against each other, everything else as by default: the strength curve of each prompt's editor."""
    curves: Rows = []
    for name in GUIDANCES:
        for text in texts:
            there = Subjects.make(prompt(text), domain, judge, n, seed)
            editor = editors.get(text, seed, guidance=name, **options)
            curve = _curve(editor, there, domain, judge)
            curves.append({"guidance": name, "prompt": text, "steps": editor.info.figures["steps"], "curve": curve})
    figures = {}
    for name in GUIDANCES:
        mine = [c["curve"] for c in curves if c["guidance"] == name]
        figures[f"gain_{name}"] = statistics.fmean(max(p["gain"] for p in curve) for curve in mine)
    return {"figures": figures, "curves": curves, "default": DistillConfig().guidance}


def scoring(
    domain: Domain, judge: Judge, editors: Editors, n: int, seed: int, texts: Sequence[str] = HQS_PROMPTS,
    timesteps: Sequence[int] = HQS_TIMESTEPS, steps: int = 16, seeds: int = 3, **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """The hybrid quality score against what it promises.

    For each prompt an editor is trained at each single timestep, for equally many steps; its measured gain, the best
    along the strength curve, is ranked against HQS. Then `largest`, `above:ξ` (ξ = half the largest score) and `random`
    (any timestep) at equal steps: the whole curve, with several seeds.
    """
    from sdd.hqs import search
    from sdd.teacher import load_teacher

    teacher = load_teacher(domain.teacher)
    sources = domain.images(DistillConfig().search_images, seed, "train")
    rows: Rows = []
    curves: Rows = []
    for text in texts:
        there = Subjects.make(prompt(text), domain, judge, n, seed)
        scores = search(teacher, sources, text, scale=DistillConfig().scale, seed=seed, progress=False)
        at = {t: float(s) for t, s in zip(scores.timesteps, scores.score.tolist(), strict=True)}
        gains = {}
        for t in timesteps:
            editor = editors.get(text, seed, timesteps=f"list:{t}", steps=steps, images=HQS_IMAGES, **options)
            gains[t] = max(row["gain"] for row in _curve(editor, there, domain, judge))
        rho = metrics.spearman([at[t] for t in timesteps], [gains[t] for t in timesteps])
        rows.append({"prompt": text, "spearman": rho, "hqs": {t: at[t] for t in timesteps}, "gain": gains})
        threshold = round(0.5 * float(scores.score.max()), 3)
        for name, strategy in (("largest", "largest"), ("above", f"above:{threshold}"), ("random", "random")):
            for k in range(seeds):
                editor = editors.get(text, seed + k, timesteps=strategy, steps=steps, images=HQS_IMAGES, **options)
                curve = _curve(editor, there, domain, judge)
                curves.append(
                    {
                        "prompt": text,
                        "strategy": name,
                        "seed": seed + k,
                        "timesteps": len(editor.info.timesteps),
                        "curve": curve,
                    }
                )
    best = {
        name: statistics.fmean(max(p["gain"] for p in c["curve"]) for c in curves if c["strategy"] == name)
        for name in ("largest", "above", "random")
    } if curves else {}  # fmt: skip
    figures = {"spearman": statistics.fmean(r["spearman"] for r in rows), **{f"gain_{k}": v for k, v in best.items()}}
    return {"figures": figures, "rows": rows, "curves": curves, "steps": steps}


def timing(domain: Domain, editors: Editors, repeats: int, seed: int, text: str = "white hair") -> dict[str, Any]:
    """Seconds, as medians of `repeats`: start-up and one cold edit as processes, a warm batch of 64, one training.

    `break_even` is Equation 15 with one prompt: the number of pictures from which training an editor is quicker than a
    diffusion edit of each (SDEdit: 25 steps with classifier-free guidance by the same teacher).
    """
    from sdd.teacher import load_teacher

    editor = editors.get(text, seed)
    path = editors.path(text, seed, {})
    command = [sys.executable, "-c", "from sdd.apps.cli import main; main()"]
    with tempfile.TemporaryDirectory() as folder:
        from sdd.io.images import save_png

        picture = save_png(people(seed, 0, 1)[0].render(), Path(folder) / "me.png")
        helping = _processes([*command, "--help"], repeats)
        cold = _processes([*command, "edit", str(picture), "-e", str(path), "-o", str(Path(folder) / "out")], repeats)
        training = _processes(
            [*command, "train", text, "-o", str(Path(folder) / "e.safetensors"), "--run", str(Path(folder) / "run")], 1
        )
    images = avatars.render(list(people(seed, 0, 64)))
    editor(images[:16])
    warm = statistics.median(_seconds(lambda: editor(images)) for _ in range(repeats)) / len(images)
    teacher = load_teacher(domain.teacher)
    null = teacher.encode_text(["", text])
    latents = torch.zeros(2, *teacher.latent_shape)
    t = torch.full((2,), 500)
    with torch.no_grad():
        unet = statistics.median(
            _seconds(lambda: teacher.predict_noise(latents, t, null)) for _ in range(max(3, repeats))
        )
    diffusion = 25 * unet
    figures = {
        "help": helping, "cold_edit": cold, "warm_edit": warm, "train": training, "diffusion_edit": diffusion,
        "break_even": training / (diffusion - warm) if diffusion > warm else float("inf"),
    }  # fmt: skip
    return {"figures": figures, "threads": torch.get_num_threads()}


# Helpers


def _invert(images: Tensor, domain: Domain) -> Tensor:
    with torch.no_grad():
        return torch.cat([domain.generator.synthesis(c).clamp(-1, 1) for c in encode(images, domain).split(16)])


def _curve(editor: Editor, there: Subjects, domain: Domain, judge: Judge) -> Rows:
    """What the edits are worth at each strength."""
    drawing = Editor.compose([editor])
    return [
        {"strength": s, **there.judge(_draw(drawing, there.codes, s), domain, judge, full=False)} for s in STRENGTHS
    ]


def _draw(drawing: Any, codes: Tensor, strength: float) -> Tensor:
    return torch.cat([drawing.draw(part, strength) for part in codes.split(16)])


def _fid(judge: Judge, real: Tensor, fake: Tensor) -> dict[str, float]:
    """The FID where torchmetrics is installed; without it that figure alone is missing."""
    from importlib.util import find_spec

    return {"fid": metrics.fid(judge, real, fake)} if find_spec("torchmetrics") else {}


def _shown(hits: Tensor, persons: Iterable[Avatar], name: str) -> list[bool]:
    """The hits of those people whose picture can show the attribute."""
    return [bool(hit) for hit, person in zip(hits, persons, strict=True) if person.visible(name)]


def _shares(hits: dict[str, list[bool]]) -> dict[str, float]:
    """Share of hits of each attribute that any picture could show."""
    return {name: statistics.fmean(row) for name, row in sorted(hits.items()) if row}


def _mean(values: Tensor) -> float:
    return float(values.double().nanmean())


def _whole(asked: Sequence[tuple[Avatar, list[str], str]], found: dict[str, list[bool]]) -> float:
    """Share of captions of which everything was found."""
    left = {name: iter(hits) for name, hits in found.items()}
    return statistics.fmean(all([next(left[name]) for name in names]) for _, names, _ in asked)


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _processes(command: list[str], repeats: int) -> float:
    """Median wall seconds of a command."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        found.append(time.perf_counter() - began)
        if done.returncode:
            raise SddError(f"{' '.join(command[3:])} failed: {done.stderr.strip()[-300:]}")
    return statistics.median(found)


def _list(timesteps: Sequence[int]) -> str:
    return (
        ", ".join(map(str, timesteps)) if len(timesteps) < 6 else f"{timesteps[0]} … {timesteps[-1]} ({len(timesteps)})"
    )


def save_grid(path: Path, there: Subjects, edited: Tensor, count: int = 8) -> None:
    """Rows: source, reconstruction, edited, counterfactual. A palette of 128 colours keeps the file small."""
    found = metrics.measure(edited, there.images, there.reconstructions, there.counterfactuals)
    answers = [c[int(k)] for c, k in zip(there.counterfactuals, found.chosen, strict=True)]
    rows = [there.images[:count], there.reconstructions[:count], edited[:count], torch.stack(answers[:count])]
    save_rows(path, rows)


def save_rows(path: Path, rows: Sequence[Tensor]) -> None:
    """Rows of pictures (N, 3, S, S) as one small PNG."""
    from PIL import Image

    from sdd.io.files import atomic_path

    sheet = torch.cat([torch.cat(list(row.clamp(-1, 1)), 2) for row in rows], 1)
    pixels = sheet.add(1).mul(127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    with atomic_path(path) as aside:
        Image.fromarray(pixels).quantize(128).save(aside, format="PNG", optimize=True)


def machine() -> dict[str, Any]:
    """Where and when a figure was measured."""
    from importlib.metadata import version

    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "python": platform.python_version(), "torch": version("torch"), "sdd": version("sdd"),
    }  # fmt: skip


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


# Commands

app = typer.Typer(add_completion=False, help="Measure the embedded domain.", no_args_is_help=True)
N = Annotated[int | None, typer.Option("-n", "--n", help="Held-out avatars (of each prompt, for editors).", min=2)]
Seed = Annotated[int, typer.Option(help="Which held-out avatars.", min=0)]
Quick = Annotated[bool, typer.Option("--quick", help="A glance: few avatars, few prompts.")]
Out = Annotated[Path, typer.Option(help="Folder of the JSON files.")]
Kept = Annotated[Path | None, typer.Option(help="Folder of trained editors; by default in the cache.")]
Pictures = Annotated[Path | None, typer.Option(help="Folder of picture grids.")]
OUT, PICTURES = Path("docs/figures"), Path("docs/images")


@app.command("reconstruction")
def reconstruction_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, pictures: Pictures = PICTURES
) -> None:
    """Encoder and generator."""
    n = n or (32 if quick else 512)
    domain = domains.get("avatars")
    found = reconstruction(domain, Judge.load(), n, seed)
    if pictures is not None:
        images = avatars.render(list(people(seed, 0, 8)))
        save_rows(pictures / "reconstruction.png", [images, _invert(images, domain)])
    _finish("reconstruction", found, n, seed, out)


@app.command("judge")
def judge_command(n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT) -> None:
    """The judge against the truth."""
    n = n or (64 if quick else 1000)
    _finish("judge", judging(Judge.load(), n, seed), n, seed, out)


@app.command("teacher")
def teacher_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, pictures: Pictures = PICTURES
) -> None:
    """The teacher's own pictures."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    n = n or (16 if quick else 128)
    folder = domains.weights_folder("avatars") / "teacher"
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
    _finish("teacher", found, n, seed, out)


@app.command("editors")
def editors_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None, pictures: Pictures = PICTURES,
    only: Annotated[list[str] | None, typer.Option("--prompt", help="Only these prompts; may be repeated.")] = None,
) -> None:  # fmt: skip
    """One editor for each prompt, at one strength for all."""
    n = n or (8 if quick else 24)
    domain = domains.get("avatars")
    chosen = [prompt(text) for text in only] if only else list(PROMPTS[::5] if quick else PROMPTS)
    found = editing(domain, Judge.load(), Editors(_kept(kept), domain), n, seed, chosen, pictures)
    _finish("editors", found, n, seed, out)


@app.command("guidance")
def guidance_command(n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None) -> None:
    """The guidances against each other."""
    n = n or (6 if quick else 16)
    domain = domains.get("avatars")
    some: dict[str, Any] = {"texts": HQS_PROMPTS[:1], "steps": 20} if quick else {}
    _finish("guidance", guiding(domain, Judge.load(), Editors(_kept(kept), domain), n, seed, **some), n, seed, out)


@app.command("hqs")
def hqs_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None,
    steps: Annotated[int, typer.Option(help="Training steps of every editor.", min=1)] = 16,
    seeds: Annotated[int, typer.Option(help="Trainings of each strategy.", min=0)] = 3,
) -> None:  # fmt: skip
    """The hybrid quality score against measured gain, and the strategies against each other."""
    n = n or (6 if quick else 16)
    domain = domains.get("avatars")
    some: dict[str, Any] = (
        {"texts": HQS_PROMPTS[:2], "timesteps": HQS_TIMESTEPS[1::2], "seeds": 1, "steps": min(steps, 20)}
        if quick
        else {"steps": steps, "seeds": seeds}
    )
    _finish("hqs", scoring(domain, Judge.load(), Editors(_kept(kept), domain), n, seed, **some), n, seed, out)


@app.command("speed")
def speed_command(n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None) -> None:
    """Training, editing, start-up; -n is how often each is repeated. Meaningless while anything else runs."""
    n = n or (2 if quick else 5)
    domain = domains.get("avatars")
    _finish("speed", timing(domain, Editors(_kept(kept), domain), n, seed), n, seed, out)


@app.command("all")
def all_command(
    seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None, pictures: Pictures = PICTURES
) -> None:
    """Everything, one after the other."""
    judge_command(None, seed, quick, out)
    reconstruction_command(None, seed, quick, out, pictures)
    teacher_command(None, seed, quick, out, pictures)
    guidance_command(None, seed, quick, out, kept)
    editors_command(None, seed, quick, out, kept, pictures)
    hqs_command(None, seed, quick, out, kept)
    speed_command(None, seed, quick, out, kept)


def _kept(folder: Path | None) -> Path:
    return folder or Path(os.environ.get("SDD_HOME", Path.home() / ".cache" / "sdd")) / "editors"


def _finish(name: str, found: dict[str, Any], n: int, seed: int, out: Path) -> None:
    """Save figures, and print them."""
    said = " ".join(sys.argv[1:]) if Path(sys.argv[0]).stem == "benchmark" else f"{name} --n {n} --seed {seed}"
    quoted = {"command": f"python -m sdd.evaluate.benchmark {said}", "n": n, "seed": seed}
    write_text(out / f"{name}.json", json.dumps({**quoted, "machine": machine(), **found}, indent=1) + "\n")
    table = Table(title=f"{name} ({n}, seed {seed})")
    for column in ("figure", "value"):
        table.add_column(column)
    for key, value in found["figures"].items():
        table.add_row(key, f"{value:.4g}")
    CONSOLE.print(table)
    if name == "editors":
        columns = ("success", "side_effects", "editability", "fidelity", "gain")
        table = Table("prompt", *columns, "t", title="each prompt")
        for row in found["rows"]:
            table.add_row(row["prompt"], *(f"{row[c]:.3g}" for c in columns), _list(row["timesteps"]))
        CONSOLE.print(table)
    for key, value in sorted(found.get("attributes", {}).items(), key=lambda kv: kv[1]):
        CONSOLE.print(f"  {key:20} {value:.4f}")
    CONSOLE.print(f"wrote {out / f'{name}.json'}")


def main() -> None:
    """The command line; bad input is one sentence and exit code 2."""
    try:
        app()
    except SddError as error:
        CONSOLE.print(f"[red]{error}", highlight=False)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
