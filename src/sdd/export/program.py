"""An editor as a `torch.export` program: a .pt2 file that torch alone runs.

edited = torch.export.load("white-hair.pt2").module()(picture, strength)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sdd.editor import Composition
from sdd.export import trace
from sdd.export.onnx_file import example
from sdd.export.portable import Portable
from sdd.io.files import atomic_path


def write(editors: Composition, path: str | Path, blend: bool = True) -> None:
    """Write the program to one file, atomically; inputs and outputs are those of `sdd.export.onnx_file`.

    Raises:
        SddError: a kind of editor that cannot leave, or the file cannot be written.
    """
    net = Portable(editors, blend).eval()
    traced = trace.program(net, example(net))
    with atomic_path(path) as aside, aside.open("wb") as file, trace.silent():
        torch.export.save(traced, file)


def runner(path: str | Path) -> Callable[[Tensor, Tensor], Tensor]:
    """A .pt2 file as a function of pictures and strengths; for files of one's own, since loading trusts them."""
    net = torch.export.load(Path(path)).module()

    @torch.no_grad()
    def run(picture: Tensor, strength: Tensor) -> Tensor:
        edited: Tensor = net(picture, strength)
        return edited

    return run
