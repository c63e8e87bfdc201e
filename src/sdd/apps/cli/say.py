"""What the commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.apps import terminal

if TYPE_CHECKING:
    from sdd.editor_file import EditorInfo
    from sdd.paper.hqs import HQS

say = terminal.say


def show_renderable(renderable: Any) -> None:
    """Print one of rich's tables or texts."""
    terminal.console().print(renderable)


def every(timesteps: list[int]) -> str:
    """All timesteps; a long regular run of them as its ends and its step."""
    steps = {b - a for a, b in pairwise(timesteps)}
    if len(timesteps) > 50 and len(steps) == 1:
        return f"{timesteps[0]} to {timesteps[-1]}, every {steps.pop()} ({len(timesteps)} timesteps)"
    return ", ".join(map(str, timesteps))


def print_hqs(scores: HQS) -> None:
    """The hybrid quality score of each timestep, as a table with bars."""
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
    say("HQS = N̄ - H̄, from -1 to 1: large where the teacher asks for a strong change (N̄) in few places (low H̄)")


def print_editor(path: Path, info: EditorInfo) -> None:
    """What an editor file says of itself."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, title=printed(path), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def row(name: str, value: str) -> None:
        if value:
            table.add_row(name, Text(value))  # Text: what a file says is shown as it is, never as markup

    row("prompt", info.prompt or "(not known: the file it was imported from does not say)")
    row("domain", info.domain + (f" (generator {info.generator[:12]})" if info.generator else ""))
    row("made with", ", ".join(f"{name} {digest[:12]}" for name, digest in info.needs.items()))
    row("manipulator", _described(info.manipulator))
    row("preset", info.preset)
    row("departures", _departures(info.departures))
    row("strength", _strength(info.strength))
    row("teacher", info.teacher)
    row("timesteps", every(info.timesteps))
    if info.hqs is not None:
        steps = info.hqs.timesteps
        row("HQS", f"{terminal.sparkline(info.hqs.hqs)}  hybrid quality score at t = {steps[0]} to {steps[-1]}")
    if info.config:
        shown = [key for key in ("guidance", "scale", "steps", "lr", "batch") if key in info.config]
        row("training", ", ".join(f"{key} {info.config[key]}" for key in shown))
    row("seed", "" if info.seed is None else str(info.seed))
    row("figures", _figures(info.figures))
    row("versions", ", ".join(f"{key} {value}" for key, value in info.versions.items()))
    row("notes", "\n".join(info.notes))
    show_renderable(table)


def _strength(factor: float) -> str:
    if factor == 1:
        return "1 is what the network learned"
    return f"1 is {factor:g} times what the network learned, which is as far as its teacher asks to go"


def printed(path: Path) -> Any:
    """A path as it is, never as markup."""
    from rich.text import Text

    return Text(str(path))


def _departures(names: Sequence[str]) -> str:
    """Each departure from the paper by its name, with what it is."""
    if not names:
        return ""
    from sdd.training.config import DEPARTURES, KIND_DEPARTURES

    meant = {name: what for name, (_, what) in (DEPARTURES | KIND_DEPARTURES).items()} | {
        "information": "the one timestep at which the prompt tells most, and no hybrid quality score",
        "released code": "as the released code has it",
    }
    return "\n".join(["beside what the paper does:", *(f"{n}: {meant[n]}" if n in meant else n for n in names)])


def _figures(figures: Mapping[str, float]) -> str:
    """Each figure, with what it means."""
    from sdd.apps.figures import meaning

    shown = {
        name: f"{name} {value:g}" if value == int(value) else f"{name} {value:.3g}" for name, value in figures.items()
    }
    return "\n".join(text + (f": {meaning(name)}" if meaning(name) else "") for name, text in shown.items())


def _described(config: Mapping[str, Any]) -> str:
    """A nested description in one line."""
    parts = [f"{k} {_described(v) if isinstance(v, Mapping) else v}" for k, v in config.items() if k != "kind"]
    return ", ".join([str(config.get("kind", "")), *parts])


def print_models(rows: Sequence[Mapping[str, Any]]) -> None:
    """The models of the zoo by kind, in 80 columns."""
    for kind, group in groupby(rows, key=lambda row: row["kind"]):
        say(f"{kind}")
        for row in group:
            size = f"{row['size'] / 1e6:.{0 if row['size'] >= 1e6 else 1}f} MB" if row["size"] else ""
            say(f"{row['name']:22} {size:>7} {'here' if row['here'] else '':4} {row['licence']}".rstrip())


def print_facts(facts: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    width = max(map(len, facts))
    for name, value in facts.items():
        say(f"{name:{width}}  {value}")


def print_language(language: Mapping[str, Mapping[str, Sequence[str]]], colours: Mapping[str, Sequence[str]]) -> None:
    """The wordings of each attribute, in 80 columns."""
    from textwrap import fill

    def block(name: str, texts: Sequence[str]) -> None:
        say(fill(", ".join(texts), 80, initial_indent=f"  {name}: ", subsequent_indent="    ", break_on_hyphens=False))

    for attribute, table in language.items():
        say(attribute.replace("_", " "))
        for value, texts in table.items():
            block(value, [text.replace("{c}", "COLOUR") for text in texts])
    say("COLOUR (or nothing)")
    for kind, texts in colours.items():
        block({"hair": "of hair and beards", "cloth": "of hats and clothes"}[kind], texts)
