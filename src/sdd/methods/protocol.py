"""A method: any system that edits an image by text, behind one call.

    method = sdd.methods.get("sdedit")
    fitted = method.fit("white hair", "", domain)
    edited = fitted.edit(images)                        # or edit(images, knob): every method has one knob of its own

Each method is one file of this package and is found by being there: a module that has a `METHOD`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdd.io.progress import Report, silent

if TYPE_CHECKING:
    from torch import Tensor

    from sdd.domains.domain import Domain
    from sdd.methods.models import Models


@dataclass(frozen=True)
class Knob:
    """What a user turns to trade how much an edit does against how much it keeps.

    Attributes:
        name: the method's own word for it.
        default: its value where none is given.
        values: a grid of values for curves, from least to most edited.
        meaning: what it does, in a few words.
    """

    name: str
    default: float
    values: tuple[float, ...]
    meaning: str


@dataclass(frozen=True)
class Card:
    """What a table of methods says of one.

    Attributes:
        name: what `get` calls it. title: a few words.
        paper: authors, year and arXiv number.
        needs: models it asks for: of "teacher", "generator", "clip", "ddpm", "diffae", "instructed".
        trains: what a new prompt has to train; "" for nothing.
        calls: network calls of one edit.
        licence: of the authors' own code.
        knob: its trade-off.
    """

    name: str
    title: str
    paper: str
    needs: tuple[str, ...]
    trains: str
    calls: str
    licence: str
    knob: Knob


class Fitted(ABC):
    """A method made ready for one prompt."""

    @abstractmethod
    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """Edited pictures of the size of those given.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            knob: `Card.knob`'s value; None for its default.
            seed: of whatever noise is drawn; a picture's noise does not depend on the others of its batch.

        Returns:
            (B, 3, H, W) in [-1, 1].

        Raises:
            SddError: a knob that the method cannot take.
        """

    def unedited(self, images: Tensor) -> Tensor:
        """What the method gives back of pictures that it leaves alone, (B, 3, H, W): its reconstruction, where it
        draws them anew. An edit is laid into a larger picture by its difference to this.
        """
        return images

    def learned(self) -> dict[str, Tensor]:
        """What was trained for the prompt, by name, as it goes into a file; nothing where nothing was."""
        return {}


class Method(ABC):
    """A way to edit images by text.

    Attributes:
        card: what is said of it.
        once: whether what it trains is the domain's and serves every prompt.
    """

    card: Card
    once: bool = False

    @abstractmethod
    def fit(
        self,
        prompt: str,
        source_prompt: str,
        domain: Domain,
        models: Models | None = None,
        *,
        learned: dict[str, Tensor] | None = None,
        seed: int = 0,
        report: Report = silent,
    ) -> Fitted:
        """Make ready for one prompt: train what has to be trained.

        Args:
            prompt: what the edited pictures show.
            source_prompt: what the given ones show; "" is the null prompt, where a method can do without.
            domain: the pictures' domain.
            models: what the method asks for; None for those of the domain.
            learned: what an earlier `fit` of the same prompt has learned (`Fitted.learned`); then nothing is trained.

        Raises:
            SddError: a model that is needed is not there, or a prompt that is.
        """
