"""The judge against the truth."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch

from sdd.domains import avatars
from sdd.domains.avatars.truth import AVATARS
from sdd.evaluate.command import OUT, N, Out, Quick, Seed, app, finish
from sdd.evaluate.judge import Judge, same
from sdd.evaluate.markdown import attribute_table, measured_by
from sdd.evaluate.visible import shares, shown

NAME, EDITION = "judge", 1


def judging(judge: Judge, n: int, seed: int) -> dict[str, Any]:
    """The judge on `n` held-out renders: the share read right of those the picture can show."""
    persons = AVATARS.people(seed, 0, n)
    readings = judge.read(avatars.render(list(persons)))
    hits = {}
    for name in avatars.ATTRIBUTES:
        if name in avatars.RANGES:
            truth = torch.tensor([float(p.attributes[name]) for p in persons])
        else:
            truth = torch.tensor([avatars.values(name).index(p.attributes[name]) for p in persons])
        hits[name] = shown(same(name, readings[name], truth), persons, name)
    each = shares(hits)
    figures = {"mean": statistics.fmean(each.values()), "worst": min(each.values())}
    return {"figures": figures, "attributes": each}


@app.command("judge")
def judge_command(n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT) -> None:
    """The judge against the truth."""
    n = n or (64 if quick else 1000)
    finish(NAME, judging(Judge.load(), n, seed), n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    return [
        "## The judge",
        "",
        measured_by(part),
        "",
        "Share read right, of the pictures that can show the attribute. A continuous attribute is right within an "
        "eighth of its range (4 degrees, 1.5 percent, 0.033).",
        "",
        *attribute_table("right", part["attributes"]),
    ]
