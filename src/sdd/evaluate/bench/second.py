"""arXiv 2304.04344: effdiff against DiffusionCLIP, as ratios of time and memory; what effdiff rests on
(`sdd.evaluate.bench.encoding`); and what its training makes of the one-step estimate (`sdd.evaluate.bench.estimates`).

Both fine-tune an unconditional diffusion model; the avatars' comes from `recipes/ddpm.py`, and without it there is
nothing to measure. Each training runs in a process of its own, whose peak memory is what the system saw.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

from sdd.errors import SddError, one_line
from sdd.evaluate.bench import estimates
from sdd.evaluate.bench.cells import Bench, Cell
from sdd.evaluate.bench.encoding import DECODED, INVERTED, NOTHING, T0, directions, encodings
from sdd.evaluate.bench.experiment import Experiment, Found, Size, claim, texts_of
from sdd.evaluate.bench.points import Way, used
from sdd.evaluate.intervals import mean
from sdd.evaluate.markdown import estimate, table
from sdd.evaluate.trial import Rows
from sdd.methods import effdiff

METHODS = ("diffusionclip", "effdiff")
SINGLE = "effdiff, single image"
PAPER = {"train": (4.5, 10.0), "edit": (8.0, 8.0), "memory": (3.0, 3.0)}  # ratios that the paper reports
CODE = """
import json, resource, sys, time
from sdd import methods
from sdd.domains.embedded import embedded
from sdd.methods.effdiff import EffDiff
from sdd.methods.of_domain import models_of
name, text = sys.argv[1:3]
domain = embedded(); models = models_of(domain)
method = EffDiff(single=True) if "single" in name else methods.get(name)
for role in method.card.needs: models.get(role, method.card.name)
began = time.process_time()
fitted = method.fit(text, "", domain, models)
train = time.process_time() - began
images = domain.images(4, 0, "test")
began = time.process_time()
fitted.edit(images)
edit = (time.process_time() - began) / len(images)
print(json.dumps({"train": train, "edit": edit, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def measure(bench: Bench, size: Size) -> Found:
    """Seconds to train and to edit, and peak memory, of both; encodings, directions and one-step estimates."""
    texts = texts_of(size, ("white hair",), ("white hair", "smile", "sunglasses"))
    rows: list[Cell] = []
    for name in (*METHODS, SINGLE):
        way = Way(name, name.split(",")[0])
        cells: list[Cell] = [{"second": name, "prompt": text} for text in texts]
        try:
            bench.models.get("ddpm", way.name)
        except SddError as error:
            rows += [cell | {"why": str(error)} for cell in cells]
            continue
        rows += bench.measured("second", cells, _apart, lambda cell, way=way: used(bench, way))  # type: ignore[misc]
    n = size.n or (8 if size.quick else 64)
    missing = all("why" in row for row in rows)
    back = [] if missing else encodings(bench, n)
    seen = [] if missing else directions(bench, texts, n)
    better = [] if missing else estimates.estimates(bench, texts)
    return {
        "rows": rows, "encodings": back, "directions": seen, "estimates": better, "prompts": list(texts), "n": n,
        "claims": claims(rows) + ([] if missing else kept(back, seen) + estimates.claims(better)),
    }  # fmt: skip


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


def kept(back: Rows, seen: Rows) -> list[Found]:
    """What of a picture and of CLIP's direction is left at effdiff's own t₀."""
    t0 = effdiff.PUBLISHED.t0
    once, inverted = (
        mean([row["psnr"] for row in back if row["t0"] == t0 and (row["encoding"] == NOTHING) is stochastic])
        for stochastic in (True, False)
    )
    alike, one = (mean([row[pair] for row in seen if row["t0"] == t0]) for pair in ("blurred alike", "one blurred"))
    sharper = alike.low > one.high
    return [
        claim(
            f"one shot of noise keeps a picture as well as {INVERTED} steps of inversion do (t₀ = {t0}, dB less)",
            inverted.value - once.value, None if math.isnan(once.low) else once.high >= inverted.low,
            f"{once.value:.1f} dB for {inverted.value:.1f}, decoded in {DECODED} steps",
        ),
        claim(
            f"CLIP sees the same change between pictures that are blurred alike (cosine with the sharp one, t₀ = {t0})",
            alike.value, alike.low > 0.5, "one-step estimates of a person and of the right answer", alike,
        ),
        claim(
            "and no longer where one alone is blurred (the same cosine)", one.value, sharper,
            "a person as it is, and the one-step estimate of the right answer, as effdiff trains", one,
        ),
    ]  # fmt: skip


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
        *_rests_on(found),
        *estimates.section(found["estimates"]),
    ]


def _rests_on(found: Found) -> list[str]:
    """The tables of `sdd.evaluate.bench.encoding`."""
    ways, pairs = (NOTHING, f"{INVERTED} steps"), ("blurred alike", "one blurred")

    def back(t0: int, way: str) -> list[list[float]]:
        return [r["psnr"] for r in found["encodings"] if (r["t0"], r["encoding"]) == (t0, way)]

    def seen(t0: int, pair: str) -> list[list[float]]:
        return [r[pair] for r in found["directions"] if r["t0"] == t0]

    return [
        f"What comes back of {found['n']} people's pictures, encoded up to t₀ in one shot of noise or by inversion, "
        f"and decoded in {DECODED} steps, nothing being edited:",
        "",
        *table(["t₀", *ways], [[str(t0), *(estimate(mean(back(t0, way)), "dB") for way in ways)] for t0 in T0]),
        "",
        "The cosine between the change that CLIP sees from a person to the right answer, and the change it sees where "
        "both are one-step estimates from t₀, or the right answer alone is:",
        "",
        *table(["t₀", *pairs], [[str(t0), *(estimate(mean(seen(t0, pair)), "") for pair in pairs)] for t0 in T0]),
        "",
    ]


def plot(found: Found, path: Path) -> None:
    """One-step estimates over updates, as a PNG."""
    estimates.plot(found["estimates"], path)


EXPERIMENT = Experiment("second", "effdiff against DiffusionCLIP", measure, section, plot)
