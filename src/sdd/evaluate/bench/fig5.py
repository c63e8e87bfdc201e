"""Figure 5 of arXiv 2307.08448: a grid of prompts; with, under each edit, the exact right answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdd.domains.avatars.avataaars import IMAGE_SIZE
from sdd.evaluate.bench.cells import Bench, Cell
from sdd.evaluate.bench.experiment import DPI, Experiment, Found, Size, save, texts_of
from sdd.evaluate.bench.points import REPORTED, Way, fitted, used
from sdd.evaluate.prompts import PROMPTS
from sdd.evaluate.trial import means

QUICK_TEXTS = ("white hair", "sunglasses", "smile")
WAY = Way("sdd", "sdd")
SHOWN = 4  # people of a prompt
GAP, HEAD = 24, 40  # pixels between blocks, and above each for its prompt


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
    """A block for each prompt: sources, edits, answers; pixel by pixel, as flat colours resampled are large files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    blocks = [(row["fig5"], _block(row["pictures"])) for row in found["rows"] if "why" not in row]
    wide, high = (max((block.shape[k] for _, block in blocks), default=IMAGE_SIZE) for k in (1, 0))
    across = min(3, max(1, len(blocks)))
    width, height = across * (wide + GAP) + GAP, max(1, -(-len(blocks) // across)) * (high + HEAD)
    made = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    FigureCanvasAgg(made)
    for k, (text, block) in enumerate(blocks):
        left, top = GAP + k % across * (wide + GAP), height - k // across * (high + HEAD)
        made.figimage(block, left, top - HEAD - block.shape[0])
        made.text((left + block.shape[1] / 2) / width, (top - HEAD / 2) / height, text, ha="center", va="center")
    save(made, path)


def _block(pictures: list[list[str]]) -> NDArray[np.uint8]:
    """Rows of packed pictures as one."""
    return np.concatenate([np.concatenate([np.asarray(unpacked(text)) for text in row], 1) for row in pictures])


EXPERIMENT = Experiment("fig5", "A grid of prompts", measure, section, plot)
