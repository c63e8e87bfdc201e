"""Command: export."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdd.apps import terminal
from sdd.apps.cli.app import app
from sdd.apps.cli.objects import find_editors
from sdd.apps.cli.options import MOST, DomainName, EncoderFile, GeneratorFile, Seed, check_editors, check_folder
from sdd.apps.cli.say import say
from sdd.errors import SddError

if TYPE_CHECKING:
    from torch import Tensor

    from sdd.editor import Composition
    from sdd.export.loss import Run


class Format(StrEnum):
    """What an editor becomes."""

    onnx = "onnx"
    torch = "torch"
    web = "web"


class Weights(StrEnum):
    """How weights are kept (`sdd.export.precision.Precision`)."""

    float32 = "float32"
    fp16 = "fp16"
    int8 = "int8"


SUFFIX = {Format.onnx: ".onnx", Format.torch: ".pt2"}


@app.command(epilog="Example: sdd export white-hair.safetensors --format onnx -o white-hair.onnx")
def export(
    editors: Annotated[list[Path], typer.Argument(help="Editor files; several are applied together, a strength each.")],
    form: Annotated[
        Format, typer.Option("--format", help="An ONNX file; a torch.export program; a page that edits in a browser.")
    ] = Format.onnx,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file; of web, the folder. By default named as the editor.")
    ] = None,
    precision: Annotated[
        Weights | None,
        typer.Option(help="How weights are kept; arithmetic stays float32. By default float32, of web fp16."),
    ] = None,
    blend: Annotated[
        bool, typer.Option("--blend/--no-blend", help="Lay the edit into the picture; or draw it anew.")
    ] = True,
    compare: Annotated[
        int, typer.Option(help="Pictures on which to compare it with the editor; 0 for none.", min=0, max=MOST)
    ] = 16,
    runtime: Annotated[
        Path | None, typer.Option(help="onnxruntime-web for the page, its npm archive or folder; else npm fetches it.")
    ] = None,
    seed: Seed = 0,
    domain: DomainName = None,
    generator: GeneratorFile = None,
    encoder: EncoderFile = None,
) -> None:
    """Turn editors into what runs without sdd: pictures of the domain's size and a strength in, edited pictures out."""
    check_editors(editors)
    path = _target(form, out, editors)
    if form is Format.torch and precision not in (None, Weights.float32):
        raise SddError(
            "a torch program keeps its weights as float32; leave --precision out, or export another --format"
        )
    if form is Format.web and not blend:
        raise SddError("the page lays edits into the picture; leave --no-blend out, or export another --format")
    if runtime is not None and form is not Format.web:
        raise SddError("--runtime is for --format web; leave it out")
    import torch

    together = find_editors(editors, domain, torch.device("cpu"), generator=generator, encoder=encoder)
    weights = precision or (Weights.fp16 if form is Format.web else Weights.float32)
    if form is Format.web:
        _site(together, path, weights, runtime, seed)
        return
    run = _made(together, form, path, weights, blend)
    size = path.stat().st_size / 1e6
    say(f"wrote {path} ({size:.1f} MB): {_inputs(together, blend)}")
    if compare and len(pictures := _pictures(together, compare, seed)):
        from sdd.export.loss import measure

        with terminal.progress() as bar:
            task = bar.add_task("compare", total=len(pictures))
            say(str(measure(together, run, pictures, blend, lambda n: bar.update(task, advance=n))))
    elif compare:
        say("it was not compared with the editor: no pictures of its domain are here")


def _target(form: Format, out: Path | None, editors: list[Path]) -> Path:
    """Where it is written to, checked before any work is done for it."""
    from sdd.io.files import check_target

    if form is Format.web:
        folder = out or Path(f"{editors[0].stem}-site")
        check_folder(folder)
        return folder
    path = out or Path(editors[0].stem + SUFFIX[form])
    if path.suffix.lower() in (".safetensors", ".pt2" if form is Format.onnx else ".onnx"):
        raise SddError(f"{path} would be taken for another kind of file; name it {path.with_suffix(SUFFIX[form])}")
    check_target(path)
    check_folder(path.parent)
    return path


def _made(together: Composition, form: Format, path: Path, weights: Weights, blend: bool) -> Run:
    """Write the file, and what runs it."""
    if form is Format.torch:
        from sdd.export import program

        program.write(together, path, blend)
        return program.runner(path)
    from sdd.export import onnx_file, trace
    from sdd.export.precision import Precision

    with terminal.progress() as bar:
        task = bar.add_task("export", total=trace.STEPS)
        made = onnx_file.model(together, Precision(weights.value), blend, lambda: bar.update(task, advance=1))
    onnx_file.write(made, path)
    return onnx_file.runner(path)


def _site(together: Composition, folder: Path, weights: Weights, runtime: Path | None, seed: int) -> None:
    import torch

    from sdd.export import trace
    from sdd.export.precision import Precision
    from sdd.export.web import write_site

    pictures = _pictures(together, 1, seed)
    sample = pictures[0] if len(pictures) else torch.ones(3, together.image_size, together.image_size)
    with terminal.progress() as bar:
        task = bar.add_task("export", total=2 * trace.STEPS)
        write_site(together, folder, sample, Precision(weights.value), runtime, lambda: bar.update(task, advance=1))
    say(f"wrote {folder}/; any static server shows it: python -m http.server --directory {folder}")


def _pictures(together: Composition, count: int, seed: int) -> Tensor:
    """Held-out pictures of the editors' domain, (N, 3, S, S); none where they are not here."""
    import torch

    place = together.domain
    none = torch.zeros(0, 3, together.image_size, together.image_size)
    try:
        return none if place is None else place.images(count, seed, "test").cpu().clamp(-1, 1)
    except SddError:  # a folder that has moved since
        return none


def _inputs(together: Composition, blend: bool) -> str:
    """How it is called."""
    side, count = together.image_size, len(together.editors)
    laid = "" if blend else ", drawn anew"
    return f"picture (batch, 3, {side}, {side}) in [-1, 1] and strength (batch, {count}) to edited{laid}"
