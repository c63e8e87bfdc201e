"""Methods against each other, each at the value of its knob that validation chose.

Validation people choose (`sdd.evaluate.tables.methods.best`), other people are reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sdd.evaluate.bench.cells import Bench
from sdd.evaluate.bench.experiment import Found
from sdd.evaluate.bench.points import REPORTED, VALIDATING, VALIDATION, Way, chosen, groups, points, training_seconds
from sdd.evaluate.intervals import Mean, difference, mean
from sdd.evaluate.markdown import estimate, table
from sdd.evaluate.trial import Rows

COLUMNS = {
    "success": ("%", "success"), "side_effects": ("%", "side effects"), "editability": ("", "editability"),
    "fidelity": ("dB", "fidelity"), "gain": ("", "gain"), "drift": ("", "drift, px"), "clip": ("", "CLIP"),
    "directional": ("", "directional CLIP"),
}  # fmt: skip
LAID = ("editability", "fidelity", "gain", "side_effects")


def at_best(bench: Bench, what: str, asked: Sequence[Way], texts: Sequence[str], n: int, few: bool) -> Found:
    """Points of other people at the knobs that validation chose, and what each costs."""
    apart = VALIDATING[few]
    tried = points(bench, f"{what}, validation", asked, texts, apart, VALIDATION, few=few)
    knobs = chosen(tried)
    rows = points(bench, what, asked, texts, n, REPORTED, {key: [value] for key, value in knobs.items()})
    costs = {}
    for way in asked:
        spent = [training_seconds(bench, way, text) for text in texts]
        spent = [x for x in spent if not math.isnan(x)]
        took = [row["seconds"] for row in rows if row["way"] == way.label and "why" not in row]
        if took:
            train = 0.0 if way.training_free else sum(spent) / len(spent) if spent else math.nan
            costs[way.label] = [None if math.isnan(train) else train, sum(took) / len(took)]
    return {
        "rows": rows, "n": n, "prompts": list(texts), "people_seed": REPORTED, "validation_seed": VALIDATION,
        "validation_n": apart,
        "costs": costs, "labels": [way.label for way in asked],
    }  # fmt: skip


def lead(rows: Rows, one: str, other: str, figure: str, part: str = "people") -> Mean:
    """By how much a figure is larger for one way than for another, over the prompts that both were measured on."""
    both = [row["prompt"] for row in rows if row["way"] == one and "why" not in row]
    both = [t for t in both if any(row["prompt"] == t and row["way"] == other and "why" not in row for row in rows)]
    some = [row for row in rows if row["prompt"] in both]
    return difference(groups(some, one, figure, part), groups(some, other, figure, part))


def said(found: Found) -> str:
    """How many people of which seeds, in a sentence."""
    texts = found["prompts"]
    return (
        f"{len(texts)} prompts ({', '.join(texts)}), {found['n']} people each of seed {found['people_seed']}; the "
        f"value of each knob was chosen on {found['validation_n']} people of seed {found['validation_seed']}. "
        "Columns are explained in [avatars.md](../avatars.md); 95 % bootstrap intervals over prompts and people. FID "
        "and KID of fewer than 50 pictures carry no meaning and are left out."
    )


def tables(found: Found) -> list[str]:
    """Everything of each method; then its edits laid into the source."""
    rows, body, laid = found["rows"], [], []
    sets = [name for name in ("fid", "kid") if any(name in row for row in rows)]
    for label in found["labels"]:
        there = [row for row in rows if row["way"] == label and "why" not in row]
        if not there:
            continue
        knobs = ", ".join(f"{row['knob']:g}" for row in there)
        cells = [estimate(mean(groups(rows, label, name)), unit) for name, (unit, _) in COLUMNS.items()]
        cells += [f"{sum(row[name] for row in there) / len(there):.4f}" for name in sets]
        body.append([label, knobs, *cells])
        laid.append([label, *(estimate(mean(groups(rows, label, x, "laid")), COLUMNS[x][0]) for x in LAID)])
    head = [
        "method",
        "knob",
        *(heading for _, heading in COLUMNS.values()),
        *(f"{name.upper()}, judge's features" for name in sets),
    ]
    return [
        *table(head, body),
        "",
        "The same edits laid into the source by the package's own blend, for every method alike:",
        "",
        *table(["method", *(COLUMNS[x][1] for x in LAID)], laid),
        "",
        *missing(found),
    ]


def missing(found: Found) -> list[str]:
    """What could not be measured, a line a reason."""
    reasons = dict.fromkeys(f"* {row['way']}: {row['why']}" for row in found["rows"] if "why" in row)
    return [*reasons, ""] if reasons else []
