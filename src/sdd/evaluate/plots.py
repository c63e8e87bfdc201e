"""Figures of the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdd.io.files import atomic_path
from sdd.paper.hqs import HQS


def plot_gains(part: dict[str, Any], path: Path) -> None:
    """HQS and measured gain of each timestep, a panel for each prompt."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = part["rows"]
    wide = min(3, len(rows))
    figure = Figure(figsize=(3.4 * wide, 2.5 * -(-len(rows) // wide)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, row in zip(figure.subplots(-(-len(rows) // wide), wide, squeeze=False).flat, rows, strict=False):
        t = [int(x) for x in row["hqs"]]
        axes.plot(t, list(row["hqs"].values()), "k-o", markersize=3, label="HQS")
        other = axes.twinx()
        other.plot([int(x) for x in row["gain"]], list(row["gain"].values()), "C1-s", markersize=3, label="gain")
        axes.set_title(f"{row['prompt']} (ρ = {row['spearman']:+.2f})", fontsize=9)
        axes.tick_params(labelsize=7)
        other.tick_params(labelsize=7, colors="C1")
    with atomic_path(path) as aside:
        figure.savefig(aside, format="png", dpi=80)


def plot_hqs(hqs: HQS, path: str | Path) -> None:
    """The curve with N̄ and H̄ (Figure 4 of arXiv 2307.08448) as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(hqs.timesteps, hqs.score, "k-o", markersize=4, linewidth=2, label="HQS = N̄ − H̄")
    axes.plot(hqs.timesteps, hqs.norm_bar, "C0--", label="N̄ (strength of the gradient)")
    axes.plot(hqs.timesteps, hqs.entropy_bar, "C1--", label="H̄ (its entropy)")
    best = int(hqs.score.argmax())
    axes.axvline(hqs.timesteps[best], color="0.7", linestyle=":", label=f"largest: t = {hqs.timesteps[best]}")
    axes.set(xlabel="timestep t", title=f"“{hqs.prompt}”, {len(hqs.norm)} source images")
    axes.legend(fontsize=8)
    with atomic_path(path) as aside:
        figure.savefig(aside, format="png", dpi=120)
