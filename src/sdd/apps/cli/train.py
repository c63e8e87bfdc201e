"""Commands: search, train, demo."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdd.apps import terminal
from sdd.apps.cli.app import app
from sdd.apps.cli.by_method import ClipName, DdpmName, DiffaeName, MethodName, SourcePrompt, train_method
from sdd.apps.cli.objects import find_domain, find_place, find_teacher, make_config
from sdd.apps.cli.options import (
    MOST,
    CropRule,
    Device,
    DomainName,
    EncoderFile,
    ForceWords,
    GeneratorFile,
    IdentityFile,
    ImageFolder,
    LatentFile,
    Preset,
    Prompt,
    Seed,
    TeacherName,
    Vae,
    check_file,
    check_folder,
    check_prompt,
    slugged,
    watched,
)
from sdd.apps.cli.say import every, print_hqs, say
from sdd.domains.embedded import EMBEDDED
from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.teachers.protocol import Teacher
    from sdd.training.checkup import Checkup


def _check_words(prompt: str, teacher: Any, force: bool) -> None:
    from sdd.apps.words import check_words

    for sentence in check_words(prompt, teacher, force):
        terminal.warn(sentence)


def _check_embedded_words(prompt: str, force: bool) -> None:
    from sdd.domains.words import embedded_vocabulary

    _check_words(prompt, embedded_vocabulary(), force)


@contextmanager
def _words_were_checked() -> Iterator[None]:
    """Leave out what a training would say of unknown words, which was said already."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the teacher does not know the word")
        yield


@app.command(epilog='Example: sdd search "white hair" -o white-hair-hqs/')
def search(
    prompt: Prompt,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for the results; ./hqs-<prompt>/.")] = None,
    points: Annotated[
        int | None,
        typer.Option(help="How many timesteps to score, evenly spread; by default every 50th.", min=2, max=MOST),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--images", help="Source images to average over.", min=1, max=MOST)] = 12,
    scale: Annotated[float | None, typer.Option(help="Guidance scale; that of the default training.")] = None,
    domain: DomainName = None,
    teacher: TeacherName = None,
    vae: Vae = None,
    seed: Seed = 0,
    device: Device = None,
    force: ForceWords = False,
) -> None:
    """Score every timestep for a prompt (hybrid quality score): a table, hqs.json and hqs.png."""
    prompt = check_prompt(prompt)
    folder = out or Path(f"hqs-{slugged(prompt)}")
    check_folder(folder)
    from sdd.apps.search import search_prompt, spread
    from sdd.device import pick_device

    where = pick_device(device)
    place = find_domain(domain, where)
    guide = find_teacher(teacher, vae, place, where)
    if domain in (None, EMBEDDED) and teacher is None:
        _check_embedded_words(prompt, force)
    else:
        _check_words(prompt, guide, force)
    steps = None if points is None else spread(points, guide.num_timesteps)
    images = place.images(count, seed, "train").to(where)
    found = search_prompt(prompt, images, guide, folder, steps, scale, seed, watched())
    print_hqs(found.scores)
    if found.why_none:
        terminal.warn(found.why_none)
    else:
        say(f"a training takes t = {', '.join(map(str, found.timesteps))} ({found.strategy})")
    say(f"wrote {' and '.join(map(str, found.files))}")


@app.command(epilog='Example: sdd train "white hair" -o white-hair.safetensors --levels medium,fine --set lr=0.002')
def train(
    prompt: Annotated[str, typer.Argument(help="What edited pictures should show; or a TOML file of prompts.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The editor file; ./<prompt>.safetensors. Of a list, its folder.")
    ] = None,
    preset: Annotated[
        Preset, typer.Option(help="Ours, the paper's algorithm, or what its released code ran.")
    ] = Preset.default,
    method: MethodName = None,
    source_prompt: SourcePrompt = "",
    manipulator: Annotated[
        str | None, typer.Option(help="What edits: stylegan; or without a generator one-step or image-to-image.")
    ] = None,
    guidance: Annotated[str | None, typer.Option(help="sds (the paper's), csd, dds, pds or asd.")] = None,
    timesteps: Annotated[
        str | None, typer.Option(help="largest, above:0.8, random, information, or a list: 700,750.")
    ] = None,
    levels: Annotated[str | None, typer.Option(help="Some of coarse,medium,fine; or auto.")] = None,
    steps: Annotated[str | None, typer.Option(help="Training steps; or auto, until the edit no longer grows.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of training options.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="One training option, key=value; may be repeated.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run: checkpoints, log.jsonl, pictures; runs/<name>.")
    ] = None,
    domain: DomainName = None,
    teacher: TeacherName = None,
    vae: Vae = None,
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    identity: IdentityFile = None,
    images: ImageFolder = None,
    latents: LatentFile = None,
    clip: ClipName = None,
    ddpm: DdpmName = None,
    diffae: DiffaeName = None,
    size: Annotated[
        int | None,
        typer.Option(help="Side of the pictures in --images, where there is no generator.", min=16, max=2048),
    ] = None,
    crop: CropRule = None,
    seed: Seed = 0,
    device: Device = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take a prompt of unknown words; write over an editor made otherwise.")
    ] = False,
) -> None:
    """Distil a prompt into an editor file. Ctrl-C keeps the last checkpoint; the same command resumes."""
    terminal.one_voice()
    prompt, several = check_prompt(prompt), prompt.lower().endswith(".toml")
    path = out or Path("." if several else f"{slugged(prompt)}.safetensors")
    (check_folder if several else check_file)(path)
    chosen = {
        "guidance": guidance,
        "timesteps": timesteps,
        "levels": levels,
        "steps": steps,
        "manipulator": manipulator,
    }
    options = make_config(preset, config, settings, **chosen)
    parts = {
        "generator": generator, "encoder": encoder, "identity": identity, "images": images, "latents": latents,
        "crop": crop.value if crop else None,
    }  # fmt: skip
    if method not in (None, "sdd"):
        given = {"teacher": teacher, "clip": clip, "ddpm": ddpm, "diffae": diffae}
        train_method(str(method), prompt, source_prompt, path, seed, force, domain, device, parts, given)
        return
    if several:
        if run is not None:
            raise SddError("--run is the folder of one training; leave it out with a list of prompts")
        _train_all(Path(prompt), path, options, parts, domain, teacher, vae, size, seed, device, force)
        return
    _train(prompt, path, options, parts, run, domain, teacher, vae, size, seed, device, force)


def _train_all(
    file: Path, folder: Path, options: Any, parts: dict[str, str | None], domain: str | None, teacher: str | None,
    vae: str | None, size: int | None, seed: int, device: str | None, force: bool,
) -> None:  # fmt: skip
    """Train every prompt of a list with one domain and one teacher; one that fails does not stop the others.

    Raises:
        SddError: the list is none, or what all share cannot be loaded.
        typer.Exit: some could not be trained.
    """
    from sdd.apps import prompts
    from sdd.device import pick_device
    from sdd.training.distil import Interrupted

    wanted = prompts.read(file)
    where = pick_device(device)
    place, guide = find_place(options, parts, domain, teacher, vae, size, where)
    shared = prompts.shared(place), guide or find_teacher(None, None, place, where, options.precision)
    failed = 0
    for number, one in enumerate(wanted, 1):
        say(f"{number} of {len(wanted)}: {one.prompt!r}")
        try:
            prompt, own = check_prompt(one.prompt), type(options).make(options, **one.options)
            its = seed if one.seed is None else one.seed
            check_file(folder / one.out)
            _train(prompt, folder / one.out, own, parts, None, domain, teacher, vae, size, its, device, force, shared)
        except Interrupted as stop:
            raise KeyboardInterrupt(f"{stop}; editors that are done are not trained again") from stop
        except Exception as error:  # whatever it is, it is of this prompt alone
            failed += 1
            why = str(error) if isinstance(error, SddError) else f"{type(error).__name__}: {error}"
            terminal.fail(f"{one.prompt!r} was not trained: {why}")
    say(f"{len(wanted) - failed} of {len(wanted)} editors are in {folder}/")
    if failed:
        raise typer.Exit(terminal.PARTLY if failed < len(wanted) else terminal.BAD_INPUT)


def _train(
    prompt: str,
    path: Path,
    options: Any,
    parts: dict[str, str | None],
    run: Path | None,
    domain: str | None,
    teacher: str | None,
    vae: str | None,
    size: int | None,
    seed: int,
    device: str | None,
    force: bool,
    shared: tuple[Domain, Teacher] | None = None,
) -> None:
    """Check what can be checked, put the objects together, distil, and say what came of it.

    Args:
        shared: the domain and the teacher where several prompts share them; an editor that is there is then done.
    """
    import sdd
    from sdd.apps.overwrite import existing, refuse_other
    from sdd.device import pick_device
    from sdd.training.world import World

    checked = domain in (None, EMBEDDED) and teacher is None and parts["generator"] is None
    if checked:
        _check_embedded_words(prompt, force)
    there = None if force else existing(path)
    refuse_other(path, there, prompt=prompt, seed=seed, config=options.model_dump(mode="json"))
    where = pick_device(device)
    place, guide = shared or find_place(options, parts, domain, teacher, vae, size, where)
    whose = "" if place.backbone is None else place.backbone.generator_hash
    refuse_other(path, there, domain=place.name, generator=whose)
    if shared and there is not None:
        say(f"{path} is there already")
        return
    started = time.perf_counter()
    guide = guide or find_teacher(None, None, place, where, options.precision)  # of the training and the check-up
    if not checked:
        _check_words(prompt, guide, force)
    with _words_were_checked():
        editor = sdd.distill(
            prompt, place, teacher=guide, config=options, seed=seed, out=path, run=run or "auto", device=where,
            progress=watched(),
        )  # fmt: skip
    if not World.join(where).first:  # the first process speaks for all
        return
    seconds = time.perf_counter() - started
    editor = _checked_up(editor, path, guide, place)
    info = editor.info
    say(
        f"wrote {path}: {info.figures.get('steps', 0):.0f} steps at t = {every(info.timesteps)} in "
        f"{seconds:.0f} s; try it with: sdd edit PICTURES -e {path} -o out/"
    )


def _checked_up(editor: Any, path: Path, guide: Teacher, place: Domain) -> Any:
    """Say how a training went, and have its editor's file say it too."""
    from sdd.training.checkup import check_up_file

    try:
        found = check_up_file(path, editor, guide, place)
    except SddError as error:  # the editor is there all the same
        terminal.warn(f"how the training went could not be checked: {error}")
        return editor
    _say_how(found)
    return editor


def _say_how(found: Checkup) -> None:
    """How a training went, and what is wrong with that."""
    say(found.sentence)
    if found.advice is not None:
        terminal.warn(found.advice)


@app.command(epilog="Example: sdd demo -o demo/")
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for everything.")] = Path("demo"),
    prompt: Annotated[str, typer.Option(help="What to train.")] = "white hair",
    seed: Seed = 0,
    device: Device = None,
    force: ForceWords = False,
) -> None:
    """See it work: train one editor on the embedded avatars, edit 16 held-out ones, say where the pictures are."""
    prompt = check_prompt(prompt)
    check_folder(out)
    _check_embedded_words(prompt, force)
    from sdd.apps.demo import demonstrate
    from sdd.device import pick_device

    where = pick_device(device)
    say(f"training {prompt!r} on drawn avatars (held-out ones are edited afterwards) ...")
    with _words_were_checked():
        made = demonstrate(prompt, out, seed, where, watched())
    _say_how(made.checkup)
    say(
        f"trained {made.editor} in {made.training:.0f} s and edited {made.count} held-out avatars in "
        f"{made.editing:.1f} s"
    )
    say(f"before: {made.before}/   after: {made.after}/   side by side: {made.sheet}")
