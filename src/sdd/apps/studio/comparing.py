"""A comparison as a job: one picture edited by one method after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdd.apps.by_method import cards, chosen
from sdd.apps.compare import Column, compare, seconds
from sdd.apps.studio.works import Job
from sdd.errors import SddError

if TYPE_CHECKING:
    from torch import Tensor

    from sdd.domains.domain import Domain
    from sdd.methods.models import Models
    from sdd.methods.protocol import Card

LONGEST = 1000  # characters of a prompt


def possible(domain: Domain, models: Models) -> list[Card]:
    """The methods whose models are here."""
    there = {*models.loaders, *(["generator"] if domain.backbone is not None else [])}
    return [card for card in cards() if set(card.needs) <= there]


class ComparingJob(Job):
    """Edits one picture by some methods; what `sdd compare PICTURE PROMPT --methods …` does.

    Args:
        image: (1, 3, S, S) in [-1, 1], as the domain sees it.
        names: of methods.

    Attributes:
        columns: what each made of it, so far.

    Raises:
        SddError: no prompt, no method, or an unknown one.
    """

    def __init__(
        self, image: Tensor, prompt: str, source_prompt: str, names: Sequence[str], domain: Domain, models: Models
    ) -> None:
        super().__init__()
        self.prompt, self.source_prompt = str(prompt or "").strip(), str(source_prompt or "").strip()
        if not self.prompt or max(len(self.prompt), len(self.source_prompt)) > LONGEST:
            raise SddError(f'say in at most {LONGEST} characters what the edited picture should show: "white hair"')
        if not names:
            raise SddError("choose at least one method to compare")
        self.methods = chosen(",".join(names))
        self.image, self.domain, self.models = image, domain, models
        self.columns: list[Column] = []

    def work(self) -> str:
        """Ask one method after another."""
        for method in self.methods:
            self.report(method.card.name, 0, 0)
            self.columns += compare(
                self.image, self.prompt, self.source_prompt, [method], self.domain, self.models, 0, self._told
            )
            self.version += 1
        able = sum(column.images is not None for column in self.columns)
        return f"{able} of {len(self.columns)} methods edited the picture"

    def _told(self, what: str, done: int, total: int) -> None:
        if what != "compare":  # there is but one method at a time
            self.report(what, done, total)


def caption(column: Column) -> str:
    """Seconds of a method, or why it has none."""
    if column.images is None:
        return column.why
    return seconds(column.editing) + (f", {seconds(column.training)} to train" if column.training else "")
