"""Commands: methods, compare; and what edit and train do with --method."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdd.apps import terminal
from sdd.apps.cli.app import app
from sdd.apps.cli.objects import find_domain
from sdd.apps.cli.options import (
    CropRule,
    Device,
    DomainName,
    EncoderFile,
    GeneratorFile,
    Prompt,
    Seed,
    TeacherName,
    check_file,
    check_prompt,
    watched,
)
from sdd.apps.cli.say import say, show_renderable
from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.apps.by_method import MethodEditing
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models

MethodName = Annotated[str | None, typer.Option("--method", help="Another method than an editor's (sdd methods).")]
AskedPrompt = Annotated[str | None, typer.Option("--prompt", help="With --method: what edited pictures should show.")]
SourcePrompt = Annotated[str, typer.Option("--source-prompt", help="With --method: what the pictures show now.")]
KnobValue = Annotated[float | None, typer.Option("--knob", help="With --method: the value of its knob.")]
ClipName = Annotated[str | None, typer.Option("--clip", help="CLIP: folder, file or hub id, for methods that ask.")]
DdpmName = Annotated[str | None, typer.Option("--ddpm", help="Unconditional diffusion model: folder or file.")]
DiffaeName = Annotated[str | None, typer.Option("--diffae", help="Diffusion autoencoder: file.")]
InstructedName = Annotated[str | None, typer.Option("--instructed", help="InstructPix2Pix model: folder or hub id.")]


@app.command(epilog="Example: sdd methods")
def methods(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with every knob.")] = False,
) -> None:
    """List the methods there are: paper, what each needs and trains, passes an edit, licence of the authors' code."""
    from dataclasses import asdict

    from sdd.apps.by_method import cards

    if as_json:
        terminal.say_json([asdict(card) for card in cards()])
        return
    from rich.table import Table
    from rich.text import Text

    # What the longest word of each column takes: 80 in all.
    table = Table(box=None, pad_edge=False, padding=(0, 1, 1, 0), width=80)
    for name, width in (("name", 22), ("paper", 14), ("needs", 10), ("trains", 9), ("an edit", 10), ("licence", 10)):
        table.add_column(name, width=width, overflow="fold")
    for card in cards():
        cells = (card.name, card.paper, ", ".join(card.needs), card.trains or "–", card.calls, card.licence)
        table.add_row(*map(Text, cells))
    show_renderable(table)
    say("an edit: passes through networks. Try all: sdd compare PICTURE PROMPT --methods all -o compare.png")


@app.command(epilog='Example: sdd compare me.png "white hair" --methods all -o compare.png')
def compare(
    pictures: Annotated[Path, typer.Argument(help="A picture, or a folder of them.")],
    prompt: Prompt,
    which: Annotated[str, typer.Option("--methods", help="Names with commas, or all (sdd methods).")] = "all",
    out: Annotated[Path, typer.Option("-o", "--out", help="The picture of all.")] = Path("compare.png"),
    source_prompt: Annotated[str, typer.Option("--source-prompt", help="What the pictures show now.")] = "",
    domain: DomainName = None,
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    crop: CropRule = None,
    teacher: TeacherName = None,
    clip: ClipName = None,
    ddpm: DdpmName = None,
    diffae: DiffaeName = None,
    instructed: InstructedName = None,
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """Edit a picture, or a folder of them, with every method; one picture of all, the seconds under each."""
    prompt = check_prompt(prompt)
    from sdd.apps import compare as comparing
    from sdd.apps.by_method import chosen
    from sdd.io.pictures.folder import find

    path = comparing.destination(out)
    check_file(path)
    asked, sources = chosen(which), find([pictures], skip=out)
    parts = {"generator": generator, "encoder": encoder, "crop": crop.value if crop else None}
    given = {"teacher": teacher, "clip": clip, "ddpm": ddpm, "diffae": diffae, "instructed": instructed}
    place, models = _place(domain, device, parts, given)
    _check_words(prompt, place, teacher, force=True)
    images, broken = comparing.crops(sources, place)
    for sentence in broken:
        terminal.fail(sentence)
    from sdd.io.pictures.write import save_png
    from sdd.io.progress import bars

    with bars(watched()) as report:
        columns = comparing.compare(images, prompt, source_prompt, asked, place, models, seed, report)
    for line in comparing.report_lines(columns):
        say(line)
    if all(column.images is None for column in columns):
        raise SddError(columns[0].why if len(columns) == 1 else "no method could edit here; what each lacks is above")
    save_png(comparing.sheet(images, columns), path)
    able = sum(column.images is not None for column in columns)
    say(f"wrote {path}: {len(images)} of {len(sources)} pictures by {able} of {len(columns)} methods")
    if broken:
        raise typer.Exit(terminal.PARTLY)


def check_asked(method: str | None, editors: list[Path] | None) -> list[Path]:
    """The editor files that were named.

    Raises:
        SddError: neither they nor a method.
    """
    if method is None and not editors:
        raise SddError("what is to edit? give a file with -e (--editor), or a method with --method and --prompt")
    return editors or []


def find_method(
    method: str | None, editors: list[Path] | None, prompt: str | None, source_prompt: str, knob: float | None,
    seed: int, domain: str | None, device: str | None, parts: dict[str, str | None], given: dict[str, str | None],
) -> MethodEditing | None:  # fmt: skip
    """The method that `edit` is asked for by name, or by a file that one learned; None where editors are to edit.

    Raises:
        SddError: it is asked for in a way that does not fit, or lacks what it needs.
    """
    file = None
    if method is None:
        from sdd.apps.by_method import only_file

        file = only_file(editors or [])
        if file is None:
            if prompt is not None or knob is not None:
                raise SddError("--prompt and --knob go with --method; an editor has its prompt, and takes --strength")
            return None
    elif editors:
        raise SddError("give either an editor file with -e or a method with --method, not both")
    from sdd import methods as every
    from sdd.apps.by_method import MethodEditing, check_knob, ready
    from sdd.io.progress import bars
    from sdd.methods import kept

    name = kept.read(file)[0].method if file is not None else str(method)
    value = check_knob(every.get(name).card, knob)
    if file is None and prompt is None:
        raise SddError(f"what should the edited pictures show? say it with --prompt, as --method {name} is given")
    if file is not None and prompt is not None:
        raise SddError(f"{file} has its own prompt; leave --prompt out, or use --method {name} without -e")
    place, models = _place(domain, device, parts, given)
    with bars(watched()) as report:
        if file is not None:
            fitted = kept.opened(file, place, models)[1]
        else:
            asked = check_prompt(str(prompt))
            _check_words(asked, place, given["teacher"], force=True)
            fitted = ready(name, asked, source_prompt, place, models, seed, report)
    return MethodEditing(place, fitted, value, seed)


def train_method(
    method: str, prompt: str, source_prompt: str, out: Path, seed: int, force: bool, domain: str | None,
    device: str | None, parts: dict[str, str | None], given: dict[str, str | None],
) -> None:  # fmt: skip
    """What `train` does with --method: one file of what it learned."""
    from sdd.apps.by_method import train
    from sdd.io.progress import bars

    place, models = _place(domain, device, parts, given)
    _check_words(prompt, place, given["teacher"], force)
    began = time.perf_counter()
    with bars(watched()) as report:
        train(method, prompt, source_prompt, place, models, out, seed, report, force)
    taken = time.perf_counter() - began
    say(f"wrote {out}: {method} in {taken:.0f} s; try it with: sdd edit PICTURES -e {out} -o out/")


def _place(
    domain: str | None, device: str | None, parts: dict[str, str | None], given: dict[str, str | None]
) -> tuple[Domain, Models]:
    from sdd.device import pick_device
    from sdd.methods.of_domain import models_of

    where = pick_device(device)
    place = find_domain(domain, where, **parts)
    return place, models_of(place, given, where)


def _check_words(prompt: str, place: Domain, teacher: str | None, force: bool) -> None:
    """Warn of words that the embedded teacher does not know.

    Raises:
        SddError: it knows none of them, and it is not to be forced.
    """
    from sdd.apps.words import check_words
    from sdd.domains.embedded import EMBEDDED
    from sdd.domains.words import embedded_vocabulary

    if place.name == EMBEDDED and teacher is None:
        for sentence in check_words(prompt, embedded_vocabulary(), force):
            terminal.warn(sentence)
