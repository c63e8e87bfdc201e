"""index.md: every claim of the papers, our figure with its interval, whether it holds, and the explanation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sdd.errors import SddError
from sdd.evaluate.bench.experiment import EDITION, Found, find, said, told
from sdd.evaluate.bench.names import NAMES
from sdd.evaluate.markdown import refuse_other, table
from sdd.io.files import write_text

TITLE = "# Results of the papers' tables and figures"
HOLDS = {True: "yes", False: "**no**", None: "cannot be said"}


def write_index(folder: Path) -> Path:
    """Write index.md of the experiments whose JSON files are in a folder.

    Raises:
        SddError: there is none, or one that is no result of the benchmark.
    """
    found = read(folder)
    if not found:
        raise SddError(f"{folder} holds no result of the benchmark; measure some: sdd bench all --quick -o {folder}")
    path = folder / "index.md"
    refuse_other(path, TITLE)
    write_text(path, page(found))
    return path


def read(folder: Path) -> dict[str, Found]:
    """What was measured, by name; another edition's is left out."""
    results = {}
    for name in NAMES:
        path = folder / f"{name}.json"
        if not path.is_file():
            continue
        try:
            kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            _ = kept["claims"], kept["machine"]["date"], kept["command"], kept["quick"], kept["left"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SddError(f"{path} is no result of the benchmark; measure it again: sdd bench {name}") from error
        if kept.get("edition") == EDITION:
            results[name] = kept
    return results


def page(results: dict[str, Found]) -> str:
    """The page."""
    claims = [(name, row) for name, found in results.items() for row in found["claims"]]
    counts = {said_: sum(row["holds"] is key for _, row in claims) for key, said_ in HOLDS.items()}
    quick = [name for name, found in results.items() if found["quick"]]
    lines = [
        TITLE,
        "",
        "Written by `sdd bench index` from what `sdd bench NAME` measured, each with its own page below. The right "
        "answer to every edit is known here, so that editability, fidelity and gain are measured and not guessed at. "
        "Success, side effects and similarities are read by the judge, a classifier and a CLIP that taught none of the "
        "models ([their card](../../src/sdd/weights/avatars/README.md)).",
        "",
        f"Of {len(claims)} claims {counts['yes']} hold, {counts['**no**']} do not, and {counts['cannot be said']} "
        "cannot be said: the interval of the figure includes its opposite, or it could not be measured.",
        "",
    ]
    if quick:
        lines += [
            f"**Quick runs: {', '.join(quick)}.** They are of few people and prompts and of short trainings; their "
            "intervals say how little that is, percentile intervals of so few groups being too narrow even so.",
            "",
        ]
    for name, found in results.items():
        title = find(name).title
        lines += [f"## [{title}]({name}.md)", "", said(found), ""]
        if (people := found.get("n")) is not None:
            lines += [f"{people} people of each of {len(found['prompts'])} prompts: {', '.join(found['prompts'])}.", ""]
        if found["claims"]:
            body = [[row["claim"], told(row), HOLDS[row["holds"]], row["why"]] for row in found["claims"]]
            lines += [*table(["claim", "our figure", "holds", "how, and why"], body), ""]
    if missing := [name for name in NAMES if name not in results]:
        lines += [f"Not measured yet: {', '.join(f'`sdd bench {name}`' for name in missing)}.", ""]
    return "\n".join(lines).rstrip() + "\n"
