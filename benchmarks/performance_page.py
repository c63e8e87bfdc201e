"""The sections of docs/performance.md, each written by the benchmark that measured it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdd.io.files import write_text

PAGE = Path("docs/performance.md")


def put(title: str, lines: Sequence[str]) -> None:
    """Replace the section of that title, or add it."""
    text = PAGE.read_text("utf-8") if PAGE.exists() else "# Performance\n"
    head, found, rest = text.partition(f"## {title}\n")
    after = "".join(rest.partition("\n## ")[1:]) if found else ""
    write_text(PAGE, "\n".join([head.rstrip(), "", f"## {title}", "", *lines]).rstrip() + "\n" + after)


def where(part: dict[str, Any]) -> str:
    """Where and when it was measured."""
    return f"{part['cpu']}, {part['cores']} cores, {part['date']}"
