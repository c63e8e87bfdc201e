"""Which attributes a prompt means, and on whom its edit can be seen: the language of the captions, read backwards."""

from __future__ import annotations

import re
from functools import cache

from sdd.domains.avatars.avataaars import COLORS, RANGES, values
from sdd.domains.avatars.captions import word
from sdd.domains.avatars.person import Avatar
from sdd.domains.avatars.phrases import COLOR_OF, COLOR_WORDS, PHRASES

_UNSAID = {"a", "an", "the", "wearing"}  # words without which a phrase means the same
_ALIKE = 60.0  # of 441: colours closer than this in RGB look the same at a glance, such as white and platinum


def meaning(prompt: str) -> dict[str, str]:
    """The attributes that a prompt speaks of, with the value it gives each; empty where it speaks of none.

    `"a person with white hair"` is `{"hair_color": "white"}`. Of phrases that overlap the longest is meant.
    """
    asked, found = _words(prompt), dict[str, str]()
    taken: set[int] = set()
    for phrase, said in _phrases():
        for start in range(len(asked) - len(phrase) + 1):
            place = set(range(start, start + len(phrase)))
            if tuple(asked[start : start + len(phrase)]) == phrase and not place & taken:
                taken |= place
                for attribute, value in said:
                    found.setdefault(attribute, value)
    return found


def shows(person: Avatar, wanted: dict[str, str]) -> bool:
    """Whether an edit towards `wanted` (`meaning`) can be seen on this person: there is something to change, and the
    changed picture shows it."""
    shapes = {name: value for name, value in wanted.items() if name not in RANGES}
    after = person.replace(**shapes)
    if person.round_crop or not all(after.visible(name) for name in wanted):
        return False
    return any(word(person, name) != value and not _alike(person, name, value) for name, value in wanted.items())


def _alike(person: Avatar, attribute: str, value: str) -> bool:
    """Whether a person's colour is nearly the one asked for already."""
    if attribute not in COLORS or not person.visible(attribute):
        return False
    mine, other = (_rgb(COLORS[attribute][name]) for name in (person.attributes[attribute], value))
    return sum((a - b) ** 2 for a, b in zip(mine, other, strict=True)) ** 0.5 < _ALIKE


def _rgb(code: str) -> tuple[int, ...]:
    return tuple(int(code[i : i + 2], 16) for i in (1, 3, 5))


@cache
def _phrases() -> list[tuple[tuple[str, ...], tuple[tuple[str, str], ...]]]:
    """Every wording as words, with what it says; the longest first."""
    found: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {}
    for attribute, table in PHRASES.items():
        for value, texts in table.items():
            for text in texts:
                for colour, said in _colours(attribute) if "{c}" in text else [("", ())]:
                    found.setdefault(tuple(_words(text.replace("{c}", colour))), ((attribute, value), *said))
    return sorted(found.items(), key=lambda item: -len(item[0]))


def _colours(attribute: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """What may stand for "{c}" in a phrase about an attribute, and what that says; nothing may stand there too."""
    name = COLOR_OF[attribute]
    table = COLOR_WORDS["cloth" if attribute in ("hat", "clothes") else "hair"]
    said = [(text, ((name, value),)) for value in values(name) for text in table.get(value, (value,))]
    return [("", ()), *said]


def _words(text: str) -> list[str]:
    return [found for found in re.findall(r"[a-z0-9']+", text.lower()) if found not in _UNSAID]
