"""A search that ends sooner against one that looks at all pictures: what it spares, and whether S is the same."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.beyond.sooner import decided
from sdd.domains.embedded import embedded
from sdd.evaluate import metrics
from sdd.evaluate.command import CONSOLE, OUT, N, Out, Quick, Seed, app, finish
from sdd.evaluate.intervals import mean
from sdd.evaluate.markdown import estimate, measured_by, table
from sdd.evaluate.prompts import PROMPTS
from sdd.evaluate.trial import Rows
from sdd.paper.hqs import HQS
from sdd.paper.search import search
from sdd.teachers.load import load_teacher
from sdd.training.config import DistillConfig

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.teachers.protocol import Teacher

NAME, EDITION = "sooner", 1
MORE = (
    "brown hair", "curly hair", "a sun hat", "a beanie", "a hijab", "tongue out", "screaming", "closed eyes", "winking",
    "heart eyes", "a moustache", "green clothes",
)  # fmt: skip
PRESETS, SURE, BATCH, STRATEGY = ("paper", "default"), (0.9, 0.95, 0.98), 16, "above:0"
AGREES, SPARES = 0.95, 0.30  # the bar: this share of decisions, for this share of evaluations


def prefix(scores: HQS, sure: float) -> HQS:
    """What a search that ends sooner has of these scores: pictures do not depend on each other."""
    enough = decided(STRATEGY, sure)
    for count in range(BATCH, len(scores.norm), BATCH):
        part = dataclasses.replace(scores, norm=scores.norm[:count], deficit=scores.deficit[:count])
        if enough(part):
            return part
    return scores


def comparing(domain: Domain, teacher: Teacher, n: int, seed: int, texts: Sequence[str]) -> dict[str, Any]:
    """Both searches for every prompt, under the paper's score and the default's."""
    images = domain.images(n, seed, "train")
    rows: Rows = []
    for preset in PRESETS:
        made = DistillConfig.make(preset)
        for text in texts:
            whole = search(
                teacher, images, text, gradient=made.search_gradient, scale=made.search_scale,
                weighted=made.search_weighted, seed=seed, batch=BATCH,
            )  # fmt: skip
            wanted = _above(whole)
            for sure in SURE:
                part = prefix(whole, sure)
                found = _above(part)
                same = statistics.fmean((t in found) == (t in wanted) for t in whole.timesteps)
                rows.append(
                    {
                        "preset": preset, "prompt": text, "sure": sure, "share": len(part.norm) / n, "decisions": same,
                        "jaccard": metrics.jaccard(sorted(found), sorted(wanted)),
                    }
                )  # fmt: skip
            shares = ", ".join(f"{row['share']:.0%}" for row in rows[-len(SURE) :])
            CONSOLE.print(f"{preset}, {text}: {shares}")
    figures = {}
    for preset in PRESETS:
        for sure in SURE:
            here = [row for row in rows if row["preset"] == preset and row["sure"] == sure]
            for name in ("share", "decisions", "jaccard"):
                figures[f"{preset}_{sure:g}_{name}"] = statistics.fmean(row[name] for row in here)
    return {"figures": figures, "rows": rows}


def _above(scores: HQS) -> set[int]:
    return {t for t, score in zip(scores.timesteps, scores.score.tolist(), strict=True) if score > 0}


@app.command("sooner")
def sooner_command(n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT) -> None:
    """A search that ends sooner against one of all pictures; -n pictures of the training split."""
    texts = [*(p.text for p in PROMPTS), *MORE]
    n = n or (32 if quick else 128)
    domain = embedded()
    found = comparing(domain, load_teacher(domain.teacher), n, seed, texts[::8] if quick else texts)
    finish(NAME, found, n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    rows, body = part["rows"], []
    for preset in PRESETS:
        for sure in SURE:
            here = [row for row in rows if row["preset"] == preset and row["sure"] == sure]
            cells = [estimate(mean([[row[name]] for row in here]), unit) for name, unit in
                     (("share", "%"), ("decisions", "%"), ("jaccard", ""))]  # fmt: skip
            holds = [statistics.fmean(row[name] for row in here) for name in ("share", "decisions")]
            met = "yes" if holds[0] <= SPARES and holds[1] >= AGREES else "no"
            body.append([f"`{preset}`", f"{sure:g}", *cells, met])
    count = len({row["prompt"] for row in rows})
    return [
        "## A search that ends sooner",
        "",
        measured_by(part, "pictures"),
        "",
        f"With `search_sure` (`sdd.beyond.sooner`) a search looks at {BATCH} pictures at a time until that share of "
        f"its decisions (is t in S, is its score above ξ = 0?) is expected to stay as it is. Against a search of all "
        f"{part['n']}, over {count} prompts: the share of its evaluations, of the {19 * count} decisions that are the "
        f"same, and the Jaccard index of the two S. The bar is at least {AGREES:.0%} of the decisions for at most "
        f"{SPARES:.0%} of the evaluations.",
        "",
        *table(["score of", "sure", "evaluations", "same decisions", "Jaccard", "met"], body),
        "",
    ]
