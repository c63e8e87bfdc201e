"""Figures of the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdd.io.files import atomic_path


def plot_hqs(part: dict[str, Any], path: Path) -> None:
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
