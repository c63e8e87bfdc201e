"""An editor as a static page: whoever visits it edits in their own browser, and no picture leaves it.

index.html, app.js, style.css     the page
editor.json                       what the editors are
open.onnx, draw.onnx              the editors: once a picture, and whenever a slider moves
sample.png                        a picture to begin with
runtime/                          onnxruntime-web
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from sdd.editor import Composition
from sdd.export import runtime, trace
from sdd.export.onnx_file import EDITED, PICTURE, STRENGTH, described, description, write
from sdd.export.portable import Drawing, Opening
from sdd.export.precision import Precision, kept_as
from sdd.io.files import write_text
from sdd.io.pictures.write import save_png

PAGE = ("index.html", "app.js", "style.css")


def write_site(
    editors: Composition,
    folder: Path,
    sample: Tensor,
    precision: Precision = Precision.fp16,
    given: Path | None = None,
    done: trace.Done = lambda: None,
) -> None:
    """Write the page into a folder; each file appears whole or not at all, and index.html last.

    Args:
        sample: the picture to begin with, (3, S, S) in [-1, 1].
        given: archive or folder of onnxruntime-web; None to fetch it from npm.
        done: called after each of twice `trace.STEPS` steps.

    Raises:
        SddError: a kind of editor that cannot leave, packages or npm that are not here, or a folder that cannot be
            written.
    """
    trace.check_installed()
    found = runtime.find(given)
    opening = Opening(editors).eval()
    drawing = Drawing(opening).eval()
    pictures = torch.zeros(2, 3, opening.size, opening.size)
    with torch.no_grad():
        opened = opening(pictures)
    first = trace.to_onnx(opening, [pictures], [PICTURE], opening.names, done)
    inputs = [pictures, torch.ones(2, len(editors.editors)), *opened]
    second = trace.to_onnx(drawing, inputs, [PICTURE, STRENGTH, *opening.names], [EDITED], done)
    for name, made in (("open.onnx", first), ("draw.onnx", second)):
        write(described(kept_as(made, precision), editors, precision, True), folder / name)
    save_png(sample, folder / "sample.png")
    runtime.write(found, folder / "runtime")
    write_text(folder / "editor.json", json.dumps(description(editors, precision, True), ensure_ascii=False, indent=1))
    page = files("sdd") / "export" / "page"
    for name in reversed(PAGE):
        write_text(folder / name, (page / name).read_text())
