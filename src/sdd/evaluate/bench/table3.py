"""Table 3 of arXiv 2307.08448: which set of timesteps, at equal steps: random, small ξ, large ξ, largest."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sdd.evaluate.bench.cells import Bench
from sdd.evaluate.bench.experiment import Experiment, Found, Size, claim, figure, save, texts_of, verdict
from sdd.evaluate.bench.trainings import PACE, STRENGTHS, at, best_gain, options, pace, trained
from sdd.evaluate.intervals import Mean, difference, mean
from sdd.evaluate.markdown import estimate, table
from sdd.evaluate.tables.scores import HQS_PROMPTS
from sdd.evaluate.trial import Rows

STRATEGIES = {"random": "random", "small ξ": "above:0", "large ξ": "above:0.5", "largest": "largest"}
PRESETS = ("paper", "default")
STEPS = {True: {"paper": 40, "default": 40}, False: {"paper": 200, "default": 60}}
REPORTED = 1  # seed of people
HOLD = 0.05  # editability below which a training has not taken hold
COLUMNS = {
    "success": "%", "side_effects": "%", "editability": "", "fidelity": "dB", "gain": "",
}  # fmt: skip


def measure(bench: Bench, size: Size) -> Found:
    """Every strategy under both presets."""
    texts = texts_of(size, ("white hair",), HQS_PROMPTS)
    n, seeds = size.n or (8 if size.quick else 24), 1 if size.quick else 3
    steps, paces = STEPS[size.quick], {"paper": PACE[size.quick], "default": {}}
    cells = [
        {
            "preset": preset, "strategy": name, "prompt": text, "seed": size.seed + k, "n": n, "people_seed": REPORTED,
            "options": options(
                preset, steps[preset], size.quick, timesteps=strategy, descend=0.0, **paces[preset]
            ),
        }
        for k in range(seeds)
        for text in texts
        for preset in PRESETS
        for name, strategy in STRATEGIES.items()
    ]  # fmt: skip
    rows = trained(bench, "table3", cells)
    for row in rows:
        row.pop("options")  # a page of numbers for each; the code says them
    found = {
        "rows": rows, "n": n, "prompts": list(texts), "steps": steps, "pace": PACE[size.quick], "seeds": seeds,
        "people_seed": REPORTED,
    }  # fmt: skip
    return found | {"claims": claims(found)}


def _rows(found: Found, preset: str, strategy: str) -> Rows:
    return [r for r in found["rows"] if (r["preset"], r["strategy"]) == (preset, strategy) and "why" not in r]


def _groups(rows: Rows, name: str, strength: float = 1.0) -> list[list[float]]:
    """A figure of each person and training, by prompt."""
    texts = dict.fromkeys(row["prompt"] for row in rows)
    return [[x for r in rows if r["prompt"] == text for x in at(r, strength, name)] for text in texts]


def claims(found: Found) -> list[Found]:
    """The paper's order: largest above the thresholds above random."""
    made = []
    for preset in PRESETS:
        best = _rows(found, preset, "largest")
        for other in ("random", "small ξ", "large ξ"):
            rows = _rows(found, preset, other)
            if not best or not rows or len(rows) != len(best):
                continue
            each = [mean(_groups(some, "editability")).value for some in (best, rows)]
            gap = difference(_groups(best, "editability"), _groups(rows, "editability"))
            holds = verdict(gap)
            why = f"{each[0]:.2f} against {each[1]:.2f} at {found['steps'][preset]} equal steps, strength 1"
            if all(a["timesteps"] == b["timesteps"] for a, b in zip(best, rows, strict=True)):
                holds, why = None, "both chose the same timesteps"
            elif max(each) < HOLD:
                holds, why = None, f"neither took hold in {found['steps'][preset]} steps"
            made.append(claim(f"the largest score teaches more than {other} (editability, {preset})", gap.value, holds,
                              why, gap))  # fmt: skip
    return made


def section(found: Found) -> list[str]:
    """The part of a page."""
    body = []
    for preset in PRESETS:
        for name in STRATEGIES:
            rows = _rows(found, preset, name)
            if not rows:
                continue
            cells = [estimate(mean(_groups(rows, column)), unit) for column, unit in COLUMNS.items()]
            chosen = sorted({t for row in rows for t in row["timesteps"]})
            said = f"{len(chosen)} from {chosen[0]} to {chosen[-1]}" if len(chosen) > 4 else ", ".join(map(str, chosen))
            best = sum(best_gain(row) for row in rows) / len(rows)
            body.append([preset, name, said, *cells, f"{best:.2f}"])
    reasons = dict.fromkeys(f"* {r['preset']}, {r['strategy']}: {r['why']}" for r in found["rows"] if "why" in r)
    return [
        f"{len(found['prompts'])} prompts ({', '.join(found['prompts'])}), {found['seeds']} trainings of each, "
        f"{found['n']} held-out people each (seed {found['people_seed']}), at strength 1. Each preset with its own "
        f"score, guidance and mapper, timesteps not sinking: `paper` {found['steps']['paper']} steps"
        f"{pace(found['pace'])}, `default` {found['steps']['default']}; ξ is 0 (small) and 0.5 (large). *Best gain*: "
        f"the largest median over people along the strengths {', '.join(f'{s:g}' for s in STRENGTHS)}, or 0; "
        "information only.",
        "",
        *table(["preset", "strategy", "timesteps", "success", "side effects", "editability", "fidelity", "gain",
                "best gain"], body),
        "",
        *([*reasons, ""] if reasons else []),
    ]  # fmt: skip


def plot(found: Found, path: Path) -> None:
    """Editability of each strategy along the strengths."""
    made, axes = figure(9, 3.6, 2, sharey=True)
    for axis, preset in zip(axes[0], PRESETS, strict=True):
        for k, name in enumerate(STRATEGIES):
            rows = _rows(found, preset, name)
            if rows:
                line: list[Mean] = [mean(_groups(rows, "editability", s)) for s in STRENGTHS]
                xs: list[Any] = [s + 0.02 * (k - 1.5) for s in STRENGTHS]
                low = [0 if math.isnan(m.low) else m.value - m.low for m in line]
                high = [0 if math.isnan(m.high) else m.high - m.value for m in line]
                axis.errorbar(xs, [m.value for m in line], [low, high], fmt="-o", ms=4, capsize=2, label=name)
        axis.axhline(0, color="0.8", lw=0.8)
        axis.set(title=f"preset {preset}", xlabel="strength")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    axes[0, 0].set_ylabel("editability")
    save(made, path)


EXPERIMENT = Experiment("table3", "Which timesteps: thresholds of the score at equal steps", measure, section, plot)
