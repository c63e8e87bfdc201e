"""Every method on people with known answers, each at its best knob by validation.

The knob is chosen on people of the validation seed and nothing else: of the values with which the judge reads what was
asked in at least half of the pictures that with the largest gain, and where there is none that with the most success.
What was measured of a method and a prompt is kept, so that a table that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdd import methods as every
from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.errors import SddError
from sdd.evaluate.command import CONSOLE, OUT, PICTURES, Kept, N, Out, Pictures, Quick, app, finish, kept_folder, others
from sdd.evaluate.intervals import mean
from sdd.evaluate.judge import Judge
from sdd.evaluate.markdown import estimate, measured_by, number, picture_line, table
from sdd.evaluate.prompts import prompt
from sdd.evaluate.sheet import save_rows
from sdd.evaluate.tables.editors import MAIN
from sdd.evaluate.trial import Rows, Subjects, compared, curve, means, turned
from sdd.io.code import code_of
from sdd.io.files import write_text
from sdd.methods.kept import kept
from sdd.methods.of_domain import models_of
from sdd.training.run import slug

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models
    from sdd.methods.protocol import Method

NAME, EDITION = "methods", 1
TEXTS = ("white hair", "sunglasses", "smile")
REPORTED, VALIDATION = 1, 5  # seeds of people: figures are of the first, choices follow from the second
ENOUGH = 0.5  # success from which on a knob is chosen by its gain


def best(values: Sequence[float], figures: Sequence[dict[str, float]]) -> float:
    """The knob to report: see the head of this file.

    Args:
        figures: of each value the means over validation people.
    """
    pairs = list(zip(values, figures, strict=True))
    able = [pair for pair in pairs if pair[1]["success"] >= ENOUGH]
    if able:
        return max(able, key=lambda pair: pair[1]["gain"])[0]
    return max(pairs, key=lambda pair: (pair[1]["success"], pair[1]["gain"]))[0]


def measured(
    method: Method, text: str, domain: Domain, models: Models, judge: Judge, n: int, few: int,
    pictures: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One row: a method and a prompt; of what a method cannot do, why.

    Args:
        n: people that figures are of. few: people that the knob is chosen on.
    """
    card, asked = method.card, prompt(text)
    row: dict[str, Any] = {"method": card.name, "prompt": text}
    try:
        began = time.perf_counter()
        fitted = kept(method, text, "", domain, models)
        trained = time.perf_counter() - began if card.trains else 0.0
        edit = turned(fitted)
        apart = Subjects.make(asked, AVATARS, judge, few, VALIDATION)
        tried = [means(figures) for figures in curve(edit, apart, judge, card.knob.values)]
        knob = best(card.knob.values, tried)
        there = Subjects.make(asked, AVATARS, judge, n, REPORTED)
        began = time.perf_counter()
        edited = edit(there.images, knob)
        each = (time.perf_counter() - began) / n
    except SddError as error:
        return row | {"why": str(error)}
    people, found, _ = there.judge(edited, judge)
    people |= compared(edited, there, judge, domain)
    unedited = fitted.unedited(there.images)
    redrawn, _, _ = there.judge(unedited, judge)
    if pictures is not None:
        sheet = [there.images[:8], unedited[:8], edited[:8], there.answers(found.chosen)[:8]]
        save_rows(pictures / f"method-{card.name}-{slug(text)}.png", sheet)
    at = [{"knob": value, **figures} for value, figures in zip(card.knob.values, tried, strict=True)]
    return row | {
        "knob": knob, "knob_name": card.knob.name, "seconds": each, "trained": trained, "people": people,
        "unedited": means(redrawn), "validation": at,
    }  # fmt: skip


def comparing(
    domain: Domain, judge: Judge, models: Models, folder: Path, n: int, few: int, texts: Sequence[str] = TEXTS,
    names: Sequence[str] = (), pictures: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Every method on every prompt; what was measured before is read from `folder`.

    Args:
        names: of methods; none for all.
    """
    rows: Rows = []
    for name in names or in_order():
        method = every.get(name)
        for text in texts:
            path = _part(folder, method, text, models, n, few)
            if path.is_file():
                row = json.loads(path.read_text(encoding="utf-8"))
            else:
                row = measured(method, text, domain, models, judge, n, few, pictures)
                if "why" not in row:  # what is missing today may be there tomorrow
                    write_text(path, json.dumps(row))
            rows.append(row)
            said = row.get("why") or (
                f"{row['knob_name']} {row['knob']:g}, success {statistics.fmean(row['people']['success']):.0%}, "
                f"gain {statistics.fmean(row['people']['gain']):.2f}, {row['seconds']:.2f} s a picture"
            )
            CONSOLE.print(f"{name} {text}: {said}")
    return summed(rows)


def summed(rows: Rows) -> dict[str, Any]:
    """Success and gain of every method with their intervals, beside the rows themselves."""
    figures, intervals = {}, {}
    for name in dict.fromkeys(row["method"] for row in rows if "why" not in row):
        for figure in ("success", "gain"):
            found = mean([row["people"][figure] for row in rows if row["method"] == name and "why" not in row])
            key = f"{figure}_{name}"
            figures[key], intervals[key] = found.value, (found.low, found.high)
    return {"figures": figures, "intervals": intervals, "rows": rows}


def _part(folder: Path, method: Method, text: str, models: Models, n: int, few: int) -> Path:
    used = {role: models.fingerprint(role) for role in method.card.needs}
    options = {key: str(value) for key, value in vars(method).items()}
    card = [text, n, few, REPORTED, VALIDATION, used, options, code_of(type(method).__module__), code_of(__name__)]
    key = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:12]
    return folder / f"{method.card.name}-{slug(text)}-{key}.json"


@app.command("methods")
def methods_command(
    n: N = None, quick: Quick = False, out: Out = OUT, folder: Kept = None, pictures: Pictures = PICTURES,
    names: Annotated[
        list[str] | None, typer.Option("--methods", help="Only these; may be repeated. Rows of others stay.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--prompt", help="Only these prompts; may be repeated.")] = None,
) -> None:  # fmt: skip
    """Every method, its knob chosen on people of seed 5 and its figures on people of seed 1.

    With --methods, rows of the others stay as they were measured.
    """
    n = n or (2 if quick else 24)
    domain = embedded()
    texts = tuple(only) if only else TEXTS[:1] if quick else TEXTS
    chosen = [name for some in names or () for name in some.split(",") if name]
    place = kept_folder(folder) / "methods"
    found = comparing(domain, Judge.load(), models_of(domain), place, n, max(2, n // 2), texts, chosen, pictures)
    order = in_order()
    rows = others(NAME, out, EDITION, n, REPORTED, "method", chosen or order) + found["rows"]
    finish(NAME, summed(sorted(rows, key=lambda row: order.index(row["method"]))), n, REPORTED, out, EDITION)


def in_order() -> list[str]:
    """All methods, ours first."""
    return sorted(every.available(), key=lambda name: (name != "sdd", name))


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    columns = {**MAIN, "clip": ("", "CLIP"), "directional": ("", "directional")}
    body, missing, shown = [], [], []
    for row in part["rows"]:
        if "why" in row:
            missing.append(f"* {row['method']}, {row['prompt']}: {row['why']}")
            continue
        there = [row["people"].get(name, [math.nan]) for name in columns]
        cells = [estimate(mean([v]), unit) for v, (unit, _) in zip(there, columns.values(), strict=True)]
        times = [f"{row['trained']:.0f} s" if row["trained"] else "–", f"{row['seconds']:.2f} s"]
        knob = f"{row['knob_name']} {row['knob']:g}"
        redrawn = number(row["unedited"]["fidelity"], "dB")
        body.append([row["method"], row["prompt"], knob, *times, *cells, redrawn])
        name = f"method-{row['method']}-{slug(row['prompt'])}.png"
        shown += picture_line(pictures, name, f"{row['method']}, {row['prompt']}", heading=True)
    head = ["method", "prompt", "knob", "to train", "an edit", *(heading for _, heading in columns.values()), "redrawn"]
    return [
        "## Methods",
        "",
        measured_by(part),
        "",
        f"Every method (docs/methods.md) on the same people, at the value of its knob that validation chose: people of "
        f"seed {VALIDATION} choose, people of seed {REPORTED} are reported. Nothing is laid into the source but what a "
        "method lays there itself; *redrawn* is the fidelity of a picture that the method gives back unedited, beyond "
        "which none of its edits can go. Other columns as under *Editors*, intervals over people. Rows of each "
        "picture: source, unedited, edit, counterfactual.",
        "",
        *table(head, body),
        "",
        *([*missing, ""] if missing else []),
        *shown,
    ]
