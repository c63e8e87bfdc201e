"""A trial: one way of editing, on people whose right answer is known.

    there = Subjects.make(prompt("white hair"), AVATARS, judge, n=24, seed=5)
    found = trial(editor, there, judge)
    found.people["gain"]                        # a number for each of the 24, for means and their intervals

Figures stay a list over people until a table sums them up, so that every mean can have its interval. What is judged is
what the user gets back, against the picture they gave: nothing here knows how an editor draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd.domains import avatars
from sdd.editor import Editor, Opened
from sdd.evaluate import metrics
from sdd.evaluate.colour import delta_e, signed_error
from sdd.evaluate.drift import drift
from sdd.evaluate.judge import Judge, in_words
from sdd.evaluate.metrics import Edit
from sdd.evaluate.prompts import Prompt, reads, subjects
from sdd.evaluate.realism import realism
from sdd.evaluate.truth import Truth

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.protocol import Fitted

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
PASSES = 10  # of the composition axiom's long form

Figures = dict[str, list[float]]  # name → one number a person
Rows = list[dict[str, Any]]


@dataclass
class Subjects:
    """Everything about the people one prompt is tried on that does not depend on the editor.

    Attributes:
        images: their pictures, (n, 3, S, S). readings: what the judge reads in them.
        counterfactuals: the right answers of each, (K_i, 3, S, S). kept: the attributes each must keep.
    """

    asked: Prompt
    images: Tensor
    readings: dict[str, Tensor]
    counterfactuals: list[Tensor]
    kept: list[list[str]]

    @classmethod
    def make(cls, asked: Prompt, truth: Truth[Any], judge: Judge, n: int, seed: int) -> Subjects:
        """The first `n` held-out people of `seed` on whom the prompt can be tried.

        Raises:
            SddError: there are too few.
        """
        people = subjects(asked, n, seed, truth)
        images = truth.render(people)
        return cls(
            asked,
            images,
            judge.read(images),
            [truth.counterfactuals(p, asked.changes) for p in people],
            [truth.kept(p, asked.changes) for p in people],
        )

    def judge(self, edited: Tensor, judge: Judge) -> tuple[Figures, metrics.Measured, dict[str, float]]:
        """Gain, editability, fidelity, success and side effects of each person's edited picture; the first three as
        measured; and the share of pictures in which each attribute changed that should have stayed."""
        found = metrics.measure(edited, self.images, self.counterfactuals)
        readings = judge.read(edited)
        right = [reads(self.asked.attribute, self.asked.word, row[self.asked.attribute]) for row in in_words(readings)]
        share, each = metrics.side_effects(self.readings, readings, self.kept)
        figures = {
            "success": [float(hit) for hit in right],
            "side_effects": share.tolist(),
            "editability": found.editability.tolist(),
            "fidelity": found.fidelity.tolist(),
            "gain": found.gain.tolist(),
        }
        return figures, found, each

    def answers(self, chosen: Tensor) -> Tensor:
        """The right answer that each picture was compared with, (n, 3, S, S)."""
        return torch.stack([c[int(k)] for c, k in zip(self.counterfactuals, chosen, strict=True)])


@dataclass
class Trial:
    """What a trial found.

    Attributes:
        people: figures of each person at strength 1.
        curve: at each of some strengths the means over people, information and no more.
        sets: figures of all pictures together: fid, kid.
        changed: share of pictures in which an attribute changed that should have stayed, where any did.
        edited: the pictures at strength 1, (n, 3, S, S). answers: what each was compared with.
    """

    people: Figures
    curve: Rows
    sets: dict[str, float]
    changed: dict[str, float]
    edited: Tensor
    answers: Tensor

    def row(self) -> dict[str, Any]:
        """As JSON has it."""
        people = {name: rounded(values) for name, values in self.people.items()}
        return {"people": people, "curve": self.curve, "changed": self.changed, **self.sets}


def returned(editor: Editor, blend: bool = True) -> Edit:
    """What the user of an editor gets back: pictures and a strength → pictures.

    Args:
        blend: whether the edit is laid into the source (`sdd.beyond.blend`), or the picture is as drawn.
    """
    editing, opened = Editor.compose([editor]), dict[int, tuple[Tensor, Opened]]()

    def edit(images: Tensor, strength: float) -> Tensor:
        # What strengths share is done once, as a slider does it; a picture that is framed otherwise is found once.
        if id(images) not in opened:
            opened.clear()
            opened[id(images)] = images, editing.open(images)  # held, so that no other tensor gets its id
        return opened[id(images)][1](strength, blend=blend)

    return edit


def turned(fitted: Fitted, seed: int = 0) -> Edit:
    """What the user of a method gets back: pictures and a value of its knob → pictures.

    Args:
        seed: of whatever noise the method draws.
    """
    return lambda images, knob: fitted.edit(images, knob, seed)


def curve(edit: Edit, there: Subjects, judge: Judge, strengths: Sequence[float] = STRENGTHS) -> list[Figures]:
    """Figures of each person at each strength."""
    return [there.judge(edit(there.images, s), judge)[0] for s in strengths]


def mean_curve(figures: Sequence[Figures], strengths: Sequence[float] = STRENGTHS) -> Rows:
    """Means over people at each strength, as JSON has them."""
    return [{"strength": s, **means(found)} for s, found in zip(strengths, figures, strict=True)]


def trial(
    editor: Editor, there: Subjects, judge: Judge, domain: Domain | None = None,
    strengths: Sequence[float] = STRENGTHS, blend: bool = True,
) -> Trial:  # fmt: skip
    """Everything that is measured of an editor, at the strength its training gave it (1).

    `people["drawn_gain"]` and its like are of the same edits as they are drawn, before blending.

    Args:
        domain: whose identity network compares source and edit; None leaves that out.
        blend: whether the edit is laid into the source.
        strengths: of the curve; those in [0, 1], equally spaced, are what uniformity and monotonicity are of.
    """
    edit, images = returned(editor, blend), there.images
    edited = edit(images, 1.0)
    people, found, changed = there.judge(edited, judge)
    answers = there.answers(found.chosen)
    if blend:
        drawn_only, _, _ = there.judge(returned(editor, False)(images, 1.0), judge)
        people |= {f"drawn_{name}": values for name, values in drawn_only.items()}
    people |= compared(edited, there, judge, domain)
    if there.asked.attribute in avatars.COLORS:
        people |= coloured(edited, images, answers)
    people |= drifted(edited, images, answers)
    people["composition"] = metrics.composition(edit, images).tolist()
    people[f"composition_{PASSES}"] = metrics.composition(edit, images, PASSES).tolist()
    people["reversibility"] = metrics.reversibility(edit, images).tolist()
    drawn = {s: edit(images, s) for s in strengths}
    # Towards one answer: which of several is nearest may change on the way.
    rise = [metrics.editability(y, images, answers).tolist() for s, y in drawn.items() if 0 <= s <= 1]
    people["uniformity"] = [metrics.uniformity(line) for line in zip(*rise, strict=True)]
    people["monotonicity"] = [metrics.monotonicity(line) for line in zip(*rise, strict=True)]
    some = {name: share for name, share in sorted(changed.items(), key=lambda kv: -kv[1]) if share > 0}
    sets = realism(judge, answers, edited) if len(images) > 1 else {}
    along = [there.judge(y, judge)[0] for y in drawn.values()]
    return Trial(people, mean_curve(along, strengths), sets, some, edited, answers)


def compared(edited: Tensor, there: Subjects, judge: Judge, domain: Domain | None) -> Figures:
    """Distances of edited pictures from their sources, and what CLIP says of them, for each person."""
    images, asked = there.images, there.asked
    found = {"mse": metrics.mse(edited, images), "distance": judge.distance(edited, images)}
    if find_spec("torchmetrics"):
        found["ssim"] = metrics.ssim(edited, images)
    if domain is not None and domain.identity is not None:
        found["identity"] = metrics.identity_similarity(domain.identity, edited, images)
    if judge.clip is not None:
        found["clip"] = judge.similarity(edited, asked.text)
        found["directional"] = judge.directional(images, edited, asked.before, asked.text)
    return {name: values.tolist() for name, values in found.items()}


def drifted(edited: Tensor, images: Tensor, answers: Tensor) -> Figures:
    """Shift (pixels), scale (percent) and colour (levels of 8 bits) of what lies outside M, for each person."""
    found = drift(edited, images, metrics.change_mask(images, answers))
    return {
        "drift": found.pixels.tolist(),
        "drift_scale": found.percent.tolist(),
        "drift_colour": found.levels.tolist(),
    }


def coloured(edited: Tensor, images: Tensor, answers: Tensor) -> Figures:
    """How far the colour inside M is from the right one, for each person: CIE76, and signed by channel in levels."""
    mask = metrics.change_mask(images, answers)
    red, green, blue = signed_error(edited, answers, mask).T.tolist()
    return {"delta_e": delta_e(edited, answers, mask).tolist(), "red": red, "green": green, "blue": blue}


def means(figures: Figures) -> dict[str, float]:
    """Means over people; what could not be measured is left out."""
    found = {}
    for name, values in figures.items():
        kept = [x for x in values if not math.isnan(x)]
        found[name] = rounded([sum(kept) / len(kept)])[0] if kept else math.nan
    return found


def rounded(values: Iterable[float]) -> list[float]:
    """With the five digits that are worth keeping."""
    return [float(f"{x:.5g}") for x in values]
