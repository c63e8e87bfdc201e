"""What the command line says and how it fails: one sentence and an exit code, never a traceback."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from typer import Abort
from typer.core import TyperGroup

from sdd.errors import SddError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


BAD_INPUT, PARTLY, INTERRUPTED = 2, 1, 130  # exit codes; PARTLY: some of many inputs could not be used
_BLOCKS = "▁▂▃▄▅▆▇█"


class Guarded(TyperGroup):
    """A group of commands that turns every failure into one sentence on standard error."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exits with 2 for bad input, 130 for Ctrl-C."""
        try:
            with _warnings_as_sentences():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            # What knows how to go on says so in the exception; otherwise there is nothing to keep.
            ctx.exit(fail(str(stop) or "stopped", INTERRUPTED))
        except Exception as error:
            broken_pipe = isinstance(error, OSError) and error.errno == errno.EPIPE
            if broken_pipe or isinstance(error, Abort) or hasattr(error, "exit_code"):
                raise  # typer's own ways to stop, which it handles itself
            if os.environ.get("SDD_DEBUG"):
                raise
            ctx.exit(fail(_sentence(error)))


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
    print(f"sdd: {' '.join(sentence.split())}", file=sys.stderr)
    return code


def warn(sentence: str) -> None:
    """Print one warning on standard error."""
    print(f"warning: {' '.join(sentence.split())}", file=sys.stderr)


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
    """Where results are printed."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


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
    low, span = min(finite), max(finite) - min(finite)
    return "".join(
        _BLOCKS[min(7, int(8 * (v - low) / span)) if span else 3] if v == v and abs(v) != float("inf") else " "
        for v in values
    )
