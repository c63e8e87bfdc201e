"""Command: sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdd.apps.cli.app import app
from sdd.apps.cli.options import MOST, Seed, Split, check_folder
from sdd.apps.cli.say import say
from sdd.domains.embedded import EMBEDDED


@app.command(epilog="Example: sdd sample avatars -n 16 --seed 7 -o samples/")
def sample(
    domain: Annotated[str, typer.Argument(help="Name of a domain.")] = EMBEDDED,
    count: Annotated[int, typer.Option("-n", "--count", help="How many pictures.", min=1, max=MOST)] = 16,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for pictures and samples.json.")] = Path("samples"),
    size: Annotated[int, typer.Option(help="Pixels, for avatars.", min=16, max=4096)] = 128,
    split: Annotated[Split, typer.Option(help="Held-out pictures, or those trained on.")] = Split.test,
) -> None:
    """Write pictures of a domain, with captions and attributes where they are known, and a grid of them all."""
    check_folder(out)
    from sdd.apps.sample import write_samples

    made = write_samples(domain, count, seed, out, size, split.value)
    say(f"wrote {len(made.pictures)} pictures in {out}/, what is known of each in {made.listing}, all of them at a "
        f"glance in {made.sheet}")  # fmt: skip
