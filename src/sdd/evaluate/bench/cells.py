"""Cells: what an experiment measures once. A finished one is a file, so that what was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.domains.avatars.truth import AVATARS
from sdd.errors import SddError
from sdd.evaluate.prompts import prompt
from sdd.evaluate.trial import Rows, Subjects
from sdd.io.files import write_text
from sdd.io.progress import Report, silent

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.evaluate.judge import Judge
    from sdd.methods.models import Models

Cell = dict[str, Any]  # what is measured, in values that JSON has


@dataclass
class Bench:
    """Where experiments take place.

    Attributes:
        folder: of what is kept: cells, editors. report: told of progress.
        until: `time.monotonic()` after which no cell is begun; None for never.
        left: cells that were not measured for want of time.
    """

    domain: Domain
    judge: Judge
    models: Models
    folder: Path
    report: Report = silent
    until: float | None = None
    left: int = 0
    _subjects: dict[tuple[str, int, int], Subjects] = field(default_factory=dict)

    def subjects(self, text: str, n: int, people: int) -> Subjects:
        """The first `n` people of a seed on whom a prompt can be tried."""
        key = (text, n, people)
        if key not in self._subjects:
            self._subjects[key] = Subjects.make(prompt(text), AVATARS, self.judge, n, people)
        return self._subjects[key]

    def measured(
        self, what: str, cells: Sequence[Cell], measure: Callable[[Cell], Cell], used: Callable[[Cell], Any]
    ) -> Rows:
        """Each cell with its figures, or with `why` there are none; those that time did not allow are left out.

        Args:
            what: is being measured, for the display.
            used: of a cell what it follows from beside itself: models, code, edition.
        """
        rows: Rows = []
        for k, cell in enumerate(cells):
            path = self.path(cell, used(cell))
            if path.is_file():
                rows.append(cell | json.loads(path.read_text(encoding="utf-8")))
            elif self.until is not None and time.monotonic() > self.until:
                self.left += 1
            else:
                rows.append(cell | self._now(path, cell, measure))
            self.report(what, k + 1, len(cells))
        return rows

    def _now(self, path: Path, cell: Cell, measure: Callable[[Cell], Cell]) -> Cell:
        try:
            found = measure(cell)
        except SddError as error:  # what is missing today may be there tomorrow: not kept
            return {"why": str(error)}
        write_text(path, json.dumps(found))
        return found

    def path(self, cell: Cell, used: Any) -> Path:
        """Where a cell is kept."""
        key = hashlib.sha256(json.dumps([cell, used], sort_keys=True).encode()).hexdigest()[:20]
        return self.folder / "cells" / f"{key}.json"


def processor_clock(device: str) -> Callable[[], float]:
    """A clock for costs: on a CPU the process's own seconds, which others on the machine do not lengthen."""
    return time.process_time if device == "cpu" else time.perf_counter
