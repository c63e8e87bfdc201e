"""Pieces of a Markdown page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sdd.errors import SddError
from sdd.evaluate.intervals import Mean


def attribute_table(what: str, each: dict[str, float]) -> list[str]:
    """Shares by attribute, the smallest first."""
    ordered = sorted(((k, v) for k, v in each.items() if not math.isnan(v)), key=lambda kv: kv[1])
    return table(["attribute", what], [[k.replace("_", " "), number(v, "%")] for k, v in ordered])


def picture_line(pictures: Path | None, name: str, title: str, heading: bool = False) -> list[str]:
    """A picture beside the page, if it is there."""
    if pictures is None or not (pictures / name).is_file():
        return []
    return [*([f"**{title}**", ""] if heading else []), f"![{title}](images/{name})", ""]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table."""
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def number(value: float, unit: str, more: int = 0) -> str:
    """With the digits usual for the unit, or `more`."""
    match unit:
        case "%":
            return f"{100 * value:.{1 + more}f} %"
        case "ms":
            return f"{1000 * value:.{1 + more}f} ms"
        case "dB":
            return f"{value:.{1 + more}f} dB"
    return f"{value:.{2 + more}f} {unit}".rstrip()


def span(low: float, high: float, unit: str) -> str:
    """An interval without its unit, which the number before it has: [0.31, 0.45]."""
    if math.isnan(low):
        return "[one value]"
    ends = [number(end, unit).removesuffix(unit).rstrip() for end in (low, high)]
    return f"[{', '.join(ends)}]"


def estimate(found: Mean, unit: str) -> str:
    """A mean and its interval; a dash where nothing was measured."""
    return "–" if math.isnan(found.value) else f"{number(found.value, unit)} {span(found.low, found.high, unit)}"


def refuse_other(path: Path, begins: str) -> None:
    """Refuse to write over a file that is there and does not begin as ours does.

    Raises:
        SddError: it is somebody's.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        found = file.read(len(begins.encode()))
    if found != begins.encode():
        raise SddError(f"{path} is there and was not written by this command; name another output, or move it away")


def measured_by(part: dict[str, Any], of: str = "people") -> str:
    """Which command, on how many of what, when and on what machine: one sentence."""
    m = part["machine"]
    return (
        f"*`{part['command']}`: {part['n']} {of}, seed {part['seed']}; {m['date']}, {m['cpu']}, {m['cores']} cores, "
        f"{m['threads']} {'thread' if m['threads'] == 1 else 'threads'}, torch {m['torch']}.*"
    )
