"""Editors that the tables share: trained when first asked for, kept in a folder."""

from __future__ import annotations

import hashlib
import json
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.editor import Editor
from sdd.evaluate.command import CONSOLE, listed
from sdd.io.code import code_of
from sdd.io.files import sha256_file
from sdd.training.config import DistillConfig

if TYPE_CHECKING:
    from sdd.domains.domain import Domain


class Editors:
    """Editors by prompt and options, trained when they are first asked for and kept in a folder.

    They are used again as long as the domain, the teacher, the options and the code that trains are the same.

    Args:
        domain: that they are trained on.
        teacher: already loaded; None for the domain's own, loaded when it is needed.
    """

    def __init__(self, folder: Path, domain: Domain, teacher: Any = None) -> None:
        self.folder, self.domain = folder, domain
        index = Path(domain.teacher) / "unet" / "diffusion_pytorch_model.safetensors"
        self.teacher_hash = sha256_file(index) if index.is_file() else domain.teacher
        self.teacher: Any = teacher

    def path(self, text: str, seed: int, options: dict[str, Any]) -> Path:
        """Where the editor of a prompt, a seed and training options lies."""
        card = [
            text,
            seed,
            DistillConfig.make(None, **options).model_dump(mode="json"),
            self.domain.name if self.domain.backbone is None else self.domain.backbone.generator_hash,
            self.teacher_hash,
            training_code(),
        ]
        key = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:10]
        return self.folder / f"{text.replace(' ', '-')}-{key}.safetensors"

    def get(self, text: str, seed: int = 0, **options: Any) -> Editor:
        """The editor, trained now if it is not there yet."""
        path = self.path(text, seed, options)
        if path.is_file():
            return Editor.load(path, self.domain)
        if self.teacher is None:
            from sdd.teachers.load import load_teacher

            self.teacher = load_teacher(self.domain.teacher)
        from sdd.training.distil import distill

        began = time.perf_counter()
        editor = distill(text, self.domain, teacher=self.teacher, seed=seed, progress=False, **options)
        seconds = time.perf_counter() - began
        editor.info = editor.info.model_copy(update={"figures": editor.info.figures | {"seconds": round(seconds, 1)}})
        editor.save(path)
        CONSOLE.print(f"trained {text!r} at t = {listed(editor.info.timesteps)} in {seconds:.0f} s: {path.name}")
        return editor


TRAINS = "sdd.training.train"  # the module that makes an editor


@cache
def training_code() -> str:
    """Names the code that trains: `TRAINS` and what it imports; comments and docstrings do not count."""
    return code_of(TRAINS)
