"""Pieces of a Markdown page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path


def attribute_table(what: str, each: dict[str, float]) -> list[str]:
    ordered = sorted(((k, v) for k, v in each.items() if not math.isnan(v)), key=lambda kv: kv[1])
    return table(["attribute", what], [[k.replace("_", " "), number(v, "%")] for k, v in ordered])


def picture_line(pictures: Path | None, name: str, title: str, heading: bool = False) -> list[str]:
    if pictures is None or not (pictures / name).is_file():
        return []
    return [*([f"**{title}**", ""] if heading else []), f"![{title}](images/{name})", ""]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
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
