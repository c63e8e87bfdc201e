"""Turn the benchmark's JSON files into docs/avatars.md: bar against measured, met or not.

    python -m sdd.evaluate.report

What has not been measured is said to be missing; nothing is filled in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sdd.errors import SddError
from sdd.evaluate.bars import BARS, Found
from sdd.evaluate.markdown import table
from sdd.evaluate.plots import plot_hqs
from sdd.evaluate.tables.editors import editors_section
from sdd.evaluate.tables.guidances import guidance_section
from sdd.evaluate.tables.judging import judge_section
from sdd.evaluate.tables.reconstruction import reconstruction_section
from sdd.evaluate.tables.scores import scores_section
from sdd.evaluate.tables.speed import speed_section
from sdd.evaluate.tables.teaching import teaching_section
from sdd.io.files import write_text

PARTS = ("reconstruction", "judge", "teacher", "guidance", "editors", "hqs", "speed")


def read(folder: Path) -> Found:
    """The parts of the benchmark that were measured.

    Raises:
        SddError: a file is not one of the benchmark's.
    """
    found = {}
    for part in PARTS:
        path = folder / f"{part}.json"
        if not path.is_file():
            continue
        try:
            found[part] = json.loads(path.read_text(encoding="utf-8"))
            _ = found[part]["figures"], found[part]["machine"]["date"], found[part]["command"]
        except (ValueError, KeyError, TypeError) as error:
            raise SddError(f"{path} is not a result of the benchmark ({error}); measure it again") from error
    return found


def page(found: Found, pictures: Path | None = None) -> str:
    """docs/avatars.md; `pictures` is the folder of PNGs beside it."""
    lines = [
        "# The avatars domain, as measured",
        "",
        "Written by `python -m sdd.evaluate.report` from `docs/figures/*.json`. Every figure is on held-out avatars",
        '(`avatars.sample(n, seed, "test")`), which no model was trained on; the judge teaches nothing. What the',
        "figures mean is defined in `src/sdd/evaluate/metrics.py`.",
        "",
        "## Bars",
        "",
        *table(["what", "bar", "measured", "met"], [bar.row(found) for bar in BARS]),
        "",
        "| measured by | people | seed | when | on |",
        "|---|---|---|---|---|",
    ]
    for part in found.values():
        m = part["machine"]
        where = f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads, torch {m['torch']}"
        lines.append(f"| `{part['command']}` | {part['n']} | {part['seed']} | {m['date']} | {where} |")
    lines.append("")
    sections = {
        "reconstruction": reconstruction_section,
        "judge": judge_section,
        "teacher": teaching_section,
        "guidance": guidance_section,
        "editors": editors_section,
        "hqs": scores_section,
        "speed": speed_section,
    }
    for name, section in sections.items():
        if name in found:
            lines += [*section(found[name], pictures), ""]
    return "\n".join(lines).rstrip() + "\n"


def main(
    figures: Annotated[Path, typer.Option(help="Folder of the benchmark's JSON files.")] = Path("docs/figures"),
    out: Annotated[Path, typer.Option(help="The page.")] = Path("docs/avatars.md"),
) -> None:
    """Write docs/avatars.md from what was measured."""
    found = read(figures)
    pictures = out.parent / "images"
    if "hqs" in found:
        plot_hqs(found["hqs"], pictures / "hqs.png")
    write_text(out, page(found, pictures))
    typer.echo(f"wrote {out} from {', '.join(found) or 'nothing: run python -m sdd.evaluate.benchmark all'}")


if __name__ == "__main__":
    typer.run(main)
