"""An experiment: how it is measured, what of it is drawn, and what is said; and how all three are written."""

from __future__ import annotations

import importlib
import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdd.domains.embedded import embedded
from sdd.errors import SddError
from sdd.evaluate.bench.cells import Bench
from sdd.evaluate.bench.names import NAMES
from sdd.evaluate.command import kept_folder
from sdd.evaluate.intervals import Mean
from sdd.evaluate.judge import Judge
from sdd.evaluate.machine import machine
from sdd.evaluate.markdown import refuse_other, span
from sdd.io.files import write_text
from sdd.io.progress import Report, silent
from sdd.io.quiet import quiet_libraries
from sdd.methods.of_domain import models_of

Found = dict[str, Any]
EDITION = 1
BEGINS = '{"edition": '  # of every JSON file
DPI = 110  # of every PNG


@dataclass(frozen=True)
class Size:
    """How much of an experiment is measured.

    Attributes:
        quick: a glance. n: people of each prompt; None for the experiment's own. prompts, methods: only these.
        seed: of trainings. calls: seconds of one call of each network of a real size, by name.
    """

    quick: bool = False
    n: int | None = None
    prompts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seed: int = 0
    calls: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Attributes:
        measure: figures, with their `claims`. section: the part of a page that says them.
        plot: draws them as a PNG; None where nothing is drawn.
    """

    name: str
    title: str
    measure: Callable[[Bench, Size], Found]
    section: Callable[[Found], list[str]]
    plot: Callable[[Found, Path], None] | None = None


def find(name: str) -> Experiment:
    """An experiment by name.

    Raises:
        SddError: there is none.
    """
    if name not in NAMES:
        raise SddError(f"there is no experiment {name!r}; there are {', '.join(NAMES)}")
    found: Experiment = importlib.import_module(f"sdd.evaluate.bench.{name}").EXPERIMENT
    return found


def run(
    name: str, size: Size, out: Path, kept: Path | None = None, minutes: float | None = None, report: Report = silent
) -> tuple[list[Path], int]:
    """Measure an experiment and write JSON, Markdown and, where something is drawn, a PNG.

    Args:
        kept: folder of cells and editors; None for that of the cache. minutes: after which no cell is begun.

    Returns:
        What was written, and how many cells are still to be measured.

    Raises:
        SddError: there is no such experiment, or nothing of it could be measured.
    """
    asked = find(name)
    refuse_other(out / f"{name}.md", f"# {asked.title}\n")
    refuse_other(out / f"{name}.json", BEGINS)
    with quiet_libraries():
        domain = embedded()
        judge = Judge.load()
    until = None if minutes is None else time.monotonic() + 60 * minutes
    place = kept or kept_folder(None).parent / "bench"
    bench = Bench(domain, judge, models_of(domain), place, report, until)
    found = asked.measure(bench, size)
    if not found.get("rows"):
        raise SddError(f"nothing of {name} was measured in {minutes:g} minutes; the same command goes on")
    return write(asked, found | {"quick": size.quick, "command": command(name, size), "left": bench.left}, out)


def command(name: str, size: Size) -> str:
    """The command that measures this again."""
    parts = ["sdd", "bench", name, *(["--quick"] if size.quick else []), *(["-n", str(size.n)] if size.n else [])]
    parts += [word for text in size.prompts for word in ("--prompt", text)]
    parts += ["--methods", ",".join(size.methods)] if size.methods else []
    parts += ["--seed", str(size.seed)] if size.seed else []
    parts += [word for role, seconds in size.calls for word in ("--call", f"{role}={seconds:g}")]
    return shlex.join(parts)


def write(asked: Experiment, found: Found, out: Path) -> tuple[list[Path], int]:
    """JSON, Markdown and PNG of what was found."""
    kept = {"edition": EDITION, "name": asked.name, "machine": machine(), **found}
    paths = [out / f"{asked.name}.json"]
    rows = [{k: v for k, v in row.items() if k != "pictures"} for row in kept["rows"]]  # these are in the PNG
    write_text(paths[0], json.dumps(kept | {"rows": rows}) + "\n")
    drawn = []
    if asked.plot is not None:
        paths.append(out / f"{asked.name}.png")
        asked.plot(kept, paths[-1])
        drawn = [f"![{asked.title}]({asked.name}.png)", ""]
    paths.append(out / f"{asked.name}.md")
    lines = [f"# {asked.title}", "", said(kept), "", *drawn, *asked.section(kept)]
    write_text(paths[-1], "\n".join(lines).rstrip() + "\n")
    return paths, int(found["left"])


def said(found: Found) -> str:
    """Which command, how much of it, when and on what machine."""
    m = found["machine"]
    quick = " **A quick run: few people and prompts, wide intervals.**" if found["quick"] else ""
    left = f" {found['left']} cells are still to be measured and are left out." if found["left"] else ""
    return (
        f"*`{found['command']}`; {m['date']}, {m['cpu']}, {m['threads']} "
        f"{'thread' if m['threads'] == 1 else 'threads'}, torch {m['torch']}, sdd {m['sdd']}.*{quick}{left}"
    )


def claim(what: str, value: float, holds: bool | None, why: str, found: Mean | None = None, unit: str = "") -> Found:
    """A claim of a paper, our figure, and whether it holds; None where it cannot be said."""
    ends = [None, None] if found is None else [found.low, found.high]
    return {"claim": what, "value": value, "low": ends[0], "high": ends[1], "unit": unit, "holds": holds, "why": why}


def verdict(found: Mean) -> bool | None:
    """Whether something is above 0: None where the interval includes 0, or there is none."""
    return True if found.low > 0 else False if found.high < 0 else None


def told(row: Found, digits: int = 2) -> str:
    """The figure of a claim with its interval."""
    if row["value"] is None or row["value"] != row["value"]:
        return "not measured"
    value = f"{row['value']:.{digits}f} {row['unit']}".rstrip()
    return value if row["low"] is None else f"{value} {span(row['low'], row['high'], '')}"


def texts_of(size: Size, quick: Sequence[str], full: Sequence[str]) -> tuple[str, ...]:
    """The prompts that are asked for.

    Raises:
        SddError: one that the benchmark has not.
    """
    from sdd.evaluate.prompts import prompt

    return tuple(prompt(text).text for text in size.prompts or (quick if size.quick else full))


def figure(width: float, height: float, columns: int = 1, rows: int = 1, **more: Any) -> tuple[Any, Any]:
    """A figure of matplotlib's, and its axes (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made, made.subplots(rows, columns, squeeze=False, **more)


def save(made: Any, path: Path) -> None:
    """A figure as a PNG, whole or not at all."""
    from sdd.io.files import atomic_path

    with atomic_path(path) as aside:
        made.savefig(aside, format="png", dpi=DPI, pil_kwargs={"optimize": True})
