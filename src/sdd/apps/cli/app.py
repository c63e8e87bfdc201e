"""The command `sdd` and its group `domain`, before any command is added."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from sdd.apps import terminal

ORDER = (
    "search", "train", "edit", "bulk", "compare", "methods", "show", "export", "studio", "sample", "demo", "words",
    "import", "inspect", "models", "domain", "bench", "eval",
)  # fmt: skip


class Commands(terminal.Guarded):
    """The group of all commands: a wrong command line is one sentence too, like any other bad input."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which a newcomer needs them."""
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the command line, run the command and exit."""
        alone, kwargs["standalone_mode"] = kwargs.get("standalone_mode", True), False
        if not alone:
            return super().main(*args, **kwargs)
        try:
            code = super().main(*args, **kwargs)
        except typer.Abort:
            code = terminal.fail("stopped", terminal.INTERRUPTED)
        except Exception as error:
            # Typer's own errors come from the click that it carries, which has no name of its own for others.
            if not hasattr(error, "format_message"):
                raise
            code = _refused(error)
        sys.exit(code if isinstance(code, int) else 0)


def _refused(error: Any) -> int:
    """Say what is wrong with the command line; the exit code."""
    message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
    if type(error).__name__ == "NoArgsIsHelpError":  # its text is the help, which was not asked for by name
        error.show()
        return int(error.exit_code)
    names, context = list[str](), getattr(error, "ctx", None)
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    command = " ".join(["sdd", *names])
    return terminal.fail(f"{message[:1].lower()}{message[1:]}; `{command} --help` says what there is", error.exit_code)


app = typer.Typer(
    cls=Commands,
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
bench_app = typer.Typer(help="Measure methods where the right answer is known; score your own.", no_args_is_help=True)
app.add_typer(bench_app, name="bench", epilog="Example: sdd bench fig1 --quick -o benchmarks-out/")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        terminal.say(f"sdd {version('sdd')}")
        raise typer.Exit


@app.callback()
def _sdd(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """What holds for every command."""
