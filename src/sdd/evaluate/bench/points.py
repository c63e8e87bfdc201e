"""A point: one method at one value of its knob, on the people of one prompt.

Of each point there are figures of what the user gets back, and of the same edit laid into the source by the package's
own blend (`sdd.beyond.blend`), for every method: what a method wins by its edit is not mixed with what it loses by
drawing the picture anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdd import methods
from sdd.beyond.blend import blend as lay_in
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.evaluate.bench.cells import Bench, Cell, processor_clock
from sdd.evaluate.folders import LEAST
from sdd.evaluate.intervals import SEED, Mean
from sdd.evaluate.realism import realism
from sdd.evaluate.tables.methods import best
from sdd.evaluate.trial import Rows, compared, drifted, means, rounded
from sdd.io.code import code_of, root
from sdd.io.files import write_text
from sdd.methods.kept import kept
from sdd.methods.protocol import Fitted, Method
from sdd.methods.sdd import CARD as SDD
from sdd.methods.sdd import Distillation, Distilled

if TYPE_CHECKING:
    from torch import Tensor

    from sdd.evaluate.trial import Figures, Subjects

EDITION = 1
REPORTED, VALIDATION = 1, 5  # seeds of people: figures are of the first, choices follow from the second
VALIDATING = {True: 8, False: 24}  # people that choices follow from, in a quick run and a whole one


@dataclass(frozen=True)
class Way:
    """A method with its options.

    Attributes:
        label: what tables call it. name: of the method. options: of the training, for SDD alone.
        training_free: whether a new prompt trains nothing.
    """

    label: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Method:
        """The method."""
        return Distillation(**self.options) if self.options else methods.get(self.name)

    @property
    def training_free(self) -> bool:
        """Whether a new prompt trains nothing."""
        return not self.make().card.trains


def ways(names: Sequence[str]) -> list[Way]:
    """Methods by name, with their own options; SDD first."""
    return [Way(name, name) for name in sorted(dict.fromkeys(names), key=lambda name: name != SDD.name)]


_fitted: dict[str, Fitted] = {}


def fitted(bench: Bench, way: Way, text: str) -> Fitted:
    """A method ready for a prompt; what it trains is kept, and how long that took stands beside the cells."""
    key = json.dumps([way.label, way.options, text], sort_keys=True)
    if key not in _fitted:
        method, path = way.make(), spent_path(bench, way, text)
        clock, heard = processor_clock(device_of(bench)), []

        def report(what: str, done: int, total: int) -> None:
            heard.append(what)
            bench.report(f"{way.label}: {what}", done, total)

        began = clock()
        try:
            _fitted[key] = kept(method, text, "", bench.domain, bench.models, report=report)
        finally:  # of a training that is stopped and goes on later the parts are added up
            if heard and method.card.trains:
                before = json.loads(path.read_text())["seconds"] if path.is_file() else 0.0
                write_text(path, json.dumps({"seconds": before + clock() - began}))
    return _fitted[key]


def spent_path(bench: Bench, way: Way, text: str) -> Any:
    """Where the seconds of a training are kept."""
    return bench.path({"spent": way.name, "options": way.options, "prompt": text}, used(bench, way))


def training_seconds(bench: Bench, way: Way, text: str) -> float:
    """What the training for a prompt took; nan where it was trained elsewhere, 0 where nothing is."""
    if not way.make().card.trains:
        return 0.0
    path = spent_path(bench, way, text)
    return float(json.loads(path.read_text())["seconds"]) if path.is_file() else float("nan")


def device_of(bench: Bench) -> str:
    """The kind of device that the domain's networks are on."""
    return "cpu" if bench.domain.backbone is None else bench.domain.backbone.device.type


def used(bench: Bench, way: Way) -> list[Any]:
    """What a point follows from beside itself."""
    method = way.make()
    models = {role: bench.models.fingerprint(role) for role in method.card.needs}
    return [EDITION, models, code_of(type(method).__module__), code_of("sdd.evaluate.trial"), device_of(bench)]


def points(
    bench: Bench, what: str, asked: Sequence[Way], texts: Sequence[str], n: int, people: int,
    knobs: dict[tuple[str, str], Sequence[float]] | None = None, few: bool = False,
) -> Rows:  # fmt: skip
    """Every way on every prompt at every value of its knob, or at those given for (label, prompt).

    Args:
        few: every other value, and the default.
    """
    cells, by = list[Cell](), {way.label: way for way in asked}
    for text in texts:
        for way in asked:
            if lacking := _lacking(bench, way):
                cells.append({"way": way.label, "prompt": text, "lacking": lacking})
                continue
            values = values_of(way, few) if knobs is None else knobs.get((way.label, text), ())
            for value in values:
                what_of = {"way": way.label, "name": way.name, "options": way.options, "prompt": text}
                cells.append({**what_of, "knob": float(value), "n": n, "people_seed": people})
    missing = [{**cell, "why": cell["lacking"]} for cell in cells if "lacking" in cell]
    there = [cell for cell in cells if "lacking" not in cell]
    return missing + bench.measured(
        what, there, lambda cell: point(bench, by[cell["way"]], cell), lambda cell: used(bench, by[cell["way"]])
    )


def values_of(way: Way, few: bool) -> tuple[float, ...]:
    """The values of a way's knob that curves are of, from least to most edited."""
    knob = way.make().card.knob
    return tuple(v for i, v in enumerate(knob.values) if not few or i % 2 == 0 or v == knob.default)


def _lacking(bench: Bench, way: Way) -> str:
    """Why a method cannot be tried here, if it lacks a model."""
    for role in way.make().card.needs:
        if role == "generator":
            continue
        try:
            bench.models.get(role, way.name)
        except SddError as error:
            return str(error).replace(f"{root()}/", "")  # where the package lies says nothing to a reader
    return ""


def point(bench: Bench, way: Way, cell: Cell) -> Cell:
    """The figures of a cell."""
    ready = fitted(bench, way, cell["prompt"])
    there = bench.subjects(cell["prompt"], cell["n"], cell["people_seed"])
    clock = processor_clock(device_of(bench))
    began = clock()
    edited = ready.edit(there.images, cell["knob"], 0)
    seconds = (clock() - began) / len(there.images)
    found: Cell = {"seconds": seconds, "people": figures(bench, there, edited)}
    if isinstance(ready, Distilled):
        drawn = Editor.compose([ready.editor])(there.images, cell["knob"], blend=False)
        found |= {"laid": found["people"], "drawn": figures(bench, there, drawn)}
    else:
        found["laid"] = figures(bench, there, lay_in(there.images, edited, ready.unedited(there.images)))
    if len(there.images) >= LEAST:
        answers = there.answers(there.judge(edited, bench.judge)[1].chosen)
        found |= realism(bench.judge, answers, edited)
    return found


def figures(bench: Bench, there: Subjects, edited: Tensor) -> Figures:
    """Every figure of each person's edit."""
    people, found, _ = there.judge(edited, bench.judge)
    people |= compared(edited, there, bench.judge, bench.domain)
    people |= drifted(edited, there.images, there.answers(found.chosen))
    return {name: rounded(values) for name, values in people.items()}


# --- What is made of points ------------------------------------------------------------------------------------------


def chosen(rows: Rows) -> dict[tuple[str, str], float]:
    """The best knob of each way and prompt by validation (`sdd.evaluate.tables.methods`)."""
    found: dict[tuple[str, str], float] = {}
    there = [row for row in rows if "why" not in row]
    for key in dict.fromkeys((row["way"], row["prompt"]) for row in there):
        some = [row for row in there if (row["way"], row["prompt"]) == key]
        found[key] = best([row["knob"] for row in some], [means(row["people"]) for row in some])
    return found


def groups(rows: Rows, way: str, figure: str, part: str = "people") -> list[list[float]]:
    """A figure of each person, by prompt, of a way that has one point a prompt."""
    return [row[part][figure] for row in rows if row["way"] == way and "why" not in row and figure in row[part]]


@dataclass(frozen=True)
class Curve:
    """A way over its knob.

    Attributes:
        knobs: its values. editability, fidelity: by prompt (knobs, people).
    """

    label: str
    knobs: tuple[float, ...]
    editability: dict[str, NDArray[np.float64]]
    fidelity: dict[str, NDArray[np.float64]]

    def means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fidelity and editability of each knob, over people and prompts, (knobs,) each."""
        pair = (self.fidelity, self.editability)
        f, e = (np.mean([np.nanmean(v, 1) for v in some.values()], 0) for some in pair)
        return f, e


def curves(rows: Rows, part: str = "people") -> list[Curve]:
    """The curves of all ways; of each only prompts at which every knob was measured."""
    found = []
    there = [row for row in rows if "why" not in row and part in row]
    for label in dict.fromkeys(row["way"] for row in there):
        some = [row for row in there if row["way"] == label]
        knobs = tuple(dict.fromkeys(row["knob"] for row in some))
        whole = {t: [r for r in some if r["prompt"] == t] for t in dict.fromkeys(r["prompt"] for r in some)}
        whole = {text: points for text, points in whole.items() if len(points) == len(knobs)}
        if not whole:
            continue
        e, f = ({t: np.array([r[part][x] for r in rs]) for t, rs in whole.items()} for x in ("editability", "fidelity"))
        found.append(Curve(label, knobs, e, f))
    return found


def common(some: Sequence[Curve]) -> list[Curve]:
    """The curves of those prompts that all have, so that means are of the same; none where there is no such prompt."""
    texts = [text for text in some[0].editability if all(text in c.editability for c in some)] if some else []
    if not texts:
        return []
    return [
        Curve(c.label, c.knobs, {t: c.editability[t] for t in texts}, {t: c.fidelity[t] for t in texts}) for c in some
    ]


def reach(editability: NDArray[np.float64], fidelity: NDArray[np.float64], levels: Any) -> NDArray[np.float64]:
    """The most editability that some knob gives at a fidelity of at least each level; 0, nothing done, is always there.

    Args:
        editability, fidelity: means over people of each knob, (K,).
    """
    able = fidelity[:, None] >= np.asarray(levels)[None, :]
    return np.where(able, editability[:, None], 0.0).max(0).clip(min=0.0)


def bootstrap(
    some: Sequence[Curve], levels: Any, draws: int = 500, seed: int = SEED
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """What each way reaches, averaged over prompts, and the same of resampled prompts and people, paired over ways.

    Args:
        some: of the same prompts (`common`).

    Returns:
        Of each curve (levels,) and (draws, levels).
    """
    texts = list(some[0].editability)
    whole = [np.mean([_of(curve, t, None, levels) for t in texts], 0) for curve in some]
    random = np.random.default_rng(seed)
    found = [np.zeros((draws, len(levels))) for _ in some]
    for d in range(draws):
        picked = [texts[i] for i in random.integers(len(texts), size=len(texts))]
        who = [random.integers(n, size=n) for n in (some[0].editability[t].shape[1] for t in picked)]
        for rows, curve in zip(found, some, strict=True):
            rows[d] = np.mean([_of(curve, t, i, levels) for t, i in zip(picked, who, strict=True)], 0)
    return whole, found


def _of(curve: Curve, text: str, who: Any, levels: Any) -> NDArray[np.float64]:
    e, f = curve.editability[text], curve.fidelity[text]
    if who is not None:
        e, f = e[:, who], f[:, who]
    return reach(*filled(np.nanmean(e, 1), np.nanmean(f, 1)), levels)


def filled(
    editability: NDArray[np.float64], fidelity: NDArray[np.float64], steps: int = 8
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A curve between the measured values of its knob, which can take others: straight in editability and in squared
    error, not in dB, so that a knob at which nothing is done lends its neighbours no fidelity.
    """
    places = np.arange(len(editability))
    between = np.linspace(0, len(editability) - 1, steps * (len(editability) - 1) + 1)
    error = np.interp(between, places, 10 ** (-fidelity / 10))
    return np.interp(between, places, editability), -10 * np.log10(error)


def interval(value: float, draws: NDArray[np.float64]) -> Mean:
    """A value with the percentile interval of its resampled like."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return Mean(value, float(low), float(high))
