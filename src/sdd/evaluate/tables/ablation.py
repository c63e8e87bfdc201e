"""What each departure from the paper buys: added to the paper alone, and left out of the default alone.

All at equal steps, batch and pictures, so that the departure "pace" does not vary. Measured on validation people:
those of the final figures are never looked at where a choice may follow.

Every (configuration, prompt, seed) is a cell, and a finished cell a file: stopped, the same command goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.evaluate.command import CONSOLE, OUT, Kept, N, Out, Quick, Seed, app, finish, kept_folder, write
from sdd.evaluate.intervals import Mean, difference, mean
from sdd.evaluate.judge import Judge
from sdd.evaluate.kept_editors import Editors
from sdd.evaluate.markdown import estimate, measured_by, table
from sdd.evaluate.prompts import prompt
from sdd.evaluate.tables.editors import MAIN
from sdd.evaluate.tables.scores import HQS_PROMPTS
from sdd.evaluate.trial import Rows, Subjects, curve, means, returned
from sdd.io.files import write_text
from sdd.training.config import DEPARTURES, KIND_DEPARTURES, PAPER, DistillConfig

NAME, EDITION = "ablation", 1
VALIDATION = 5  # the people that choices may follow from
PACE = "pace"  # the departure that is held equal
STRENGTHS = (0.5, 1.0, 1.5, 2.0)  # of the curve that is information
Options = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One training and what its edits are worth.

    Attributes:
        row: the configuration: "paper", "paper + mask", "default", "default − mask".
        n, people: how many of which held-out people it is tried on.
    """

    row: str
    text: str
    seed: int
    options: Options
    n: int
    people: int

    def path(self, editors: Editors) -> Path:
        """Where its figures are kept: a name made of all that they follow from."""
        trained = editors.path(self.text, self.seed, self.options).stem
        key = hashlib.sha256(repr((trained, self.n, self.people, STRENGTHS, EDITION)).encode()).hexdigest()[:16]
        return editors.folder / "ablation" / f"{key}.json"


def configurations(steps: int, images: int = 128, batch: int = 8) -> dict[str, Options]:
    """Name → training options of every row: paper, paper + each, default, default − each.

    The search looks at equally many pictures in all of them: how many is a matter of pace, too.
    """
    default = DistillConfig().model_dump()
    paper = {**default, **PAPER}
    equal = {"steps": steps, "images": images, "batch": batch, "search_images": min(default["search_images"], images)}
    rows: dict[str, Options] = {"paper": paper}
    named = {name: options for name, (options, _) in DEPARTURES.items() if name != PACE}
    rows |= {f"paper + {name}": paper | {o: default[o] for o in options} for name, options in named.items()}
    rows["default"] = default
    rows |= {f"default − {name}": default | {o: paper[o] for o in options} for name, options in named.items()}
    return {name: {**options, "preset": "default", **equal} for name, options in rows.items()}


def cells_of(rows: dict[str, Options], texts: Sequence[str], seeds: int, n: int, people: int) -> list[Cell]:
    """Every cell, seed by seed and prompt by prompt, so that what is finished early is comparable."""
    return [
        Cell(name, text, seed, options, n, people)
        for seed in range(seeds)
        for text in texts
        for name, options in rows.items()
    ]


@cache
def _bench(folder: Path) -> tuple[Editors, Judge]:
    """What a process needs once."""
    from sdd.teachers.load import load_teacher

    domain = embedded()
    return Editors(folder, domain, load_teacher(domain.teacher)), Judge.load()


@cache
def _subjects(folder: Path, text: str, n: int, seed: int) -> Subjects:
    return Subjects.make(prompt(text), AVATARS, _bench(folder)[1], n, seed)


def measured(cell: Cell, folder: Path) -> dict[str, Any]:
    """A cell's figures: kept ones, or those of an editor that is trained now if it is not kept."""
    editors, judge = _bench(folder)
    path = cell.path(editors)
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    began = time.perf_counter()
    editor = editors.get(cell.text, cell.seed, **cell.options)
    there = _subjects(folder, cell.text, cell.n, cell.people)
    drawn, along = (
        [means(figures) for figures in curve(returned(editor, blend), there, judge, STRENGTHS)]
        for blend in (False, True)
    )
    one = STRENGTHS.index(1.0)
    found = {
        "row": cell.row, "prompt": cell.text, "seed": cell.seed, "timesteps": editor.info.timesteps,
        "strength": editor.info.strength, "seconds": round(time.perf_counter() - began, 1),
        **along[one], **{f"drawn_{name}": value for name, value in drawn[one].items()},
        "best_gain": max(point["gain"] for point in along),
    }  # fmt: skip
    write_text(path, json.dumps(found, indent=1) + "\n")
    return found


def results(cells: Sequence[Cell], folder: Path, jobs: int) -> Iterator[dict[str, Any]]:
    """Each cell's figures as they are finished: first the kept ones, then those that `jobs` processes measure."""
    # Rows of the same options (a departure that a preset already has) are one cell.
    editors = Editors(folder, embedded())
    waiting = []
    for cell in cells:
        path = cell.path(editors)
        if path.is_file():
            yield json.loads(path.read_text(encoding="utf-8")) | {"row": cell.row, "kept": True}
        else:
            waiting.append(cell)
    if jobs <= 1:
        for cell in waiting:
            yield measured(cell, folder) | {"row": cell.row}
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _one_thread)
    try:
        asked = {pool.submit(measured, cell, folder): cell for cell in waiting}
        for done in as_completed(asked):
            yield done.result() | {"row": asked[done].row}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def ablation(
    cells: Sequence[Cell], folder: Path, jobs: int, keep: Callable[[Rows], object] = lambda rows: None
) -> dict[str, Any]:
    """Measure every cell.

    Args:
        keep: given all finished cells, each time there is one more.
    """
    rows: Rows = []
    began, measured_now = time.monotonic(), 0
    for found in results(cells, folder, jobs):
        kept = found.pop("kept", False)
        rows.append(found)
        if kept:
            continue
        measured_now += 1
        left = (len(cells) - len(rows)) * (time.monotonic() - began) / measured_now
        CONSOLE.print(
            f"{len(rows)}/{len(cells)}, {left / 60:.0f} min left: {found['row']}, {found['prompt']}, seed "
            f"{found['seed']}: gain {found['gain']:.2f}, success {found['success']:.0%} in {found['seconds']:.0f} s"
        )
        keep(rows)
    order = {(cell.row, cell.text, cell.seed): i for i, cell in enumerate(cells)}
    rows.sort(key=lambda row: order[row["row"], row["prompt"], row["seed"]])
    return summed(rows)


def summed(rows: Rows) -> dict[str, Any]:
    """Figures of every configuration with their intervals, beside the cells themselves."""
    figures, intervals = dict[str, float](), dict[str, tuple[float, float]]()
    for name in dict.fromkeys(row["row"] for row in rows):
        found = mean(_groups(rows, name, "gain"))
        figures[f"gain, {name}"], intervals[f"gain, {name}"] = found.value, (found.low, found.high)
    return {"figures": figures, "intervals": intervals, "rows": rows}


def _groups(rows: Rows, name: str, figure: str, like: str | None = None) -> list[list[float]]:
    """A figure of each of a configuration's trainings, by prompt; only of those that `like` has too."""
    of = {(row["prompt"], row["seed"]): row[figure] for row in rows if row["row"] == name}
    if like is not None:
        others = {(row["prompt"], row["seed"]) for row in rows if row["row"] == like}
        of = {key: value for key, value in of.items() if key in others}
    texts = sorted({text for text, _ in of})
    return [[of[key] for key in sorted(of) if key[0] == text] for text in texts]


def bought(rows: Rows, more: str, less: str, figure: str) -> Mean:
    """By how much a figure is larger in one configuration than in another, over the trainings that both have."""
    return difference(_groups(rows, more, figure, less), _groups(rows, less, figure, more))


@app.command("ablation")
def ablation_command(
    n: N = None, seed: Seed = VALIDATION, quick: Quick = False, out: Out = OUT, kept: Kept = None,
    only: Annotated[list[str] | None, typer.Option("--prompts", help="Only these prompts; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each configuration and prompt.", min=1)] = 3,
    steps: Annotated[int, typer.Option(help="Training steps of every editor.", min=1)] = 60,
    row: Annotated[list[str] | None, typer.Option(help="Only these configurations; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes, of one thread each.", min=1)] = 2,
    finished: Annotated[bool, typer.Option("--finished", help="Only the cells that are kept; train nothing.")] = False,
) -> None:  # fmt: skip
    """Each departure from the paper added and left out, at equal steps, on validation people."""
    n = n or (2 if quick else 12)
    texts = [prompt(text).text for text in only or (HQS_PROMPTS[:1] if quick else HQS_PROMPTS)]
    rows = configurations(min(steps, 2), 8, 4) if quick else configurations(steps)
    chosen = {name: options for name, options in rows.items() if row is None or name in row}
    cells = cells_of(chosen, texts, 1 if quick else seeds, n, seed)
    folder, last = kept_folder(kept), 0.0
    if finished:
        editors = Editors(folder, embedded())
        cells = [cell for cell in cells if cell.path(editors).is_file()]

    def keep(done: Rows) -> None:
        nonlocal last
        if time.monotonic() - last > 30:
            last = time.monotonic()
            write(NAME, summed(list(done)), n, seed, out, EDITION)

    finish(NAME, ablation(cells, folder, jobs, keep), n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    rows = part["rows"]
    names = list(dict.fromkeys(row["row"] for row in rows))
    texts, seeds = dict.fromkeys(row["prompt"] for row in rows), len({row["seed"] for row in rows})
    pairs = [(name, *_pair(name)) for name in names if name in _named() and _less(name) in names]
    counts = {name: sum(row["row"] == name for row in rows) for name in names}
    gone = sorted({name.split(" − ")[1] for name in names if " − " in name} - set(DEPARTURES))
    lines = [
        "## What each departure buys",
        "",
        measured_by(part),
        "",
        f"Each departure from the paper added to `paper` alone, and left out of `default` alone, all at equal steps, "
        f"batch and pictures; {len(texts)} prompts ({', '.join(texts)}), {seeds} training{'s' * (seeds > 1)} of each, "
        f"{part['n']} validation people a prompt, who are not those of the final figures. Columns as under *Editors*, "
        "at strength 1; intervals are over prompts and trainings. *Best gain* is the largest along the strength curve "
        f"({', '.join(f'{s:g}' for s in STRENGTHS)}), chosen by the answer and therefore information only. *The "
        "departure buys*: what it adds to the gain, on the same prompts and seeds. Edits are laid into the source; "
        "*drawn* is before that, where the manipulator's redrawing of the whole picture counts, too."
        + (" Not every cell is finished: *cells* counts those that are." if len(set(counts.values())) > 1 else "")
        + (f" `default` is that of the date above, which also had {_said(gone)}: no more since." if gone else ""),
        "",
    ]
    heads = ["configuration", "cells", *(heading for _, heading in MAIN.values()), "gain, drawn"]
    heads += ["best gain", "the departure buys", "it buys, drawn"]
    body = []
    for name in names:
        cells = [estimate(mean(_groups(rows, name, figure)), unit) for figure, (unit, _) in MAIN.items()]
        cells.append(estimate(mean(_groups(rows, name, "drawn_gain")), ""))
        pair = next((pair for pair in pairs if pair[0] == name), None)
        buys = [_signed(bought(rows, pair[2], pair[3], f)) if pair else "" for f in ("gain", "drawn_gain")]
        body.append([name, str(counts[name]), *cells, f"{mean(_groups(rows, name, 'best_gain')).value:.2f}", *buys])
    return [*lines, *table(heads, body), "", *_words(rows, pairs), "", *_meaning(pairs)]


def _said(names: Sequence[str]) -> str:
    return " and ".join(f"*{name}* ({(DEPARTURES | KIND_DEPARTURES)[name][1]})" for name in names)


def _named() -> dict[str, tuple[str, str, str]]:
    """Configuration → its departure, and the configurations with and without it."""
    found = {}
    for name in DEPARTURES | KIND_DEPARTURES:
        found[f"paper + {name}"] = (name, f"paper + {name}", "paper")
        found[f"default − {name}"] = (name, "default", f"default − {name}")
    return found


def _pair(row: str) -> tuple[str, str, str]:
    return _named()[row]


def _less(row: str) -> str:
    """The configuration that a row is compared with."""
    return "paper" if row.startswith("paper") else "default"


def _words(rows: Rows, pairs: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Which departures buy something, and which do not, in words."""
    lines = []
    for base, said in (("default", "Left out of `default`"), ("paper", "Added to `paper`")):
        here = [(p[1], {f: bought(rows, p[2], p[3], f) for f in MAIN}) for p in pairs if p[0].startswith(base)]
        if not here:
            continue
        helps = [f"{name} ({_signed(found['gain'])})" for name, found in here if found["gain"].low > 0]
        harms = [f"{name} ({_signed(found['gain'])})" for name, found in here if found["gain"].high < 0]
        nothing = [name for name, found in here if not found["gain"].certain]
        beside = [(name, [MAIN[f][1] for f, d in found.items() if d.certain and f != "gain"]) for name, found in here]
        also = [f"{name}: {', '.join(what)}" for name, what in beside if name in nothing and what]
        lines += [
            f"{said}, the departures whose gain differs from nothing: " + (", ".join(helps) or "none") + " for the "
            "better; " + (", ".join(harms) or "none") + " for the worse. **Buy nothing in gain** (the interval of the "
            "difference includes zero): " + (", ".join(nothing) or "none") + "."
            + (f" Of these, something else changes for certain in {'; '.join(also)}." if also else ""),
            "",
        ]  # fmt: skip
    for base in ("default", "paper"):
        laid, drawn = (_groups(rows, base, figure) for figure in ("gain", "drawn_gain"))
        if laid:
            lines += [
                f"Laying the edit into the source buys {_signed(difference(laid, drawn))} of gain to `{base}`.",
                "",
            ]
    return lines[:-1]


def _meaning(pairs: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """What each departure is."""
    names = dict.fromkeys(pair[1] for pair in pairs)
    known = DEPARTURES | KIND_DEPARTURES
    return table(["departure", "what it is"], [[name, known[name][1]] for name in names])


def _signed(found: Mean) -> str:
    ends = "one value" if math.isnan(found.low) else f"{found.low:+.2f}, {found.high:+.2f}"
    return f"{found.value:+.2f} [{ends}]"
