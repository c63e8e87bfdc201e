"""Algorithm 1 of arXiv 2307.08448: distil what a diffusion model knows of a prompt into a feedforward editor.

prompt -> hybrid quality score -> timestep set -> repeat (codes -> mapper -> generator -> images -> teacher's gradient
-> mapper) until converged -> editor. The module is called `distillation` so that `sdd.distill` is always the function.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd import guidance
from sdd.device import check_seed, pick_device
from sdd.editor import Editor, EditorInfo
from sdd.errors import SddError
from sdd.hqs import HQS, search, timestep_set
from sdd.manipulators.inversion import batch_size, encode, psnr
from sdd.manipulators.inversion import features as identity_of
from sdd.mask import edit_mask
from sdd.nets.levels import LEVELS, level_of, style_layer
from sdd.nets.mapper import Mapper, StyleMapper, WPlusMapper
from sdd.nets.mapper_kinds import build_mapper
from sdd.regularizers import identity_loss, image_l2, latent_l2, outside_l1, style_l2
from sdd.teachers.latent import resize
from sdd.teachers.protocol import Conditioning, Teacher
from sdd.training.config import DistillConfig
from sdd.training.run import Run, fingerprint, run_folder

if TYPE_CHECKING:
    from sdd.domains.domain import Domain


Code = Tensor | list[Tensor]  # W+ (B, L, D), or the list of style vectors [(B, C), ...]
BEYOND = 1.1  # of what satisfies the guidance on average; half of the pictures need more than that


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; the message says what was kept and how to go on."""


def distill(
    prompt: str,
    domain: str | Domain = "avatars",
    *,
    teacher: str | Teacher | None = None,
    config: DistillConfig | dict[str, Any] | str | Path | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    run: str | Path | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    **overrides: Any,
) -> Editor:
    """Train an editor for `prompt`.

    Args:
        prompt: the target text.
        domain: a domain or its name.
        teacher: a text-to-image diffusion model: a teacher, a folder or a hub id; None for the domain's own.
        config: a `DistillConfig`, a dict of options, a preset ("default", "reference") or a TOML file.
        seed: the same seed on the same machine gives the same editor, bit for bit.
        out: where to save the editor; None does not.
        run: a folder for checkpoints, log and sample pictures. The same call with the same folder resumes, and what
            comes out is what an uninterrupted run gives, bit for bit; a finished one is read again. "auto" is
            `runs/<prompt>-<hash of everything that identifies the run>`; None keeps nothing.
        device: where to train; None for CUDA if there is one, else CPU.
        progress: show progress bars.
        overrides: options of `DistillConfig`, by name.

    Raises:
        SddError: an empty prompt, an unknown domain, option or strategy, a run folder that holds another run, a
            gradient that is not finite.
        Interrupted: Ctrl-C; the message says how to resume.
    """
    prompt = prompt.strip()
    if not prompt:
        raise SddError('the prompt is empty; say what the edited images should show, "white hair" for instance')
    check_seed(seed)
    settings = DistillConfig.make(config, **overrides)
    device = pick_device(device)
    if isinstance(domain, str):
        from sdd.domains import library

        domain = library.get(domain, device)
    domain.to(device)
    folder = Path(run) if run not in (None, "auto") else None
    name = teacher if isinstance(teacher, str) else getattr(teacher, "name", "custom") if teacher else domain.name
    card = {
        "prompt": prompt,
        "domain": domain.name,
        "generator": domain.generator_hash,
        "teacher": name,
        "pictures and models": {} if run is None else _fingerprints(domain, teacher, settings, seed),
        "seed": seed,
        "config": settings.model_dump(mode="json"),
        "sdd": version("sdd"),
    }
    if run == "auto":
        folder = run_folder(card)
    finished = None if folder is None else folder / "editor.safetensors"
    if finished is not None and finished.exists():
        Run(folder, card)  # refuses another run's
        editor = Editor.load(finished, domain)
        if out is not None:
            editor.save(out)
        return editor
    guide = _teacher(teacher or domain.teacher, device, settings)
    if not _searches(settings):
        timestep_set(None, settings.timesteps, guide.num_timesteps)  # a wrong list is said now, not after minutes
    keeper = Run(folder, card)
    for word, near in guide.unknown_words(prompt):
        hint = f"; the nearest words it knows are {', '.join(near)}" if near else ""
        warnings.warn(f"the teacher does not know the word {word!r}{hint}", stacklevel=2)
    try:
        editor = _train(prompt, domain, guide, settings, seed, keeper, card, device, progress)
    except KeyboardInterrupt as stop:
        kept = f"the last checkpoint is in {folder}; the same command resumes from it"
        raise Interrupted(f"stopped; {kept if folder else 'no run folder was given, so nothing was kept'}") from stop
    finally:
        keeper.close()
    if finished is not None:
        editor.save(finished)
    if out is not None:
        editor.save(out)
    return editor


def _fingerprints(
    domain: Domain, teacher: str | Teacher | None, settings: DistillConfig, seed: int
) -> dict[str, str | None]:
    """Fingerprints of what a name alone does not tell: a run must not go on with other pictures or models."""
    from sdd.io.checkpoints.hash import generator_hash

    source = domain.extra.get("latents")
    if source is None:  # a few pictures tell; reading all of them would be half the inversion
        source = domain.images(min(4, settings.images), seed, "train")
    values = source[: settings.images].detach().float().cpu().contiguous()
    path = teacher if isinstance(teacher, str) else getattr(teacher, "name", "") if teacher else domain.teacher
    return {
        "pictures": hashlib.sha256(values.numpy().tobytes()).hexdigest(),
        "encoder": generator_hash(domain.encoder),
        "identity": None if domain.identity is None else generator_hash(domain.identity),
        "teacher": fingerprint(path),
    }


def _teacher(teacher: str | Teacher, device: torch.device, settings: DistillConfig) -> Teacher:
    if not isinstance(teacher, str):
        return teacher
    from sdd.teachers.load import load_teacher

    return load_teacher(teacher, device, getattr(torch, settings.precision))


@dataclass
class _State:
    """Where a training stands: all that a checkpoint holds."""

    mapper: Mapper
    average: Mapper  # exponential moving average of the mapper's weights; what becomes the editor
    optimizer: torch.optim.Optimizer
    random: torch.Generator
    timesteps: list[int]
    hqs: dict[str, Any] | None
    unit: float
    step: int = 0
    norms: list[float] = field(default_factory=list)  # of the last gradients
    pull: float = 0.0  # smoothed; see `_train`
    peak: float = 0.0
    done: bool = False

    def dump(self) -> dict[str, Any]:
        return {
            "mapper": self.mapper.state_dict(),
            "average": self.average.state_dict(),
            "config": self.mapper.config(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
            **{k: getattr(self, k) for k in ("timesteps", "hqs", "unit", "step", "norms", "pull", "peak", "done")},
        }


def _train(
    prompt: str,
    domain: Domain,
    teacher: Teacher,
    settings: DistillConfig,
    seed: int,
    run: Run,
    card: dict[str, Any],
    device: torch.device,
    progress: bool,
) -> Editor:
    saved = run.restore()
    with _bar(progress) as bar:
        source, images = _source(domain, teacher, settings, seed, bar)
    if saved is None:
        hqs = None
        if _searches(settings):
            hqs = search(teacher, images, prompt, scale=settings.scale, seed=seed, progress=progress)
        timesteps = timestep_set(hqs, settings.timesteps, teacher.num_timesteps)
    else:
        timesteps = saved["timesteps"]
    del images
    if settings.mask:
        with _bar(progress) as bar:
            source.masks = _masks(prompt, teacher, source, timesteps, seed, bar)
    if saved is None:
        state = _begin(prompt, domain, teacher, settings, seed, source, timesteps, hqs)
    else:
        state = _resume(saved, settings, device)
    with _bar(progress) as bar:
        objective = Objective(prompt, domain, teacher, settings, source, state.mapper.space, state.unit)
        run.start(state.step)
        limit = settings.max_steps if settings.steps == "auto" else settings.steps
        task = bar.add_task(f"distil {prompt!r}", total=limit, completed=state.step)
        while not state.done:
            figures = _step(state, objective, settings, limit)
            run.log(state.step, figures)
            # The pull is how much the objective still falls when the edit grows along its own direction: large while
            # the edit takes hold, zero once guidance and regularisers balance.
            # A peak near 1 says that the edit did take hold; a mapper that starts at random needs its time for that.
            # Nor is anything settled while `keep` still grows.
            held = settings.fixed_scale and state.step >= max(30, settings.keep_warmup) and state.peak > 0.2
            settled = held and state.pull < settings.converged * state.peak
            state.done = state.step >= limit or (settings.steps == "auto" and settled)
            if state.done or state.step % settings.checkpoint_every == 0:
                run.save(state.dump())
            if state.done or state.step % settings.grid_every == 0:
                run.grid(state.step, _pictures(objective, state.average))
            bar.update(task, completed=state.step, description=f"distil {prompt!r} (pull {state.pull:.2f})")
        bar.update(task, total=state.step)
        average = state.average
        last = descended(state.timesteps, settings, teacher.num_timesteps, state.step / limit)
        strength = _strength(objective, average, settings, seed, last)
    with torch.no_grad():
        delta = objective.change(average, torch.arange(min(64, len(source.codes)), device=device))
    size = math.sqrt(float(objective.units(delta)))
    figures = {"steps": float(state.step), "pull": state.pull, "change": size, "inversion_psnr": source.psnr}
    info = EditorInfo(
        prompt=prompt,
        domain=domain.name,
        generator=domain.generator_hash,
        mapper=average.config(),
        strength=float(f"{strength:.4g}"),
        teacher=card["teacher"],
        timesteps=state.timesteps,
        hqs=state.hqs,
        config=card["config"],
        seed=seed,
        figures={k: float(f"{v:.6g}") for k, v in figures.items()},
        versions={name: version(name) for name in ("sdd", "torch", "diffusers")},
        notes=list(domain.extra.get("notes", ())),
    )
    return Editor(average, info, domain)


@dataclass
class Source:
    """What training needs of the source images, computed once.

    Attributes:
        codes: W+, (N, L, D).
        latents: the teacher's latents of the reconstructions, (N, C, h, w); None if the guidance does not look at them.
        features: identity features of the reconstructions, (N, E); None without an identity loss.
        psnr: of the reconstructions, dB, averaged; nan where there were codes only.
        masks: where the prompt asks for a change, (N, 1, h, w) in [0, 1]; None without `mask`.
        seen: the reconstructions in the size in which the teacher sees them, (N, 3, S, S); None unless `keep` compares
            with them.
    """

    codes: Tensor
    latents: Tensor | None
    features: Tensor | None
    psnr: float
    masks: Tensor | None = None
    seen: Tensor | None = None


@torch.no_grad()
def _source(domain: Domain, teacher: Teacher, settings: DistillConfig, seed: int, bar: Any) -> tuple[Source, Tensor]:
    """The source codes and what follows from them, and some images for the search."""
    device = domain.latent_mean.device
    images: Tensor | None = None
    codes = domain.extra.get("latents")
    if codes is not None:  # a domain may come as codes alone
        codes = codes[: settings.images].to(device)
    else:
        images = domain.images(settings.images, seed, "train")
        codes = encode(images, domain)
    if len(codes) == 0:
        raise SddError(f"the domain {domain.name!r} has no images to train on; give it some")
    random = torch.Generator().manual_seed(seed + 1)  # only the posterior's draws, if they are asked for
    latents, features, seen, shown, quality = [], [], [], [], []
    wants_identity = settings.identity > 0 and domain.identity is not None
    wants_latents = settings.guidance == "dds" or settings.mask
    size = batch_size(domain)
    task = bar.add_task("invert the source images", total=len(codes))
    for start in range(0, len(codes), size):
        part = codes[start : start + size]
        enough = start >= settings.search_images
        if enough and images is None and not wants_latents and not wants_identity:
            break
        drawn = domain.generator.synthesis(part)
        if wants_latents:
            latents.append(teacher.encode_image(drawn, settings.sample_posterior, random))
        if wants_identity:
            features.append(identity_of(domain, drawn))
        if settings.mask and settings.keep > 0:
            seen.append(resize(drawn, teacher.image_size))
        if images is None:
            if not enough:
                shown.append(drawn)
        else:
            quality.append(psnr(drawn, images[start : start + size].to(device)))
        bar.update(task, advance=len(part))
    source = Source(
        codes,
        torch.cat(latents) if latents else None,
        torch.cat(features) if features else None,
        float(torch.cat(quality).mean()) if quality else 0.0,
        seen=torch.cat(seen) if seen else None,
    )
    return source, (images if images is not None else torch.cat(shown))[: settings.search_images].to(device)


def _masks(prompt: str, teacher: Teacher, source: Source, timesteps: list[int], seed: int, bar: Any) -> Tensor:
    """Where the prompt asks for a change, in each source image."""
    assert source.latents is not None, "encoded for the masks"
    draws = 2
    task = bar.add_task("find where to edit", total=draws * len(source.latents))
    return edit_mask(
        teacher,
        source.latents,
        teacher.encode_text([""]),
        teacher.encode_text([prompt]),
        timesteps,
        torch.Generator().manual_seed(seed + 3),
        draws,
        advance=lambda count: bar.update(task, advance=count),
    )


class Objective:
    """What training lowers: the teacher's guidance, and what keeps the edit close to its source.

    A change of a code has an objective of order one when it is of order one standard deviation.
    """

    def __init__(
        self,
        prompt: str,
        domain: Domain,
        teacher: Teacher,
        settings: DistillConfig,
        source: Source,
        space: str,
        unit: float = 1.0,
    ) -> None:
        self.domain, self.teacher, self.settings, self.source = domain, teacher, settings, source
        self.space, self.unit = space, unit
        self.device = source.codes.device
        words = ("", prompt, settings.source_prompt)
        self.null, self.text, self.before = (teacher.encode_text([text]) for text in words)
        self.std = [domain.latent_std.clamp_min(1e-6)] if space == "wplus" else style_units(domain, source.codes)[1]

    def code(self, index: Tensor) -> Code:
        """The source codes of `index` (B,), in the mapper's space."""
        codes = self.source.codes[index]
        return codes if self.space == "wplus" else self.domain.generator.styles(codes)

    def change(self, mapper: Mapper, index: Tensor) -> Code:
        """The mapper's change of those codes."""
        delta = mapper(self.code(index))
        return [d * mapper.latent_weight for d in delta] if isinstance(delta, list) else delta * mapper.latent_weight

    def draw(self, index: Tensor, delta: Code) -> Tensor:
        """The images of the changed codes."""
        code = self.code(index)
        if isinstance(delta, list):
            moved = [a + b for a, b in zip(code, delta, strict=True)]
            return self.domain.generator.synthesis_from_styles(moved)
        assert isinstance(code, Tensor), "a W+ mapper changes W+ codes"
        return self.domain.generator.synthesis(code + delta)

    def units(self, delta: Code) -> Tensor:
        """Mean squared change, in standard deviations of the code."""
        return style_l2(delta, self.std) if isinstance(delta, list) else latent_l2(delta, self.std[0])

    def gradient(self, latents: Tensor, index: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The guidance's gradient on the latents (B, C, h, w), at timesteps t (B,) with that noise."""
        settings, teacher = self.settings, self.teacher
        with torch.no_grad():
            weight = guidance.weight(teacher.alphas_cumprod, t).to(latents)
            noisy = teacher.add_noise(latents, noise, t)
            if settings.guidance == "dds":
                assert self.source.latents is not None, "encoded for dds"
                before = teacher.add_noise(self.source.latents[index], noise, t)
                null, text, other = self._predict([(noisy, self.null), (noisy, self.text), (before, self.before)], t)
                g = guidance.dds(null, text, other, other, weight, settings.scale)
            else:
                null, text = self._predict([(noisy, self.null), (noisy, self.text)], t)
                if settings.guidance == "sds":
                    g = guidance.sds(null, text, noise, weight, settings.scale)
                else:
                    g = guidance.csd(null, text, weight)
            if self.source.masks is not None:
                g = g * self.source.masks[index]
            if settings.topk is not None:
                g = guidance.topk_clip(g, settings.topk, per_sample=settings.topk_over == "image")
        return g

    def _predict(self, asked: Sequence[tuple[Tensor, Conditioning]], t: Tensor) -> Sequence[Tensor]:
        """The teacher's noise for several (noisy latents, condition) at once, at timesteps t (B,)."""
        latents = torch.cat([noisy for noisy, _ in asked])
        condition = type(asked[0][1]).cat([c.repeat(len(t)) for _, c in asked])
        return self.teacher.predict_noise(latents, t.repeat(len(asked)), condition).chunk(len(asked))

    def __call__(
        self, index: Tensor, delta: Code, t: Tensor, noise: Tensor, random: torch.Generator, kept: float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of changing the codes of `index` by `delta`, and its parts; `kept` is the share of `keep`."""
        settings = self.settings
        images = self.draw(index, delta)
        latents = self.teacher.encode_image(images, settings.sample_posterior, random)
        guided = (latents * self.gradient(latents.detach(), index, t, noise)).sum()
        parts = {"guidance": guided / (self.unit * len(index)) if settings.fixed_scale else guided}
        if self.source.seen is not None and self.source.masks is not None:
            there = resize(images, self.source.seen.shape[-1])
            outside = outside_l1(there, self.source.seen[index], self.source.masks[index])
            parts["keep"] = settings.keep * kept * outside
        if settings.latent_l2 > 0:
            ones = [torch.ones_like(s) for s in self.std]
            std = self.std if settings.whitened_l2 else ones
            size = style_l2(delta, std) if isinstance(delta, list) else latent_l2(delta, std[0])
            parts["l2"] = settings.latent_l2 * size
        if settings.identity > 0 and self.source.features is not None:
            features = identity_of(self.domain, images)
            parts["identity"] = settings.identity * identity_loss(features, self.source.features[index])
        if settings.image_l2 > 0:
            with torch.no_grad():
                reconstruction = self.domain.generator.synthesis(self.source.codes[index])
            parts["image"] = settings.image_l2 * image_l2(images, reconstruction)
        return torch.stack(list(parts.values())).sum(), parts


def style_units(domain: Domain, codes: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Mean and standard deviation of each style vector over W+ codes (N, L, D): two lists of (C,)."""
    with torch.no_grad():
        styles = domain.generator.styles(codes)
    spread = [s.std(0, unbiased=False) for s in styles]
    # A style that hardly varies would be divided by almost nothing.
    return [s.mean(0) for s in styles], [d.clamp_min(0.01 * float(d.mean()) + 1e-6) for d in spread]


def signal(objective: Objective, timesteps: Sequence[int], random: torch.Generator, batches: int = 3) -> list[float]:
    """Power of the guidance's signal at the unchanged code, per W+ layer (or style vector), in standard deviations.

    A gradient is signal and noise. The same images get two draws of noise; the product of the two gradients keeps, on
    average, the signal alone, so that the power of a noisy guidance (sds) is not mistaken for strength.

    Raises:
        SddError: the guidance is zero: the teacher sees no difference between the prompt and none.

    Returns:
        For each layer (or style vector) the sum over its entries of the squared signal, averaged over images.
    """
    size = min(objective.settings.batch, len(objective.source.codes))
    total: list[Tensor] = []
    for k in range(batches):
        index = torch.randperm(len(objective.source.codes), generator=random)[:size].to(objective.device)
        code = objective.code(index)
        leaves = [torch.zeros_like(c).requires_grad_() for c in (code if isinstance(code, list) else [code])]
        images = objective.draw(index, leaves if isinstance(code, list) else leaves[0])
        latents = objective.teacher.encode_image(images, objective.settings.sample_posterior, random)
        t = torch.full((size,), timesteps[k * len(timesteps) // batches], device=objective.device)
        pair = []
        for _ in range(2):
            noise = torch.randn(latents.shape, generator=random).to(latents)
            g = objective.gradient(latents.detach(), index, t, noise)
            if float(g.abs().max()) < 1e-5 * float(1 - objective.teacher.alphas_cumprod[int(t[0])]):
                raise SddError(
                    "the prompt means nothing to the teacher: it predicts the same noise with and without it; use "
                    "words that the teacher knows"
                )
            pair.append(torch.autograd.grad(latents, leaves, g, retain_graph=True))
        power = [a * b * std**2 for a, b, std in zip(*pair, objective.std, strict=True)]
        total.append(torch.stack([p.mean(0).sum() for p in power]) if len(power) > 1 else power[0].mean(0).sum(-1))
    return [float(x) for x in torch.stack(total).mean(0)]


def _searches(settings: DistillConfig) -> bool:
    """Whether the strategy looks at the hybrid quality score."""
    return settings.timesteps.partition(":")[0] in ("largest", "above")


def _begin(
    prompt: str,
    domain: Domain,
    teacher: Teacher,
    settings: DistillConfig,
    seed: int,
    source: Source,
    timesteps: list[int],
    hqs: HQS | None,
) -> _State:
    """Choose levels and scale, and make the mapper."""
    device = source.codes.device
    random = torch.Generator().manual_seed(seed)
    levels: tuple[str, ...] = LEVELS if settings.levels == "auto" else settings.levels
    unit, power = 1.0, list[float]()
    style = space_of(settings.mapper) == "style"
    if settings.levels == "auto" or settings.fixed_scale:
        probe = Objective(prompt, domain, teacher, settings, source, space_of(settings.mapper))
        power = signal(probe, timesteps, random)
    layers = [style_layer(i) if style else i for i in range(len(power))]
    if settings.levels == "auto":
        share = {level: sum(p for p, i in zip(power, layers, strict=True) if level_of(i) == level) for level in LEVELS}
        whole = sum(max(0.0, p) for p in share.values())
        levels = tuple(x for x in LEVELS if share[x] > 0 and share[x] >= settings.level_share * whole) or LEVELS
    mapper = build_mapper(_mapper_config(domain, source, settings, levels), random).to(device)
    if isinstance(mapper, WPlusMapper):
        mapper.standardise(domain.latent_mean, domain.latent_std)
    elif isinstance(mapper, StyleMapper):
        mapper.standardise(*style_units(domain, source.codes))
    if settings.fixed_scale:
        width = [c.shape[1] for c in domain.generator.styles(source.codes[:1])] if style else None
        sizes = width or [domain.latent_mean.shape[1]] * len(power)
        on = [i for i, layer in enumerate(layers) if level_of(layer) in levels]
        entries, total = sum(sizes[i] for i in on), sum(power[i] for i in on)
        if not math.isfinite(total):
            raise SddError(
                "the gradient is not finite at the first step; the teacher's or the generator's weights are broken"
            )
        # A signal lost in its noise has no size to divide by, and needs none: it only has to stay finite.
        unit = math.sqrt(total * entries) if total > 0 else float(entries)
    average = build_mapper(mapper.config()).to(device)
    average.load_state_dict(mapper.state_dict())
    record = None if hqs is None else json.loads(hqs.to_json())
    return _State(mapper, average, _optimizer(mapper, settings), random, timesteps, record, unit)


def space_of(kind: str) -> str:
    """The space in which a mapper of that kind works: "wplus" or "style"."""
    return "style" if "stylespace" in kind.lower() else "wplus"


def _mapper_config(domain: Domain, source: Source, settings: DistillConfig, levels: Sequence[str]) -> dict[str, Any]:
    n_latent, style_dim = domain.latent_mean.shape
    published = {"kind": settings.mapper, "latent_weight": settings.latent_weight}
    ours = {"kind": settings.mapper, "hidden": settings.hidden, "depth": settings.depth}
    match settings.mapper:
        case "levels":
            return {**ours, "n_latent": n_latent, "style_dim": style_dim, "levels": list(levels)}
        case "single":
            return {**ours, "n_latent": n_latent, "style_dim": style_dim}
        case "LevelsMapper":
            return {**published, "style_dim": style_dim, "levels": list(levels)}
        case "SingleMapper":
            return {**published, "style_dim": style_dim}
    dims = [style.shape[1] for style in domain.generator.styles(source.codes[:1])]
    if settings.mapper.startswith("stylespace"):
        return {**ours, "dims": dims, "levels": list(levels)}
    return {**published, "dims": dims}


def _optimizer(mapper: Mapper, settings: DistillConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(mapper.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)


def _resume(saved: dict[str, Any], settings: DistillConfig, device: torch.device) -> _State:
    mapper, average = build_mapper(saved["config"]).to(device), build_mapper(saved["config"]).to(device)
    mapper.load_state_dict(saved["mapper"])
    average.load_state_dict(saved["average"])
    optimizer = _optimizer(mapper, settings)
    optimizer.load_state_dict(saved["optimizer"])
    random = torch.Generator()
    random.set_state(saved["random"])
    rest = {k: saved[k] for k in ("timesteps", "hqs", "unit", "step", "norms", "pull", "peak", "done")}
    return _State(mapper, average, optimizer, random, **rest)


def descended(timesteps: Sequence[int], settings: DistillConfig, count: int, done: float) -> list[int]:
    """The timesteps to train at when the share `done` of a training is over, for a schedule of `count`.

    Coarse to fine, as when sampling (and in DreamTime, arXiv 2306.12422): the timesteps that the hybrid quality score
    chose sink together by up to `descend` of the schedule, not below its first twentieth. A list is taken as it is.
    """
    if settings.timesteps.partition(":")[0] == "list":
        return list(timesteps)
    return [max(min(t, count // 20), t - int(settings.descend * count * done)) for t in timesteps]


def _step(state: _State, objective: Objective, settings: DistillConfig, limit: int) -> dict[str, float]:
    """One step of training; what there is to log."""
    began = time.perf_counter()
    random, n = state.random, len(objective.source.codes)
    size = min(settings.batch, n)
    if settings.shuffle:
        index = torch.randperm(n, generator=random)[:size]
    else:
        index = (torch.arange(size) + state.step * size) % n
    index = index.to(objective.device)
    now = descended(state.timesteps, settings, objective.teacher.num_timesteps, state.step / limit)
    t = torch.tensor(now)[torch.randint(len(now), (size,), generator=random)]
    noise = torch.randn(size, *objective.teacher.latent_shape, generator=random).to(objective.device)

    warm = min(1.0, (state.step + 1) / 5)
    decay = 0.5 * (1 + math.cos(math.pi * state.step / limit)) if settings.schedule == "cosine" else 1.0
    for group in state.optimizer.param_groups:
        group["lr"] = settings.lr * warm * decay
    with _precision(objective.device, settings):
        delta = objective.change(state.mapper, index)
        parts = delta if isinstance(delta, list) else [delta]
        for part in parts:
            if part.requires_grad:
                part.retain_grad()
        kept = min(1.0, (state.step + 1) / max(1, settings.keep_warmup))
        loss, terms = objective(index, delta, t.to(objective.device), noise, random, kept)
    state.optimizer.zero_grad()
    loss.backward()
    gradients = [p.grad for p in state.mapper.parameters() if p.grad is not None]
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
    if not math.isfinite(norm) or not math.isfinite(float(loss.detach())):
        raise SddError(
            f"the gradient is not finite at step {state.step + 1}; lower the guidance scale ({settings.scale:g}) or "
            f"the learning rate ({settings.lr:g}), or check the teacher's and the generator's weights"
        )
    usual = statistics.median(state.norms) if len(state.norms) >= 10 else math.inf
    if settings.max_gradient is not None and norm > settings.max_gradient * usual:
        for g in gradients:
            g.mul_(settings.max_gradient * usual / norm)
    state.norms = [*state.norms[-49:], norm]
    state.optimizer.step()
    state.step += 1
    # The average starts at the mapper itself and forgets its start within the first steps.
    keep = min(settings.ema, state.step / (state.step + 9))
    with torch.no_grad():
        for a, b in zip(state.average.parameters(), state.mapper.parameters(), strict=True):
            a.lerp_(b, 1 - keep)
        change = math.sqrt(float(objective.units(delta)))
        along = -float(sum((p.grad * p.detach()).sum() for p in parts if p.grad is not None))
    pull = along / change if change > 0 else 0.0
    state.pull = 0.9 * state.pull + 0.1 * pull
    state.peak = max(state.peak, state.pull)
    return {
        "loss": float(loss.detach()),
        **{name: float(term.detach()) for name, term in terms.items()},
        "gradient": norm,
        "pull": state.pull,
        "change": change,
        "seconds": time.perf_counter() - began,
    }


def _precision(device: torch.device, settings: DistillConfig) -> Any:
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")


def _strength(
    objective: Objective, mapper: Mapper, settings: DistillConfig, seed: int, timesteps: Sequence[int]
) -> float:
    """What strength 1 multiplies: a little beyond where, along the trained edit, the guidance is satisfied.

    What keeps the edit close to its source has settled in which direction the edit goes, and stopped it short of what
    the prompt asks; a line search along that direction, by the guidance alone, finds how far. It also makes up for the
    averaged mapper's lag. The search is bounded to [2/3, 2]: further away the mapper knows nothing.
    """
    if settings.strength != "auto":
        return settings.strength
    random = torch.Generator().manual_seed(seed + 2)
    size = min(2 * settings.batch, len(objective.source.codes))
    index = torch.randperm(len(objective.source.codes), generator=random)[:size].to(objective.device)
    t = torch.tensor(timesteps)[torch.arange(size) % len(timesteps)].to(objective.device)
    noise = torch.randn(size, *objective.teacher.latent_shape, generator=random).to(objective.device)
    with torch.no_grad():
        delta = objective.change(mapper, index)

    def slope(s: float) -> float:
        factor = torch.tensor(s, device=objective.device, requires_grad=True)
        moved = [d * factor for d in delta] if isinstance(delta, list) else delta * factor
        with _precision(objective.device, settings):
            _, parts = objective(index, moved, t, noise, random)
        (g,) = torch.autograd.grad(parts["guidance"], factor)
        return float(g)

    here, at = 1.0, slope(1.0)
    for there in (1.25, 1.5, 2.0) if at < 0 else (0.8, 2 / 3):
        next_ = slope(there)
        if (next_ < 0) != (at < 0):
            return BEYOND * (here + (there - here) * at / (at - next_))
        here, at = there, next_
    return BEYOND * here


@torch.no_grad()
def _pictures(objective: Objective, mapper: Mapper) -> list[Tensor]:
    """Two rows: up to 8 sources and their edits."""
    index = torch.arange(min(8, len(objective.source.codes)), device=objective.device)
    delta = objective.change(mapper, index)
    zero: Code = [0 * d for d in delta] if isinstance(delta, list) else 0 * delta
    return [objective.draw(index, zero), objective.draw(index, delta)]


@contextmanager
def _bar(progress: bool) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), disable=not progress
    ) as bar:
        yield bar
