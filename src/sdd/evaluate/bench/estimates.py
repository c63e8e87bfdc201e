"""How good effdiff's one-step estimate gets while it is trained for (arXiv 2304.04344, Figure 5): its NIQE after every
epoch, beside that of DiffusionCLIP's, of the people's own pictures and of what is decoded in full.

Each method is trained as it trains itself, on its own encodings, both up to effdiff's t₀; what is looked at are the
one-step estimates of people, and of noise, that neither has seen. NIQE of drawings can be compared only with NIQE of
drawings (`sdd.evaluate.niqe`), and a flawless drawing has a high one: these figures are the paper's measure, and what
they say of quality is told by the people's own pictures beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdd.evaluate.bench.cells import Bench, Cell
from sdd.evaluate.bench.experiment import Found, claim, figure, save, verdict
from sdd.evaluate.bench.points import interval
from sdd.evaluate.intervals import Mean
from sdd.evaluate.markdown import estimate as told
from sdd.evaluate.markdown import table
from sdd.evaluate.niqe import distance, features
from sdd.evaluate.trial import Rows
from sdd.io.code import code_of
from sdd.methods import diffusionclip, effdiff
from sdd.methods.clip import clip_of
from sdd.methods.ddim import at, decode, estimate, invert, noised, steps
from sdd.methods.diffusionclip import Objective, goal_of
from sdd.methods.effdiff import noise_of
from sdd.methods.pixel_diffusion import PixelDiffusion
from sdd.methods.tuned import SOURCE, fitting, recogniser

if TYPE_CHECKING:
    from sdd.methods.finetune import Update

METHODS = ("diffusionclip", "effdiff")
OURS = effdiff.SMALL
# To effdiff's t₀, so that both estimates leave out as much.
THEIRS = replace(diffusionclip.SMALL, t0=OURS.t0)
BLOCK = 32  # pixels: the avatars' network draws 64
PEOPLE = 32  # of whose pictures the blocks are one sample
TRAINED, SEEN = 0, 1000  # seeds of the noise that is trained on, as `fit` has it, and of the people's: they share none
DRAWS = 200
After = Callable[[int], object]


def estimates(bench: Bench, texts: Sequence[str]) -> Rows:
    """NIQE after every epoch of both trainings, of each prompt: `updates` and `niqe` of the one-step estimate, and of
    the `pictures` and what is `decoded` from the same states; each as [value, *of resampled people].
    """
    cells: list[Cell] = [{"estimates": name, "prompt": text, "n": PEOPLE} for text in texts for name in METHODS]
    return bench.measured("estimates", cells, lambda cell: _trained(bench, cell), lambda cell: _used(bench))


def _trained(bench: Bench, cell: Cell) -> Cell:
    name, text = cell["estimates"], cell["prompt"]
    original = PixelDiffusion.of(bench.models.get("ddpm", name))
    ours, tuned = name == "effdiff", original.copy()
    s = OURS if ours else THEIRS
    goal = goal_of(text, SOURCE, clip_of(bench.domain, bench.models, name), s.weights, recogniser(bench.domain))
    images = fitting(bench.domain.images(s.pictures, 0, "train"), original.size)
    people = fitting(bench.domain.images(cell["n"], 0, "test"), original.size)
    states = _encoded(original, people, ours, SEEN)
    seen: list[list[float]] = []

    @torch.no_grad()
    def look(*_: int) -> None:
        seen.append(niqes(estimate(states, tuned(states, s.t0), at(tuned.abar, s.t0))))

    look()
    tuned.net.requires_grad_(True)
    done = _train(tuned, images, _encoded(original, images, ours, TRAINED), goal, ours, look)
    tuned.net.requires_grad_(False)
    each = len(done) // (len(seen) - 1)
    with torch.no_grad():
        decoded = decode(tuned, states, tuned.abar, steps(s.decoded, s.t0))
    return {
        "updates": [each * k for k in range(len(seen))], "niqe": seen, "pictures": niqes(people),
        "decoded": niqes(decoded),
    }  # fmt: skip


def _encoded(original: PixelDiffusion, images: Tensor, ours: bool, seed: int) -> Tensor:
    """States at t₀ as the method trains on them: each picture with noise of its own, or inverted."""
    if ours:
        return noised(images, noise_of(len(images), images, seed), at(original.abar, OURS.t0))
    chain = steps(THEIRS.inverted, THEIRS.t0)
    return torch.cat([invert(original, part, original.abar, chain) for part in images.split(8)])


def _train(
    tuned: PixelDiffusion, images: Tensor, states: Tensor, goal: Objective, ours: bool, after: After
) -> list[Update]:
    parameters = tuned.net.parameters()
    if ours:
        s = OURS
        return effdiff.train(
            tuned, parameters, images, states, abar=tuned.abar, t0=s.t0, goal=goal, rate=s.rate, growth=s.growth,
            epochs=s.epochs, batch=s.batch, after=after,
        )  # fmt: skip
    t = THEIRS
    return diffusionclip.train(
        tuned, parameters, images, states, abar=tuned.abar, chain=steps(t.trained, t.t0), goal=goal, rate=t.rate,
        growth=t.growth, epochs=t.epochs, batch=t.batch, mode=t.mode, after=after,
    )  # fmt: skip


def niqes(images: Tensor) -> list[float]:
    """NIQE of pictures (B, 3, H, W) in [-1, 1], and of as many drawn from them with replacement, `DRAWS` times: the
    same draws for every B. Fewer blocks among those drawn differ, which makes their NIQE a little higher.
    """
    seen, random = features(images, BLOCK), np.random.default_rng(0)
    draws = [torch.from_numpy(random.integers(len(seen), size=len(seen))) for _ in range(DRAWS)]
    return [round(distance(part.flatten(0, 1)), 3) for part in (seen, *(seen[who] for who in draws))]


def _mean(rows: Rows, name: str, part: str, epoch: int | None = None) -> NDArray[np.float64]:
    """A method's NIQE averaged over prompts, [value, *of resampled people]; nan where it was not measured."""
    there = [row[part] for row in rows if row["estimates"] == name and "why" not in row]
    found = [values if epoch is None else values[epoch] for values in there]
    return np.mean(found, 0) if found else np.full(1 + DRAWS, np.nan)


def _found(values: NDArray[np.float64]) -> Mean:
    return interval(float(values[0]), values[1:])


def _updates(rows: Rows) -> dict[str, list[int]]:
    """Of each method that was measured the updates after which its estimates were looked at."""
    return {row["estimates"]: row["updates"] for row in rows if "why" not in row}


def claims(rows: Rows) -> list[Found]:
    """What the paper reads off its Figure 5."""
    before, after = ({name: _mean(rows, name, "niqe", epoch) for name in METHODS} for epoch in (0, -1))
    fell = {name: before[name] - after[name] for name in METHODS}
    less, more = _found(fell["effdiff"]), _found(fell["effdiff"] - fell["diffusionclip"])
    pictures = _mean(rows, "effdiff", "pictures")[0]

    def spoken(name: str, why: str) -> str:
        first, last = before[name][0], after[name][0]
        return "not measured" if np.isnan(first) else f"{name}'s from {first:.1f} to {last:.1f}{why}"

    return [
        claim(
            "effdiff's training lowers the NIQE of its one-step estimate", less.value, verdict(less),
            spoken("effdiff", f"; the people's own pictures have {pictures:.1f}, so lower is no better"), less,
        ),
        claim(
            "and lowers it more than DiffusionCLIP's training does", more.value, verdict(more),
            spoken("diffusionclip", ", either at the end of its own training"), more,
        ),
    ]  # fmt: skip


def section(rows: Rows) -> list[str]:
    """The table."""
    updates = _updates(rows)
    if not updates:
        return []
    epochs = range(max(map(len, updates.values())))
    names: dict[str, tuple[str, int | None]] = {
        f"estimate after epoch {k}" if k else "estimate, untrained": ("niqe", k) for k in epochs
    }
    names |= {"edited, decoded in full": ("decoded", None), "the people's own": ("pictures", None)}

    def said(name: str, part: str, epoch: int | None) -> str:
        missing = epoch is not None and epoch >= len(updates[name])
        return "–" if missing else told(_found(_mean(rows, name, part, epoch)), "")

    body = [[label, *(said(name, *which) for name in updates)] for label, which in names.items()]
    each = " and ".join(f"{seen[1]} updates of {name}" for name, seen in updates.items())
    return [
        f"NIQE of the one-step estimates of {PEOPLE} people while each method trains, from t₀ = {OURS.t0}, encoded as "
        f"it encodes them; an epoch is {each}. Lower is nearer to photographs, not to these drawings, whose even "
        "colours NIQE takes for damage: the last row says what flawless ones have. The blocks being of "
        f"{BLOCK} pixels, the figures can be compared with one another alone.",
        "",
        *table(["NIQE of pictures", *updates], body),
        "",
    ]


def plot(rows: Rows, path: Path) -> None:
    """NIQE of the one-step estimates over updates, as a PNG."""
    made, ((axes,),) = figure(7, 4.5)
    colors = dict(zip(METHODS, ("tab:orange", "tab:blue"), strict=True))
    for name, updates in _updates(rows).items():
        seen = np.array([_mean(rows, name, "niqe", k) for k in range(len(updates))])
        low, high = np.quantile(seen[:, 1:], [0.025, 0.975], axis=1)
        axes.fill_between(updates, low, high, color=colors[name], alpha=0.2, linewidth=0)
        axes.plot(updates, seen[:, 0], "o-", color=colors[name], label=f"{name}: one-step estimate")
        whole = _mean(rows, name, "decoded")[0]
        axes.plot(updates[-1], whole, "*", color=colors[name], markersize=13, label=f"{name}: decoded in full")
        pictures = _mean(rows, name, "pictures")[0]
    if axes.lines:
        axes.axhline(pictures, color="0.4", linestyle="--", label="the people's own pictures")
        axes.legend(fontsize=8, loc="center right")
    axes.set(xlabel="updates", ylabel="NIQE (lower: nearer to photographs)", ylim=(0, None))
    axes.set_title(f"One-step estimates from t₀ = {OURS.t0} while each method trains", fontsize=10)
    save(made, path)


def _used(bench: Bench) -> list[str | None]:
    return [code_of(__name__), *(bench.models.fingerprint(role) for role in ("ddpm", "clip"))]
