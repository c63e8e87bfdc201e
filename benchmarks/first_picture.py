"""The README's first picture: held-out people, edited at several strengths, a row a prompt.

    sdd train "white hair" -o white-hair.safetensors          and the others alike
    python benchmarks/first_picture.py white-hair.safetensors sunglasses.safetensors smile.safetensors \
        --out docs/images/first.png

Every edit is what `sdd edit` writes of a picture of 256 pixels. Row k shows the k-th held-out person of a seed on whom
its edit can be tried; the seed was picked by eye, out of seven.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from sdd.editor import Editor
from sdd.evaluate.prompts import prompt, subjects
from sdd.io.files import atomic_path
from sdd.io.pictures.write import grid

SIDE, STRENGTHS = 256, (0.33, 0.67, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("editors", nargs="+", type=Path, help="editor files, a row each")
    parser.add_argument("--seed", type=int, default=3, help="which held-out people")
    parser.add_argument("--out", type=Path, default=Path("first.png"))
    given = parser.parse_args()
    cells: list[torch.Tensor] = []
    labels: list[str] = []
    for row, path in enumerate(given.editors):
        editor = Editor.load(path)
        source = subjects(prompt(editor.prompt), row + 1, given.seed)[row].render(SIDE)[None]
        cells += [source[0], *(editor(source, strength=s)[0] for s in STRENGTHS)]
        labels += [f"{editor.prompt}: source", *(f"strength {s:g}" for s in STRENGTHS)]
    with atomic_path(given.out) as aside:
        grid(cells, columns=1 + len(STRENGTHS), labels=labels).save(aside, format="PNG", optimize=True)
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
