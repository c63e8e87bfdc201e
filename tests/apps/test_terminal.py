"""What is printed steers no terminal, and is short."""

import json

import pytest
import typer
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from sdd.apps import terminal

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eevil\u2066\x7f\x00"


def test_everything_that_prints_strips_controls(capsys):
    terminal.fail(EVIL)
    terminal.warn(f"{EVIL}\nsecond")
    terminal.say(f"{EVIL}\nsecond")
    table = Table(EVIL, title=EVIL)
    table.add_row(Text(EVIL))
    terminal.console().print(table, EVIL)
    printed = capsys.readouterr()
    assert printed.out.replace("\n", "").isprintable() and "second" in printed.out.splitlines()
    assert len(printed.err.splitlines()) == 2 and printed.err.replace("\n", "").isprintable()


def test_json_loses_nothing(capsys):
    value = {EVIL: ["weißes Haar", EVIL, 1, None]}
    terminal.say_json(value)
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable() and "weißes Haar" in printed and json.loads(printed) == value


@pytest.mark.parametrize("argument", ["x" * 100_000, EVIL, "--" + "x" * 100_000, f"--{EVIL}"])
@pytest.mark.parametrize("before", [[], ["one"], ["one", "--number"]])
def test_wrong_command_lines_are_not_echoed_whole(before, argument):
    app = typer.Typer(cls=terminal.Guarded, pretty_exceptions_enable=False)

    @app.command()
    def one(number: int = 0):
        pass

    @app.command()
    def two():
        pass

    result = CliRunner().invoke(app, [*before, argument])
    assert result.exit_code == 2 and len(result.output) < 5000 and "\x1b]" not in result.output


@pytest.mark.parametrize(
    "values", [[1e308, -1e308], [5e-324, 0.0], [float("nan")], [float("inf"), 1.0, 2.0], [1.7e308] * 500]
)
def test_curves_of_any_numbers(values):
    assert len(terminal.sparkline(values)) <= 60
