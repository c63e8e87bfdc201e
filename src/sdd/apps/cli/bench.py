"""Commands: bench people, bench submit, and one for each of the papers' tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdd.apps.cli.app import bench_app
from sdd.apps.cli.options import check_file, check_folder, watched
from sdd.apps.cli.say import say

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


def _same(asked: object) -> str:
    """The options with which `submit` means the same set."""
    seed, count = asked.seed, asked.count  # type: ignore[attr-defined]
    given = [f" --seed {seed}" if seed != PEOPLE_SEED else "", f" -n {count}" if count != PEOPLE_COUNT else ""]
    return "".join(given)


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
