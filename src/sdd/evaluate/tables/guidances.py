"""The guidances against each other, and the weight of the fidelity term of the default one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdd.beyond.guidances import NAMES as GUIDANCES
from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.evaluate.command import CONSOLE, OUT, Kept, N, Out, Quick, Seed, app, finish, kept_folder
from sdd.evaluate.intervals import mean
from sdd.evaluate.judge import Judge
from sdd.evaluate.kept_editors import Editors
from sdd.evaluate.markdown import estimate, measured_by, table
from sdd.evaluate.prompts import prompt
from sdd.evaluate.tables.editors import MAIN
from sdd.evaluate.trial import Rows, Subjects, returned, rounded
from sdd.training.config import DistillConfig

if TYPE_CHECKING:
    from sdd.domains.domain import Domain

NAME, EDITION = "guidance", 2
TEXTS = ("white hair", "sunglasses", "smile")
FIDELITIES = (0.0, 0.25, 0.5, 1.0, 2.0)
FEW = {"steps": 40, "images": 64}  # of every training, to keep the comparison short


def guiding(
    domain: Domain, judge: Judge, editors: Editors, n: int, seed: int, texts: Sequence[str] = TEXTS,
    seeds: int = 1, fidelities: Sequence[float] = FIDELITIES, **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """Each guidance, and dds with each weight of its fidelity term; everything else as by default."""
    options = {**FEW, **options}
    asked: list[dict[str, Any]] = [{"guidance": name} for name in GUIDANCES]
    asked += [{"guidance": "dds", "fidelity": k} for k in fidelities]
    rows: Rows = []
    subjects = {text: Subjects.make(prompt(text), AVATARS, judge, n, seed) for text in texts}
    for guide in asked:
        for text in texts:
            for k in range(seeds):
                editor = editors.get(text, k, **{**options, **guide})
                there = subjects[text]
                found, _, _ = there.judge(returned(editor)(there.images, 1.0), judge)
                people = {name: rounded(values) for name, values in found.items()}
                rows.append({"prompt": text, "seed": k, **guide, "people": people})
                CONSOLE.print(f"{guide} {text}: gain {mean([people['gain']]).value:.2f}")
    figures, intervals = {}, {}
    for name in GUIDANCES:
        found_gain = mean(_groups([r for r in rows if r["guidance"] == name and "fidelity" not in r], "gain"))
        figures[f"gain_{name}"] = found_gain.value
        intervals[f"gain_{name}"] = (found_gain.low, found_gain.high)
    default = DistillConfig()
    return {
        "figures": figures, "intervals": intervals, "rows": rows, "options": options,
        "default": {"guidance": default.guidance, "fidelity": default.fidelity},
    }  # fmt: skip


def _groups(rows: Rows, name: str) -> list[list[float]]:
    """A figure of every person and training, by prompt."""
    texts = list(dict.fromkeys(row["prompt"] for row in rows))
    return [[x for row in rows if row["prompt"] == text for x in row["people"][name]] for text in texts]


@app.command("guidance")
def guidance_command(
    n: N = None, seed: Seed = 5, quick: Quick = False, out: Out = OUT, kept: Kept = None,
    only: Annotated[list[str] | None, typer.Option("--prompt", help="Only these prompts; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each.", min=1)] = 1,
    steps: Annotated[int, typer.Option(help="Training steps of every editor.", min=1)] = FEW["steps"],
) -> None:  # fmt: skip
    """The guidances against each other, on validation people (seed 5)."""
    n = n or (4 if quick else 12)
    domain = embedded()
    some: dict[str, Any] = {"texts": tuple(only or TEXTS), "seeds": seeds, "steps": steps}
    if quick:
        some |= {"texts": TEXTS[:1], "steps": min(steps, 4), "images": 8, "fidelities": FIDELITIES[:1]}
    found = guiding(domain, Judge.load(), Editors(kept_folder(kept), domain), n, seed, **some)
    finish(NAME, found, n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    rows, options = part["rows"], part["options"]
    texts = dict.fromkeys(row["prompt"] for row in rows)
    seeds = len({row["seed"] for row in rows})
    default = part["default"]

    def body(of: Rows, label: str) -> list[str]:
        return [label, *(estimate(mean(_groups(of, name)), unit) for name, (unit, _) in MAIN.items())]

    head = [heading for _, heading in MAIN.values()]
    plain = [r for r in rows if "fidelity" not in r]
    swept = [r for r in rows if "fidelity" in r]
    lines = [
        "## Guidance",
        "",
        measured_by(part),
        "",
        f"{len(texts)} prompts ({', '.join(texts)}), {seeds} training{'s' * (seeds > 1)} of each, "
        f"{options['steps']} steps on {options['images']} pictures, everything else as by default, at strength 1; the "
        f"default is {default['guidance']}. Columns as under *Editors*; intervals are over prompts and people.",
        "",
        *table(["guidance", *head], [body([r for r in plain if r["guidance"] == g], g) for g in GUIDANCES]),
    ]
    if swept:
        weights = sorted({r["fidelity"] for r in swept})
        lines += [
            "",
            f"dds with each weight k of its fidelity term, ε₀ − ε'₀, which is {default['fidelity']:g} by default:",
            "",
            *table(["k", *head], [body([r for r in swept if r["fidelity"] == k], f"{k:g}") for k in weights]),
        ]
    return lines
