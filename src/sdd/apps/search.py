"""A search on its own: the hybrid quality score of each timestep for a prompt, as an object or as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdd.device import pick_device
from sdd.domains import library
from sdd.domains.domain import Domain
from sdd.domains.embedded import EMBEDDED
from sdd.errors import SddError
from sdd.io.files import write_text
from sdd.io.progress import bars, counting
from sdd.paper import search as paper
from sdd.paper.hqs import HQS
from sdd.paper.timesteps import timestep_set
from sdd.teachers.load import load_teacher
from sdd.teachers.protocol import Teacher
from sdd.training.config import DistillConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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


def search(
    prompt: str,
    domain: str | Domain = EMBEDDED,
    *,
    teacher: str | Teacher | None = None,
    points: int | Sequence[int] | None = None,
    images: int | Tensor = 12,
    scale: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> HQS:
    """The hybrid quality score of each timestep for a prompt, as the default training takes it.

    Args:
        domain: a domain or its name.
        teacher: a teacher, a folder or a hub id; None for the domain's own.
        points: which timesteps to score, or how many, evenly spread; None for every 20th part of the schedule.
        images: how many pictures of the domain to average over, or pictures, (N, 3, H, W) in [-1, 1].
        scale: of the guidance; None for that of the default training.
        device: where to compute; None for CUDA if there is one, else CPU.
        progress: show a progress bar.

    Raises:
        SddError: an empty prompt, no such domain, teacher or timestep, or scores that are not finite.
    """
    if not prompt.strip():
        raise SddError('the prompt is empty; say what the edited images should show, "white hair" for instance')
    where = pick_device(device)
    place = (library.get(domain) if isinstance(domain, str) else domain).to(where)
    chosen = teacher if teacher is not None else place.teacher
    guide = load_teacher(chosen, where) if isinstance(chosen, str) else chosen
    steps = spread(points, guide.num_timesteps) if isinstance(points, int) else points
    pictures = place.images(images, seed, "train") if isinstance(images, int) else images
    return _scores(prompt.strip(), pictures.to(where), guide, steps, scale, seed, progress)


def spread(count: int, total: int) -> list[int]:
    """`count` timesteps of `total`, evenly spread, neither end included unless all are asked for."""
    return sorted({int((i + 0.5) * total / count) for i in range(count)})


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
    from sdd.evaluate.plots import plot_hqs

    settings = DistillConfig()
    scores = _scores(prompt, images, teacher, timesteps, scale, seed, progress)
    files = (folder / "hqs.json", folder / "hqs.png")
    write_text(files[0], scores.to_json() + "\n")
    plot_hqs(scores, files[1])
    try:
        chosen, why_none = timestep_set(scores, settings.timesteps), ""
    except SddError as error:  # the curve is an answer all the same, but no training could go by it
        chosen, why_none = [], str(error)
    return Found(scores, chosen, settings.timesteps, why_none, files)


def _scores(
    prompt: str,
    images: Tensor,
    teacher: Teacher,
    timesteps: Sequence[int] | None,
    scale: float | None,
    seed: int,
    progress: bool,
) -> HQS:
    settings = DistillConfig()
    steps = paper.default_timesteps(teacher.num_timesteps) if timesteps is None else timesteps
    with bars(progress) as report:
        advance = counting(report, f"hybrid quality score of {prompt!r}", len(images) * len(steps))
        return paper.search(
            teacher, images, prompt, steps, gradient=settings.search_gradient,
            scale=settings.search_scale if scale is None else scale, weighted=settings.search_weighted, seed=seed,
            advance=advance,
        )  # fmt: skip
