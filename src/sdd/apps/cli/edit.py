"""Commands: edit, show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdd.apps import terminal
from sdd.apps.cli.app import app
from sdd.apps.cli.by_method import (
    AskedPrompt,
    ClipName,
    DdpmName,
    DiffaeName,
    InstructedName,
    KnobValue,
    MethodName,
    SourcePrompt,
    check_asked,
    find_method,
)
from sdd.apps.cli.objects import find_editors
from sdd.apps.cli.options import (
    Background,
    Blend,
    Box,
    CropRule,
    Device,
    DomainName,
    EncoderFile,
    Face,
    GeneratorFile,
    Levels,
    Refine,
    Register,
    Seed,
    TeacherName,
    check_editors,
    check_folder,
    check_strengths,
    parse_box,
    parse_levels,
)
from sdd.apps.cli.say import print_editor, say

if TYPE_CHECKING:
    from sdd.apps.pictures import Outcome
    from sdd.domains.domain import Domain


@app.command(epilog="Example: sdd edit me.png folder/ -e white-hair.safetensors -o out/ --strength 0.8")
def edit(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    editors: Annotated[
        list[Path] | None, typer.Option("-e", "--editor", help="Editor file; several are applied together.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results; of one picture, its file.")] = Path(
        "edited"
    ),
    strength: Annotated[
        list[float] | None,
        typer.Option(help="1: as trained; 0: none; above 1: more; below 0: reversed. One, or one for each -e."),
    ] = None,
    levels: Levels = None,
    refine: Refine = 0,
    face: Face = "1",
    box: Box = None,
    blend: Blend = True,
    register: Register = None,
    background: Background = "white",
    method: MethodName = None,
    prompt: AskedPrompt = None,
    source_prompt: SourcePrompt = "",
    knob: KnobValue = None,
    seed: Seed = 0,
    domain: DomainName = None,
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    crop: CropRule = None,
    teacher: TeacherName = None,
    clip: ClipName = None,
    ddpm: DdpmName = None,
    diffae: DiffaeName = None,
    instructed: InstructedName = None,
    device: Device = None,
) -> None:
    """Edit pictures in one forward pass each; results are PNG, inputs are never overwritten."""
    check_editors(check_asked(method, editors))
    strengths, wanted, part = check_strengths(strength or [1.0]), parse_levels(levels), parse_box(box)
    from sdd.apps.outputs import plan
    from sdd.io.pictures.folder import find
    from sdd.io.pictures.read import parse_colour

    parse_colour(background)
    sources = find(pictures, skip=out)
    folder, outputs = plan(sources, out)
    check_folder(folder)
    from sdd.apps.pictures import Edits, Wish, edit_pictures
    from sdd.device import pick_device

    wish = Wish(strengths, wanted, refine, background, face, part, blend, register)
    parts = {"generator": generator, "encoder": encoder, "crop": crop.value if crop else None}
    given = {"teacher": teacher, "clip": clip, "ddpm": ddpm, "diffae": diffae, "instructed": instructed}
    asked = find_method(method, editors, prompt, source_prompt, knob, seed, domain, device, parts, given)
    together: Edits = asked or find_editors(editors or [], domain, pick_device(device), **parts)
    with terminal.progress() as bar:
        task = bar.add_task("edit", total=len(sources))
        outcome = edit_pictures(sources, outputs, together, wish, lambda n: bar.update(task, advance=n))
    _report(outcome, len(sources), folder, together.domain)


def _report(outcome: Outcome, count: int, folder: Path, domain: Domain | None) -> None:
    """Say what came of `count` pictures.

    Raises:
        typer.Exit: some or all could not be edited.
    """
    from sdd.apps.pictures import foreign_warning, registered_note

    if (note := registered_note(outcome.registered)) is not None:
        say(note)
    if (warning := foreign_warning(outcome.foreign, domain)) is not None:
        terminal.warn(warning)
    for sentence in outcome.broken:
        terminal.fail(sentence)
    if not outcome.written:
        raise typer.Exit(terminal.BAD_INPUT)
    edited = count - len(outcome.broken)
    quality = sum(outcome.psnr) / len(outcome.psnr)
    what = str(outcome.written[0]) if len(outcome.written) == 1 else f"{len(outcome.written)} pictures in {folder}/"
    say(f"wrote {what} (inversion {quality:.1f} dB{' on average' if edited > 1 else ''})")
    if outcome.broken:
        say(f"{edited} of {count} pictures were edited; {len(outcome.broken)} could not be, see above")
        raise typer.Exit(terminal.PARTLY)


@app.command(epilog="Example: sdd show white-hair.safetensors")
def show(
    editors: Annotated[list[Path], typer.Argument(help="Editor files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything the file says, as JSON.")] = False,
) -> None:
    """Say what an editor file is: prompt, timesteps, HQS curve, figures, versions, licence notes."""
    check_editors(editors)
    from sdd import editor_file

    infos = [(path, editor_file.read(path)[0]) for path in editors]
    if as_json:
        terminal.say_json([info.model_dump(mode="json") for _, info in infos])
        return
    for path, info in infos:
        print_editor(path, info)
