"""A training as a job: its curve, its pictures, and an editor in the end, or whenever somebody has enough."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import sdd
from sdd.apps.overwrite import existing, refuse_other
from sdd.apps.studio.limits import MAX_STEPS
from sdd.apps.studio.works import Job
from sdd.apps.words import check_words
from sdd.device import pick_device, weights_type
from sdd.domains.embedded import EMBEDDED
from sdd.domains.words import embedded_vocabulary
from sdd.errors import SddError
from sdd.io.pictures.write import from_tensor
from sdd.teachers.load import load_teacher
from sdd.training.checkup import check_up_file
from sdd.training.config import DistillConfig
from sdd.training.run import slug

if TYPE_CHECKING:
    from PIL.Image import Image

    from sdd.apps.studio.shelf import Shelf
    from sdd.domains.domain import Domain
    from sdd.editor import Editor
    from sdd.paper.hqs import HQS
    from sdd.teachers.protocol import Teacher
    from sdd.training.train import Training

SHOWN = 6  # pictures of a training that are shown
EVERY = 3.0  # seconds from one showing to the next
LONGEST = 1000  # characters of a prompt, as an editor file takes it


class TrainingJob(Job):
    """Distils a prompt into an editor on the shelf; what `sdd train PROMPT -o FILE` does.

    Attributes:
        warnings: a sentence for each word of the prompt that the teacher does not know.
        scores: the hybrid quality score, so far as it is known.
        pictures: some sources, and below them their edits, as they are now.
        editor: the name of the editor that came of it.
        command: what does the same on the command line.

    Raises:
        SddError: the prompt is none, the teacher knows no word of it, or a number of steps that is none.
    """

    def __init__(self, prompt: str, domain: Domain, shelf: Shelf, seed: int = 0, steps: int | None = None) -> None:
        super().__init__()
        self.prompt = str(prompt or "").strip()
        if not self.prompt or len(self.prompt) > LONGEST:
            raise SddError(f'say in at most {LONGEST} characters what edited pictures should show: "white hair"')
        if steps is not None and not 1 <= steps <= MAX_STEPS:
            raise SddError(f"a training takes from 1 to {MAX_STEPS} steps, or as many as it needs; not {steps}")
        self.warnings = check_words(self.prompt, embedded_vocabulary()) if domain.name == EMBEDDED else []
        self.domain, self.shelf, self.seed = domain, shelf, seed
        self.options = DistillConfig.make("default", **({} if steps is None else {"steps": steps}))
        self.path, self.editor = self._place(), ""
        self.scores: HQS | None = None
        self.pictures: Image | None = None
        self.steps, self._shown = 0, 0.0

    @property
    def command(self) -> str:
        """What does the same on the command line."""
        from shlex import join

        words = ["sdd", "train", self.prompt, "-o", str(self.path)]
        words += [] if self.domain.name == EMBEDDED else ["--domain", self.domain.name]
        words += [] if self.options.steps == "auto" else ["--steps", str(self.options.steps)]
        return join(words + ([] if self.seed == 0 else ["--seed", str(self.seed)]))

    def _place(self) -> Path:
        """The first file that is free, or holds this very editor."""
        for path in self.shelf.free(slug(self.prompt)):
            try:
                config = self.options.model_dump(mode="json")
                there = existing(path)
                refuse_other(path, there, prompt=self.prompt, seed=self.seed, config=config, domain=self.domain.name)
            except SddError:
                continue
            return path
        raise SddError(f"there are too many editors named {slug(self.prompt)} here; remove some")

    def work(self) -> str:
        """Train, and say how it went."""
        self.path = self._place()  # a job before this one may have taken the name
        began, device = time.monotonic(), pick_device(None)
        teacher = load_teacher(self.domain.teacher, device, weights_type(self.options.precision))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the teacher does not know the word")  # was said when asked for
            editor = sdd.distill(
                self.prompt, self.domain, teacher=teacher, config=self.options, seed=self.seed, out=self.path,
                run="auto", device=device, progress=False, report=self.report, watch=self,
            )  # fmt: skip
        said = self._checked(editor, teacher)
        self.editor = next(name for name, path in self.shelf.paths().items() if path == self.path)
        steps, seconds = editor.info.figures.get("steps", 0), time.monotonic() - began
        kept = "Stopped, and kept what was learned so far" if self.asked_to_stop else "Trained"
        return f"{kept}: “{self.editor}”, {steps:.0f} steps in {seconds:.0f} s. {said}"

    def _checked(self, editor: Editor, teacher: Teacher) -> str:
        try:
            found = check_up_file(self.path, editor, teacher, self.domain)
        except SddError as error:  # the editor is there all the same
            return f"How it went could not be checked: {error}"
        return ". ".join(text[:1].upper() + text[1:] for text in (found.sentence, found.advice) if text) + "."

    @property
    def doing(self) -> str:
        """See `Job`."""
        if self.phase.startswith("hybrid quality score"):
            return "1. Looking for the timesteps that matter"
        return "2. Learning the edit" if self.phase.startswith("distil ") else f"Preparing: {self.phase}"

    def stops_at_once(self) -> bool:
        """Before the first step there is nothing to keep."""
        return self.steps == 0

    def searched(self, scores: HQS) -> None:
        """See `sdd.training.train.Watch`."""
        self.scores = scores
        self.version += 1

    def stepped(self, training: Training) -> bool:
        """See `sdd.training.train.Watch`."""
        self.steps = training.learner.step
        if time.monotonic() - self._shown > EVERY or training.learner.done or self.asked_to_stop:
            rows = training.pictures(SHOWN)
            joined = torch.cat([torch.cat(list(row.clamp(-1, 1)), -1) for row in rows], -2)
            self.pictures, self._shown = from_tensor(joined), time.monotonic()
            self.version += 1
        return self.asked_to_stop
