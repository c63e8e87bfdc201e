"""The prompts of the benchmark, what each of them asks for, and on whom it can be tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sdd.domains import avatars
from sdd.domains.avatars.person import Avatar
from sdd.domains.avatars.truth import AVATARS
from sdd.errors import SddError
from sdd.evaluate.truth import Truth

# Where the captions' words for a number begin: midway between what they call upright (or say nothing about) and tilted.
INTERVALS: dict[tuple[str, str], tuple[float, float]] = {
    ("tilt", "left"): (-180.0, -4.0),
    ("tilt", "none"): (-4.0, 4.0),
    ("tilt", "right"): (4.0, 180.0),
    ("zoom", "near"): (1.04, 10.0),
    ("zoom", "far"): (0.0, 0.97),
}


def reads(attribute: str, word: Any, reading: Any) -> bool:
    """Whether a reading of the judge (`judge.in_words`) is what a word of the captions says."""
    interval = INTERVALS.get((attribute, str(word)))
    return bool(reading == word) if interval is None else bool(interval[0] < float(reading) < interval[1])


@dataclass(frozen=True)
class Prompt:
    """A text, and the change it means.

    Attributes:
        text: what is asked of the teacher.
        attribute: what must change; `word` is what the judge must then read.
        before: the same text without the edit, for directional CLIP similarity.
        values: for a continuous attribute the numbers that are all valid answers.
        unlike: values a subject must not have either, because the edit would hardly show.
    """

    text: str
    attribute: str
    word: str
    before: str
    values: tuple[float, ...] = ()
    unlike: tuple[str, ...] = ()

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The edits that are right, as arguments of `Avatar.counterfactuals`."""
        return [{self.attribute: value} for value in self.values or (self.word,)]

    def suits(self, person: Avatar) -> bool:
        """Whether the edit can be tried on this person: the picture can show it, before and after, and does not yet."""
        value = person.attributes[self.attribute]
        if self.attribute in avatars.RANGES:
            return reads(self.attribute, "none", value)
        return person.visible(self.attribute) and value != self.word and value not in self.unlike


PROMPTS: tuple[Prompt, ...] = (
    Prompt("white hair", "hair_color", "white", "hair", unlike=("platinum",)),
    Prompt("black hair", "hair_color", "black", "hair", unlike=("dark brown",)),
    Prompt("red hair", "hair_color", "red", "hair"),
    Prompt("pink hair", "hair_color", "pink", "hair"),
    Prompt("blonde hair", "hair_color", "blonde", "hair", unlike=("platinum", "golden")),
    Prompt("bald", "hair", "bald", "hair", unlike=("balding",)),
    Prompt("a beard", "facial_hair", "beard", "a face", unlike=("stubble",)),
    Prompt("sunglasses", "accessories", "sunglasses", "a face"),
    Prompt("glasses", "accessories", "glasses", "a face", unlike=("round glasses",)),
    Prompt("smile", "mouth", "smile", "a neutral mouth", unlike=("vomit",)),
    Prompt("sad", "mouth", "sad", "a neutral mouth", unlike=("vomit",)),
    Prompt("surprised", "mouth", "surprised", "a neutral mouth", unlike=("vomit",)),
    Prompt("angry", "brows", "angry", "neutral eyebrows"),
    Prompt("a turban", "hat", "turban", "a face"),
    Prompt("dark skin", "skin_color", "dark", "skin", unlike=("brown",)),
    Prompt("pale skin", "skin_color", "pale", "skin", unlike=("light",)),
    Prompt("pink clothes", "clothes_color", "pink", "clothes", unlike=("pale pink", "red")),
    Prompt("blue clothes", "clothes_color", "blue", "clothes", unlike=("light blue", "pale blue")),
    Prompt("head tilted left", "tilt", "left", "head upright", values=(-7.0, -10.0, -13.0, -16.0)),
    Prompt("a blue background", "background_color", "blue", "a background", unlike=("lavender", "green")),
)

# What follows from many trainings asks more of these kinds: which timesteps teach differs between them most.
FURTHER: tuple[Prompt, ...] = (
    Prompt("auburn hair", "hair_color", "auburn", "hair", unlike=("brown", "red", "golden")),
    Prompt("brown hair", "hair_color", "brown", "hair", unlike=("dark brown", "auburn")),
    Prompt("platinum hair", "hair_color", "platinum", "hair", unlike=("white", "blonde")),
    Prompt("black clothes", "clothes_color", "black", "clothes", unlike=("dark grey",)),
    Prompt("red clothes", "clothes_color", "red", "clothes", unlike=("pink",)),
    Prompt("dark blue clothes", "clothes_color", "navy", "clothes", unlike=("dark grey", "black")),
    Prompt("brown skin", "skin_color", "brown", "skin", unlike=("tan", "dark")),
)


def prompt(text: str) -> Prompt:
    """The benchmark's prompt of that text, or a further one.

    Raises:
        SddError: there is none.
    """
    every = (*PROMPTS, *FURTHER)
    for found in every:
        if found.text == text:
            return found
    raise SddError(f"the benchmark has no prompt {text!r}; it has {', '.join(p.text for p in every)}")


def subjects(asked: Prompt, count: int, seed: int, truth: Truth[Any] = AVATARS) -> list[Any]:
    """The first `count` held-out people on whom the prompt can be tried.

    Raises:
        SddError: there are too few among the first 60 × `count`.
    """
    found: list[Any] = []
    for start in range(0, 60 * count, count):
        found += [p for p in truth.people(seed, start, count) if asked.suits(p)]
        if len(found) >= count:
            return found[:count]
    raise SddError(f"only {len(found)} held-out people suit the prompt {asked.text!r}; ask for fewer")
