"""Commands: bench people, bench submit, and one for each of the papers' tables and figures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdd.apps import terminal
from sdd.apps.cli.app import bench_app
from sdd.apps.cli.options import Seed, check_file, check_folder, watched
from sdd.apps.cli.say import say
from sdd.errors import SddError
from sdd.evaluate.bench.names import NAMES

if TYPE_CHECKING:
    from sdd.evaluate.people import Published

PEOPLE_SEED, PEOPLE_COUNT = 20, 12  # `sdd.evaluate.people` has them too; a test says so
PeopleSeed = Annotated[int, typer.Option(help="Which test people; the published ones are those of 20.", min=0)]
Count = Annotated[int, typer.Option("-n", "--count", help="People of each prompt; the published set has 12.", min=1)]
Board = Annotated[Path, typer.Option(help="The leaderboard; its Markdown lies beside it.")]
Prompts = Annotated[list[str] | None, typer.Option("--prompt", help="Only this prompt; may be repeated.")]


@bench_app.command("people", epilog="Example: sdd bench people -o people/")
def people(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the sources and people.json.")] = Path("people"),
    seed: PeopleSeed = PEOPLE_SEED,
    count: Count = PEOPLE_COUNT,
    prompt: Prompts = None,
) -> None:
    """Write the test people that methods are compared on: sources and prompts, no answers."""
    check_folder(out)
    from sdd.evaluate.people import Published, write_people
    from sdd.io.progress import bars

    asked = Published.make(seed, count, prompt)
    with bars(watched()) as report:
        path = write_people(asked, out, report)
    say(f"wrote {len(asked.prompts) * count} sources of {len(asked.prompts)} prompts in {out}/, and {path}")
    say(f"edit them into a folder laid out the same, then: sdd bench submit --edited FOLDER --name NAME{_same(asked)}")


def _same(asked: Published) -> str:
    """The options with which `submit` means the same set."""
    seed = f" --seed {asked.seed}" if asked.seed != PEOPLE_SEED else ""
    return seed + (f" -n {asked.count}" if asked.count != PEOPLE_COUNT else "")


@bench_app.command("submit", epilog='Example: sdd bench submit --edited edits/ --name "my method"')
def submit(
    edited: Annotated[Path, typer.Option(help="Folder of edits: a folder a prompt, named as `bench people` names it.")],
    name: Annotated[str, typer.Option(help="What the leaderboard calls the method.")],
    board: Board = Path("leaderboard.json"),
    seed: PeopleSeed = PEOPLE_SEED,
    count: Count = PEOPLE_COUNT,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the row of this name.")] = False,
) -> None:
    """Score a folder of edits against the right answers, which are drawn, and append a row to a leaderboard.

    Prompts of which there is no folder are left out, and the row says so.
    """
    check_file(board)
    from sdd.evaluate import submit as scoring
    from sdd.evaluate.judge import Judge
    from sdd.evaluate.people import Published
    from sdd.io.progress import bars
    from sdd.io.quiet import quiet_libraries

    with quiet_libraries():
        judge = Judge.load()
    with bars(watched()) as report:
        entry = scoring.submit(edited, name, Published.make(seed, count), board, judge, replace, report)
    for line in scoring.report_lines(entry):
        say(line)
    say(f"wrote {board} and {board.with_suffix('.md')}: {entry.name}, {len(entry.prompts)} prompts")


# --- Tables and figures ----------------------------------------------------------------------------------------------

Quick = Annotated[bool, typer.Option("--quick", help="A glance: few people, few prompts, short trainings.")]
People = Annotated[int | None, typer.Option("-n", "--count", help="People of each prompt.", min=1, max=1000)]
Names = Annotated[str | None, typer.Option("--methods", help="Only these methods, with commas (sdd methods).")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder for JSON, Markdown and PNG.")]
Minutes = Annotated[
    float | None, typer.Option(help="Begin nothing new after so many; the same command goes on.", min=0)
]
KeptIn = Annotated[Path | None, typer.Option("--kept", help="Folder of what is measured; by default in the cache.")]
Calls = Annotated[list[str] | None, typer.Option("--call", help="Real-size costs: NAME=SECONDS of one network call.")]


def _experiment(name: str, said: str) -> None:
    """Add the command of an experiment."""

    def command(
        out: Out = Path("benchmarks-out"),
        quick: Quick = False,
        count: People = None,
        prompt: Prompts = None,
        methods: Names = None,
        call: Calls = None,
        seed: Seed = 0,
        minutes: Minutes = None,
        kept: KeptIn = None,
    ) -> None:
        check_folder(out)
        _run([name], out, minutes, kept, quick=quick, n=count, prompts=prompt, methods=methods, seed=seed, call=call)

    bench_app.command(name, help=said, epilog=f"Example: sdd bench {name} --quick -o benchmarks-out/")(command)


for _name, _said in NAMES.items():
    _experiment(_name, _said)


@bench_app.command("all", epilog="Example: sdd bench all --quick -o benchmarks-out/")
def every(
    out: Out = Path("benchmarks-out"), quick: Quick = False, minutes: Minutes = None, kept: KeptIn = None
) -> None:
    """All tables and figures, and the page that says what they say of the papers' claims."""
    check_folder(out)
    _run(list(NAMES), out, minutes, kept, quick=quick)
    index(out)


@bench_app.command("index", epilog="Example: sdd bench index -o benchmarks-out/")
def index(out: Out = Path("benchmarks-out")) -> None:
    """Write index.md: each claim of the papers, our figure with its interval, whether it holds, and why."""
    from sdd.evaluate.bench.index import write_index

    say(f"wrote {write_index(out)}")


def _run(
    names: list[str], out: Path, minutes: float | None, kept: Path | None, quick: bool = False, n: int | None = None,
    prompts: list[str] | None = None, methods: str | None = None, seed: int = 0, call: list[str] | None = None,
) -> None:  # fmt: skip
    from sdd.evaluate.bench.costs import calls_of
    from sdd.evaluate.bench.experiment import Size, run
    from sdd.io.progress import bars

    chosen = tuple(name.strip() for name in (methods or "").split(",") if name.strip())
    size = Size(quick, n, tuple(prompts or ()), chosen, seed, calls_of(call or ()))
    began = time.monotonic()
    for name in names:
        left = None if minutes is None else max(0.0, minutes - (time.monotonic() - began) / 60)
        try:
            with bars(watched()) as report:
                paths, waiting = run(name, size, out, kept, left, report)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt("stopped; what was measured is kept, and the same command goes on") from stop
        except SddError as error:
            if len(names) == 1:
                raise
            terminal.warn(str(error))  # of all, one that cannot be measured must not cost the others
            continue
        say(f"wrote {', '.join(map(str, paths))}")
        if waiting:
            say(f"{waiting} cells of {name} are still to be measured; the same command goes on where it was")
