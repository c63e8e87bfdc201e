"""Figure 7 of arXiv 2307.08448: a change of pose, which CLIP's guidance is said to fail at and diffusion's not.

The avatars' captions have words for a tilt of the head and none for a shift, so that the tilt is what can be asked.
"""

from __future__ import annotations

import math
from pathlib import Path

from sdd.evaluate.bench.at_best import COLUMNS, at_best, lead, said, tables
from sdd.evaluate.bench.cells import Bench
from sdd.evaluate.bench.experiment import Experiment, Found, Size, claim, figure, save, texts_of, verdict
from sdd.evaluate.bench.points import groups, ways
from sdd.evaluate.intervals import mean

TEXTS = ("head tilted left",)
METHODS = ("sdd", "styleclip", "stylegan-nada", "styleclip-global")
SHOWN = ("success", "editability")


def measure(bench: Bench, size: Size) -> Found:
    """Every method at its best knob."""
    asked = ways(size.methods or METHODS)
    found = at_best(bench, "fig7", asked, texts_of(size, TEXTS, TEXTS), size.n or (8 if size.quick else 64), size.quick)
    made = []
    for label in found["labels"]:
        gap = lead(found["rows"], "sdd", label, "success") if label != "sdd" else None
        if gap is not None and not math.isnan(gap.value):
            holds = verdict(gap)
            made.append(claim(f"diffusion tilts more heads than CLIP does ({label}: success)", gap.value, holds,
                              "the judge reads the tilt", gap))  # fmt: skip
    return found | {"claims": made}


def section(found: Found) -> list[str]:
    """The part of a page."""
    shift = "The captions have no word for a shift, so that the tilt alone is asked."
    return [f"{said(found)} {shift}", "", *tables(found)]


def plot(found: Found, path: Path) -> None:
    """Success and editability of each method."""
    labels = [x for x in found["labels"] if groups(found["rows"], x, "success")]
    made, axes = figure(7.5, 3.2, 2)
    for axis, name in zip(axes[0], SHOWN, strict=True):
        for k, label in enumerate(labels):
            got = mean(groups(found["rows"], label, name))
            ends = [[max(0.0, got.value - got.low)], [max(0.0, got.high - got.value)]]
            axis.bar(k, got.value, yerr=None if math.isnan(got.low) else ends, capsize=3)
        axis.set_xticks(range(len(labels)), labels, rotation=15, fontsize=8)
        axis.set_title(f"{COLUMNS[name][1]}, {', '.join(found['prompts'])}", fontsize=10)
        axis.axhline(0, color="0.4", lw=0.8)
    save(made, path)


EXPERIMENT = Experiment("fig7", "A change of pose", measure, section, plot)
