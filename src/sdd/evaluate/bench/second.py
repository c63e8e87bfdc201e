"""arXiv 2304.04344: effdiff against DiffusionCLIP, as ratios of time and memory.

Both fine-tune an unconditional diffusion model; the avatars' comes from `recipes/ddpm.py`, and without it there is
nothing to measure. Each training runs in a process of its own, whose peak memory is what the system saw.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys

from sdd.errors import SddError, one_line
from sdd.evaluate.bench.cells import Bench, Cell
from sdd.evaluate.bench.experiment import Experiment, Found, Size, claim, texts_of
from sdd.evaluate.bench.points import Way, used
from sdd.evaluate.markdown import table

METHODS = ("diffusionclip", "effdiff")
PAPER = {"train": (4.5, 10.0), "edit": (8.0, 8.0), "memory": (3.0, 3.0)}  # ratios that the paper reports
CODE = """
import json, resource, sys, time
from sdd import methods
from sdd.domains.embedded import embedded
from sdd.methods.of_domain import models_of
name, text = sys.argv[1:3]
domain = embedded(); models = models_of(domain)
for role in methods.get(name).card.needs: models.get(role, name)
began = time.process_time()
fitted = methods.get(name).fit(text, "", domain, models)
train = time.process_time() - began
images = domain.images(4, 0, "test")
began = time.process_time()
fitted.edit(images)
edit = (time.process_time() - began) / len(images)
print(json.dumps({"train": train, "edit": edit, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def measure(bench: Bench, size: Size) -> Found:
    """Seconds to train and to edit, and peak memory, of both."""
    texts = texts_of(size, ("white hair",), ("white hair", "smile", "sunglasses"))
    rows: list[Cell] = []
    for name in METHODS:
        way = Way(name, name)
        cells: list[Cell] = [{"second": name, "prompt": text} for text in texts]
        try:
            bench.models.get("ddpm", name)
        except SddError as error:
            rows += [cell | {"why": str(error)} for cell in cells]
            continue
        rows += bench.measured("second", cells, _apart, lambda cell, way=way: used(bench, way))  # type: ignore[misc]
    return {"rows": rows, "prompts": list(texts), "claims": claims(rows)}


def _apart(cell: Cell) -> Cell:
    """A training and an edit in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, cell["second"], cell["prompt"]], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SddError(f"{cell['second']} failed: {one_line(done.stderr[-400:], 200)}")
    found: Cell = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def ratio(rows: list[Cell], what: str) -> float:
    """DiffusionCLIP's over effdiff's, averaged over prompts; nan where one was not measured."""
    sums = [sum(r[what] for r in rows if r["second"] == name and "why" not in r) for name in METHODS]
    return sums[0] / sums[1] if all(sums) else math.nan


def claims(rows: list[Cell]) -> list[Found]:
    """The paper's ratios."""
    made = []
    said = {"train": "trains faster", "edit": "edits faster", "memory": "needs less memory"}
    for what, (low, high) in PAPER.items():
        got = ratio(rows, what)
        span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        holds = None if math.isnan(got) else got >= low
        why = "DiffusionCLIP's over effdiff's"
        if math.isnan(got):
            why = "not measured with the avatars' unconditional diffusion model (recipes/ddpm.py makes it)"
        made.append(claim(f"effdiff {said[what]} than DiffusionCLIP, {span} times", got, holds, why, unit="×"))
    return made


def section(found: Found) -> list[str]:
    """The part of a page."""
    there = [row for row in found["rows"] if "why" not in row]
    if not there:
        return [f"Nothing could be measured: {found['rows'][0]['why']}.", ""]
    body = [
        [r["second"], r["prompt"], f"{r['train']:.0f} s", f"{r['edit']:.2f} s", f"{r['memory'] / 2**30:.2f} GiB"]
        for r in there
    ]
    return [
        "Processor seconds, and the peak of the process's memory, weights included.",
        "",
        *table(["method", "prompt", "to train", "an edit", "memory"], body),
        "",
    ]


EXPERIMENT = Experiment("second", "effdiff against DiffusionCLIP", measure, section)
