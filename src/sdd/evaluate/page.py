"""Turn the benchmark's JSON files into docs/avatars.md: bar against measured, met or not, and a section for each table.

    python -m sdd.evaluate.page

What has not been measured, or was measured when its figures meant something else, is said to be missing; nothing is
filled in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sdd.errors import SddError
from sdd.evaluate.bars import BARS, Found
from sdd.evaluate.markdown import table
from sdd.evaluate.tables import (
    ablation,
    ceiling,
    editors,
    framings,
    guidances,
    judging,
    limits,
    manipulators,
    methods,
    reconstruction,
    scores,
    search,
    sooner,
    speed,
    teaching,
)
from sdd.io.files import write_text


@dataclass(frozen=True)
class Part:
    """A table of the page: its JSON file's name, the command that measures it, and which editions its section reads."""

    name: str
    command: str
    section: Callable[[dict[str, Any], Path | None], list[str]]
    editions: tuple[int, ...]


def editors_section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """What the editors do, and what they do not."""
    return [*editors.section(part, pictures), *limits.section(part)]


PARTS = (
    Part(reconstruction.NAME, "reconstruction", reconstruction.section, (reconstruction.EDITION,)),
    Part(framings.NAME, "framings", framings.section, (framings.EDITION,)),
    Part(judging.NAME, "judge", judging.section, (judging.EDITION,)),
    Part(teaching.NAME, "teacher", teaching.section, (teaching.EDITION,)),
    Part(editors.NAME, "editors", editors_section, (editors.EDITION,)),
    Part(ceiling.NAME, "ceiling", ceiling.section, (ceiling.EDITION,)),
    Part(ablation.NAME, "ablation", ablation.section, (ablation.EDITION,)),
    Part(manipulators.NAME, "manipulators", manipulators.section, (manipulators.EDITION,)),
    Part(methods.NAME, "methods", methods.section, (methods.EDITION,)),
    Part(guidances.NAME, "guidance", guidances.section, (guidances.EDITION,)),
    Part(search.NAME, "search", search.section, (search.EDITION,)),
    Part(sooner.NAME, "sooner", sooner.section, (sooner.EDITION,)),
    Part(scores.NAME, "hqs", scores.section, (1, scores.EDITION)),
    Part(speed.NAME, "speed", speed.section, (speed.EDITION,)),
)
ANYTHING_WRONG = (KeyError, TypeError, IndexError, ValueError, AttributeError, StopIteration)


def read(folder: Path) -> tuple[Found, dict[str, str]]:
    """The parts of the benchmark that were measured, and of the others why there is nothing: "missing", "stale".

    Raises:
        SddError: a file is not one of the benchmark's.
    """
    found, absent = {}, {}
    for part in PARTS:
        path = folder / f"{part.name}.json"
        if not path.is_file():
            absent[part.name] = "missing"
            continue
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            _ = kept["figures"], kept["machine"]["date"], kept["command"]
        except (ValueError, KeyError, TypeError) as error:
            raise SddError(f"{path} is not a result of the benchmark ({error}); measure it again") from error
        if kept.get("edition", 1) in part.editions:
            found[part.name] = kept
        else:
            absent[part.name] = "stale"
    return found, absent


def page(found: Found, absent: dict[str, str], pictures: Path | None = None) -> str:
    """docs/avatars.md; `pictures` is the folder of PNGs beside it."""
    sections = {}
    for part in PARTS:
        if part.name not in found:
            continue
        try:
            sections[part.name] = part.section(found[part.name], pictures)
        except ANYTHING_WRONG:  # figures of another shape, which a reader is told rather than shown
            absent = absent | {part.name: "stale"}
    found = {name: kept for name, kept in found.items() if name in sections}
    lines = [
        "# The avatars domain, as measured",
        "",
        "Written by `python -m sdd.evaluate.page` from `docs/figures/*.json`. Every figure is on held-out avatars",
        '(`avatars.sample(n, seed, "test")`), which no model was trained on; the judge teaches nothing. People of',
        "seed 0 are those of the final figures and choose nothing; a choice may only follow from those of seed 5.",
        "What the figures mean is said in each section, and exactly in `src/sdd/evaluate/metrics.py`.",
        "",
        "## Bars",
        "",
        *table(["what", "bar", "measured", "met"], [bar.row(found) for bar in BARS]),
        "",
    ]
    why = {"missing": "not measured", "stale": "measured when its figures meant something else"}
    for part in PARTS:
        if part.name in sections:
            lines += [*sections[part.name], ""]
        else:
            command = f"`python -m sdd.evaluate.benchmark {part.command}`"
            lines += [f"*Table `{part.name}`: {why[absent[part.name]]}; {command} measures it.*", ""]
    return "\n".join(lines).rstrip() + "\n"


def main(
    figures: Annotated[Path, typer.Option(help="Folder of the benchmark's JSON files.")] = Path("docs/figures"),
    out: Annotated[Path, typer.Option(help="The page.")] = Path("docs/avatars.md"),
) -> None:
    """Write docs/avatars.md from what was measured."""
    found, absent = read(figures)
    write_text(out, page(found, absent, out.parent / "images"))
    told = ", ".join(found) or "nothing: run python -m sdd.evaluate.benchmark all"
    typer.echo(f"wrote {out} from {told}" + "".join(f"; {name} is {why}" for name, why in absent.items()))


if __name__ == "__main__":
    typer.run(main)
