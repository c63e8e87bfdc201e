"""See it work: one editor trained on the embedded avatars, and held-out people edited with it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sdd
from sdd.apps.pictures import Wish, edit_pictures
from sdd.domains import avatars
from sdd.domains.embedded import embedded
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.io.pictures.folder import Source, output_paths
from sdd.io.pictures.read import read_image
from sdd.io.pictures.write import grid, save_png
from sdd.teachers.load import load_teacher
from sdd.training.checkup import Checkup, check_up_file
from sdd.training.run import slug

if TYPE_CHECKING:
    import torch

    from sdd.domains.avatars import Avatar

ASKED = 400  # people among whom those are looked for on whom an edit can be seen
COLUMNS = 8  # of the picture of them all


@dataclass(frozen=True)
class Demo:
    """What came of it.

    Attributes:
        editor: its file.
        before, after: folders of pictures; `sheet`: all of them side by side.
        count: how many people were edited.
        checkup: how the training went.
        training, editing: seconds.
    """

    editor: Path
    before: Path
    after: Path
    sheet: Path
    count: int
    checkup: Checkup
    training: float
    editing: float


def demonstrate(prompt: str, folder: Path, seed: int, device: torch.device, progress: bool, count: int = 16) -> Demo:
    """Train an editor for `prompt` and edit `count` held-out avatars, all in a folder.

    Raises:
        SddError: the folder holds the demonstration of another prompt or seed, or cannot be written.
    """
    domain = embedded().to(device)
    started = time.perf_counter()
    path = folder / f"{slug(prompt)}.safetensors"
    guide = load_teacher(domain.teacher, device)
    editor = sdd.distill(prompt, domain, teacher=guide, seed=seed, run=folder / "run", device=device, progress=progress)
    trained = time.perf_counter() - started
    found = check_up_file(path, editor, guide, domain)
    sources = []
    for index, person in enumerate(audience(prompt, count, seed)):
        name = Path(f"avatar-{index:02d}.png")
        sources.append(Source(save_png(person.render(), folder / "before" / name), name))
    outputs = output_paths(sources, folder / "after")
    started = time.perf_counter()
    outcome = edit_pictures(sources, outputs, Editor.compose([editor]), Wish())
    edited = time.perf_counter() - started
    if outcome.broken:
        raise SddError(outcome.broken[0])
    rows = [read_image(s.path) for s in sources], [read_image(p) for p in outcome.written]
    starts = range(0, len(sources), COLUMNS)
    order = [picture for start in starts for row in rows for picture in row[start : start + COLUMNS]]
    sheet = save_png(grid(order, columns=COLUMNS), folder / "before-after.png")
    return Demo(path, folder / "before", folder / "after", sheet, len(sources), found, trained, edited)


def audience(prompt: str, count: int, seed: int) -> list[Avatar]:
    """Held-out people on whom the edit can be seen; anybody, where the prompt's words do not say what changes."""
    people = avatars.sample(ASKED, 1000 + seed)
    wanted = avatars.meaning(prompt)
    chosen = [person for person in people if avatars.shows(person, wanted)] if wanted else people
    return chosen[:count]
