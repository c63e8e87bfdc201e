"""Prompt → editor: drives a training (`sdd.training.train`), and keeps its run, its log and its file.

`sdd.distill` is the function here.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sdd.beyond.information import STRATEGY
from sdd.device import check_seed, pick_device, weights_type
from sdd.domains import library
from sdd.domains.domain import Domain
from sdd.domains.embedded import EMBEDDED
from sdd.domains.words import unknown_content
from sdd.editor import Editor
from sdd.editor_file import EditorInfo
from sdd.errors import SddError
from sdd.io.checkpoints.hash import generator_hash
from sdd.io.progress import Report, bars
from sdd.paper.timesteps import searches, timestep_set
from sdd.teachers.load import load_teacher
from sdd.teachers.protocol import Teacher
from sdd.training.config import DistillConfig, departures
from sdd.training.run import Run, fingerprint, run_folder
from sdd.training.train import Training, Watch
from sdd.training.world import World

Callback = Callable[[int, int, Mapping[str, float]], object]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; the message says what was kept and how to go on."""


def distill(
    prompt: str,
    domain: str | Domain = EMBEDDED,
    *,
    teacher: str | Teacher | None = None,
    config: DistillConfig | dict[str, Any] | str | Path | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    run: str | Path | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    report: Report | None = None,
    callback: Callback | None = None,
    watch: Watch | None = None,
    **overrides: Any,
) -> Editor:
    """Train an editor for `prompt`.

    Args:
        prompt: the target text.
        domain: a domain or its name.
        teacher: a text-to-image diffusion model: a teacher, a folder or a hub id; None for the domain's own.
        config: a `DistillConfig`, a dict of options, a preset ("default", "paper", "published") or a TOML file.
        seed: the same seed on the same machine gives the same editor, bit for bit.
        out: where to save the editor; None does not.
        run: a folder for checkpoints, log and sample pictures. The same call with the same folder resumes, and what
            comes out is what an uninterrupted run gives, bit for bit; a finished one is read again. "auto" is
            `runs/<prompt>-<hash of everything that identifies the run>`; None keeps nothing.
        device: where to train; None for CUDA if there is one, else CPU.
        progress: show progress bars.
        report: told of progress in their place.
        callback: called after each step with the number of steps done, that after which it ends at the latest, and
            numbers by name (`loss` and its parts, `gradient`, `slope`, `change`, as in `log.jsonl`). Raised in it, a
            KeyboardInterrupt stops the training as Ctrl-C does.
        watch: told of the search and of each step. Where it says that this is enough, what was learned so far becomes
            the editor, and the run stays unfinished: the same call without it goes on from there.
        overrides: options of `DistillConfig`, by name.

    Raises:
        SddError: an empty prompt, an unknown domain, option or strategy, a run folder that holds another run, a loss
            asked for that the domain has no network for, a gradient that is not finite.
        Interrupted: Ctrl-C; the message says how to resume.
    """
    prompt = prompt.strip()
    if not prompt:
        raise SddError('the prompt is empty; say what the edited images should show, "white hair" for instance')
    check_seed(seed)
    settings = DistillConfig.make(config, **overrides)
    place = pick_device(device)
    domain = (library.get(domain) if isinstance(domain, str) else domain).to(place)
    card = _card(prompt, domain, teacher, settings, seed, run is not None)
    folder = run_folder(card) if run == "auto" else None if run is None else Path(run)
    finished = None if folder is None else folder / "editor.safetensors"
    if finished is not None and finished.exists():
        Run(folder, card)  # refuses another run's
        editor = Editor.load(finished, domain)
        if out is not None:
            editor.save(out)
        return editor
    world = World.join(place)
    guide = _teacher(teacher or domain.teacher, place, settings)
    if not searches(settings.timesteps) and settings.timesteps != STRATEGY:
        timestep_set(None, settings.timesteps, guide.num_timesteps)  # a wrong list is said now, not after minutes
    keeper = Run(folder if world.first else None, card)
    for word, near in unknown_content(prompt, guide):
        hint = f"; the nearest words it knows are {', '.join(near)}" if near else ""
        warnings.warn(f"the teacher does not know the word {word!r}{hint}", stacklevel=2)
    try:
        with bars(progress and world.first) if report is None else nullcontext(report) as told:
            saved = world.same(keeper.restore())
            training = Training(prompt, domain, guide, settings, seed, saved, place, told, watch, world)
            whole = _drive(training, keeper, told, callback, watch)
            editor = Editor(training.result.learned, _info(training, domain, card, settings), domain)
    except KeyboardInterrupt as stop:
        kept = f"the last checkpoint is in {folder}; the same command resumes from it"
        raise Interrupted(f"stopped; {kept if folder else 'no run folder was given, so nothing was kept'}") from stop
    finally:
        keeper.close()
    for path in (finished if whole else None, out):
        if path is not None and world.first:
            editor.save(path)
    return editor


def _drive(
    training: Training, run: Run, report: Report, callback: Callback | None, watch: Watch | None
) -> bool:  # fmt: skip
    """Train, log every step, keep checkpoints and pictures; whether to the end, and not until somebody had enough."""
    settings, limit, what = training.settings, training.limit, f"distil {training.prompt!r}"
    run.start(training.learner.step)
    began = time.perf_counter()
    for state in training:
        step = state.learner.step
        run.log(step, {**state.figures, "seconds": time.perf_counter() - began})
        if state.done or step % settings.checkpoint_every == 0:
            run.save(state.learner.dump())
        if run.folder is not None and (state.done or step % settings.grid_every == 0):
            run.grid(step, training.pictures())
        report(what, step, step if state.done else limit)
        if callback is not None:
            callback(step, limit, state.figures)
        if watch is not None and training.world.same(watch.stepped(training)) and not state.done:
            run.save(state.learner.dump())
            return False
        began = time.perf_counter()
    return True


def _info(training: Training, domain: Domain, card: dict[str, Any], settings: DistillConfig) -> EditorInfo:
    """What the editor's file says."""
    figures = {
        "steps": float(training.learner.step),
        "slope": training.learner.slope.now,
        "change": training.change(),
        "inversion_psnr": training.source.psnr,
    }
    return EditorInfo.model_validate(
        {
            "prompt": card["prompt"],
            "domain": domain.name,
            "generator": card["generator"],
            "needs": {"encoder": domain.stylegan.encoder_hash} if card["generator"] else {},
            "manipulator": training.manipulator.config(),
            "crop": domain.crop,
            "strength": float(f"{training.strength():.4g}"),
            "teacher": card["teacher"],
            "preset": settings.preset,
            "departures": departures(settings),
            "timesteps": training.learner.timesteps,
            "hqs": training.learner.hqs,
            "config": card["config"],
            "seed": card["seed"],
            "figures": {name: float(f"{value:.6g}") for name, value in figures.items()},
            "versions": {name: version(name) for name in ("sdd", "torch", "diffusers")},
            "notes": list(domain.notes),
        }
    )


def _card(
    prompt: str, domain: Domain, teacher: str | Teacher | None, settings: DistillConfig, seed: int, whole: bool
) -> dict[str, Any]:
    """What identifies a run; `whole` with fingerprints of all that a name alone does not tell."""
    name = (
        domain.teacher
        if teacher is None
        else teacher
        if isinstance(teacher, str)
        else getattr(teacher, "name", "custom")
    )
    if name == domain.teacher and not isinstance(teacher, str) and domain.name in library.names():
        name = domain.name  # by which an editor finds it on another machine, too
    return {
        "prompt": prompt,
        "domain": domain.name,
        "generator": domain.backbone.generator_hash if domain.backbone is not None else "",
        "teacher": name,
        "pictures and models": _fingerprints(domain, teacher, settings, seed) if whole else {},
        "seed": seed,
        "config": settings.model_dump(mode="json"),
        "sdd": version("sdd"),
    }


def _fingerprints(
    domain: Domain, teacher: str | Teacher | None, settings: DistillConfig, seed: int
) -> dict[str, str | None]:
    """Fingerprints of what a name alone does not tell: a run must not go on with other pictures or models."""
    source = domain.latents
    if source is None:  # a few pictures tell; reading all of them would be half the inversion
        source = domain.images(4 if settings.images == "all" else min(4, settings.images), seed, "train")
    elif settings.images != "all":
        source = source[: settings.images]
    values = source.detach().float().cpu().contiguous()
    path = teacher if isinstance(teacher, str) else getattr(teacher, "name", "") if teacher else domain.teacher
    return {
        "pictures": hashlib.sha256(values.numpy().tobytes()).hexdigest(),
        "encoder": None if domain.backbone is None else generator_hash(domain.backbone.encoder),
        "identity": None if domain.identity is None else generator_hash(domain.identity),
        "teacher": fingerprint(path),
    }


def _teacher(teacher: str | Teacher, device: torch.device, settings: DistillConfig) -> Teacher:
    if not isinstance(teacher, str):
        return teacher
    return load_teacher(teacher, device, weights_type(settings.precision))
