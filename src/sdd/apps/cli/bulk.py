"""Command: bulk."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdd.apps import terminal
from sdd.apps.cli.app import app
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
    check_editors,
    check_folder,
    check_strengths,
    parse_box,
    parse_levels,
)
from sdd.apps.cli.say import say
from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.apps.bulk.run import Engine, Summary
    from sdd.editor import Composition


class EngineName(StrEnum):
    """What runs the workers."""

    local = "local"
    ray = "ray"


@app.command(epilog="Example: sdd bulk photos/ -e white-hair.safetensors -o edited/")
def bulk(
    pictures: Annotated[list[str], typer.Argument(help="Folders, files, Parquet files, tar shards, or '*' patterns.")],
    editors: Annotated[list[Path], typer.Option("-e", "--editor", help="Editor file; several are applied together.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for results of the same kind, and the manifest.")],
    column: Annotated[
        str | None, typer.Option(help="Column of pictures; of tar shards the extension of pictures to edit.")
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="Workers of this machine, or of a Ray cluster.")] = (
        EngineName.local
    ),
    address: Annotated[str | None, typer.Option(help="With --engine ray: of the cluster, or auto.")] = None,
    workers: Annotated[int | None, typer.Option(help="How many; as many as GPUs, or half the cores.", min=1)] = None,
    strength: Annotated[list[float] | None, typer.Option(help="As in sdd edit; one, or one for each -e.")] = None,
    levels: Levels = None,
    refine: Refine = 0,
    face: Face = "1",
    box: Box = None,
    blend: Blend = True,
    register: Register = None,
    background: Background = "white",
    domain: DomainName = None,
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
    crop: CropRule = None,
    device: Device = None,
) -> None:
    """Edit very many pictures: killed at any moment, the same command goes on, and edits no picture twice."""
    check_editors(editors)
    strengths, wanted, part = check_strengths(strength or [1.0]), parse_levels(levels), parse_box(box)
    if address is not None and engine is not EngineName.ray:
        raise SddError("--address is of a Ray cluster; give --engine ray with it")
    if face == "all" and not blend:
        raise SddError("--no-blend draws each face anew, and a picture has one result here; give --face with a number")
    check_folder(out)
    from sdd.apps.bulk.manifest import arrow
    from sdd.io.pictures.read import parse_colour

    parse_colour(background)
    arrow()
    from sdd.apps.bulk import run
    from sdd.apps.pictures import Wish

    wish = Wish(strengths, wanted, refine, background, face, part, blend, register)
    parts = {"generator": generator, "encoder": encoder, "crop": crop.value if crop else None}
    opener = partial(_open, [path.absolute() for path in editors], domain, parts)
    chosen = _engine(engine, device, workers, address)
    with terminal.progress() as bar:
        task = bar.add_task("edit", total=None)

        def show(done: int, left: int) -> None:
            seconds = bar.tasks[task].elapsed or 1.0
            bar.update(task, completed=done, total=left, description=f"edit ({done / seconds:.1f} pictures/s)")

        try:
            summary = run.bulk(pictures, out, opener, wish, _settings(editors, wish, domain, parts, column), chosen,
                               column, show)  # fmt: skip
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt("stopped; the same command goes on where this one was") from stop
    _report(summary, out)


def _open(paths: list[Path], domain: str | None, parts: dict[str, str | None], device: str | None) -> Composition:
    """What edits, in a worker."""
    from sdd.apps.cli.objects import find_editors
    from sdd.device import pick_device

    return find_editors(paths, domain, pick_device(device), **parts)


def _engine(name: EngineName, device: str | None, workers: int | None, address: str | None) -> Engine:
    from sdd.apps.bulk import cluster, local

    if name is EngineName.ray:
        return partial(cluster.run, address=address, workers=workers, device=device)
    return partial(local.run, crew=local.crew(device, workers))


def _settings(
    editors: list[Path], wish: Any, domain: str | None, parts: dict[str, str | None], column: str | None
) -> dict[str, Any]:
    """What makes a difference to the pictures."""
    from dataclasses import asdict

    from sdd.io.files import sha256_file

    return {"editors": [sha256_file(path) for path in editors], "domain": domain, "column": column, **parts,
            **asdict(wish)}  # fmt: skip


def _report(summary: Summary, out: Path) -> None:
    """Say what came of it.

    Raises:
        typer.Exit: some or all could not be edited.
    """
    from sdd.domains.foreign import UNUSUAL

    for sentence in summary.sentences:
        terminal.fail(sentence)
    if summary.broken > len(summary.sentences):
        terminal.fail(f"and {summary.broken - len(summary.sentences)} more, which {summary.manifest} names")
    if summary.foreign:
        many = "1 picture inverts" if summary.foreign == 1 else f"{summary.foreign} pictures invert"
        terminal.warn(f"{many} far below those of the editor's domain: {UNUSUAL}; see inversion_db in "
                      f"{summary.manifest}")  # fmt: skip
    if summary.edited:
        many = "1 picture" if summary.edited == 1 else f"{summary.edited} pictures"
        say(f"wrote {many} to {out}/ (inversion {summary.psnr / summary.edited:.1f} dB on average)")
    elif not summary.broken:
        say(f"nothing is left to edit: all {summary.before} pictures of {out}/ are done")
    if summary.edited and summary.before:
        say(f"{summary.before} more were done before")
    say(f"the manifest is {summary.manifest}")
    if summary.broken:
        raise typer.Exit(terminal.PARTLY if summary.edited else terminal.BAD_INPUT)
