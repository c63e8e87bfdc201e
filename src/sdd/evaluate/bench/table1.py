"""Table 1 of arXiv 2307.08448: SDD and the diffusion methods, and what each costs (Equations 13 to 15)."""

from __future__ import annotations

import math
from pathlib import Path

from sdd.evaluate.bench.at_best import at_best, lead, said, tables
from sdd.evaluate.bench.cells import Bench
from sdd.evaluate.bench.costs import CALLS, COST_HEAD, Cost, cost_rows, real_sizes
from sdd.evaluate.bench.experiment import Experiment, Found, Size, claim, figure, save, texts_of, verdict
from sdd.evaluate.bench.points import Way
from sdd.evaluate.intervals import mean
from sdd.evaluate.markdown import table
from sdd.evaluate.prompts import PROMPTS
from sdd.paper.cost import break_even
from sdd.training.config import DistillConfig

QUICK_TEXTS = ("white hair", "sunglasses", "smile")
OWN, PAPER = "sdd", "sdd, preset paper"
OTHERS = ("sdedit", "sdedit-ft", "ddib", "diffae")
SHORT = {"preset": "paper", "steps": 120, "images": 128, "search_images": 8}  # of the preset, in a quick run
BARS = {"toy": 60, "real": 10, "speed-up": 8.0}


def measure(bench: Bench, size: Size) -> Found:
    """Every method at its best knob, and its costs."""
    texts = texts_of(size, QUICK_TEXTS, tuple(p.text for p in PROMPTS))
    names = size.methods or (tuple(x for x in (OWN, *OTHERS) if not (size.quick and x == "sdedit-ft")))
    asked = [Way(OWN, OWN)] if OWN in names else []
    if not size.methods or PAPER in size.methods:
        asked.append(Way(PAPER, OWN, SHORT if size.quick else {"preset": "paper"}))
    asked += [Way(name, name) for name in names if name not in (OWN, PAPER)]
    found = at_best(bench, "table1", asked, texts, size.n or (8 if size.quick else 64), size.quick)
    found["calls"] = dict(size.calls)
    return found | {"claims": claims(found)}


def costs_of(found: Found) -> list[Cost]:
    """What each method costs, as measured."""
    return [Cost(k, math.nan if v[0] is None else v[0], v[1]) for k, v in found["costs"].items()]


def _whole_sdedit(found: Found) -> float:
    """Seconds of all 50 steps of SDEdit, from those that its chosen noise levels run."""
    there = [row for row in found["rows"] if row["way"] == "sdedit" and "why" not in row]
    return sum(row["seconds"] / row["knob"] for row in there) / len(there) if there else math.nan


def claims(found: Found) -> list[Found]:
    """The paper's claims of quality and of time, with our figures."""
    rows, made = found["rows"], []
    for label in found["labels"]:
        if label in (OWN, PAPER):
            continue
        for part, how in (("people", "as each gives it back"), ("laid", "all laid into the source")):
            gap = lead(rows, OWN, label, "gain", part)
            if not math.isnan(gap.value):
                holds = verdict(gap)
                what = f"SDD is nearer to what was asked than {label} (gain, {how})"
                made.append(claim(what, gap.value, holds, "difference of gains, each at its best knob", gap))
    costs = {cost.label: cost for cost in costs_of(found)}
    if OWN in costs and "sdedit" in costs and not math.isnan(costs[OWN].train):
        own, even = costs[OWN], break_even(costs[OWN].train, costs[OWN].infer, costs["sdedit"].infer)
        ratio = 1000 * _whole_sdedit(found) / own.total(1000, 1)
        made += [
            claim(f"training pays from at most {BARS['toy']} pictures on, against SDEdit, with the embedded teacher",
                  even, even <= BARS["toy"], "Equation 15 with measured processor seconds; SDEdit at its best knob"),
            claim(f"1000 pictures take SDD at most 1/{BARS['speed-up']:g} of the time of SDEdit with 50 steps", ratio,
                  ratio >= BARS["speed-up"], "Equations 13 and 14 with measured processor seconds", unit="×"),
        ]  # fmt: skip
    if found["calls"]:
        real = {cost.label: cost for cost in _real(found)}
        for label, cost in real.items():
            if cost.train:
                even = break_even(cost.train, cost.infer, real["SDEdit, 50 steps"].infer)
                why = "a step of training draws, encodes and goes back, too, for every picture of its batch"
                what = f"training pays from at most {BARS['real']} pictures on at real sizes ({label})"
                made.append(
                    claim(
                        what,
                        even,
                        even <= BARS["real"],
                        f"counted in calls of each network, against SDEdit with 50 steps; {why}",
                    )
                )
    return made


def _real(found: Found) -> list[Cost]:
    settings = {"default": DistillConfig.make(None), "paper": DistillConfig.make("paper")}
    return real_sizes(found["calls"], settings)


def section(found: Found) -> list[str]:
    """The part of a page."""
    costs = costs_of(found)
    base = next((cost for cost in costs if cost.label == "sdedit"), None)
    lines = [said(found), ""]
    if PAPER in found["labels"] and found["quick"]:
        lines += [f"*{PAPER}*: with {SHORT['steps']} steps instead of 4000, so that it says nothing of the preset.", ""]
    lines += [*tables(found), "## What it costs", ""]
    if base is not None:
        lines += [
            "Equations 13 to 15 with measured seconds; on a CPU they are the processor's, which other work on the "
            f"machine does not lengthen. The last column is against SDEdit, {base.infer:.2f} s an edit at the knob it "
            "is best at.",
            "",
            *table(COST_HEAD, cost_rows(costs, base)),
            "",
        ]
    if found["calls"]:
        real, calls = _real(found), ", ".join(f"{CALLS[k]} {v:g} s" for k, v in found["calls"].items())
        lines += [
            f"The same counted for Stable Diffusion 1.5 and StyleGAN2 at 1024 px, with these seconds of one call: "
            f"{calls}. Against SDEdit with 50 steps:",
            "",
            *table(COST_HEAD, cost_rows(real, real[1])),
            "",
        ]
    else:
        lines += ["Real sizes: give the seconds of one call of each network, `--call unet=0.03` and so on.", ""]
    return lines


def plot(found: Found, path: Path) -> None:
    """Gain and fidelity of each method; and time as a function of m."""
    made, axes = figure(11, 4.2, 2)
    left, right = axes[0]
    labels = [x for x in found["labels"] if any(r["way"] == x and "why" not in r for r in found["rows"])]
    for k, (part, shade) in enumerate((("people", "C0"), ("laid", "C1"))):
        gains = [mean([r[part]["gain"] for r in found["rows"] if r["way"] == x and "why" not in r]) for x in labels]
        places = [i + 0.2 * (2 * k - 1) for i in range(len(labels))]
        values = [max(g.value, -3.0) for g in gains]
        ends = [[v - max(g.low, -3.0), max(g.high, -3.0) - v] for v, g in zip(values, gains, strict=True)]
        name = "as given back" if part == "people" else "laid into the source"
        left.bar(places, values, 0.38, yerr=list(zip(*ends, strict=True)), color=shade, capsize=3, label=name)
    left.axhline(0, color="0.4", lw=0.8)
    left.set_xticks(range(len(labels)), labels, rotation=20, ha="right", fontsize=8)
    left.set_title("gain (bars end at −3)", fontsize=10)
    left.legend(fontsize=8)
    ms = [10 ** (k / 4) for k in range(0, 17)]
    for cost in costs_of(found):
        if not math.isnan(cost.train):
            right.plot(ms, [cost.train + m * cost.infer for m in ms], label=cost.label)
    right.set(xscale="log", yscale="log", xlabel="m, pictures of one prompt", ylabel="seconds, training included")
    right.set_title("Equations 13 and 14", fontsize=10)
    right.legend(fontsize=8)
    save(made, path)


EXPERIMENT = Experiment("table1", "SDD against the diffusion methods", measure, section, plot)
