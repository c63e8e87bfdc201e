"""What the hybrid quality score chooses, as Equation 8 prints it and with each of its variants."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdd.domains.embedded import embedded
from sdd.evaluate import metrics
from sdd.evaluate.command import CONSOLE, OUT, N, Out, Quick, Seed, app, finish, listed
from sdd.evaluate.markdown import measured_by, table
from sdd.evaluate.tables.scores import HQS_PROMPTS
from sdd.evaluate.trial import Rows, rounded
from sdd.paper.search import Gradient, search
from sdd.paper.timesteps import timestep_set
from sdd.teachers.load import load_teacher
from sdd.training.config import DistillConfig

if TYPE_CHECKING:
    from sdd.domains.domain import Domain

NAME, EDITION = "search", 1
GRADIENTS: tuple[Gradient, ...] = ("image", "latent")
WEIGHTED, SCALES = (False, True), (1.0, 5.0, 100.0)


def searching(
    domain: Domain, n: int, seed: int, texts: Sequence[str] = HQS_PROMPTS, scales: Sequence[float] = SCALES
) -> dict[str, Any]:
    """Scores, S (those above 0) and seconds of every variant, and how far its S agrees with Equation 8's."""
    teacher = load_teacher(domain.teacher)
    images = domain.images(n, seed, "train")
    rows: Rows = []
    for text in texts:
        printed: list[int] = []
        for gradient, weighted, scale in itertools.product(GRADIENTS, WEIGHTED, scales):
            began = time.perf_counter()
            found = search(teacher, images, text, gradient=gradient, scale=scale, weighted=weighted, seed=seed)
            seconds = time.perf_counter() - began
            chosen = timestep_set(found, "above:0", teacher.num_timesteps)
            if (gradient, weighted, scale) == (GRADIENTS[0], WEIGHTED[0], SCALES[0]):
                printed = chosen
            rows.append(
                {
                    "prompt": text, "gradient": gradient, "weighted": weighted, "scale": scale,
                    "timesteps": list(found.timesteps), "scores": rounded(found.score.tolist()), "chosen": chosen,
                    "agreement": metrics.jaccard(chosen, printed), "seconds": round(seconds, 2),
                }
            )  # fmt: skip
            CONSOLE.print(f"{text}, {gradient}, w {weighted}, scale {scale:g}: {listed(chosen)} in {seconds:.1f} s")
    default = DistillConfig()
    used = [default.search_gradient, default.search_weighted, default.search_scale]
    figures = {
        "agreement": statistics.fmean(row["agreement"] for row in rows if _variant(row) == tuple(used)),
        "differ_printed": float(_distinct(rows, (GRADIENTS[0], WEIGHTED[0], SCALES[0]))),
        "differ_default": float(_distinct(rows, tuple(used))),
    }  # fmt: skip
    return {"figures": figures, "rows": rows, "default": used}


def _variant(row: dict[str, Any]) -> tuple[str, bool, float]:
    return row["gradient"], row["weighted"], row["scale"]


def _distinct(rows: Rows, variant: tuple[Any, ...]) -> int:
    """How many different S a variant gives over the prompts."""
    return len({tuple(row["chosen"]) for row in rows if _variant(row) == variant})


@app.command("search")
def search_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT,
    only: Annotated[list[str] | None, typer.Option("--prompt", help="Only these prompts; may be repeated.")] = None,
) -> None:  # fmt: skip
    """S of every variant of the hybrid quality score; -n pictures of the training split."""
    n = n or (2 if quick else DistillConfig().search_images)
    texts = tuple(only or (HQS_PROMPTS[:2] if quick else HQS_PROMPTS))
    finish(NAME, searching(embedded(), n, seed, texts), n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    rows = part["rows"]
    texts = list(dict.fromkeys(row["prompt"] for row in rows))
    variants = list(dict.fromkeys(_variant(row) for row in rows))
    used, printed = tuple(part["default"]), (GRADIENTS[0], WEIGHTED[0], SCALES[0])
    body = []
    for variant in variants:
        here = [row for row in rows if _variant(row) == variant]
        gradient, weighted, scale = variant
        mark = " (Equation 8)" if variant == printed else " (default)" if variant == used else ""
        body.append(
            [
                f"{gradient}{mark}", "w(t)" if weighted else "–", f"{scale:g}",
                *(_brief(next(row["chosen"] for row in here if row["prompt"] == text)) for text in texts),
                f"{statistics.fmean(row['agreement'] for row in here):.2f}",
                f"{statistics.fmean(row['seconds'] for row in here):.1f} s",
            ]
        )  # fmt: skip
    return [
        "## What the search finds",
        "",
        measured_by(part, "pictures"),
        "",
        "S, the timesteps whose hybrid quality score is above 0, of those from 50 to 950 in steps of 50. Equation 8 "
        "takes the gradient of the conditional prediction's residual on the *image*, without w(t) and without a "
        "guidance scale; the variants take it on the *latent*, weigh it by w(t), and guide it. *Agreement* is the "
        "Jaccard index of S with Equation 8's (1: the same timesteps; 0: none in common), averaged over prompts; "
        f"seconds are of one search on {part['n']} pictures.",
        "",
        *table(["gradient", "weight", "scale", *texts, "agreement", "seconds"], body),
        "",
        _said(rows, printed, used, len(texts)),
    ]


def _said(rows: Rows, printed: tuple[Any, ...], used: tuple[Any, ...], count: int) -> str:
    """What the figures say of the score as printed and of the default, in a paragraph."""
    sets = [row["chosen"] for row in rows if _variant(row) == printed]
    shared = set.intersection(*map(set, sets))
    everywhere = set.union(*map(set, sets))
    agreement = statistics.fmean(row["agreement"] for row in rows if _variant(row) == used)
    same = _distinct(rows, printed)
    lines = f"As printed, the score chooses {same} different S for {count} prompts"
    lines += f": {_brief(sorted(shared))} for every one" if same == 1 else (
        f", between them {_brief(sorted(everywhere))}, with {_brief(sorted(shared)) or 'nothing'} in all"
    )  # fmt: skip
    lines += f"; the default's chooses {_distinct(rows, used)}. The two agree to {agreement:.2f}."
    if max(everywhere) <= 250:
        lines += (
            " A denoiser's residual is largest where there is little noise, whatever the prompt, and without w(t) and "
            "scale that residual drowns what the prompt says: on this teacher the score as printed tells prompts "
            "hardly apart, and the default is a departure from the paper, not an implementation of it."
        )
    return lines


def _brief(steps: Sequence[int]) -> str:
    """Timesteps in multiples of 50, runs shortened: 50–200, 400."""
    runs: list[list[int]] = []
    for t in steps:
        if runs and t - runs[-1][-1] == 50:
            runs[-1].append(t)
        else:
            runs.append([t])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
