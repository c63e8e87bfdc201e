"""The one progress display: a bar with an ETA for each thing that takes its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, int], object]  # called with (what is being done, how much of it is done, of how much)


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def counting(report: Report, what: str, total: int) -> Callable[[int], None]:
    """For work that says how much more of it is done, where a report is told how much is done in all."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        report(what, done, total)

    return advance


@contextmanager
def bars(shown: bool) -> Iterator[Report]:
    """A display on standard error; what is reported under a new name gets a bar of its own."""
    if not shown:
        yield silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as display:

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = display.add_task(what, total=total)
            display.update(tasks[what], completed=done, total=total)

        yield report
