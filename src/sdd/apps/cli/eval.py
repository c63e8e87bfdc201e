"""Command: eval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdd.apps import terminal
from sdd.apps.cli.app import app
from sdd.apps.cli.options import check_file, check_prompt, watched
from sdd.apps.cli.say import say, show_renderable

if TYPE_CHECKING:
    from sdd.evaluate.folders import Compared


@app.command("eval", epilog='Example: sdd eval --source photos/ --edited out/ --prompt "a smile" --clip ViT-B-32/')
def eval_(
    source: Annotated[Path, typer.Option(help="Folder of the pictures as they were; or of PIE-Bench.")],
    edited: Annotated[Path, typer.Option(help="Folder of the edits, named as their sources.")],
    prompt: Annotated[str | None, typer.Option(help="What the edits are to show.")] = None,
    source_prompt: Annotated[str | None, typer.Option(help="What the sources show.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Folder of masks, white where an edit may be; or one mask.")] = None,
    types: Annotated[str | None, typer.Option(help="Of PIE-Bench's edit types only these, as in 1,6.")] = None,
    clip: Annotated[str | None, typer.Option(help="CLIP: folder, file or hub id.")] = None,
    inception: Annotated[Path | None, typer.Option(help="Inception's weights, for FID and KID.")] = None,
    lpips: Annotated[str | None, typer.Option(help="LPIPS with the network alex, vgg or squeeze.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file of every figure of every pair.")] = None,
) -> None:
    """Measure edits of real pictures, where nobody knows the right answer; what is missing is said."""
    asked = "" if prompt is None else check_prompt(prompt)
    before = "" if source_prompt is None else check_prompt(source_prompt)
    if out is not None:
        check_file(out)
    from sdd.evaluate.folders import compare, networks, pairs
    from sdd.io.progress import bars

    kinds = [kind.strip() for kind in (types or "").split(",") if kind.strip()]
    found, said = pairs(source, edited, mask, before, asked, kinds)
    given = networks(clip, inception, lpips)
    with bars(watched()) as report:
        compared = compare(found, given, report, said)
    _show(compared)
    for sentence in compared.said:
        terminal.warn(sentence)
    if out is not None:
        import json

        from sdd.evaluate.machine import machine
        from sdd.io.files import write_text

        means = {name: [m.value, m.low, m.high] for name, m in compared.means().items()}
        kept = {"machine": machine(), "means": means, "sets": compared.sets, "said": compared.said}
        write_text(out, json.dumps({**kept, "pairs": compared.rows}, indent=1, ensure_ascii=False) + "\n")
        say(f"wrote {out}")


def _show(compared: Compared) -> None:
    from rich.table import Table

    from sdd.evaluate.folders import UNITS
    from sdd.evaluate.pie_bench import TYPES

    kinds = sorted({row["kind"] for row in compared.rows if row["kind"]})
    columns = [compared.means(), *(compared.means(kind) for kind in kinds)] if len(kinds) > 1 else [compared.means()]
    table = Table(box=None, pad_edge=False)
    for heading in (f"{len(compared.rows)} pairs", "mean", "95 %", *(TYPES.get(kind, kind) for kind in kinds)):
        table.add_column(heading)
    for name, found in columns[0].items():
        span = "" if found.low != found.low else f"[{found.low:.4g}, {found.high:.4g}]".replace("[", r"\[")
        rest = [f"{column[name].value:.4g}" if name in column else "" for column in columns[1:]]
        table.add_row(f"{name}{f', {UNITS[name]}' if name in UNITS else ''}", f"{found.value:.4g}", span, *rest)
    for name, value in compared.sets.items():
        table.add_row(name, f"{value:.4g}", "")
    show_renderable(table)
