"""What the command line says and how it fails: one sentence and an exit code, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from typer import Abort
from typer.core import TyperGroup

from sdd.errors import LONGEST, SddError, one_line, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


BAD_INPUT, PARTLY, INTERRUPTED = 2, 1, 130  # exit codes; PARTLY: some of many inputs could not be used
_BLOCKS = "▁▂▃▄▅▆▇█"


class Guarded(TyperGroup):
    """A group of commands that turns every failure into one sentence on standard error."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """As typer's; what it quotes of a wrong command line is cut."""
        try:
            return super().make_context(*args, **kwargs)
        except Exception as error:
            _shorten(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exits with 2 for bad input, 130 for Ctrl-C."""
        try:
            with _warnings_as_sentences():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            # What knows how to go on says so in the exception; otherwise there is nothing to keep.
            ctx.exit(fail(str(stop) or "stopped", INTERRUPTED))
        except Exception as error:
            _shorten(error)
            broken_pipe = isinstance(error, OSError) and error.errno == errno.EPIPE
            if broken_pipe or isinstance(error, Abort) or hasattr(error, "exit_code"):
                raise  # typer's own ways to stop, which it handles itself
            if os.environ.get("SDD_DEBUG"):
                raise
            ctx.exit(fail(_sentence(error)))


def _shorten(error: Exception) -> None:
    """Cut the message of one of typer's own errors: it quotes what was typed, which may be anything."""
    if isinstance(message := getattr(error, "message", None), str):
        error.message = one_line(message)  # type: ignore[attr-defined]


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, SddError):
        return text
    if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
        return "there is not enough memory for this; use fewer or smaller images, or another device"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    what = f"{type(error).__name__}: {text}"[:300]
    return f"this should not have happened ({what}); please report it with what SDD_DEBUG=1 prints"


def fail(sentence: str, code: int = BAD_INPUT) -> int:
    """Print one sentence on standard error and return the exit code."""
    print(f"sdd: {one_line(sentence, 2 * LONGEST)}", file=sys.stderr)
    return code


def one_voice() -> None:
    """Of several processes that a launcher started for one command, let the first alone speak; SDD_DEBUG lets all."""
    if os.environ.get("RANK", "0") != "0" and not os.environ.get("SDD_DEBUG"):
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def warn(sentence: str) -> None:
    """Print one warning on standard error."""
    print(f"warning: {one_line(sentence, 2 * LONGEST)}", file=sys.stderr)


def say(text: str) -> None:
    """Print lines of text on standard output, without what steers a terminal: they quote files and their names."""
    print(printable(text))


def say_json(value: Any) -> None:
    """Print a value as JSON on standard output; what steers a terminal is written as \\uXXXX: nothing is lost."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    print(text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text))


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]


@contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Our own warnings become sentences; those of libraries are for their developers and are dropped."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        warn(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=r"sdd(\.|$)")
        warnings.showwarning = show
        yield


def console() -> Console:
    """Where results are printed. Tables and texts quote files: what steers a terminal is left out of them."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Plain(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    return Plain(highlight=False, soft_wrap=True)


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress display with an estimate of the time left, on standard error; silent where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        yield bar


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """A curve in one line of text; more values than `width` are averaged in groups, gaps stand for NaN and infinity."""
    if len(values) > width:
        edges = [round(i * len(values) / width) for i in range(width + 1)]
        groups = [[v for v in values[a:b] if v == v] for a, b in pairwise(edges)]
        values = [sum(g) / len(g) if g else float("nan") for g in groups]
    finite = [v for v in values if v == v and abs(v) != float("inf")]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = high / 16 - low / 16  # of the largest floats the difference itself is infinite
    return "".join(
        _BLOCKS[min(7, int((v / 16 - low / 16) / span * 8)) if span else 3] if v in finite else " " for v in values
    )
