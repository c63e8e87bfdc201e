"""How much quicker several prompts are trained together than one after another, each by a command of its own.

    python benchmarks/prompts.py --steps 20 "white hair" sunglasses "red hair"     about two minutes on two cores

Both find the domain prepared, as every training after the first does. Prints seconds and their ratio, keeps them in
docs/figures/prompts.json, and writes their part of docs/performance.md; `--page` does only that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from performance_page import put, where

from sdd.evaluate.machine import machine
from sdd.io.files import write_text

FIGURES, TITLE = Path("docs/figures/prompts.json"), "Many prompts"


def train(home: Path, *arguments: str) -> float:
    """Seconds of one `sdd train` in a folder of its own.

    Raises:
        CalledProcessError: it failed.
    """
    command = [sys.executable, "-c", "from sdd.apps.cli.main import main; main()", "train", *arguments]
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=home, env={**os.environ, "SDD_HOME": str(home / "home")})
    return time.perf_counter() - began


def section(found: dict[str, Any]) -> list[str]:
    """The part of docs/performance.md."""
    count, steps, singly = len(found["prompts"]), found["steps"], sum(found["singly"])
    return [
        f"`python benchmarks/prompts.py --steps {steps} …`; {where(found)}: {count} prompts of {steps} steps each in a "
        f"list (`sdd train prompts.toml`) take {found['together']:.0f} s, one after another by a command each "
        f"{singly:.0f} s: a ratio of {found['ratio']:.2f}. What is spared is loading the teacher and preparing the "
        f"pictures; both find the domain prepared.",
    ]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", nargs="*", default=["white hair", "sunglasses", "red hair"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    if given.page:
        put(TITLE, section(json.loads(FIGURES.read_text("utf-8"))))
        return
    with tempfile.TemporaryDirectory() as folder:
        home, steps = Path(folder), ("--steps", str(given.steps))
        train(home, "black hair", "--steps", "1", "-o", "first.safetensors")  # prepares the domain
        (home / "p.toml").write_text(f"prompts = {json.dumps(given.prompts)}\n")
        singly = [train(home, prompt, *steps, "-o", f"one-{i}.safetensors") for i, prompt in enumerate(given.prompts)]
        # Finished runs are found again by their folder, so that the list is trained where there are none.
        (home / "runs").rename(home / "runs-of-single-ones")
        together = train(home, "p.toml", *steps, "-o", "many")
    found = {**machine(), "prompts": given.prompts, "steps": given.steps, "singly": singly, "together": together,
             "ratio": together / sum(singly)}  # fmt: skip
    write_text(FIGURES, json.dumps(found, indent=1) + "\n")
    put(TITLE, section(found))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
