"""One editor for each prompt, at the strength its training gave it: every figure there is of an edit."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.evaluate.command import CONSOLE, OUT, PICTURES, Kept, N, Out, Pictures, Quick, Seed, app, finish, kept_folder
from sdd.evaluate.intervals import Mean, mean
from sdd.evaluate.judge import Judge
from sdd.evaluate.kept_editors import Editors
from sdd.evaluate.markdown import estimate, measured_by, number, picture_line, table
from sdd.evaluate.prompts import PROMPTS, Prompt, prompt
from sdd.evaluate.sheet import save_rows
from sdd.evaluate.trial import Rows, Subjects, returned, trial

if TYPE_CHECKING:
    from sdd.domains.domain import Domain

NAME, EDITION = "editors", 2

# Figures of each person: name → unit, and the heading that the page gives it.
MAIN = {
    "success": ("%", "success"),
    "side_effects": ("%", "side effects"),
    "editability": ("", "editability"),
    "fidelity": ("dB", "fidelity"),
    "gain": ("", "gain"),
}
DRAWN = {f"drawn_{name}": column for name, column in MAIN.items()}
COLOURS = {
    "delta_e": ("", "ΔE"),
    "red": ("", "red"),
    "green": ("", "green"),
    "blue": ("", "blue"),
}
AXIOMS = {
    "composition": ("dB", "composition"),
    "composition_10": ("dB", "after 10 passes"),
    "reversibility": ("dB", "reversibility"),
    "drift": ("", "drift, px"),
    "drift_scale": ("", "scale, %"),
    "drift_colour": ("", "colour, levels"),
    "uniformity": ("", "uniformity"),
    "monotonicity": ("%", "monotonicity"),
}
DISTANCES = {
    "mse": ("", "MSE × 1000"),
    "ssim": ("", "SSIM"),
    "distance": ("", "LPIPS-style"),
    "identity": ("", "identity"),
    "clip": ("", "CLIP"),
    "directional": ("", "directional"),
}


def editing(
    domain: Domain, judge: Judge, editors: Editors, n: int, seed: int, prompts: Sequence[Prompt] = PROMPTS,
    pictures: Path | None = None, **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """One editor for each prompt, each at strength 1: nothing here is chosen by what is measured."""
    rows: Rows = []
    for asked in prompts:
        editor = editors.get(asked.text, **options)
        there = Subjects.make(asked, AVATARS, judge, n, seed)
        found = trial(editor, there, judge, domain)
        said = editor.info
        row: dict[str, Any] = {"prompt": asked.text, "attribute": asked.attribute, "timesteps": said.timesteps}
        row |= {"strength": said.strength, "departures": said.departures, **found.row()}
        row |= {name: said.figures.get(name, math.nan) for name in ("seconds", "steps")}
        rows.append(row)
        gain = statistics.fmean(found.people["gain"])
        CONSOLE.print(f"{asked.text}: gain {gain:.2f}, success {statistics.fmean(found.people['success']):.0%}")
        if pictures is not None:
            unedited = returned(editor, blend=False)(there.images[:8], 0.0)
            sheet = [there.images[:8], unedited, found.edited[:8], found.answers[:8]]
            save_rows(pictures / f"{asked.text.replace(' ', '-')}.png", sheet)
    figures, intervals = summed(rows)
    return {"figures": figures, "intervals": intervals, "rows": rows}


def summed(rows: Rows) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Means over prompts, and their intervals over prompts and people."""
    figures, intervals = dict[str, float](), dict[str, tuple[float, float]]()
    for name in dict.fromkeys(name for row in rows for name in row["people"]):
        found = mean([row["people"][name] for row in rows if name in row["people"]])
        figures[name], intervals[name] = found.value, (found.low, found.high)
    for name in ("fid", "kid"):
        if all(name in row for row in rows):
            # Of a set there is one figure a prompt, so that prompts alone are resampled.
            found = mean([[row[name]] for row in rows])
            figures[name], intervals[name] = found.value, (found.low, found.high)
    of_prompts = [[mean([row["people"][name]]).value for row in rows] for name in ("success", "gain")]
    figures["worst_success"], figures["worst_gain"] = (min(values) for values in of_prompts)
    return figures, intervals


@app.command("editors")
def editors_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None, pictures: Pictures = PICTURES,
    only: Annotated[list[str] | None, typer.Option("--prompt", help="Only these prompts; may be repeated.")] = None,
) -> None:  # fmt: skip
    """One editor for each prompt, at the strength its training gave it."""
    n = n or (8 if quick else 24)
    domain = embedded()
    chosen = [prompt(text) for text in only] if only else list(PROMPTS[::5] if quick else PROMPTS)
    found = editing(domain, Judge.load(), Editors(kept_folder(kept), domain), n, seed, chosen, pictures)
    finish(NAME, found, n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    rows = part["rows"]
    lines = [
        "## Editors",
        "",
        measured_by(part),
        "",
        f"One editor for each of {len(rows)} prompts, at strength 1, which is what its training says. The source "
        "picture is x, what the user gets back (the edit laid into x) is y, the right answer c, and M is where c "
        "differs from x. *Editability* is 1 − Σ|y−c| / Σ|x−c| inside M: 1 for the exact edit, 0 for nothing done. "
        "*Fidelity* is the PSNR of y against x outside M. *Gain* is editability over the whole picture: below 0 "
        "the untouched source was nearer to what was asked. *Success*: the judge reads what was asked. *Side "
        "effects*: share of the other attributes that the judge reads otherwise in y than in x. In brackets: 95 % "
        "bootstrap intervals, of a row over its people, of the mean over prompts and people.",
        "",
        *by_prompt(rows, MAIN, times=True),
        "",
        f"The worst prompt has a success of {number(part['figures']['worst_success'], '%')} and a gain of "
        f"{part['figures']['worst_gain']:.2f}.",
        "",
        "The same edits as they are drawn, before they are laid into the source: here everything that the "
        "manipulator's own redrawing of the picture gets wrong counts, too.",
        "",
        *by_prompt(rows, DRAWN),
        "",
        *_colours(rows),
        "What an edit ought to satisfy whatever it does. *Composition*: PSNR against x of the edit at strength 0, "
        "after one pass and after ten. *Reversibility*: PSNR against x of the picture edited at 1 and that edited at "
        "−1. *Drift*: by how much what lies outside M is shifted (pixels of 128), scaled (percent) and tinted (levels "
        "of 255, the largest channel). *Uniformity* of the rise of editability from strength 0 to 1: 1 for a straight "
        "line, 0 where all happens at once; *monotonicity* is the share of its four steps that go up.",
        "",
        *by_prompt(rows, AXIOMS),
        "",
        "Distance of y from x: mean squared (times 1000), structural similarity, perceptual distance as LPIPS has it "
        "in the judge's features, cosine of identity features. CLIP similarity of y to the prompt and directional "
        "similarity, by the judge's CLIP; FID and KID between y and c in the judge's features, of which KID is the one "
        "to read for sets as small.",
        "",
        *by_prompt(rows, DISTANCES, sets=True),
        "",
        "Other strengths, for information: mean over prompts of what each strength gives. Nothing was chosen by them.",
        "",
        *_curve(rows),
        "",
        "Rows of each picture: source, strength 0, edit, counterfactual.",
        "",
    ]
    for row in rows:
        lines += picture_line(pictures, f"{row['prompt'].replace(' ', '-')}.png", row["prompt"], heading=True)
    return lines


def by_prompt(rows: Rows, columns: dict[str, tuple[str, str]], times: bool = False, sets: bool = False) -> list[str]:
    """A row for each prompt and the mean, of those columns that were measured."""
    there = [name for name in columns if all(name in row["people"] for row in rows)]
    of_sets = [name for name in ("fid", "kid") if sets and all(name in row for row in rows)]

    def cell(name: str, groups: Sequence[Sequence[float]]) -> str:
        found, factor = mean(groups), 1000 if name == "mse" else 1
        found = Mean(factor * found.value, factor * found.low, factor * found.high)
        return estimate(found, columns[name][0])

    body = []
    for row in rows:
        shown = [row["prompt"], *([_listed(row["timesteps"])] if times else [])]
        shown += [cell(name, [row["people"][name]]) for name in there]
        body.append([*shown, *(f"{row[name]:.4f}" for name in of_sets)])
    last = ["**mean**", *([""] if times else [])]
    last += [cell(name, [row["people"][name] for row in rows]) for name in there]
    body.append([*last, *(f"{statistics.fmean(row[name] for row in rows):.4f}" for name in of_sets)])
    head = ["prompt", *(["t"] if times else []), *(columns[name][1] for name in there), *(s.upper() for s in of_sets)]
    return table(head, body)


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps)) if len(steps) < 5 else f"{len(steps)} in {min(steps)}…{max(steps)}"


def _colours(rows: Rows) -> list[str]:
    of_colour = [row for row in rows if "delta_e" in row["people"]]
    if not of_colour:
        return []
    return [
        "Prompts that ask for a colour: the CIE76 difference inside M between y and c (2.3 is just noticeable), and "
        "y − c by channel in levels of 255, whose sign tells the direction.",
        "",
        *by_prompt(of_colour, COLOURS),
        "",
    ]


def _curve(rows: Rows) -> list[str]:
    body = []
    for at in zip(*(row["curve"] for row in rows), strict=True):
        found = {name: mean([[point[name]] for point in at]).value for name in MAIN}
        body.append([f"{at[0]['strength']:g}", *(number(found[name], MAIN[name][0]) for name in MAIN)])
    return table(["strength", *(heading for _, heading in MAIN.values())], body)
