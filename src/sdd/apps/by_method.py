"""Any method in the place of editors: which there are, made ready for a prompt, and asked as editors are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdd import methods
from sdd.editor import Edit
from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.manipulators.inversion import psnr
from sdd.methods import kept
from sdd.methods.protocol import Card, Fitted, Method

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models

ALL = "all"


def cards() -> list[Card]:
    """What is said of every method: this package's own first, then by name."""
    return sorted((m.card for m in methods.available().values()), key=lambda card: (card.name != "sdd", card.name))


def chosen(text: str) -> list[Method]:
    """Methods from a comma-separated list of names, or all.

    Raises:
        SddError: an unknown one, or none at all.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise SddError(f"no method was named; give some of {', '.join(c.name for c in cards())}, or {ALL}")
    if ALL in names:
        names = [card.name for card in cards()]
    return [methods.get(name) for name in dict.fromkeys(names)]


def check_knob(card: Card, knob: str | float | None) -> float | None:
    """A knob's value from what was typed.

    Raises:
        SddError: it is no number.
    """
    if knob is None:
        return None
    try:
        value = float(knob)
    except ValueError as error:
        raise SddError(f"the {card.knob.name} of {card.name} is a number, not {str(knob)[:40]!r}") from error
    if not abs(value) < 1e6:
        raise SddError(f"the {card.knob.name} of {card.name} is a finite number, not {value}")
    return value


@dataclass
class MethodEditing:
    """A fitted method, asked as `sdd.editor.Composition` is; its strength is the knob.

    Attributes:
        place: whose pictures it edits. fitted: what edits. knob: None for the method's default. seed: of its noise.
        report: told of progress.
    """

    place: Domain
    fitted: Fitted
    knob: float | None = None
    seed: int = 0
    report: Report = silent
    domain: None = None  # how well a method redraws a picture does not say whether it is of the domain

    @property
    def crop(self) -> str | None:
        """Which part of a photo its pictures show; None takes a picture whole."""
        return self.place.crop

    @property
    def image_size(self) -> int:
        """Side of the pictures that are edited."""
        return self.place.image_size

    @torch.no_grad()
    def edit(
        self, images: Tensor, strength: float | Sequence[float] = 1.0, levels: Sequence[str] | None = None,
        batch: int | None = None, refine: int = 0, progress: object = None, identity: bool = True,
        register: bool | None = None,
    ) -> Edit:  # fmt: skip
        """Edited pictures, and the same unedited as the method draws them; all but `images` is an editor's alone."""
        if register:
            raise SddError("only an editor registers pictures; leave --register out, or edit with -e")
        edited = self.fitted.edit(images, self.knob, self.seed, self.report)
        unedited = self.fitted.unedited(images)
        return Edit(edited, unedited, psnr(unedited, images), None)


def ready(
    name: str, prompt: str, source_prompt: str, domain: Domain, models: Models, seed: int = 0, report: Report = silent
) -> Fitted:
    """A method for a prompt, found where it was trained before.

    Raises:
        SddError: there is no such method, or it lacks what it needs.
    """
    return kept.kept(methods.get(name), prompt, source_prompt, domain, models, seed=seed, report=report)


def train(
    name: str, prompt: str, source_prompt: str, domain: Domain, models: Models, out: Path, seed: int = 0,
    report: Report = silent, force: bool = False,
) -> kept.MethodInfo:  # fmt: skip
    """Train a method for a prompt into a file; what the file says.

    Args:
        force: write over a file that holds something else.

    Raises:
        SddError: there is no such method, it trains nothing or lacks what it needs, or `out` holds something else.
    """
    method = methods.get(name)
    if not method.card.trains:
        raise SddError(f"the method {name} trains nothing; use it with: sdd edit PICTURES --method {name} --prompt ...")
    info = kept.describe(method, prompt, source_prompt, domain, models, seed)
    if out.exists() and not force and (not kept.is_kept(out) or kept.read(out)[0] != info):
        raise SddError(f"{out} holds something else; name another file with -o, or write over it with --force")
    fitted = ready(name, prompt, source_prompt, domain, models, seed, report)
    kept.write(out, info, fitted.learned())
    return info


def only_file(paths: Sequence[Path]) -> Path | None:
    """The file among those of editors that a method learned; None where there is none.

    Raises:
        SddError: it is not alone: edits of methods are not added to others.
    """
    found = [path for path in paths if kept.is_kept(path)]
    if found and len(paths) > 1:
        raise SddError(f"{found[0]} was learned by the method {kept.read(found[0])[0].method}, which edits alone")
    return found[0] if found else None
