"""Command: studio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdd.apps.cli.app import app
from sdd.apps.cli.options import Device, DomainName
from sdd.apps.cli.say import say


@app.command(epilog="Example: sdd studio editors/")
def studio(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders of editor files; trained ones go into the first. By default .")
    ] = None,
    domain: DomainName = None,
    host: Annotated[
        str, typer.Option(help="Let others in, by this address; needs a password. By default this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port; the first free one from 7860 on.", min=1, max=65535)] = None,
    password: Annotated[
        str | None,
        typer.Option(help="What visitors must know; best given in the environment.", envvar="SDD_STUDIO_PASSWORD"),
    ] = None,
    device: Device = None,
) -> None:
    """Edit, train and compare in the browser: drop a picture, move sliders, see the edit as you drag."""
    from sdd.apps.studio.server import Server, check_door, check_gradio

    check_door(host, password or None)
    check_gradio()
    from sdd.apps import terminal
    from sdd.apps.cli.objects import find_domain
    from sdd.apps.studio.workshop import workshop
    from sdd.device import pick_device

    where = pick_device(device)
    shop = workshop(folders or [Path()], find_domain(domain, where), where)
    for sentence in shop.shelf.broken():
        terminal.warn(sentence)
    server = Server(shop, host, port, password or None)
    many = len(shop.shelf.names())
    say(f"the studio is at {server.url} with {many} editor{'' if many == 1 else 's'}; Ctrl-C ends it")
    server.wait()
