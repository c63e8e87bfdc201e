"""How far an exported editor is from the editor itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sdd.editor import Composition
from sdd.manipulators.inversion import psnr

Run = Callable[[Tensor, Tensor], Tensor]  # pictures (B, 3, S, S) and strengths (B, E) to edited pictures
STRENGTHS = (1.0, 0.5, -0.5, 1.5)  # that pictures take in turn


@dataclass(frozen=True)
class Loss:
    """What an exported editor's pictures differ by from the editor's, in a range of 2.

    Attributes:
        pictures: how many were compared.
        largest: of all their values.
        psnr: dB with peak 2, over all of them; at most 120.
    """

    pictures: int
    largest: float
    psnr: float

    def __str__(self) -> str:
        return (
            f"{self.psnr:.1f} dB against the editor on {self.pictures} pictures, largest difference {self.largest:.2g}"
        )


def measure(
    editors: Composition, run: Run, pictures: Tensor, blend: bool = True, done: Callable[[int], None] | None = None
) -> Loss:
    """Compare on pictures (N, 3, S, S) in [-1, 1], edited at `STRENGTHS` in turn, all editors alike.

    Args:
        run: the exported editor.
        done: called with the number of pictures since the last call.
    """
    strength = torch.tensor(STRENGTHS).repeat(-(-len(pictures) // len(STRENGTHS)))[: len(pictures)]
    largest, apart = 0.0, list[Tensor]()
    for part, s in zip(pictures.split(8), strength.split(8), strict=True):
        count = len(editors.editors)
        wanted = editors(part, [s] * count, blend=blend).cpu()
        found = run(part, s[:, None].expand(-1, count).contiguous())
        largest = max(largest, float((wanted - found).abs().max()))
        apart.append((wanted - found).square().flatten(1).mean(1))
        if done is not None:
            done(len(part))
    error = torch.cat(apart).mean()
    return Loss(len(pictures), largest, float(psnr(error.sqrt().view(1, 1), torch.zeros(1, 1))))
