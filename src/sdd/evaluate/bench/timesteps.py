"""Which timesteps teach? Indicators against the gain of training at each timestep alone.

Of each indicator: its rank correlation with the gain within a prompt; the same after the mean curve over prompts was
taken from both, which an indicator that only knows the schedule does not pass; and the *regret*, the gain lost by
training where it is largest instead of where the gain is. Beside them: always the same timestep (the best of the other
prompts, or the middle), any at random, and all of them, sinking.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from sdd.evaluate.bench.cells import Bench
from sdd.evaluate.bench.experiment import Experiment, Found, Size, claim, figure, save, verdict
from sdd.evaluate.bench.single_steps import descent, gains, outcomes, scores
from sdd.evaluate.bench.trainings import pace
from sdd.evaluate.indicators import NAMES
from sdd.evaluate.intervals import Mean, mean
from sdd.evaluate.markdown import estimate, table
from sdd.evaluate.metrics import spearman

ENOUGH = 3.0  # times the spread over seeds that the range of a prompt's gains must have


def measure(bench: Bench, size: Size) -> Found:
    """Trainings, indicators, and what one says of the other."""
    found = outcomes(bench, "timesteps", size)
    race = raced(found)
    return found | {"race": race, "claims": claims(race, len(telling(found)))}


def telling(found: Found) -> dict[str, Any]:
    """The prompts whose gains differ by more than chance: range over t above `ENOUGH` times the spread over seeds."""
    kept = {}
    for text, g in gains(found).items():
        spread = float(g.std(0, ddof=1).mean()) if len(g) > 1 else 0.0
        if np.ptp(g.mean(0)) > max(ENOUGH * spread, 1e-9):
            kept[text] = g.mean(0)
    return kept


def raced(found: Found) -> dict[str, dict[str, list[float]]]:
    """Indicator → rank correlation, partial correlation and regret of each prompt."""
    told, some = scores(found), telling(found)
    texts = [text for text in some if text in told]
    if not texts:
        return {}
    gain = np.array([some[text] for text in texts])
    best = gain.max(1)
    made: dict[str, dict[str, list[float]]] = {}
    for name in NAMES:
        score = np.array([told[text][name] for text in texts])
        at = gain[np.arange(len(texts)), score.argmax(1)]
        found_of = {"spearman": [spearman(s.tolist(), g.tolist()) for s, g in zip(score, gain, strict=True)]}
        found_of["regret"] = (best - at).tolist()
        found_of["partial"] = partial(score, gain)
        made[name] = found_of
    if len(texts) > 1:  # always the one that is best for the others
        at = [gain[k, np.delete(gain, k, 0).mean(0).argmax()] for k in range(len(texts))]
        made["always the best of the other prompts"] = {"regret": (best - np.array(at)).tolist()}
    made["always the middle"] = {"regret": (best - gain[:, gain.shape[1] // 2]).tolist()}
    falls = best - np.array([descent(found, text) for text in texts])
    if not np.isnan(falls).any():
        made["no one: a descent of all"] = {"regret": falls.tolist()}
    made["any, at random"] = {"regret": (best - gain.mean(1)).tolist()}
    return made


def partial(score: Any, gain: Any) -> list[float]:
    """Rank correlation of each prompt once the mean curve over prompts was taken from both; needs three prompts."""
    if len(score) < 3:
        return []
    # Indicators have units of their own at every prompt: each row to mean 0 and deviation 1 first.
    unit = score - score.mean(1, keepdims=True)
    unit = unit / np.maximum(unit.std(1, keepdims=True), 1e-12)
    return [spearman((s - unit.mean(0)).tolist(), (g - gain.mean(0)).tolist()) for s, g in zip(unit, gain, strict=True)]


def claims(race: dict[str, dict[str, list[float]]], count: int) -> list[Found]:
    """Whether any indicator beats choosing at random, by its regret."""
    if count < 2 or not race:
        what = "which indicator tells where to train"
        return [claim(what, math.nan, None, f"only {count} prompts whose gains differ by more than chance")]
    base, made = race["any, at random"]["regret"], []
    for name in NAMES:
        won = mean([[b - r] for b, r in zip(base, race[name]["regret"], strict=True)])
        holds = verdict(won)
        made.append(claim(f"{name} chooses a better timestep than chance (regret saved)", won.value, holds,
                          f"over {len(base)} prompts", won))  # fmt: skip
    return made


def section(found: Found) -> list[str]:
    """The part of a page."""
    body = []
    for name, row in sorted(found["race"].items(), key=lambda kv: float(np.mean(kv[1]["regret"]))):
        cells: list[Mean | None] = [mean([[x] for x in row[k]]) if row.get(k) else None for k in KINDS]
        body.append([name, *("–" if cell is None else estimate(cell, "") for cell in cells)])
    some = telling(found)
    return [
        f"{len(found['prompts'])} prompts, {len(found['timesteps'])} timesteps, {found['seeds']} trainings of each "
        f"under the preset `{found['preset']}`, {found['steps']} steps{pace(found['pace'])}; "
        f"gains are medians of {found['n']} people (seed {found['people_seed']}), the best along the strengths, or 0. "
        f"{len(some)} prompts have gains that range over more than {ENOUGH:g} times their spread over seeds"
        + ("" if found["seeds"] > 1 else " (one seed: any range)")
        + " and are counted. *Regret*: gain lost by training where the indicator is largest. *Partial*: the rank "
        "correlation after the mean curve over prompts is taken from both, from three prompts on. Intervals over "
        "prompts. ‖ε_γ − ε₀‖² dλ is an option of a training: `sdd train --timesteps information`.",
        "",
        *table(["indicator", "regret", "Spearman", "partial"], body),
        "",
    ]  # fmt: skip


KINDS = ("regret", "spearman", "partial")


def plot(found: Found, path: Path) -> None:
    """Regret of each indicator, the smallest first."""
    race = sorted(found["race"].items(), key=lambda kv: -float(np.mean(kv[1]["regret"])))
    made, axes = figure(7.5, 0.34 * max(4, len(race)) + 1)
    axis = axes[0, 0]
    for k, (name, row) in enumerate(race):
        got = mean([[x] for x in row["regret"]])
        low, high = (0.0, 0.0) if math.isnan(got.low) else (got.value - got.low, got.high - got.value)
        axis.errorbar(got.value, k, xerr=[[low], [high]], fmt="o", color="C0" if name in NAMES else "0.5", capsize=3)
    axis.set_yticks(range(len(race)), [name for name, _ in race], fontsize=8)
    axis.set(xlabel="regret: gain lost by training where the indicator is largest")
    axis.axvline(0, color="0.8", lw=0.8)
    save(made, path)


EXPERIMENT = Experiment("timesteps", "Which timesteps teach", measure, section, plot)
