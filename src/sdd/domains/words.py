"""The words of a prompt: which say something of a picture, and which of them a teacher knows."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sdd.domains.embedded import EMBEDDED, weights_folder

# Words that say nothing of a picture by themselves: that a teacher does not know them is no loss, that it does no help.
_STOP = """
a an the this that these those some any and or but no not without of in on at to for from by with as into onto over
under i me my you your he him his she her hers it its we us our they them their one ones himself herself itself
someone somebody person people man woman boy girl guy lady
is are was were be been being am has have had having do does did
make makes made making turn turns turned give gives given put puts get gets add adds change changes set let want
wear wears wearing wore look looks looking like seem seems become becomes show shows please
more less very much really quite too so rather bit little lot than now then again just only also even
"""
STOP = frozenset(_STOP.split())


class Knows(Protocol):
    """Something that knows words, such as a teacher."""

    def unknown_words(self, prompt: str) -> list[tuple[str, list[str]]]:
        """Words of the prompt that it has never seen, each with the nearest it has."""
        ...


@dataclass(frozen=True)
class Vocabulary:
    """A list of words, lower case: what the embedded teacher knows, without loading it."""

    words: frozenset[str]

    def unknown_words(self, prompt: str) -> list[tuple[str, list[str]]]:
        """See `Knows`."""
        asked = dict.fromkeys(re.findall(r"[a-z0-9']+", prompt.lower()))
        return [(w, difflib.get_close_matches(w, sorted(self.words), 3)) for w in asked if w not in self.words]


def embedded_vocabulary() -> Vocabulary:
    """The words of the teacher that comes with sdd: it was taught the captions of the avatars and nothing else."""
    from sdd.domains.avatars.captions import words

    return Vocabulary(frozenset(words()))


def content(prompt: str) -> list[str]:
    """The words of a prompt that say something of a picture, in lower case."""
    return [word for word in re.findall(r"[\w']+", prompt.lower()) if word not in STOP]


def knower(teacher: Any) -> Knows:
    """Who says which words a teacher knows: of the embedded one the list of all that it was taught, for its tokenizer
    has tokens for endings too ("air" of "hair"); of others the teacher itself.
    """
    name = getattr(teacher, "name", "")
    own = weights_folder(EMBEDDED) / "teacher"
    return embedded_vocabulary() if name and Path(name).absolute() == own.absolute() else teacher


def unknown_content(prompt: str, teacher: Any) -> list[tuple[str, list[str]]]:
    """The words of a prompt that say something of a picture and that the teacher has never seen, with the nearest."""
    said = set(content(prompt))
    return [(word, near) for word, near in knower(teacher).unknown_words(prompt) if word in said]
