"""The card of an editor: a README.md for the hub that says what the file says, with its curve and sample edits."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from sdd.editor_file import EditorInfo
from sdd.errors import printable
from sdd.io.files import atomic_path, write_text
from sdd.io.pictures.write import save_png

CURVE, SAMPLES = "hqs.png", "samples.png"
GAP = 4  # pixels between samples


def write(folder: Path, info: EditorInfo, rows: list[tuple[str, Tensor]], repo: str, filename: str) -> None:
    """Write README.md, and the pictures it shows, into a folder.

    Args:
        rows: what a row of samples shows and its pictures (N, 3, S, S) in [-1, 1]; none for a card without samples.
        repo: where it will be found, `user/name`.
        filename: of the editor.
    """
    if info.hqs is not None:
        _plot(folder / CURVE, info)
    if rows:
        save_png(sheet([pictures for _, pictures in rows]), folder / SAMPLES)
    write_text(folder / "README.md", text(info, [name for name, _ in rows], repo, filename))


def text(info: EditorInfo, rows: list[str], repo: str, filename: str) -> str:
    """The card's Markdown."""
    asked = _plain(info.prompt) or "an edit whose prompt is not known"
    parts = [
        _front(info),
        f"# {asked}\n\nEdits pictures of the domain `{_code(info.domain)}` in one forward pass: *{asked}*. Made with "
        f"`sdd` by Selective Diffusion Distillation ([arXiv 2307.08448](https://arxiv.org/abs/2307.08448)).",
        f"```python\nimport sdd\n\neditor = sdd.Editor.from_pretrained({repo!r})\n"
        f'editor("me.png", strength=0.8).save("out.png")\n```',
    ]
    if rows:
        parts.append(f"![sample edits]({SAMPLES})\n\nRows: {'; '.join(rows)}. Pictures that it was not trained on.")
    if info.hqs is not None:
        best = info.hqs.timesteps[max(range(len(info.hqs.hqs)), key=info.hqs.hqs.__getitem__)]
        parts.append(
            f"![hybrid quality score]({CURVE})\n\nThe hybrid quality score of each timestep; largest at t = {best}."
        )
    parts.append("## What it needs\n\n" + _needs(info, filename))
    parts.append("## How it was made\n\n" + _made(info))
    if info.figures:
        body = "\n".join(f"| {_plain(name)} | {value:g} |" for name, value in info.figures.items())
        parts.append(f"## Figures\n\n| figure | value |\n|---|---|\n{body}")
    notes = [f"* {_plain(note)}" for note in info.notes]
    notes.append(
        "* The editor itself is its maker's; what it was made with keeps its own licence, teacher and generator."
    )
    return "\n\n".join([*parts, "## Licences and origins\n\n" + "\n".join(notes)]) + "\n"


def sheet(rows: list[Tensor]) -> Tensor:
    """Rows of pictures (N, 3, S, S) as one picture (3, H, W), white between them."""
    n, _, height, width = rows[0].shape
    whole = torch.ones(3, len(rows) * (height + GAP) - GAP, n * (width + GAP) - GAP)
    for i, pictures in enumerate(rows):
        for j, picture in enumerate(pictures.cpu()):
            y, x = i * (height + GAP), j * (width + GAP)
            whole[:, y : y + height, x : x + width] = picture
    return whole


def _front(info: EditorInfo) -> str:
    # Nothing that a file says stands here: what is no plain word could end the block, or be read as something else.
    kind = re.sub(r"[^a-z0-9-]", "", str(info.manipulator.get("kind", "")))
    tags = "\n".join(f"- {tag}" for tag in ("image-editing", "selective-diffusion-distillation", kind) if tag)
    return f"---\nlibrary_name: sdd\npipeline_tag: image-to-image\nlicense: other\ntags:\n{tags}\n---"


def _needs(info: EditorInfo, filename: str) -> str:
    rows = [f"* `{filename}`, everything that was learned", f"* the domain `{_code(info.domain)}`"]
    if info.generator:
        rows.append(f"* its generator, SHA-256 of its tensors `{info.generator}`")
    rows += [f"* its {_plain(name)}, SHA-256 of its tensors `{digest}`" for name, digest in info.needs.items()]
    if isinstance(unet := info.manipulator.get("unet"), str):
        rows.append(f"* the U-Net of its teacher, SHA-256 of its tensors `{_code(unet)}`")
    return "\n".join(rows)


def _made(info: EditorInfo) -> str:
    said = {
        "manipulator": str(info.manipulator.get("kind", "")), "teacher": info.teacher, "preset": info.preset,
        "departures from the paper": ", ".join(info.departures), "timesteps": ", ".join(map(str, info.timesteps[:50])),
        "strength 1 is": f"{info.strength:g} times what was learned",
        "seed": "" if info.seed is None else str(info.seed),
        "versions": ", ".join(f"{name} {v}" for name, v in info.versions.items()),
    }  # fmt: skip
    return "\n".join(f"* {name}: {_plain(value)}" for name, value in said.items() if value)


def _plot(path: Path, info: EditorInfo) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    assert info.hqs is not None, "asked before"
    figure = Figure(figsize=(7, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(info.hqs.timesteps, info.hqs.hqs, "k-o", markersize=3, label="HQS")
    taught = set(info.timesteps)
    points = [(t, s) for t, s in zip(info.hqs.timesteps, info.hqs.hqs, strict=True) if t in taught]
    if points and len(points) < len(info.hqs.timesteps):
        axes.plot(*zip(*points, strict=True), "C1o", markersize=6, label="taught at")
    axes.set(xlabel="timestep t", ylabel="hybrid quality score")
    axes.legend(fontsize=8)
    with atomic_path(path) as aside:
        figure.savefig(aside, format="png", dpi=100)


def _plain(said: str) -> str:
    """What a file says, as text that is no Markdown and no HTML."""
    return re.sub(r"([\\`*_\[\]<>|#!~$])", r"\\\1", " ".join(printable(said).split())[:1000])


def _code(said: str) -> str:
    return " ".join(printable(said).split()).replace("`", "'")[:1000]
