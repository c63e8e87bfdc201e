"""What the commands of the benchmark share: options, and how a table is finished."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sdd.evaluate.machine import machine
from sdd.io.files import write_text

CONSOLE = Console()


def listed(timesteps: Sequence[int]) -> str:
    """Timesteps, shortened where there are many."""
    return (
        ", ".join(map(str, timesteps)) if len(timesteps) < 6 else f"{timesteps[0]} … {timesteps[-1]} ({len(timesteps)})"
    )


# Commands

app = typer.Typer(add_completion=False, help="Measure the embedded domain.", no_args_is_help=True)
N = Annotated[int | None, typer.Option("-n", "--n", help="Held-out avatars (of each prompt, for editors).", min=2)]
Seed = Annotated[int, typer.Option(help="Which held-out avatars.", min=0)]
Quick = Annotated[bool, typer.Option("--quick", help="A glance: few avatars, few prompts.")]
Out = Annotated[Path, typer.Option(help="Folder of the JSON files.")]
Kept = Annotated[Path | None, typer.Option(help="Folder of trained editors; by default in the cache.")]
Pictures = Annotated[Path | None, typer.Option(help="Folder of picture grids.")]
OUT, PICTURES = Path("docs/figures"), Path("docs/images")


def kept_folder(folder: Path | None) -> Path:
    """Where trained editors are kept."""
    return folder or Path(os.environ.get("SDD_HOME", Path.home() / ".cache" / "sdd")) / "editors"


def write(name: str, found: dict[str, Any], n: int, seed: int, out: Path, edition: int = 1) -> None:
    """Save figures with the command, the machine and the date."""
    said = " ".join(sys.argv[1:]) if Path(sys.argv[0]).stem == "benchmark" else f"{name} --n {n} --seed {seed}"
    quoted = {"command": f"python -m sdd.evaluate.benchmark {said}", "n": n, "seed": seed, "edition": edition}
    write_text(out / f"{name}.json", json.dumps({**quoted, "machine": machine(), **found}, indent=1) + "\n")


def others(
    name: str, out: Path, edition: int, n: int, seed: int, column: str, now: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of an earlier table of the same people whose `column` is none of those that are measured now."""
    path = out / f"{name}.json"
    if not path.is_file():
        return []
    before = json.loads(path.read_text(encoding="utf-8"))
    if (before["edition"], before["n"], before["seed"]) != (edition, n, seed):
        return []
    return [row for row in before["rows"] if row[column] not in now]


def finish(name: str, found: dict[str, Any], n: int, seed: int, out: Path, edition: int = 1) -> None:
    """Save figures, and print them.

    Args:
        edition: of what the part's figures mean; the page takes no other.
    """
    write(name, found, n, seed, out, edition)
    table = Table(title=f"{name} ({n}, seed {seed})")
    for column in ("figure", "value", "95 %"):
        table.add_column(column)
    for key, value in found["figures"].items():
        low, high = found.get("intervals", {}).get(key, (None, None))
        table.add_row(key, f"{value:.4g}", "" if low is None else f"[{low:.4g}, {high:.4g}]")
    CONSOLE.print(table)
    for key, value in sorted(found.get("attributes", {}).items(), key=lambda kv: kv[1]):
        CONSOLE.print(f"  {key:20} {value:.4f}")
    CONSOLE.print(f"wrote {out / f'{name}.json'}")
