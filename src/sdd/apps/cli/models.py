"""Commands: import, inspect, models."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sdd.apps import terminal
from sdd.apps.cli.app import app
from sdd.apps.cli.objects import find_domain
from sdd.apps.cli.options import (
    CropRule,
    DomainName,
    EncoderFile,
    GeneratorFile,
    IdentityFile,
    check_file,
    check_prompt,
)
from sdd.apps.cli.say import print_facts, print_models, say, show_renderable
from sdd.errors import SddError, one_line


@app.command("import", epilog="Example: sdd import white_hair.pt --generator ffhq.pt -o white-hair.safetensors")
def import_(
    mapper: Annotated[Path, typer.Argument(help="A mapper trained with the published SDD or with StyleCLIP.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The editor file; <name>.safetensors.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="The text it was trained for; by default what the file says.")
    ] = None,
    domain: DomainName = None,
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    identity: IdentityFile = None,
    crop: CropRule = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Turn a published mapper into an editor file."""
    path = out or Path(f"{mapper.stem}.safetensors")
    check_file(path)
    said = None if prompt is None else check_prompt(prompt)
    if path.exists() and mapper.exists() and path.samefile(mapper):
        raise SddError(f"{path} is the file to import, which is not overwritten; name another with -o")
    if path.exists() and not force:
        raise SddError(f"{path} is there already; name another file with -o, or write over it with --force")
    from sdd.apps.imports import import_mapper, read_mapper

    found = read_mapper(mapper)
    if domain is None and generator is None:
        if "decoder" not in found.parts:
            raise SddError("a mapper belongs to the generator it was trained for; give it with --generator or --domain")
        generator = str(mapper)  # StyleCLIP keeps both in one file
    place = find_domain(domain, "cpu", generator=generator, encoder=encoder, identity=identity, crop=crop)
    editor = import_mapper(mapper, found, place, said)
    editor.save(path)
    kind = editor.info.manipulator["mapper"]["kind"]
    what = f"for {editor.prompt!r}" if editor.prompt else "whose prompt the file does not say (--prompt does)"
    say(f"wrote {path}: {kind} mapper {what}, domain {editor.info.domain}")


@app.command("inspect", epilog="Example: sdd inspect stylegan2-ffhq-config-f.pt")
def inspect_(
    paths: Annotated[list[Path], typer.Argument(help="Checkpoints: .pt, .pkl, .ckpt, .safetensors, folders.")],
    every: Annotated[bool, typer.Option("--all", help="List every tensor, not the first and last few.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what a checkpoint is, its shapes and hyperparameters, without executing anything in it."""
    from dataclasses import asdict

    from sdd.io.checkpoints.inspect import inspect, render

    for path in paths:
        found = inspect(path)
        if as_json:
            terminal.say_json(json.loads(json.dumps(asdict(found), default=str)))
        else:
            show_renderable(render(found, every))


@app.command(epilog="Example: sdd models")
def models(
    names: Annotated[list[str] | None, typer.Argument(help="Names, to read all that is known of these.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the models known by name: licence, size, whether they are here; given names, also where they come from."""
    from sdd.io import zoo

    if unknown := [name for name in names or () if name not in zoo.ENTRIES]:
        near = difflib.get_close_matches(unknown[0][:100], zoo.ENTRIES, 1)
        hint = f"did you mean {near[0]}?" if near else "`sdd models` lists those there are"
        raise SddError(f"there is no model named {one_line(unknown[0], 60)!r}; {hint}")
    rows: list[dict[str, Any]] = [
        {
            "name": entry.name, "kind": entry.kind, "layout": entry.layout, "licence": entry.licence,
            "size": entry.size, "sha256": entry.sha256, "source": entry.source,
            "here": None if (here := entry.cached()) is None else str(here),
        }
        for entry in map(zoo.ENTRIES.__getitem__, names or zoo.ENTRIES)
    ]  # fmt: skip
    if as_json:
        terminal.say_json(rows)
    elif names:
        for row in rows:
            print_facts({key: value for key, value in row.items() if value is not None})
    else:
        print_models(rows)
        say("where one comes from: sdd models NAME")
        say(f"those that live on no hub go into {zoo.models_folder()}")
