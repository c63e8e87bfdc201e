"""Which tokens of two prompts belong together: the bookkeeping of prompt-to-prompt (arXiv 2208.01626).

    before, after = tokens(tokenizer, "a cat on a chair"), tokens(tokenizer, "a tiger on a chair")
    replacement(before, after, 77)              (77, 77), for prompts of as many words
    refinement(before, after, 77)               source token of each target token, and which have one
    word_tokens(after, "tiger")                 [2]
    time_shares([after], 50, {"default_": 0.8, "tiger": 0.4}, 77)
    equalizer(after, {"tiger": 2.0}, 77)        equalizer_rows(after, ["tiger"], [0.5, 2.0], 77)

The default is what is meant. `published=True` gives what the authors' code computes, where it differs:

* a word is found only where it stands between spaces exactly as given, and one that is not found changes nothing;
* after the last replaced word, token j of the source goes to token j of the target, though the words have shifted;
* the padding likewise;
* bounds of time are shares of steps + 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sdd.errors import SddError

DEFAULT = "default_"  # in a table of bounds: every token that is not named
Bounds = float | tuple[float, float] | list[float]


@dataclass(frozen=True)
class Tokens:
    """A prompt as a tokenizer sees it.

    Attributes:
        text: the prompt.
        ids: of its tokens, with begin and end. pieces: what each decodes to, without spaces around.
    """

    text: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """The prompt between its spaces."""
        return self.text.split(" ")


def tokens(tokenizer: Any, text: str) -> Tokens:
    """A prompt's tokens."""
    ids = tokenizer(text, truncation=True)["input_ids"]
    return Tokens(text, tuple(ids), tuple(tokenizer.decode([i]).strip() for i in ids))


def _places(found: Tokens) -> list[list[int]]:
    """The tokens of each word: they are taken until their pieces are as long as the word."""
    places: list[list[int]] = [[] for _ in found.words]
    which, length = 0, 0
    for i, piece in enumerate(found.pieces[1:-1], 1):
        if which == len(places):
            break
        places[which].append(i)
        length += len(piece)
        if length >= len(found.words[which]):
            which, length = which + 1, 0
    return places


def _bare(text: str) -> str:
    """A word or piece without case and punctuation around it."""
    return text.lower().strip(".,;:!?'\"()-")


def word_tokens(found: Tokens, word: str | int, published: bool = False) -> list[int]:
    """Positions of a word's tokens, of every time it occurs.

    Args:
        word: the word, or its place among the words of the prompt.

    Raises:
        SddError: the prompt has no such word; `published`, nothing is found then.
    """
    places = _places(found)
    if isinstance(word, int):
        if not 0 <= word < len(places):
            raise SddError(f"the prompt {found.text!r} has {len(places)} words, and no word {word}; count from 0")
        return places[word]
    if published:
        return [i for own, place in zip(found.words, places, strict=True) if own == word for i in place]
    wanted = _bare(word)
    kept = [
        i
        for own, place in zip(found.words, places, strict=True)
        if wanted and _bare(own) == wanted
        for i in place
        if _bare(found.pieces[i])  # without the comma that follows
    ]
    if not kept:
        raise SddError(f"there is no word {word!r} in the prompt {found.text!r}; name one of its words")
    return kept


def replacement(source: Tokens, target: Tokens, length: int, published: bool = False) -> Tensor:
    """What each source token's attention goes to when words are replaced, (length, length): source × target token.

    The tokens of a replaced word share theirs equally where the two words have different numbers of them.

    Raises:
        SddError: the prompts differ in their number of words.
    """
    if len(source.words) != len(target.words):
        raise SddError(
            f"words can be replaced where there are as many; {source.text!r} has {len(source.words)} and "
            f"{target.text!r} has {len(target.words)}, which is to be refined"
        )
    mapper = torch.zeros(length, length)
    i = j = 0  # the first tokens that are not dealt with yet
    for old, new, mine, theirs in zip(source.words, target.words, _places(source), _places(target), strict=True):
        if old == new or not mine or not theirs:
            continue
        _diagonal(mapper, i, j, mine[0] - i)
        if len(mine) == len(theirs):
            _diagonal(mapper, mine[0], theirs[0], len(mine))
        else:
            mapper[mine[0] : mine[-1] + 1, theirs[0] : theirs[-1] + 1] = 1 / len(theirs)
        i, j = mine[-1] + 1, theirs[-1] + 1
    rest = length - max(i, j)
    _diagonal(mapper, j if published else i, j, rest)
    if not published:
        mapper[i + rest :, -1] = 1  # no attention is lost where the source has more padding
    return mapper


def _diagonal(mapper: Tensor, i: int, j: int, count: int) -> None:
    """Token i + k goes to j + k, for k below `count`."""
    steps = torch.arange(count)
    mapper[i + steps, j + steps] = 1


def refinement(source: Tokens, target: Tokens, length: int, published: bool = False) -> tuple[Tensor, Tensor]:
    """The source token of each target token when words are added or left out.

    Both prompts are aligned as wholes: equal tokens count 1, unequal pairs −1, gaps nothing; of equally good ways a
    target token without partner is preferred, then a source token without, then a pair.

    Returns:
        Indices (length,) int64, −1 where there is none, and alphas (length,), 1 where there is.
    """
    old, new = source.ids, target.ids
    best = torch.zeros(len(old) + 1, len(new) + 1)
    for i, a in enumerate(old, 1):
        for j, b in enumerate(new, 1):
            paired = best[i - 1, j - 1] + (1 if a == b else -1)
            best[i, j] = max(best[i, j - 1], best[i - 1, j], paired)
    partner = torch.full((length,), -1)
    i, j = len(old), len(new)
    while j > 0:
        if i == 0 or best[i, j] == best[i, j - 1]:
            j -= 1
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            partner[j] = i
    padding = torch.arange(len(new), length)
    partner[len(new) :] = padding if published else (padding - len(new) + len(old)).clamp(max=length - 1)
    return partner, (partner >= 0).float()


def time_shares(
    targets: Sequence[Tokens], steps: int, bounds: float | Mapping[str, Bounds], length: int, published: bool = False
) -> Tensor:
    """How much of the source's cross-attention each token of each edited prompt takes at each step: 1 or 0.

    Args:
        bounds: the share of the steps in which it does, from the first; or a table of shares, or of (from, to), by
            word; `default_` stands for the tokens that are not named, and is 1 where it is left out.

    Returns:
        (steps + 1, edits, length); the last row is after the last step.

    Raises:
        SddError: a word that is in none of the prompts; `published`, it is passed over.
    """
    table = dict(bounds) if isinstance(bounds, Mapping) else {DEFAULT: bounds}
    total = steps + 1 if published else steps
    shares = torch.zeros(steps + 1, len(targets), length)

    def set_share(edit: int, where: slice | list[int], bound: Bounds) -> None:
        start, end = (0.0, bound) if isinstance(bound, int | float) else bound
        shares[:, edit, where] = 0
        shares[int(start * total) : int(end * total), edit, where] = 1

    for edit in range(len(targets)):
        set_share(edit, slice(None), table.get(DEFAULT, 1.0))
    for word, bound in table.items():
        if word == DEFAULT:
            continue
        found = [word_tokens(target, word, True) if published else _or_none(target, word) for target in targets]
        if not published and not any(found):
            raise SddError(
                f"there is no word {word!r} in {', '.join(repr(t.text) for t in targets)}; name one of theirs"
            )
        for edit, where in enumerate(found):
            if where:
                set_share(edit, where, bound)
    return shares


def _or_none(found: Tokens, word: str) -> list[int]:
    try:
        return word_tokens(found, word)
    except SddError:
        return []


def equalizer(target: Tokens, weights: Mapping[str, float], length: int, published: bool = False) -> Tensor:
    """What each token's attention is multiplied by, (1, length): a weight a word, 1 for the others.

    Raises:
        SddError: a word that the prompt lacks; `published`, it is passed over.
    """
    found = torch.ones(1, length)
    for word, weight in weights.items():
        found[:, word_tokens(target, word, published)] = weight
    return found


def equalizer_rows(
    target: Tokens, words: Sequence[str], weights: Sequence[float], length: int, published: bool = False
) -> Tensor:
    """One row a weight, (weights, length): in each all the words have that weight.

    Raises:
        SddError: as `equalizer`.
    """
    rows = [equalizer(target, dict.fromkeys(words, weight), length, published) for weight in weights]
    return torch.cat(rows)
