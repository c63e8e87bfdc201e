"""The hybrid quality score against measured gain; strategies."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.editor import Editor
from sdd.evaluate import metrics
from sdd.evaluate.command import OUT, Kept, N, Out, Quick, Seed, app, finish, kept_folder
from sdd.evaluate.judge import Judge
from sdd.evaluate.kept_editors import Editors
from sdd.evaluate.markdown import measured_by, picture_line, table
from sdd.evaluate.plots import plot_gains
from sdd.evaluate.prompts import prompt
from sdd.evaluate.trial import STRENGTHS, Rows, Subjects, curve, mean_curve, returned
from sdd.training.config import DistillConfig

if TYPE_CHECKING:
    from sdd.domains.domain import Domain

NAME, EDITION = "hqs", 2
HQS_PROMPTS = ("white hair", "sunglasses", "dark skin", "a beard", "smile", "pink clothes")
HQS_TIMESTEPS = tuple(range(50, 1000, 100))
HQS_IMAGES = 32  # sources of each of its many trainings, to keep them short


def scoring(
    domain: Domain, judge: Judge, editors: Editors, n: int, seed: int, texts: Sequence[str] = HQS_PROMPTS,
    timesteps: Sequence[int] = HQS_TIMESTEPS, steps: int = 16, seeds: int = 3, **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """The hybrid quality score against what it promises.

    For each prompt an editor is trained at each single timestep, for equally many steps; its measured gain, the best
    along the strength curve, is ranked against HQS. Then `largest`, `above:ξ` (ξ = half the largest score) and `random`
    (any timestep) at equal steps: the whole curve, with several seeds.
    """
    from sdd.paper.search import search
    from sdd.teachers.load import load_teacher

    teacher = load_teacher(domain.teacher)
    sources = domain.images(DistillConfig().search_images, seed, "train")
    rows: Rows = []
    curves: Rows = []
    for text in texts:
        there = Subjects.make(prompt(text), AVATARS, judge, n, seed)
        settings = DistillConfig()
        scores = search(
            teacher, sources, text, gradient=settings.search_gradient, scale=settings.search_scale,
            weighted=settings.search_weighted, seed=seed,
        )  # fmt: skip
        at = {t: float(s) for t, s in zip(scores.timesteps, scores.score.tolist(), strict=True)}
        gains = {}
        for t in timesteps:
            editor = editors.get(text, seed, timesteps=f"list:{t}", steps=steps, images=HQS_IMAGES, **options)
            gains[t] = max(row["gain"] for row in _curve(editor, there, judge))
        rho = metrics.spearman([at[t] for t in timesteps], [gains[t] for t in timesteps])
        rows.append({"prompt": text, "spearman": rho, "hqs": {t: at[t] for t in timesteps}, "gain": gains})
        threshold = round(0.5 * float(scores.score.max()), 3)
        for name, strategy in (("largest", "largest"), ("above", f"above:{threshold}"), ("random", "random")):
            for k in range(seeds):
                editor = editors.get(text, seed + k, timesteps=strategy, steps=steps, images=HQS_IMAGES, **options)
                found = _curve(editor, there, judge)
                curves.append(
                    {
                        "prompt": text,
                        "strategy": name,
                        "seed": seed + k,
                        "timesteps": len(editor.info.timesteps),
                        "curve": found,
                    }
                )
    best = {
        name: statistics.fmean(max(p["gain"] for p in c["curve"]) for c in curves if c["strategy"] == name)
        for name in ("largest", "above", "random")
    } if curves else {}  # fmt: skip
    figures = {"spearman": statistics.fmean(r["spearman"] for r in rows), **{f"gain_{k}": v for k, v in best.items()}}
    return {"figures": figures, "rows": rows, "curves": curves, "steps": steps}


def _curve(editor: Editor, there: Subjects, judge: Judge) -> Rows:
    """Means over people at each strength above 0, at which nothing is done."""
    return mean_curve(curve(returned(editor), there, judge, STRENGTHS[1:]), STRENGTHS[1:])


@app.command("hqs")
def hqs_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, kept: Kept = None,
    steps: Annotated[int, typer.Option(help="Training steps of every editor.", min=1)] = 16,
    seeds: Annotated[int, typer.Option(help="Trainings of each strategy.", min=0)] = 3,
) -> None:  # fmt: skip
    """The hybrid quality score against measured gain, and the strategies against each other."""
    n = n or (6 if quick else 16)
    domain = embedded()
    some: dict[str, Any] = (
        {"texts": HQS_PROMPTS[:2], "timesteps": HQS_TIMESTEPS[1::2], "seeds": 1, "steps": min(steps, 20)}
        if quick
        else {"steps": steps, "seeds": seeds}
    )
    found = scoring(domain, Judge.load(), Editors(kept_folder(kept), domain), n, seed, **some)
    finish(NAME, found, n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page; figures whose gain is against the reconstruction are shown, and said to be so."""
    f = part["figures"]
    against = "source" if part.get("edition", 1) == EDITION else "unedited reconstruction, unlike in all other tables,"
    if pictures is not None:
        plot_gains(part, pictures / "hqs.png")
    rows = [
        [
            r["prompt"],
            f"{r['spearman']:+.2f}",
            str(_best(r["hqs"])),
            str(_best(r["gain"])),
            f"{max(r['gain'].values()):.2f}",
        ]
        for r in part["rows"]
    ]
    lines = [
        "## The hybrid quality score against the truth",
        "",
        measured_by(part),
        "",
        f"An editor trained at each single timestep for {part['steps']} steps, its measured gain (best along the "
        f"strength curve; against the {against} here) ranked against HQS: Spearman {f['spearman']:+.2f} on average. "
        "The paper claims it strongly positive.",
        "",
        *table(["prompt", "Spearman", "t of the largest HQS", "t of the largest gain", "that gain"], rows),
        "",
        *picture_line(pictures, "hqs.png", "HQS and measured gain of each timestep"),
    ]
    names = sorted({c["strategy"] for c in part["curves"]}, key=("largest", "above", "random").index)
    if not names:
        return lines
    order = sorted(names, key=lambda n: -f[f"gain_{n}"])
    seeds = len({c["seed"] for c in part["curves"]})
    return [
        *lines,
        "",
        f"Strategies at equal steps, {seeds} seeds, the timesteps sinking as by default: mean over prompts of gain / "
        f"editability / fidelity (dB) at each strength. By best gain: {' > '.join(order)}; the paper has largest > "
        "above > random.",
        "",
        *strength_table("strategy", names, part["curves"]),
    ]


def strength_table(kind: str, names: Sequence[str], curves: Sequence[dict[str, Any]]) -> list[str]:
    """A row for each of `names`: gain / editability / fidelity at each strength, averaged over its curves."""
    body = []
    for name in names:
        cells = []
        for at in zip(*(c["curve"] for c in curves if c[kind] == name), strict=True):
            gain, edit, keep = (statistics.fmean(p[x] for p in at) for x in ("gain", "editability", "fidelity"))
            cells.append(f"{gain:.2f} / {edit:.2f} / {keep:.1f}")
        body.append([name, *cells])
    return table([kind, *(f"{point['strength']:g}" for point in curves[0]["curve"])], body)


def _best(values: dict[str, float]) -> int:
    return int(max(values, key=lambda t: values[t]))
