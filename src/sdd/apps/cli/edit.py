"""Commands: edit, show, sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sdd.apps import terminal
from sdd.apps.cli.app import app
from sdd.apps.cli.options import (
    CropRule,
    Device,
    DomainName,
    EncoderFile,
    GeneratorFile,
    Seed,
    Split,
    check_folder,
    editors_section,
    parse_box,
    parse_levels,
)
from sdd.apps.cli.say import print_editor, say
from sdd.domains.embedded import EMBEDDED


@app.command(epilog="Example: sdd edit me.png folder/ -e white-hair.safetensors -o out/ --strength 0.8")
def edit(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    editors: Annotated[list[Path], typer.Option("-e", "--editor", help="Editor file; several are applied together.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("edited"),
    strength: Annotated[
        list[float] | None,
        typer.Option(help="1: as trained; 0: none; above 1: more; below 0: reversed. One, or one for each -e."),
    ] = None,
    levels: Annotated[str | None, typer.Option(help="Change only some of coarse,medium,fine.")] = None,
    refine: Annotated[int, typer.Option(help="Optimisation steps per picture for a closer inversion.", min=0)] = 0,
    face: Annotated[str, typer.Option(help="Which face of a photo: 1 is the largest; or all.")] = "1",
    box: Annotated[str | None, typer.Option(help="Edit this part instead: left,top,right,bottom in pixels.")] = None,
    paste_back: Annotated[
        bool, typer.Option("--paste-back", help="Blend the edit into the whole picture at its own resolution.")
    ] = False,
    background: Annotated[str, typer.Option(help="Colour behind transparent parts: a name or #rrggbb.")] = "white",
    domain: DomainName = None,
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    crop: CropRule = None,
    device: Device = None,
) -> None:
    """Edit pictures in one forward pass each; results are PNG, inputs are never overwritten."""
    from sdd.io.pictures.folder import find, output_paths
    from sdd.io.pictures.read import parse_colour

    parse_colour(background)
    sources = find(pictures, skip=out)
    check_folder(out)
    from sdd.apps.pictures import Wish, edit_pictures
    from sdd.device import pick_device

    wish = Wish(
        strengths=tuple(strength or (1.0,)),
        levels=parse_levels(levels),
        refine=refine,
        background=background,
        face=face,
        box=parse_box(box),
        paste_back=paste_back,
    )
    together = editors_section(editors, domain, pick_device(device), generator=generator, encoder=encoder, crop=crop)
    outputs = output_paths(sources, out)
    with terminal.progress() as bar:
        task = bar.add_task("edit", total=len(sources))
        outcome = edit_pictures(sources, outputs, together, wish, lambda n: bar.update(task, advance=n))
    for sentence in outcome.warnings[:10]:
        terminal.warn(sentence)
    if len(outcome.warnings) > 10:
        terminal.warn(f"{len(outcome.warnings) - 10} more pictures are not of the domain either")
    for sentence in outcome.broken:
        terminal.fail(sentence)
    if not outcome.written:
        raise typer.Exit(terminal.BAD_INPUT)
    edited = len(sources) - len(outcome.broken)
    quality = sum(outcome.psnr) / len(outcome.psnr)
    what = str(outcome.written[0]) if len(outcome.written) == 1 else f"{len(outcome.written)} pictures in {out}/"
    say(f"wrote {what} (inversion {quality:.1f} dB{' on average' if edited > 1 else ''})")
    if outcome.broken:
        say(f"{edited} of {len(sources)} pictures were edited; {len(outcome.broken)} could not be, see above")
        raise typer.Exit(terminal.PARTLY)


@app.command(epilog="Example: sdd show white-hair.safetensors")
def show(
    editors: Annotated[list[Path], typer.Argument(help="Editor files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Everything the file says, as JSON.")] = False,
) -> None:
    """Say what an editor file is: prompt, timesteps, HQS curve, figures, versions, licence notes."""
    from sdd.editor import Editor

    infos = [(path, Editor.load(path).info) for path in editors]
    if as_json:
        say(json.dumps([info.model_dump(mode="json") for _, info in infos], indent=1, ensure_ascii=False))
        return
    for path, info in infos:
        print_editor(path, info)


@app.command(epilog="Example: sdd sample avatars -n 16 --seed 7 -o samples/")
def sample(
    domain: Annotated[str, typer.Argument(help="Name of a domain.")] = EMBEDDED,
    count: Annotated[int, typer.Option("-n", "--count", help="How many pictures.", min=1)] = 16,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for pictures and samples.json.")] = Path("samples"),
    size: Annotated[int, typer.Option(help="Pixels, for avatars.", min=16, max=4096)] = 128,
    split: Annotated[Split, typer.Option(help="Held-out pictures, or those trained on.")] = Split.test,
) -> None:
    """Write pictures of a domain, with captions and attributes where they are known, and a grid of them all."""
    check_folder(out)
    from sdd.domains import library
    from sdd.io.files import write_text
    from sdd.io.pictures.write import grid, save_png

    facts: list[dict[str, Any]] = []
    if domain == EMBEDDED:
        from sdd.domains import avatars

        people = avatars.sample(count, seed, split.value)
        tensors = [person.render(size) for person in people]
        facts = [{"caption": person.caption(), "attributes": person.attributes} for person in people]
    else:
        tensors = list(library.get(domain).images(count, seed, split.value))
        facts = [{} for _ in tensors]
    names = [f"{domain}-{index:04d}.png" for index in range(len(tensors))]
    for name, tensor in zip(names, tensors, strict=True):
        save_png(tensor, out / name)
    listing = [{"file": name, **fact} for name, fact in zip(names, facts, strict=True)]
    write_text(out / "samples.json", json.dumps(listing, indent=1, ensure_ascii=False) + "\n")
    # Beside the folder, not in it, so that `sdd edit` of the folder edits the pictures alone.
    sheet = out.absolute().with_name(f"{out.absolute().name}-grid.png")
    save_png(grid(tensors, labels=[str(index) for index in range(len(tensors))]), sheet)
    say(f"wrote {len(names)} pictures and samples.json in {out}/, and all at a glance in {sheet}")
