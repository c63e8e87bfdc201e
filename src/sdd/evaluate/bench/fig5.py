"""Figure 5 of arXiv 2307.08448: a grid of prompts; with, under each edit, the exact right answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sdd.evaluate.bench.cells import Bench, Cell
from sdd.evaluate.bench.experiment import Experiment, Found, Size, figure, save, texts_of
from sdd.evaluate.bench.points import REPORTED, Way, fitted, used
from sdd.evaluate.prompts import PROMPTS
from sdd.evaluate.trial import means

QUICK_TEXTS = ("white hair", "sunglasses", "smile")
WAY = Way("sdd", "sdd")
SHOWN = 4  # people of a prompt


def measure(bench: Bench, size: Size) -> Found:
    """The edits of a few people towards each prompt at strength 1, chosen by nothing: the first of the seed."""
    texts = texts_of(size, QUICK_TEXTS, tuple(p.text for p in PROMPTS))
    cells: list[Cell] = [{"fig5": text, "n": size.n or SHOWN, "people_seed": REPORTED} for text in texts]
    rows = bench.measured("fig5", cells, lambda cell: _pictures(bench, cell), lambda cell: used(bench, WAY))
    return {"rows": rows, "prompts": list(texts), "people_seed": REPORTED, "claims": []}


def _pictures(bench: Bench, cell: Cell) -> Cell:
    there = bench.subjects(cell["fig5"], cell["n"], cell["people_seed"])
    edited = fitted(bench, WAY, cell["fig5"]).edit(there.images, 1.0)
    people, found, _ = there.judge(edited, bench.judge)
    rows = torch.stack([there.images, edited, there.answers(found.chosen)])
    levels = rows.add(1).mul(127.5).round().clamp(0, 255).byte()
    return {"pictures": [[_packed(picture) for picture in row] for row in levels], "means": means(people)}


def _packed(levels: torch.Tensor) -> str:
    """A picture as the text of a PNG."""
    import base64
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(levels.permute(1, 2, 0).numpy()).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def unpacked(text: str) -> Any:
    """The picture of such a text."""
    import base64
    import io

    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"])


def section(found: Found) -> list[str]:
    """The part of a page."""
    gains = ", ".join(f"{r['fig5']} {r['means']['gain']:.2f}" for r in found["rows"] if "why" not in r)
    reasons = [f"* {r['fig5']}: {r['why']}" for r in found["rows"] if "why" in r]
    return [
        f"Of each prompt the first people of seed {found['people_seed']} on whom it can be tried: source, the edit at "
        f"strength 1 laid into it, the exact right answer. Gain over those shown: {gains}.",
        "",
        *reasons,
    ]


def plot(found: Found, path: Path) -> None:
    """A block for each prompt: sources, edits, answers."""
    rows = [row for row in found["rows"] if "why" not in row]
    wide = len(rows[0]["pictures"][0]) if rows else 1
    across = min(3, max(1, len(rows)))
    high = -(-len(rows) // across)
    made, axes = figure(1.25 * wide * across + 0.6, 3 * 1.25 * high + 0.3 * high, across, max(1, high))
    for axis in axes.flat:
        axis.axis("off")
    for axis, row in zip(axes.flat, rows, strict=False):
        side = unpacked(row["pictures"][0][0]).width
        from PIL import Image

        sheet = Image.new("RGB", (side * wide, side * 3), "white")
        for r, line in enumerate(row["pictures"]):
            for c, text in enumerate(line):
                sheet.paste(unpacked(text), (c * side, r * side))
        axis.imshow(sheet, interpolation="lanczos")
        axis.set_title(row["fig5"], fontsize=10)
    save(made, path, dpi=80)  # a picture of 128 pixels is 100 wide


EXPERIMENT = Experiment("fig5", "A grid of prompts", measure, section, plot)
