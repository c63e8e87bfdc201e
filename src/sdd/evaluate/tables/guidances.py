"""The guidances against each other."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.domains.embedded import embedded
from sdd.evaluate.command import OUT, Kept, N, Out, Quick, Seed, app, finish, kept_folder
from sdd.evaluate.judge import Judge
from sdd.evaluate.kept_editors import Editors
from sdd.evaluate.prompts import prompt
from sdd.evaluate.tables.scores import HQS_PROMPTS, strength_table
from sdd.evaluate.trial import Rows, Subjects, strength_curve
from sdd.guidance import GUIDANCES
from sdd.training.config import DistillConfig

if TYPE_CHECKING:
    from sdd.domains.domain import Domain


def guiding(
    domain: Domain, judge: Judge, editors: Editors, n: int, seed: int, texts: Sequence[str] = HQS_PROMPTS,
    **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """The guidances against each other, everything else as by default: the strength curve of each prompt's editor."""
    curves: Rows = []
    for name in GUIDANCES:
        for text in texts:
            there = Subjects.make(prompt(text), domain, judge, n, seed)
            editor = editors.get(text, seed, guidance=name, **options)
            curve = strength_curve(editor, there, domain, judge)
            curves.append({"guidance": name, "prompt": text, "steps": editor.info.figures["steps"], "curve": curve})
    figures = {}
    for name in GUIDANCES:
        mine = [c["curve"] for c in curves if c["guidance"] == name]
        figures[f"gain_{name}"] = statistics.fmean(max(p["gain"] for p in curve) for curve in mine)
    return {"figures": figures, "curves": curves, "default": DistillConfig().guidance}


@app.command("guidance")
def guidance_command(n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None) -> None:
    """The guidances against each other."""
    n = n or (6 if quick else 16)
    domain = embedded()
    some: dict[str, Any] = {"texts": HQS_PROMPTS[:1], "steps": 20} if quick else {}
    finish("guidance", guiding(domain, Judge.load(), Editors(kept_folder(kept), domain), n, seed, **some), n, seed, out)


def guidance_section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    f = part["figures"]
    names = list(dict.fromkeys(c["guidance"] for c in part["curves"]))
    order = sorted(names, key=lambda n: -f[f"gain_{n}"])
    ranking = " > ".join(f"{name} {f['gain_' + name]:.2f}" for name in order)
    texts = dict.fromkeys(c["prompt"] for c in part["curves"])
    return [
        "## Guidance",
        "",
        f"Mean over {len(texts)} prompts ({', '.join(texts)}) of gain / editability / fidelity (dB) at each strength, "
        f"everything else as by default. By best gain: {ranking}; the "
        f"default is {part['default']}.",
        "",
        *strength_table("guidance", names, part["curves"]),
    ]
