"""Figures 1 and 6: editability against fidelity, every method over its own knob, with the Pareto front and the area.

*Reach* of a method at a fidelity f is the largest editability that some value of its knob gives while keeping at least
f, values between the measured ones included; 0, the untouched picture, can always be had. The area is the mean of the
reach over `LEVELS`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdd import methods
from sdd.evaluate.bench.cells import Bench
from sdd.evaluate.bench.experiment import Experiment, Found, Size, claim, figure, save, texts_of, verdict
from sdd.evaluate.bench.points import (
    VALIDATING,
    VALIDATION,
    Curve,
    Way,
    bootstrap,
    common,
    curves,
    interval,
    points,
    ways,
)
from sdd.evaluate.intervals import Mean
from sdd.evaluate.markdown import estimate, table
from sdd.evaluate.prompts import PROMPTS

QUICK_TEXTS = ("white hair", "sunglasses", "smile")
TRAINING_FREE = ("sdedit", "ddib", "instruct-pix2pix", "styleclip-global", "null-text", "flowedit")
DIFFUSION = ("sdedit", "sdedit-ft", "ddib", "null-text", "flowedit", "instruct-pix2pix", "diffae")
LEVELS = np.arange(20.0, 46.0)  # dB
PAPER = 24.0  # dB, above which SDD is to lead
MOST = 55.0  # dB: beyond it nothing was done to speak of
PARTS = {"people": "as each method gives it back", "laid": "every edit laid into the source"}
TAUGHT = {"instruct-pix2pix": "; it alone was trained on right answers, for other people"}
OWN, DRAWN = "sdd", "sdd, as drawn"


def measure(bench: Bench, size: Size) -> Found:
    """Every point, and what the curves reach."""
    found = measured(bench, size)
    return found | summed(found)


def measured(bench: Bench, size: Size) -> Found:
    """Every point."""
    texts = texts_of(size, QUICK_TEXTS, tuple(p.text for p in PROMPTS))
    names = size.methods or (("sdd", *TRAINING_FREE) if size.quick else tuple(methods.available()))
    n = size.n or VALIDATING[size.quick]
    asked: list[Way] = ways(names)
    rows = points(bench, "fig1", asked, texts, n, VALIDATION, few=size.quick)
    return {"rows": rows, "n": n, "people_seed": VALIDATION, "prompts": list(texts)}


def summed(found: Found) -> Found:
    """Areas with intervals, and the claims."""
    areas: Found = {}
    claims = []
    for part in PARTS:
        some = _curves(found, part)
        if not some:
            continue
        whole, drawn = bootstrap(some, LEVELS)
        areas[part] = {}
        for curve, line, lines in zip(some, whole, drawn, strict=True):
            area = interval(float(line.mean()), lines.mean(1))
            areas[part][curve.label] = [area.value, area.low, area.high]
        claims += _claims(part, some, whole, drawn)
    return {"areas": areas, "claims": claims}


def _curves(found: Found, part: str) -> list[Curve]:
    """The curves of a part; beside SDD's that of its edits as they are drawn."""
    some = curves(found["rows"], part)
    if part == "people":
        some += [Curve(DRAWN, c.knobs, c.editability, c.fidelity) for c in curves(found["rows"], "drawn")]
    return common(some)


def _claims(part: str, some: list[Curve], whole: list[np.ndarray], drawn: list[np.ndarray]) -> list[Found]:
    labels = [curve.label for curve in some]
    others = [label for label in labels if label in DIFFUSION]
    if OWN not in labels or not others:
        return []
    own, rows = whole[labels.index(OWN)], []
    for label in others:
        k = labels.index(label)
        above = (LEVELS >= PAPER) & ((own > 0.01) | (whole[k] > 0.01))  # where neither does anything nobody leads
        if not above.any():
            continue
        lead = (own - whole[k])[above]
        resampled = (drawn[labels.index(OWN)] - drawn[k])[:, above].min(1)
        least = interval(float(lead.min()), resampled)
        at = LEVELS[above][int(lead.argmin())]
        rows.append(
            claim(
                f"SDD's editability is above {label}'s at every fidelity from {PAPER:g} to {LEVELS[-1]:g} dB "
                f"({PARTS[part]})",
                least.value, verdict(least), f"the smallest lead, at {at:g} dB{TAUGHT.get(label, '')}", least,
            )
        )  # fmt: skip
    return rows


def section(found: Found) -> list[str]:
    """The part of a page."""
    some = _curves(found, "people")
    texts = list(some[0].editability) if some else found["prompts"]
    lines = [
        f"{len(texts)} prompts ({', '.join(texts)}), {found['n']} held-out people each (seed "
        f"{found['people_seed']}). Editability is 1 for the exact edit and 0 for nothing done, fidelity the PSNR of "
        f"what should not change. *Area*: the editability that can be had at a fidelity of at least f, averaged over f "
        f"from {LEVELS[0]:g} to {LEVELS[-1]:g} dB; in brackets 95 % bootstrap intervals over prompts and people. *Laid "
        "in*: the method's edit, laid into the source by the package's own blend, which takes away what a method loses "
        "by drawing the picture anew. SDD's defaults and the blend were chosen on people of this seed, so that its "
        "curve may flatter a little; instruct-pix2pix was trained on right answers for other people, as no other was.",
        "",
    ]
    labels = list(dict.fromkeys(label for areas in found["areas"].values() for label in areas))
    body = []
    for label in sorted(labels, key=lambda x: -found["areas"].get("people", {}).get(x, [0])[0]):
        cells = [
            estimate(Mean(*found["areas"][part][label]), "") if label in found["areas"].get(part, {}) else "–"
            for part in PARTS
        ]
        body.append([label, *cells])
    lines += [*table(["method", *(f"area, {said}" for said in PARTS.values())], body), ""]
    lines += ["Every point, means over prompts and people:", ""]
    body = []
    for curve in some:
        f, e = curve.means()
        laid = next((c for c in _curves(found, "laid") if c.label == curve.label), None)
        fl, el = laid.means() if laid is not None else (np.full_like(f, np.nan), np.full_like(e, np.nan))
        for k, knob in enumerate(curve.knobs):
            more = [f"{fl[k]:.1f} dB", f"{el[k]:.2f}"] if laid is not None else ["–", "–"]
            body.append([curve.label, f"{knob:g}", f"{f[k]:.1f} dB", f"{e[k]:.2f}", *more])
    head = ["method", "knob", "fidelity", "editability", "fidelity, laid in", "editability, laid in"]
    lines += [*table(head, body), ""]
    return lines + missing(found)


def missing(found: Found) -> list[str]:
    """What could not be measured, a line a reason."""
    reasons = dict.fromkeys(f"* {row['way']}: {row['why']}" for row in found["rows"] if "why" in row)
    return [*reasons, ""] if reasons else []


def plot(found: Found, path: Path) -> None:
    """Both parts side by side."""
    made, axes = figure(11, 4.6, 2, sharey=True)
    order = list(dict.fromkeys(c.label for part in PARTS for c in _curves(found, part)))
    for axis, (part, said) in zip(axes[0], PARTS.items(), strict=True):
        some = _curves(found, part)
        for curve in some:
            f, e = curve.means()
            k = order.index(curve.label)
            wide = 2.4 if curve.label == OWN else 1.2
            style = "--" if curve.label == DRAWN else "-"
            marker = "os^Dv<>Ph*X"[k % 11]
            near = f <= MOST
            axis.plot(f[near], e[near], style, marker=marker, color=f"C{k % 10}", lw=wide, ms=4.5, label=curve.label)
        front(axis, some)
        axis.axvline(PAPER, color="0.8", lw=0.8, zorder=0)
        axis.axhline(0, color="0.8", lw=0.8, zorder=0)
        axis.set(xlabel=f"fidelity of what should not change, dB (at most {MOST:g} shown)", title=said)
        axis.set_xlim(right=min(MOST, axis.get_xlim()[1]))
        axis.title.set_fontsize(10)
        axis.legend(fontsize=7, loc="best")
    axes[0, 0].set_ylabel("editability")
    axes[0, 0].set_ylim(bottom=max(-1.0, axes[0, 0].get_ylim()[0]))
    save(made, path)


def front(axis: object, some: list[Curve]) -> None:
    """The Pareto front of all points, as a grey staircase."""
    pairs = sorted(((f, e) for c in some for f, e in zip(*c.means(), strict=True) if e > 0), reverse=True)
    xs, ys, top = [], [], -np.inf
    for f, e in pairs:
        if e > top:
            xs.append(f)
            ys.append(e)
            top = e
    if xs:
        xs, ys = [*xs, axis.get_xlim()[0]], [*ys, top]  # type: ignore[attr-defined]
    axis.step(xs, ys, where="post", color="0.6", lw=5, alpha=0.35, zorder=0, label="Pareto front")  # type: ignore[attr-defined]


EXPERIMENT = Experiment("fig1", "Editability against fidelity", measure, section, plot)
