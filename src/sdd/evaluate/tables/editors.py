"""One editor for each prompt: success, side effects, editability, fidelity, gain."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from torch import Tensor

from sdd.domains.embedded import embedded
from sdd.editor import Editor
from sdd.evaluate import metrics
from sdd.evaluate.bars import BARS
from sdd.evaluate.command import OUT, PICTURES, Kept, N, Out, Pictures, Quick, Seed, app, finish, kept_folder
from sdd.evaluate.judge import Judge
from sdd.evaluate.kept_editors import Editors
from sdd.evaluate.markdown import number, picture_line, table
from sdd.evaluate.prompts import PROMPTS, Prompt, prompt
from sdd.evaluate.trial import STRENGTHS, Rows, Subjects, save_rows, strength_curve

if TYPE_CHECKING:
    from sdd.domains.domain import Domain


def editing(
    domain: Domain, judge: Judge, editors: Editors, n: int, seed: int, prompts: Sequence[Prompt] = PROMPTS,
    pictures: Path | None = None, **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """One editor for each prompt, at one strength for all.

    The strength is the one that meets the most bars on *other* held-out people (`seed` + 1, half as many), and of
    those the one that comes nearest to the bars it misses; so the figures are not those it was chosen by.
    """
    curves: dict[str, Rows] = {}
    for asked in prompts:
        editor = editors.get(asked.text, **options)
        trial = Subjects.make(asked, domain, judge, max(2, n // 2), seed + 1)
        curves[asked.text] = strength_curve(editor, trial, domain, judge)
    means: Rows = []
    for k, s in enumerate(STRENGTHS):
        here = [curves[p.text][k] for p in prompts]
        mean = {name: statistics.fmean(row[name] for row in here) for name in here[0]}
        means.append({**mean, "strength": s, "worst_success": min(row["success"] for row in here)})
    strength = float(max(means, key=_standing)["strength"])
    rows: Rows = []
    for asked in prompts:
        editor = editors.get(asked.text, **options)
        there = Subjects.make(asked, domain, judge, n, seed)
        edited = Editor.compose([editor]).draw(there.codes, strength)
        row: dict[str, Any] = {"prompt": asked.text, "attribute": asked.attribute, "timesteps": editor.info.timesteps}
        row |= {"levels": editor.info.mapper.get("levels", []), **there.judge(edited, domain, judge)}
        row["nothing_done"] = there.judge(there.reconstructions, domain, judge)["editability"]
        row["train_seconds"] = editor.info.figures.get("seconds", float("nan"))
        row["steps"] = editor.info.figures.get("steps", float("nan"))
        rows.append(row)
        if pictures is not None:
            save_grid(pictures / f"{asked.text.replace(' ', '-')}.png", there, edited)
    names = (
        "success",
        "side_effects",
        "editability",
        "fidelity",
        "gain",
        "identity",
        "clip",
        "directional",
        "distance",
        "fid",
    )
    figures = {k: statistics.fmean(r[k] for r in rows) for k in names if k in rows[0]}
    figures |= {"worst_success": min(r["success"] for r in rows), "strength": strength}
    return {"figures": figures, "rows": rows, "curves": curves, "means": means}


def _standing(means: dict[str, float]) -> tuple[int, float]:
    """How many of the editors' bars are met, and how near the others are, as shares of them."""
    bars = [bar for bar in BARS if bar.part == "editors"]
    missed = [bar for bar in bars if not bar.met(means[bar.key])]
    near = sum(bar.value / means[bar.key] if bar.most else means[bar.key] / bar.value for bar in missed)
    return len(bars) - len(missed), near


def save_grid(path: Path, there: Subjects, edited: Tensor, count: int = 8) -> None:
    """Rows: source, reconstruction, edited, counterfactual. A palette of 128 colours keeps the file small."""
    found = metrics.measure(edited, there.images, there.reconstructions, there.counterfactuals)
    answers = [c[int(k)] for c, k in zip(there.counterfactuals, found.chosen, strict=True)]
    rows = [there.images[:count], there.reconstructions[:count], edited[:count], torch.stack(answers[:count])]
    save_rows(path, rows)


@app.command("editors")
def editors_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None, pictures: Pictures = PICTURES,
    only: Annotated[list[str] | None, typer.Option("--prompt", help="Only these prompts; may be repeated.")] = None,
) -> None:  # fmt: skip
    """One editor for each prompt, at one strength for all."""
    n = n or (8 if quick else 24)
    domain = embedded()
    chosen = [prompt(text) for text in only] if only else list(PROMPTS[::5] if quick else PROMPTS)
    found = editing(domain, Judge.load(), Editors(kept_folder(kept), domain), n, seed, chosen, pictures)
    finish("editors", found, n, seed, out)


def editors_section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    f = part["figures"]
    known = ("success", "side_effects", "editability", "fidelity", "gain", "identity", "clip", "directional", "fid")
    columns = [c for c in known if c in part["rows"][0]]
    summed = ["success", "worst_success", "side_effects", "editability", "fidelity", "gain"]
    units = {"success": "%", "worst_success": "%", "side_effects": "%", "fidelity": "dB"}
    rows = []
    for row in part["rows"]:
        steps = row["timesteps"]
        t = ", ".join(map(str, steps)) if len(steps) < 5 else f"{len(steps)} in {min(steps)}…{max(steps)}"
        rows.append([row["prompt"], t, *(number(row[c], units.get(c, "")) for c in columns)])
    rows.append(["**mean**", "", *(number(f[c], units.get(c, "")) for c in columns)])
    lines = [
        "## Editors",
        "",
        f"One editor a prompt, all at strength {f['strength']:g}: the one that met the most bars on *other* held-out "
        "people, and came nearest to those it missed. Editability 1 is the exact edit and 0 nothing done; gain "
        "punishes whatever else changed; side effects are the attributes that the judge reads otherwise than in the "
        "unedited reconstruction.",
        "",
        "Those other people, every strength, means over the prompts:",
        "",
        *table(
            ["strength", *(name.replace("_", " ") for name in summed)],
            [[f"{m['strength']:g}", *(number(m[c], units.get(c, "")) for c in summed)] for m in part["means"]],
        ),
        "",
        "The held-out people of the figures:",
        "",
        *table(["prompt", "t", *(c.replace("_", " ") for c in columns)], rows),
        "",
        "Rows of each picture: source, reconstruction, edit, counterfactual.",
        "",
    ]
    for row in part["rows"]:
        lines += picture_line(pictures, f"{row['prompt'].replace(' ', '-')}.png", row["prompt"], heading=True)
    return lines
