"""The command line: search, train, edit, bulk, compare, methods, show, export, studio, sample, demo, words; import,
inspect, models, domain for your models; bench, eval to measure.

Nothing heavier than typer is imported here: torch and the rest come with the command that needs them, so that
`sdd --help` is instant.
"""

from __future__ import annotations

import gc
import os
import sys

from sdd.apps import terminal
from sdd.apps.cli import bench, bulk, by_method, domain, edit, eval, export, models, samples, studio, train, words
from sdd.apps.cli.app import app
from sdd.memory import keep_memory

# Importing them adds their commands.
COMMANDS = (train, edit, bulk, by_method, export, studio, samples, words, models, domain, bench, eval)


def main() -> None:
    """Entry point of the command `sdd`."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):  # their warnings are for their developers; errors still speak
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows no sparklines gets question marks
    # Importing torch makes a million objects that all stay: looking for garbage among them is a tenth of a start.
    gc.set_threshold(100_000)
    keep_memory()
    try:
        app(prog_name="sdd")
    except KeyboardInterrupt:  # before a command has begun
        sys.exit(terminal.fail("stopped", terminal.INTERRUPTED))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
