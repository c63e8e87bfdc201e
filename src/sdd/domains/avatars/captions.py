"""The language of the avatars: a small grammar with synonyms, partial and shuffled, in sentences and bare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from sdd.domains.avatars.phrases import COLOR_OF, COLOR_WORDS, FRAMES, PHRASES


class Described(Protocol):
    """Somebody whose attributes are known in plain words, and which of them the picture shows."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The value of each attribute."""
        ...

    def visible(self, name: str) -> bool:
        """Whether the picture shows an attribute."""
        ...


def tilt_word(degrees: float) -> str | None:
    """The word for a tilt; None where it is neither upright nor clearly tilted."""
    return "none" if abs(degrees) < 2 else "right" if degrees > 6 else "left" if degrees < -6 else None


def word(avatar: Described, attribute: str) -> str | None:
    """What the captions call an attribute of this person; None where they have no word for it."""
    value = avatar.attributes[attribute]
    if attribute == "tilt":
        return tilt_word(value)
    if attribute == "zoom":
        return "near" if value > 1.08 else "far" if value < 0.94 else None
    return str(value)


def _phrase(avatar: Described, attribute: str, rng: np.random.Generator) -> str | None:
    said = word(avatar, attribute)
    if said is None or not avatar.visible(attribute):
        return None
    text = str(rng.choice(PHRASES[attribute][said]))
    color = ""
    if "{c}" in text and rng.random() < 0.5:
        name = avatar.attributes[COLOR_OF[attribute]]
        color = str(rng.choice(COLOR_WORDS["cloth" if attribute in ("hat", "clothes") else "hair"].get(name, (name,))))
    return " ".join(text.replace("{c}", color).split()).replace("a auburn", "an auburn")


def mentions(avatar: Described, rng: np.random.Generator) -> list[tuple[str, str]]:
    """A random part of what the picture shows: attributes, and how each is worded.

    Absences ("no hat") are seldom said, and about a quarter of the captions say one thing only, so that a bare
    "white hair" is in the language.
    """
    names = list(rng.permutation(list(PHRASES)))
    count = 1 if rng.random() < 0.25 else int(rng.integers(2, 9))
    found: list[tuple[str, str]] = []
    for name in names:
        absent = word(avatar, name) in ("none", "neutral", "open")
        if absent and rng.random() < 0.7:
            continue
        phrase = _phrase(avatar, name, rng)
        if phrase:
            found.append((str(name), phrase))
        if len(found) == count:
            break
    if not found:
        found = [("skin_color", str(rng.choice(PHRASES["skin_color"][avatar.attributes["skin_color"]])))]
    return found


def sentence(phrases: list[str], rng: np.random.Generator) -> str:
    """Phrases as one caption: bare, or in a full sentence."""
    if rng.random() < 0.45:
        return ", ".join(phrases)
    listing = phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
    return str(rng.choice(FRAMES)).format(listing)


def caption(avatar: Described, rng: np.random.Generator) -> str:
    """A caption of a random part of what the picture shows (`mentions`, `sentence`)."""
    return sentence([phrase for _, phrase in mentions(avatar, rng)], rng)


def words() -> list[str]:
    """Every word of the language, sorted; compounds such as "snow-white" are given as their parts."""
    texts = [text for table in PHRASES.values() for texts in table.values() for text in texts]
    texts += [word for table in COLOR_WORDS.values() for options in table.values() for word in options]
    texts += [*FRAMES, "and", "an", "white black yellow"]
    return sorted({w for text in texts for w in text.replace("{c}", " ").replace("{}", " ").replace("-", " ").split()})
