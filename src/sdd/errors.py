"""The one exception a user may meet, and text that is safe to show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 600  # characters of one sentence


def printable(text: str) -> str:
    """`text` without what steers a terminal: C0 and C1 controls, escapes, marks of direction, lone surrogates.

    Line ends stay; other white space becomes a space.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else " " if c.isspace() else "" for c in text)


def one_line(text: str, most: int = LONGEST) -> str:
    """`text` as one printable line of at most `most` characters, cut in its middle: the end says how to mend it."""
    if len(text) > 4 * most:  # a stranger's name may have megabytes: cut before anything looks at each character
        text = f"{text[: 2 * most]} … {text[-2 * most :]}"
    text = " ".join(printable(text).split())
    return text if len(text) <= most else f"{text[: most * 3 // 5 - 3]} … {text[-(most * 2 // 5) :]}"


def first_line(error: Exception, most: int = 300) -> str:
    """The first line of what an error of a library says, at most `most` characters; its type where it says nothing."""
    return one_line((str(error).strip() or type(error).__name__).split("\n")[0], most)


class SddError(Exception):
    """Bad input, said in one sentence: what is wrong, what was expected, how to mend it.

    The command line prints it without a traceback and exits with code 2. The sentence often quotes a stranger's file,
    so it is made one printable line of at most `LONGEST` characters.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(one_line(sentence))


@contextmanager
def guarded(label: str, what: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes an `SddError`: code that takes a stranger's file apart cannot foresee it all.

    Args:
        label: the file.
        what: what it is not, such as "a checkpoint that can be read".
    """
    try:
        yield
    except SddError:
        raise
    except MemoryError as error:
        raise SddError(f"{label} does not fit in this machine's memory") from error
    except Exception as error:
        why = f"{type(error).__name__}: {one_line(str(error), 120)}"
        raise SddError(f"{label} is not {what} ({why}); it is damaged, or holds what no such file does") from error
