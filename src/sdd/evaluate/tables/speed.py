"""Training, editing, start-up."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sdd.domains import avatars
from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.errors import SddError
from sdd.evaluate.command import OUT, Kept, N, Out, Quick, Seed, app, finish, kept_folder
from sdd.evaluate.kept_editors import Editors
from sdd.evaluate.markdown import measured_by
from sdd.paper.cost import break_even

if TYPE_CHECKING:
    from sdd.domains.domain import Domain

NAME, EDITION = "speed", 1


def timing(
    domain: Domain, editors: Editors, repeats: int, seed: int, text: str = "white hair", other: str = "smile"
) -> dict[str, Any]:
    """Seconds, as medians of `repeats`: start-up and one cold edit as processes, a warm batch of 64, one training.

    The training is timed in a home where nothing is kept of the domain, and again there for another prompt.

    `break_even` is Equation 15 with one prompt: the number of pictures from which training an editor is quicker than a
    diffusion edit of each (SDEdit: 25 steps with classifier-free guidance by the same teacher).
    """
    from sdd.teachers.load import load_teacher

    editor = editors.get(text, seed)
    path = editors.path(text, seed, {})
    command = [sys.executable, "-c", "from sdd.apps.cli.main import main; main()"]
    with tempfile.TemporaryDirectory() as folder:
        from sdd.io.pictures.write import save_png

        picture = save_png(AVATARS.people(seed, 0, 1)[0].render(), Path(folder) / "me.png")
        helping = _processes([*command, "--help"], repeats)
        cold = _processes([*command, "edit", str(picture), "-e", str(path), "-o", str(Path(folder) / "out")], repeats)
        # With nothing kept of the domain, as the first prompt finds it; then another prompt, which finds it prepared.
        fresh = {"SDD_HOME": str(Path(folder) / "home")}
        train, second = (
            _processes(
                [*command, "train", said, "--run", f"{folder}/run{i}", "-o", f"{folder}/{i}.safetensors"], 1, fresh
            )
            for i, said in enumerate((text, other))
        )
    images = avatars.render(list(AVATARS.people(seed, 0, 64)))
    editor(images[:16])
    warm = statistics.median(_seconds(lambda: editor(images)) for _ in range(repeats)) / len(images)
    teacher = load_teacher(domain.teacher)
    null = teacher.encode_text(["", text])
    latents = torch.zeros(2, *teacher.latent_shape)
    t = torch.full((2,), 500)
    with torch.no_grad():
        unet = statistics.median(
            _seconds(lambda: teacher.predict_noise(latents, t, null)) for _ in range(max(3, repeats))
        )
    diffusion = 25 * unet
    figures = {
        "help": helping, "cold_edit": cold, "warm_edit": warm, "train": train, "second_train": second,
        "diffusion_edit": diffusion,
        "break_even": break_even(train, warm, diffusion),
    }  # fmt: skip
    return {"figures": figures, "threads": torch.get_num_threads()}


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _processes(command: list[str], repeats: int, more: dict[str, str] | None = None) -> float:
    """Median wall seconds of a command, with some more variables in its environment."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(more or {})})
        found.append(time.perf_counter() - began)
        if done.returncode:
            raise SddError(f"{' '.join(command[3:])} failed: {done.stderr.strip()[-300:]}")
    return statistics.median(found)


@app.command("speed")
def speed_command(n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None) -> None:
    """Training, editing, start-up; -n is how often each is repeated. Meaningless while anything else runs."""
    n = n or (2 if quick else 5)
    domain = embedded()
    finish(NAME, timing(domain, Editors(kept_folder(kept), domain), n, seed), n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    f = part["figures"]
    even = f["break_even"]
    return [
        "## Speed",
        "",
        measured_by(part, "repeats"),
        "",
        f"Training an editor {f['train']:.1f} s"
        + (f" ({f['second_train']:.1f} s for another prompt of the same domain)" if "second_train" in f else "")
        + f", a cold edit {f['cold_edit']:.2f} s, a warm one "
        f"{f['warm_edit'] * 1e3:.1f} ms; 25 diffusion steps by the same teacher {f['diffusion_edit'] * 1e3:.0f} ms. "
        + (
            f"Training pays from {even:.0f} pictures on (Equation 15)."
            if math.isfinite(even)
            else "With so small a teacher, training an editor never pays in time."
        ),
    ]
