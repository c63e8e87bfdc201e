"""Table 2 of arXiv 2307.08448: what teaches, with one generator: diffusion's guidance, or CLIP's."""

from __future__ import annotations

import math

from sdd.evaluate.bench.at_best import at_best, lead, said, tables
from sdd.evaluate.bench.cells import Bench
from sdd.evaluate.bench.experiment import Experiment, Found, Size, claim, texts_of, verdict
from sdd.evaluate.bench.points import ways
from sdd.evaluate.prompts import PROMPTS

METHODS = ("sdd", "styleclip", "stylegan-nada", "styleclip-global")
QUICK_TEXTS = ("white hair", "smile")


def measure(bench: Bench, size: Size) -> Found:
    """Every method at its best knob."""
    texts = texts_of(size, QUICK_TEXTS, tuple(p.text for p in PROMPTS))
    asked = ways(size.methods or METHODS)
    found = at_best(bench, "table2", asked, texts, size.n or (8 if size.quick else 64), size.quick)
    made = []
    for label in found["labels"]:
        gap = lead(found["rows"], "sdd", label, "gain", "laid") if label != "sdd" else None
        if gap is not None and not math.isnan(gap.value):
            holds = verdict(gap)
            why = "all edits laid into the source; the CLIP that teaches is the domain's own, as good as its card says"
            made.append(
                claim(f"diffusion's guidance teaches more than CLIP's ({label}: gain)", gap.value, holds, why, gap)
            )
    return found | {"claims": made}


def section(found: Found) -> list[str]:
    """The part of a page."""
    return [
        said(found),
        "",
        "All draw with one generator and its encoder; SDD and StyleCLIP train the same mapper for about as many steps "
        "on the same pictures, StyleGAN-NADA trains the generator.",
        "",
        *tables(found),
    ]


EXPERIMENT = Experiment("table2", "Diffusion's guidance against CLIP's", measure, section)
