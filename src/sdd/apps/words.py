"""The words of a prompt: which of them a teacher knows, and whether the prompt is worth a training."""

from __future__ import annotations

import re

from sdd.domains.words import STOP, Knows, content, knower
from sdd.errors import SddError, one_line

_SHOWN = 10  # words that are named in one sentence


def check_words(prompt: str, teacher: Knows, force: bool = False) -> list[str]:
    """A warning, one sentence, for each content word that the teacher does not know.

    Args:
        force: take a prompt of which nothing is known.

    Raises:
        SddError: the teacher knows none of the content words, so that it could only teach noise.
    """
    teacher = knower(teacher)
    unknown = dict(teacher.unknown_words(prompt))
    if not unknown and not teacher.unknown_words("xqzvkj"):  # it has a word for everything
        return []
    asked = list(dict.fromkeys(content(prompt)))
    # A teacher of few words spells them in plain letters: it says nothing of others, and knows none of them.
    strange = [word for word in asked if word in unknown or not re.fullmatch(r"[a-z0-9']+", word)]
    if len(strange) == len(asked) and not force:
        raise SddError(_refusal(prompt, strange, unknown))
    return [
        f"the teacher does not know the word {one_line(word, 60)!r}" + _nearest([word], unknown, "; the nearest it has")
        for word in strange
    ]


def _refusal(prompt: str, strange: list[str], unknown: dict[str, list[str]]) -> str:
    what = one_line(prompt, 80)
    if not strange:
        why = f"the prompt {what!r} names nothing to be seen"
    else:
        named = ", ".join(repr(one_line(word, 40)) for word in strange[:_SHOWN])
        why = f"the teacher knows no word of the prompt {what!r} ({named})"
    near = _nearest(strange, unknown, "; the nearest it has")
    return f"{why}{near}; choose other words (`sdd words` lists those of the avatars), or insist with --force"


def _nearest(words: list[str], unknown: dict[str, list[str]], lead: str) -> str:
    near = list(dict.fromkeys(n for word in words[:_SHOWN] for n in unknown.get(word, []) if n not in STOP))[:_SHOWN]
    return f"{lead}: {', '.join(near)}" if near else ""


def language() -> dict[str, dict[str, list[str]]]:
    """What the embedded teacher was taught to say: the wordings of each value of each attribute.

    Where a wording may name a colour it holds "{c}"; the attribute's own `..._color` says which there are.
    """
    from sdd.domains.avatars.phrases import PHRASES

    return {name: {value: list(texts) for value, texts in table.items()} for name, table in PHRASES.items()}


def colours() -> dict[str, list[str]]:
    """The words that may stand for "{c}": of hair and beards, and of hats and clothes."""
    from sdd.domains.avatars.avataaars import values
    from sdd.domains.avatars.phrases import COLOR_WORDS

    options = {"hair": "hair_color", "cloth": "clothes_color"}
    return {
        kind: [text for value in values(attribute) for text in COLOR_WORDS[kind].get(value, (value,))]
        for kind, attribute in options.items()
    }
