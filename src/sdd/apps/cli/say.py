"""What the commands print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.apps import terminal

if TYPE_CHECKING:
    from sdd.editor import EditorInfo
    from sdd.hqs import HQS


def say(text: str) -> None:
    print(text)


def show_renderable(renderable: Any) -> None:
    terminal.console().print(renderable)


def listed(timesteps: list[int]) -> str:
    shown = ", ".join(map(str, timesteps[:5]))
    return shown if len(timesteps) <= 5 else f"{shown}, ... ({len(timesteps)} timesteps)"


def print_hqs(scores: HQS) -> None:
    from rich.table import Table

    table = Table("t", "N̄ (strength)", "H̄ (entropy)", "HQS", "", box=None, pad_edge=False)
    values = scores.score.tolist()
    best, low = max(values), min(values)
    curves = zip(scores.timesteps, scores.norm_bar.tolist(), scores.entropy_bar.tolist(), values, strict=True)
    for t, norm, entropy, score in curves:
        bar = "█" * round(24 * (score - low) / ((best - low) or 1.0))
        mark = " ← largest" if score == best else ""
        table.add_row(str(t), f"{norm:.4f}", f"{entropy:.4f}", f"{score:.4f}", bar + mark)
    show_renderable(table)


def print_editor(path: Path, info: EditorInfo) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, title=str(path), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, value: str) -> None:
        if value:
            table.add_row(name, Text(value))  # Text: what a file says is shown as it is, never as markup

    row("prompt", info.prompt)
    row("domain", f"{info.domain} (generator {info.generator[:12]})")
    row("mapper", ", ".join(f"{key} {value}" for key, value in info.mapper.items()))
    row("strength", f"{info.strength:g} times the mapper's change at --strength 1")
    row("teacher", info.teacher)
    row("timesteps", listed(info.timesteps))
    if info.hqs and info.hqs.get("hqs"):
        steps = info.hqs["timesteps"]
        row("HQS", f"{terminal.sparkline(info.hqs['hqs'])}  t = {steps[0]} to {steps[-1]}")
    if info.config:
        shown = [key for key in ("guidance", "scale", "steps", "lr", "batch") if key in info.config]
        row("training", ", ".join(f"{key} {info.config[key]}" for key in shown))
    row("seed", "" if info.seed is None else str(info.seed))
    row("figures", ", ".join(f"{key} {value:g}" for key, value in info.figures.items()))
    row("versions", ", ".join(f"{key} {value}" for key, value in info.versions.items()))
    row("notes", "\n".join(info.notes))
    show_renderable(table)
