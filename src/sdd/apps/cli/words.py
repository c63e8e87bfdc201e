"""Command: words."""

from __future__ import annotations

from typing import Annotated

import typer

from sdd.apps import terminal
from sdd.apps.cli.app import app


@app.command(epilog="Example: sdd words")
def words(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: attributes, values, wordings.")] = False,
) -> None:
    """List what the embedded teacher was taught to say of avatars, by attribute: the language of prompts for them."""
    from sdd.apps.cli.say import print_language
    from sdd.apps.words import colours, language

    if as_json:
        terminal.say_json({"attributes": language(), "colours": colours()})
    else:
        print_language(language(), colours())
