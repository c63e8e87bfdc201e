"""A trial: one way of editing, on people whose right answer is known."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd.domains import avatars
from sdd.editor import Editor
from sdd.evaluate import metrics
from sdd.evaluate.judge import Judge, in_words
from sdd.evaluate.prompts import Prompt, reads, subjects
from sdd.manipulators.inversion import encode

if TYPE_CHECKING:
    from sdd.domains.avatars.person import Avatar
    from sdd.domains.domain import Domain


STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
Rows = list[dict[str, Any]]


@dataclass
class Subjects:
    """Everything about the people one prompt is tried on that does not depend on the editor."""

    asked: Prompt
    people: list[Avatar]
    images: Tensor
    codes: Tensor
    reconstructions: Tensor
    readings: dict[str, Tensor]
    counterfactuals: list[Tensor]
    kept: list[list[str]]

    @classmethod
    def make(cls, asked: Prompt, domain: Domain, judge: Judge, n: int, seed: int) -> Subjects:
        """The first `n` held-out people of `seed` on whom the prompt can be tried."""
        persons = subjects(asked, n, seed)
        images = avatars.render(persons)
        codes = encode(images, domain)
        drawn = reconstruct(images, domain)
        after = [p.replace(**asked.changes[0]) for p in persons]
        return cls(
            asked, persons, images, codes, drawn, judge.read(drawn),
            [metrics.counterfactuals(p, asked.changes) for p in persons],
            [metrics.others(p, q, [asked.attribute]) for p, q in zip(persons, after, strict=True)],
        )  # fmt: skip

    def judge(self, edited: Tensor, domain: Domain, judge: Judge, full: bool = True) -> dict[str, Any]:
        """Figures of edited pictures, averaged over the people; `full` adds those that cost networks' time."""
        found = metrics.measure(edited, self.images, self.reconstructions, self.counterfactuals)
        figures: dict[str, Any] = {
            "editability": _mean(found.editability),
            "fidelity": _mean(found.fidelity),
            "gain": _mean(found.gain),
        }
        readings = judge.read(edited)
        right = [reads(self.asked.attribute, self.asked.word, row[self.asked.attribute]) for row in in_words(readings)]
        share, each = metrics.side_effects(self.readings, readings, self.kept)
        figures |= {"success": statistics.fmean(right), "side_effects": _mean(share)}
        if not full:
            return figures
        figures["distance"] = _mean(judge.distance(edited, self.images))
        if domain.identity is not None:
            figures["identity"] = _mean(metrics.identity_similarity(domain, edited, self.images))
        if judge.clip is not None:
            figures["clip"] = _mean(judge.similarity(edited, self.asked.text))
            before = self.asked.before
            figures["directional"] = _mean(judge.directional(self.images, edited, before, self.asked.text))
        answers = torch.stack([c[int(k)] for c, k in zip(self.counterfactuals, found.chosen, strict=True)])
        figures |= fid_figures(judge, answers, edited)
        figures["changed"] = {k: v for k, v in sorted(each.items(), key=lambda kv: -kv[1]) if v > 0}
        return figures


# Helpers


def reconstruct(images: Tensor, domain: Domain) -> Tensor:
    with torch.no_grad():
        return torch.cat([domain.generator.synthesis(c).clamp(-1, 1) for c in encode(images, domain).split(16)])


def strength_curve(editor: Editor, there: Subjects, domain: Domain, judge: Judge) -> Rows:
    """What the edits are worth at each strength."""
    drawing = Editor.compose([editor])
    return [
        {"strength": s, **there.judge(_draw(drawing, there.codes, s), domain, judge, full=False)} for s in STRENGTHS
    ]


def _draw(drawing: Any, codes: Tensor, strength: float) -> Tensor:
    return torch.cat([drawing.draw(part, strength) for part in codes.split(16)])


def fid_figures(judge: Judge, real: Tensor, fake: Tensor) -> dict[str, float]:
    """The FID where torchmetrics is installed; without it that figure alone is missing."""
    from importlib.util import find_spec

    return {"fid": metrics.fid(judge, real, fake)} if find_spec("torchmetrics") else {}


def shown(hits: Tensor, persons: Iterable[Avatar], name: str) -> list[bool]:
    """The hits of those people whose picture can show the attribute."""
    return [bool(hit) for hit, person in zip(hits, persons, strict=True) if person.visible(name)]


def shares(hits: dict[str, list[bool]]) -> dict[str, float]:
    """Share of hits of each attribute that any picture could show."""
    return {name: statistics.fmean(row) for name, row in sorted(hits.items()) if row}


def _mean(values: Tensor) -> float:
    return float(values.double().nanmean())


def save_rows(path: Path, rows: Sequence[Tensor]) -> None:
    """Rows of pictures (N, 3, S, S) as one small PNG."""
    from PIL import Image

    from sdd.io.files import atomic_path

    sheet = torch.cat([torch.cat(list(row.clamp(-1, 1)), 2) for row in rows], 1)
    pixels = sheet.add(1).mul(127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    with atomic_path(path) as aside:
        Image.fromarray(pixels).quantize(128).save(aside, format="PNG", optimize=True)
