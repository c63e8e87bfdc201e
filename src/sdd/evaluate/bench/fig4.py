"""Figure 4 of arXiv 2307.08448: the hybrid quality score beside what training at each single timestep gains."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdd.evaluate.bench.cells import Bench
from sdd.evaluate.bench.experiment import Experiment, Found, Size, claim, figure, save, verdict
from sdd.evaluate.bench.single_steps import gains, outcomes, scores
from sdd.evaluate.intervals import mean
from sdd.evaluate.markdown import table
from sdd.evaluate.metrics import spearman

SCORES = ("HQS, as printed", "HQS on latents")


def measure(bench: Bench, size: Size) -> Found:
    """Scores and gains of each timestep."""
    found = outcomes(bench, "fig4", size)
    told, made = scores(found), []
    for name in SCORES:
        each = [spearman(told[text][name], g.mean(0).tolist()) for text, g in gains(found).items() if text in told]
        rho = mean([[x] for x in each])
        holds = verdict(rho)
        why = f"Spearman over {len(found['timesteps'])} timesteps, averaged over {len(each)} prompts"
        made.append(claim(f"{name}: a larger score means a larger gain of training there", rho.value, holds, why, rho))
    return found | {"claims": made}


def section(found: Found) -> list[str]:
    """The part of a page."""
    told, body = scores(found), []
    for text, g in gains(found).items():
        line, ts = g.mean(0), found["timesteps"]
        cells = [text, str(ts[int(line.argmax())]), f"{line.max():.2f}", f"{np.ptp(line):.2f}"]
        for name in SCORES:
            there = text in told
            cells.append(f"{ts[int(np.argmax(told[text][name]))]}" if there else "–")
            cells.append(f"{spearman(told[text][name], line.tolist()):+.2f}" if there else "–")
        body.append(cells)
    head = ["prompt", "t of the largest gain", "that gain", "range of gains"]
    head += [x for name in SCORES for x in (f"t of the largest {name}", "Spearman")]
    return [
        f"An editor trained at each single timestep under the preset `{found['preset']}` for {found['steps']} steps, "
        f"{found['seeds']} of each; its gain on {found['n']} held-out people (seed {found['people_seed']}), their "
        "median, the best along the strengths, or 0, the untouched picture.",
        "",
        *table(head, body),
        "",
    ]


def plot(found: Found, path: Path) -> None:
    """A panel for each prompt."""
    some, told = gains(found), scores(found)
    wide = max(1, min(3, len(some)))
    made, axes = figure(max(6.5, 4.2 * wide), 2.9 * max(1, -(-len(some) // wide)), wide, max(1, -(-len(some) // wide)))
    for axis, (text, g) in zip(axes.flat, some.items(), strict=False):
        ts = found["timesteps"]
        axis.plot(ts, g.mean(0), "k-s", ms=4, label="gain of training there")
        axis.set(title=text, xlabel="timestep", ylabel="gain")
        other = axis.twinx()
        for k, name in enumerate(SCORES):
            if text in told:
                other.plot(ts, told[text][name], f"C{k}--o", ms=3, label=name)
        other.tick_params(labelsize=7)
        other.set_ylabel("score", fontsize=8)
        lines = [*axis.get_lines(), *other.get_lines()]
    if some:
        made.legend(lines, [str(line.get_label()) for line in lines], fontsize=8, loc="outside lower center", ncols=3)
    for axis in list(axes.flat)[len(some) :]:
        axis.axis("off")
    save(made, path)


EXPERIMENT = Experiment("fig4", "The score beside the gain of each timestep", measure, section, plot)
