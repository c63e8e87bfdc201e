"""The proxies, judged: do the field's numbers agree with the truth over all methods, knobs and prompts?

Every point of Figure 1 has the field's numbers and, because the right answer is known, what they stand for. Ranks are
taken within a prompt, so that a proxy is not praised for telling prompts apart.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from sdd.evaluate.bench import fig1
from sdd.evaluate.bench.cells import Bench
from sdd.evaluate.bench.experiment import Experiment, Found, Size, claim, figure, save, verdict
from sdd.evaluate.intervals import Mean, mean
from sdd.evaluate.markdown import estimate, table
from sdd.evaluate.metrics import spearman
from sdd.evaluate.trial import Rows, means

# Proxy → whether a larger value is to mean a better edit, and what the field calls it.
PROXIES = {
    "clip": (1, "CLIP similarity"), "directional": (1, "directional CLIP similarity"), "distance": (-1, "LPIPS-style"),
    "ssim": (1, "SSIM"), "mse": (-1, "MSE"), "identity": (1, "identity similarity"),
    "fid": (-1, "FID of the judge's features"), "kid": (-1, "KID of the judge's features"),
}  # fmt: skip
TRUTHS = {"editability": 1, "gain": 1, "fidelity": 1, "side_effects": -1}
ASKS, KEEPS = ("clip", "directional"), ("distance", "ssim", "mse", "identity")


def measure(bench: Bench, size: Size) -> Found:
    """Correlations of every proxy with every truth, by prompt."""
    found = fig1.measured(bench, size)
    made = correlations(found["rows"])
    few = {key: found[key] for key in ("n", "people_seed", "prompts")}
    rows = [{"way": r["way"], "prompt": r["prompt"], "why": r["why"]} for r in found["rows"] if "why" in r]
    there = [r for r in found["rows"] if "why" not in r]
    rows += [{"way": r["way"], "prompt": r["prompt"], "knob": r["knob"], "values": values(r)} for r in there]
    return few | {"rows": rows, "correlations": made, "claims": claims(made)}


def values(row: dict[str, Any]) -> dict[str, float]:
    """Every proxy and truth of a point, larger for better."""
    there = means(row["people"]) | {name: row[name] for name in ("fid", "kid") if name in row}
    signs = {name: sign for name, (sign, _) in PROXIES.items()} | TRUTHS
    return {name: sign * there[name] for name, sign in signs.items() if name in there}


def correlations(rows: Rows) -> dict[str, dict[str, list[float]]]:
    """Proxy → truth → Spearman's correlation over the points of each prompt."""
    there = [row for row in rows if "why" not in row]
    made: dict[str, dict[str, list[float]]] = {}
    for text in dict.fromkeys(row["prompt"] for row in there):
        some = [values(row) for row in there if row["prompt"] == text]
        for proxy in PROXIES:
            for truth in TRUTHS:
                pairs = [(v[proxy], v[truth]) for v in some if proxy in v and not math.isnan(v[truth])]
                pairs = [(a, b) for a, b in pairs if not math.isnan(a)]
                if len(pairs) > 4:
                    rho = spearman([a for a, _ in pairs], [b for _, b in pairs])
                    made.setdefault(proxy, {}).setdefault(truth, []).append(rho)
    return made


def claims(made: dict[str, dict[str, list[float]]]) -> list[Found]:
    """What each kind of number is used for: similarity to the text for editability, distances for what is kept."""
    said = []
    for names, truth in ((ASKS, "editability"), (KEEPS, "fidelity"), ((*ASKS, *KEEPS), "gain")):
        for name in names:
            if name in made:
                rho = mean([[x] for x in made[name][truth]])
                holds = verdict(rho)
                said.append(claim(f"{PROXIES[name][1]} tells the {truth}", rho.value, holds,
                                  "Spearman over all methods and knobs, averaged over prompts", rho))  # fmt: skip
    return said


def section(found: Found) -> list[str]:
    """The part of a page."""
    body = []
    for name, row in found["correlations"].items():
        cells: list[Mean] = [mean([[x] for x in row[truth]]) for truth in TRUTHS]
        body.append([PROXIES[name][1], *(estimate(cell, "") for cell in cells)])
    count = sum("why" not in row for row in found["rows"])
    heads = [("no " if sign < 0 else "") + truth.replace("_", " ") for truth, sign in TRUTHS.items()]
    return [
        f"{count} points: every method at every value of its knob on {len(found['prompts'])} prompts "
        f"({', '.join(found['prompts'])}), {found['n']} held-out people each (seed {found['people_seed']}). Spearman's "
        "rank correlation within each prompt of the proxy (turned so that larger means better) with the truth, "
        "averaged over prompts; intervals over prompts. Similarities and distances are of the judge's networks; "
        "FID and KID need 50 pictures a point, and there are none of fewer.",
        "",
        *table(["proxy", *heads], body),
        "",
        "A distance from the source rewards doing nothing: it agrees with fidelity by what it is, and says of the edit "
        "only what the two have in common.",
        "",
    ]


def plot(found: Found, path: Path) -> None:
    """A grid of correlations."""
    names = list(found["correlations"])
    grid = np.array([[np.mean(found["correlations"][n][t]) for t in TRUTHS] for n in names])
    made, axes = figure(6.4, 0.5 * len(names) + 1.4)
    axis = axes[0, 0]
    shown = axis.imshow(grid, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for i, row in enumerate(grid):
        for j, value in enumerate(row):
            axis.text(j, i, f"{value:+.2f}", ha="center", va="center", color="w" if abs(value) > 0.6 else "k")
    heads = [("no " if sign < 0 else "") + truth.replace("_", " ") for truth, sign in TRUTHS.items()]
    axis.set_xticks(range(len(heads)), heads)
    axis.set_yticks(range(len(names)), [PROXIES[n][1] for n in names])
    axis.set_title("rank correlation with the truth, within a prompt", fontsize=10)
    made.colorbar(shown)
    save(made, path)


EXPERIMENT = Experiment("proxies", "The field's numbers against the truth", measure, section, plot)
