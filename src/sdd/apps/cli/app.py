"""The command `sdd` and its group `domain`, before any command is added."""

from __future__ import annotations

import typer

from sdd.apps import terminal

app = typer.Typer(
    cls=terminal.Guarded,
    help="Turn a sentence into a one-pass image editor (Selective Diffusion Distillation, arXiv 2307.08448).",
    epilog='Start with: sdd train "white hair" -o white-hair.safetensors, then '
    "sdd edit me.png -e white-hair.safetensors -o out/",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
domain_app = typer.Typer(help="Save a domain made of your own models under a name.", no_args_is_help=True)
app.add_typer(domain_app, name="domain", epilog="Example: sdd domain add ffhq --generator ffhq.pt --encoder e4e.pt")
