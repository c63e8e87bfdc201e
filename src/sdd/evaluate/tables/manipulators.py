"""The kinds of manipulator against each other, each by its own defaults."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.evaluate.command import (
    CONSOLE,
    OUT,
    PICTURES,
    Kept,
    N,
    Out,
    Pictures,
    Quick,
    Seed,
    app,
    finish,
    kept_folder,
    others,
)
from sdd.evaluate.intervals import mean
from sdd.evaluate.judge import Judge
from sdd.evaluate.kept_editors import Editors
from sdd.evaluate.markdown import estimate, measured_by, number, picture_line, table
from sdd.evaluate.prompts import prompt
from sdd.evaluate.sheet import save_rows
from sdd.evaluate.tables.editors import MAIN
from sdd.evaluate.trial import Rows, Subjects, returned, trial
from sdd.manipulators.kinds import KINDS

if TYPE_CHECKING:
    from sdd.domains.domain import Domain

NAME, EDITION = "manipulators", 1
TEXTS = ("white hair", "smile")


def manipulating(
    domain: Domain, judge: Judge, editors: Editors, n: int, seed: int, texts: Sequence[str] = TEXTS,
    kinds: Sequence[str] = KINDS, pictures: Path | None = None, **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """One editor of each kind for each prompt."""
    rows: Rows = []
    for kind in kinds:
        for text in texts:
            editor = editors.get(text, manipulator=kind, **options)
            there = Subjects.make(prompt(text), AVATARS, judge, n, seed)
            edit = returned(editor)
            edit(there.images[:1], 1.0)
            began = time.perf_counter()
            edit(there.images, 1.0)
            each = (time.perf_counter() - began) / n
            found = trial(editor, there, judge, domain, strengths=(0.0, 0.5, 1.0))
            trained = {name: editor.info.figures.get(name, math.nan) for name in ("seconds", "steps")}
            rows.append({"kind": kind, "prompt": text, "edit_seconds": each, **trained, **found.row()})
            CONSOLE.print(f"{kind} {text}: gain {statistics.fmean(found.people['gain']):.2f}, {1000 * each:.1f} ms")
            if pictures is not None:
                sheet = [there.images[:8], edit(there.images[:8], 0.0), found.edited[:8], found.answers[:8]]
                save_rows(pictures / f"{kind}-{text.replace(' ', '-')}.png", sheet)
    return summed(rows)


def summed(rows: Rows) -> dict[str, Any]:
    """The gain of every kind with its interval, beside the rows themselves."""
    figures, intervals = {}, {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        gain = mean([row["people"]["gain"] for row in rows if row["kind"] == kind])
        figures[f"gain_{kind}"], intervals[f"gain_{kind}"] = gain.value, (gain.low, gain.high)
    return {"figures": figures, "intervals": intervals, "rows": rows}


@app.command("manipulators")
def manipulators_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None, pictures: Pictures = PICTURES,
    only: Annotated[list[str] | None, typer.Option("--kind", help="Only these kinds; may be repeated.")] = None,
) -> None:  # fmt: skip
    """The kinds of manipulator against each other; with --kind, rows of the others stay as they were measured."""
    n = n or (4 if quick else 24)
    domain = embedded()
    some: dict[str, Any] = {"texts": TEXTS[:1], "steps": 4, "images": 8} if quick else {}
    editors = Editors(kept_folder(kept), domain)
    kinds = tuple(only or KINDS)
    found = manipulating(domain, Judge.load(), editors, n, seed, kinds=kinds, pictures=pictures, **some)
    kept_rows = others(NAME, out, EDITION, n, seed, "kind", kinds)
    rows = sorted([*kept_rows, *found["rows"]], key=lambda row: KINDS.index(row["kind"]))
    finish(NAME, summed(rows), n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    columns = {**MAIN, "composition": ("dB", "composition")}
    body, shown = [], []
    for row in part["rows"]:
        cells = [estimate(mean([row["people"][name]]), unit) for name, (unit, _) in columns.items()]
        times = [f"{row['seconds']:.0f} s", number(row["edit_seconds"], "ms")]
        body.append([row["kind"], row["prompt"], *times, *cells])
        name = f"{row['kind']}-{row['prompt'].replace(' ', '-')}.png"
        shown += picture_line(pictures, name, f"{row['kind']}, {row['prompt']}", heading=True)
    return [
        "## Manipulators",
        "",
        measured_by(part),
        "",
        "The kinds of network that an edit can be distilled into, each by its own defaults, at strength 1. Seconds to "
        "train the editor and, warm, to edit one picture of a batch; the other columns as under *Editors*, intervals "
        "over people. Rows of each picture: source, strength 0, edit, counterfactual. Seen in them: `stylegan` is the "
        "cleanest; `one-step` is soft and touches clothes; `image-to-image` whitens hair in patches, with grey, "
        "rests of the old colour and haloes on dark backgrounds, though the judge reads it as white, and its smiles "
        "are grey-lipped where teeth were.",
        "",
        *table(["manipulator", "prompt", "to train", "an edit", *(heading for _, heading in columns.values())], body),
        "",
        *shown,
    ]
