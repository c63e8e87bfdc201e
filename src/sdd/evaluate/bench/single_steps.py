"""Editors trained at one timestep alone: the outcome that scores of timesteps are to foretell."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdd.evaluate import indicators
from sdd.evaluate.bench.cells import Bench, Cell
from sdd.evaluate.bench.experiment import Found, Size, texts_of
from sdd.evaluate.bench.trainings import PACE, best_gain, options, trained
from sdd.evaluate.prompts import FURTHER, PROMPTS
from sdd.evaluate.trial import Rows, rounded
from sdd.io.code import code_of

PRESET = {True: "default", False: "paper"}  # in a quick run the paper's does not take hold
TEXTS = tuple(p.text for p in (*PROMPTS, *FURTHER))
QUICK_TEXTS = ("white hair", "sunglasses")
TIMESTEPS, QUICK_TIMESTEPS = tuple(range(50, 1000, 100)), (150, 350, 550, 750, 950)
SOURCES = {True: 4, False: 16}  # pictures that indicators are of
DESCENT = "descent"  # in the place of a timestep: all of them, sinking until the lowest is left
PEOPLE = 6  # seed of the people: a choice of an indicator may follow


def outcomes(bench: Bench, what: str, size: Size) -> Found:
    """The gain of training at each timestep, and every indicator of each."""
    texts = texts_of(size, QUICK_TEXTS, TEXTS)
    timesteps = QUICK_TIMESTEPS if size.quick else TIMESTEPS
    n, seeds, steps = size.n or (8 if size.quick else 16), 1 if size.quick else 2, 40 if size.quick else 200
    at: dict[int | str, Cell] = {t: {"timesteps": f"list:{t}", "descend": 0.0} for t in timesteps}
    at[DESCENT] = {"timesteps": "random", "descend": 1.0}
    cells = [
        {
            "t": t, "prompt": text, "seed": size.seed + k, "n": n, "people_seed": PEOPLE,
            "options": options(PRESET[size.quick], steps, size.quick, **which, **PACE[size.quick]),
        }
        for text in texts
        for k in range(seeds)
        for t, which in at.items()
    ]  # fmt: skip
    rows = trained(bench, f"{what}: trainings", cells)
    rows = [slim(row) for row in rows]
    asked: list[Cell] = [
        {"indicators": text, "timesteps": list(timesteps), "pictures": SOURCES[size.quick], "seed": size.seed}
        for text in texts
    ]
    used = [bench.models.fingerprint("teacher"), code_of(indicators.__name__)]
    told = bench.measured(f"{what}: indicators", asked, lambda cell: _indicators(bench, cell), lambda cell: used)
    return {
        "rows": rows, "indicators": told, "timesteps": list(timesteps), "prompts": list(texts), "n": n,
        "seeds": seeds, "steps": steps, "people_seed": PEOPLE, "preset": PRESET[size.quick], "pace": PACE[size.quick],
    }  # fmt: skip


def slim(row: dict[str, Any]) -> dict[str, Any]:
    """What is said of a training: the gain of each person at each strength; its cell keeps the rest."""
    kept = {key: value for key, value in row.items() if key not in ("options", "timesteps")}
    return kept | ({"people": [{"gain": point["gain"]} for point in row["people"]]} if "people" in row else {})


def _indicators(bench: Bench, cell: Cell) -> Cell:
    images = bench.domain.images(cell["pictures"], cell["seed"], "train")
    teacher = bench.models.get("teacher", "sdd")
    found = indicators.indicators(bench.domain, teacher, images, cell["indicators"], cell["timesteps"], cell["seed"])
    return {"values": {name: rounded(values) for name, values in found.items()}}


def gains(found: Found) -> dict[str, np.ndarray]:
    """Of each prompt that is whole the best gain of each training, (seeds, timesteps)."""
    made = {}
    for text in found["prompts"]:
        there: Rows = [r for r in found["rows"] if r["prompt"] == text and r["t"] != DESCENT and "why" not in r]
        seeds = sorted({r["seed"] for r in there})
        lines = [{r["t"]: best_gain(r) for r in there if r["seed"] == k} for k in seeds]
        whole = [[line[t] for t in found["timesteps"]] for line in lines if len(line) == len(found["timesteps"])]
        if whole:
            made[text] = np.array(whole)
    return made


def descent(found: Found, text: str) -> float:
    """The gain of training at timesteps that sink, averaged over seeds; NaN where there is none."""
    of = [best_gain(r) for r in found["rows"] if (r["prompt"], r["t"]) == (text, DESCENT) and "why" not in r]
    return float(np.mean(of)) if of else float("nan")


def scores(found: Found) -> dict[str, dict[str, Any]]:
    """Indicators by prompt and name."""
    return {row["indicators"]: row["values"] for row in found["indicators"] if "why" not in row}
