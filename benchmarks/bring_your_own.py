"""Run the commands of docs/bring-your-own.md and print each with its output and duration, as that page has them.

    python benchmarks/bring_your_own.py --write docs/bring-your-own.md      minutes on two cores, needs no network
    python benchmarks/bring_your_own.py --tiny                              fewer steps and pictures: checks the script

The published weights need a download of gigabytes, so the embedded avatars play the user's own models: their generator,
identity network and W+ codes are saved as the files a user would have (a rosinality `.pt`, an IR-SE `.pth`, a tensor of
codes), beside a published mapper with random weights and a hostile pickle, and only those files are given to `sdd`.
Their encoder is of an architecture of its own, which no published file has, so pictures are inverted by `--refine`.
"""

from __future__ import annotations

import argparse
import os
import pickle
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import torch

from sdd.domains import library
from sdd.domains.domain import Domain
from sdd.io.files import write_text
from sdd.io.pictures.write import save_png
from sdd.nets.mapper_kinds import build_mapper

BEGIN, END = "<!-- begin: benchmarks/bring_your_own.py -->", "<!-- end: benchmarks/bring_your_own.py -->"


class Attack:
    """What a hostile checkpoint holds: unpickling it would run a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo this must never be seen",)


def save_parts(folder: Path, domain: Domain, photos: int) -> None:
    """The files a user would bring, made of the embedded domain."""
    generator = domain.generator
    torch.save({"g_ema": generator.state_dict(), "latent_avg": generator.latent_avg}, folder / "my-generator.pt")
    assert domain.identity is not None, "the embedded domain has one"
    torch.save(domain.identity.state_dict(), folder / "my-identity.pth")
    parts = domain.images(200, seed=1).split(16)
    with torch.no_grad():
        torch.save(torch.cat([domain.encoder(part) for part in parts]), folder / "my-codes.pt")
    for i, picture in enumerate(domain.images(photos, seed=2, split="test")):
        save_png(picture, folder / "photos" / f"{i:02d}.png")
    mapper = build_mapper(
        {"kind": "LevelsMapper", "levels": ["medium", "fine"], "style_dim": generator.style_dim},
        torch.Generator().manual_seed(0),
    )
    torch.save({"mapper": mapper.state_dict(), "optimizer": {}}, folder / "mapper_004000.pt")
    (folder / "from-a-stranger.pt").write_bytes(pickle.dumps({"state_dict": Attack()}))
    (folder / "my-teacher").symlink_to(domain.teacher, target_is_directory=True)


def commands(tiny: bool) -> Iterator[tuple[str, str]]:
    """(what the command is for, the command)."""
    refine = "3" if tiny else "100"
    few = " --steps 2 --timesteps 700" if tiny else ""
    yield "What is this file?", "sdd inspect my-generator.pt"
    yield "And this one? Nothing in it is run.", "sdd inspect from-a-stranger.pt"
    yield (
        "Name the parts once.",
        "sdd domain add mine --generator my-generator.pt --identity my-identity.pth --latents my-codes.pt "
        "--teacher my-teacher",
    )
    yield "Train.", f'sdd train "white hair" --domain mine -o white-hair.safetensors{few}'
    yield "What came of it?", "sdd show white-hair.safetensors"
    yield (
        "Edit. There is no encoder here, so every code starts from the mean and is optimised.",
        f"sdd edit photos/ -e white-hair.safetensors -o edited/ --refine {refine}",
    )
    yield (
        "A mapper of the published code (with random weights) becomes an editor.",
        'sdd import mapper_004000.pt --domain mine --prompt "by somebody else" -o imported.safetensors',
    )
    yield "A wrong part is refused by name.", "sdd domain add wrong --generator my-identity.pth"
    yield "Forget the domain; its files stay.", "sdd domain remove mine"


def run(command: str, folder: Path) -> tuple[str, float]:
    """What a command says, and the seconds it takes, starting Python included."""
    words = shlex.split(command)
    place = {**os.environ, "SDD_HOME": str(folder / "home"), "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "sdd.apps.cli.main", *words[1:]],
        cwd=folder, env=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    output = done.stdout.replace(f"{folder}/", "").strip()
    if done.returncode < 0 or "Traceback" in output:
        raise SystemExit(f"{command} broke:\n{output}")
    return output + (f"\n(exit {done.returncode})" if done.returncode else ""), seconds


def measure(folder: Path, tiny: bool) -> str:
    """The page's block, in markdown."""
    save_parts(folder, library.get("avatars"), photos=2 if tiny else 16)
    parts = []
    for purpose, command in commands(tiny):
        output, seconds = run(command, folder)
        shown = "\n".join(f"    {line.rstrip()}" if line.strip() else "" for line in output.splitlines())
        parts.append(f"{purpose} ({seconds:.1f} s)\n\n    $ {command}\n{shown}\n")
        print(parts[-1], flush=True)
    cores = torch.get_num_threads()
    parts.append(f"Measured on {machine()}, {cores} threads; torch {torch.__version__}; {date.today().isoformat()}.")
    return "\n".join(parts)


def machine() -> str:
    """The processor, in words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def put(page: Path, block: str) -> None:
    """Replace what stands between the page's two marks."""
    text = page.read_text("utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"{page} lacks the lines {BEGIN} and {END}")
    write_text(page, f"{before}{BEGIN}\n\n{block}\n\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tiny", action="store_true", help="few steps and pictures: checks the script, measures nothing"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the result between the marks of this page")
    arguments = parser.parse_args()
    if arguments.tiny and arguments.write is not None:
        parser.error("--tiny measures nothing, so there is nothing to write")
    with tempfile.TemporaryDirectory() as folder:
        block = measure(Path(folder), arguments.tiny)
    if arguments.write is not None:
        put(arguments.write, block)


if __name__ == "__main__":
    main()
