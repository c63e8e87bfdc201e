"""A search on its own: the hybrid quality score of each timestep for a prompt, as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdd.errors import SddError
from sdd.evaluate.plots import plot_hqs
from sdd.io.files import write_text
from sdd.io.progress import bars
from sdd.paper import search as paper
from sdd.paper.hqs import HQS
from sdd.paper.timesteps import timestep_set
from sdd.training.config import DistillConfig

if TYPE_CHECKING:
    from torch import Tensor

    from sdd.teachers.protocol import Teacher


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        scores: the curve.
        timesteps: S, which a training of the default preset would take; empty where the curve chooses none.
        strategy: by which S follows from the curve.
        why_none: one sentence where it chooses none.
        files: what was written.
    """

    scores: HQS
    timesteps: list[int]
    strategy: str
    why_none: str
    files: tuple[Path, ...]


def search_prompt(
    prompt: str,
    images: Tensor,
    teacher: Teacher,
    folder: Path,
    timesteps: Sequence[int] | None,
    scale: float | None,
    seed: int,
    progress: bool,
) -> Found:
    """Score timesteps as the default training does, and write `hqs.json` and `hqs.png` into a folder.

    Args:
        images: (N, 3, S, S) to average over.
        timesteps: which to score; None for those that a training scores.
        scale: of the guidance; None for that of the default training.

    Raises:
        SddError: scores that are not finite, or a folder that cannot be written.
    """
    settings = DistillConfig()
    steps = paper.default_timesteps(teacher.num_timesteps) if timesteps is None else timesteps
    done = 0
    with bars(progress) as report:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            report(f"hybrid quality score of {prompt!r}", done, len(images) * len(steps))

        scores = paper.search(
            teacher, images, prompt, steps, gradient=settings.search_gradient,
            scale=settings.search_scale if scale is None else scale, weighted=settings.search_weighted, seed=seed,
            advance=advance,
        )  # fmt: skip
    files = (folder / "hqs.json", folder / "hqs.png")
    write_text(files[0], scores.to_json() + "\n")
    plot_hqs(scores, files[1])
    try:
        chosen, why_none = timestep_set(scores, settings.timesteps), ""
    except SddError as error:  # the curve is an answer all the same, but no training could go by it
        chosen, why_none = [], str(error)
    return Found(scores, chosen, settings.timesteps, why_none, files)
