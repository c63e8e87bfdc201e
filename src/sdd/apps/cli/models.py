"""Commands: import, inspect, models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sdd.apps.cli.app import app
from sdd.apps.cli.options import CropRule, DomainName, EncoderFile, GeneratorFile, IdentityFile, check_file, find_domain
from sdd.apps.cli.say import say, show_renderable
from sdd.errors import SddError

# Models you bring


@app.command("import", epilog="Example: sdd import white_hair.pt --generator ffhq.pt -o white-hair.safetensors")
def import_(
    mapper: Annotated[Path, typer.Argument(help="A mapper trained with the published SDD or with StyleCLIP.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The editor file; <name>.safetensors.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The text it was trained for, if the file does not say.")] = None,
    domain: DomainName = None,
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    identity: IdentityFile = None,
    crop: CropRule = None,
) -> None:
    """Turn a published mapper into an editor file."""
    path = out or Path(f"{mapper.stem}.safetensors")
    check_file(path)
    if path.exists() and mapper.exists() and path.samefile(mapper):
        raise SddError(f"{path} is the file to import, which is not overwritten; name another with -o")
    from sdd.apps.imports import import_mapper, read_mapper

    found = read_mapper(mapper)
    if domain is None and generator is None:
        if "decoder" not in found.parts:
            raise SddError("a mapper belongs to the generator it was trained for; give it with --generator or --domain")
        generator = str(mapper)  # StyleCLIP keeps both in one file
    place = find_domain(domain, "cpu", generator=generator, encoder=encoder, identity=identity, crop=crop)
    editor = import_mapper(mapper, found, place, prompt)
    editor.save(path)
    say(f"wrote {path}: {editor.info.mapper.get('kind')} mapper for {editor.prompt!r}, domain {editor.info.domain}")


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
            say(json.dumps(asdict(found), indent=1, ensure_ascii=False, default=str))
        else:
            show_renderable(render(found, every))


@app.command(epilog="Example: sdd models")
def models(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the models known by name: what they are, licence, where they come from, whether they are here."""
    from sdd.io import zoo

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name, "kind": entry.kind, "layout": entry.layout, "licence": entry.licence,
            "size": entry.size, "sha256": entry.sha256, "source": entry.source,
            "here": None if (here := entry.cached()) is None else str(here),
        }
        for entry in zoo.ENTRIES.values()
    ]  # fmt: skip
    if as_json:
        say(json.dumps(rows, indent=1))
        return
    from rich.table import Table

    table = Table("name", "kind", "size", "here", "licence", "source", box=None, pad_edge=False)
    for row in rows:
        size = f"{row['size'] / 1e6:.0f} MB" if row["size"] else ""
        table.add_row(row["name"], row["kind"], size, "yes" if row["here"] else "", row["licence"], row["source"])
    show_renderable(table)
    say(f"models that live on no hub go into {zoo.models_folder()}")
