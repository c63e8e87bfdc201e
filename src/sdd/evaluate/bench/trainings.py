"""Editors trained for an experiment: a preset, a set of timesteps, equal steps; and what each is worth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from sdd.evaluate.bench.cells import Bench, Cell
from sdd.evaluate.kept_editors import Editors, training_code
from sdd.evaluate.trial import Rows, curve, returned, rounded
from sdd.io.code import code_of
from sdd.training.config import PAPER, DistillConfig

EDITION = 1
STRENGTHS = (0.5, 1.0, 1.5, 2.0)
# What the paper leaves to whoever trains: a twentieth of the released code's steps, at twenty times its rate.
PACE: dict[bool, dict[str, Any]] = {True: {}, False: {"batch": 2, "lr": 0.1}}


def options(preset: str, steps: int, quick: bool, **more: Any) -> dict[str, Any]:
    """Training options of a preset at equal steps, batch and pictures, so that pace is not what differs."""
    base = DistillConfig().model_dump() if preset == "default" else {**DistillConfig().model_dump(), **PAPER}
    same = {"batch": 4, "images": 64, "search_images": 4} if quick else {"batch": 8, "images": 128, "search_images": 12}
    return {**base, "preset": "default", **same, "steps": steps, **more}


def pace(options: dict[str, Any]) -> str:
    """How a training goes that is quicker than its preset's."""
    return f" of {options['batch']} pictures at a rate of {options['lr']:g}" if options else ""


def trained(bench: Bench, what: str, cells: Sequence[Cell]) -> Rows:
    """Each training's figures.

    Args:
        cells: with `prompt`, `seed`, `options`, `n`, `people_seed`, and whatever a table calls them by.
    """
    editors = Editors(bench.folder / "editors", bench.domain)
    asked = [{**cell, "strengths": list(STRENGTHS)} for cell in cells]
    index = [EDITION, training_code(), editors.teacher_hash, code_of("sdd.evaluate.trial")]
    return bench.measured(what, asked, lambda cell: _measure(bench, editors, cell), lambda cell: index)


def _measure(bench: Bench, editors: Editors, cell: Cell) -> Cell:
    """Figures of each person at each strength, laid into the source; the timesteps and seconds."""
    if editors.teacher is None:
        editors.teacher = bench.models.get("teacher", "sdd")
    began = time.perf_counter()
    editor = editors.get(cell["prompt"], cell["seed"], **cell["options"])
    took = time.perf_counter() - began
    there = bench.subjects(cell["prompt"], cell["n"], cell["people_seed"])
    along = curve(returned(editor), there, bench.judge, STRENGTHS)
    return {
        "timesteps": editor.info.timesteps, "seconds_trained": round(took, 1),
        "people": [{k: rounded(v) for k, v in point.items()} for point in along],
    }  # fmt: skip


def at(row: dict[str, Any], strength: float, figure: str) -> list[float]:
    """A figure of each person at a strength."""
    found: list[float] = row["people"][STRENGTHS.index(strength)][figure]
    return found


def best_gain(row: dict[str, Any]) -> float:
    """The largest gain along the strengths, or 0, the untouched picture: information, chosen by the answer.

    Of each strength the median over people: the gain of one whom the edit hardly concerns may be −5, and would decide a
    mean over a few.
    """
    return max(0.0, *(float(np.nanmedian(point["gain"])) for point in row["people"]))
