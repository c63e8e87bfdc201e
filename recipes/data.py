"""Draw the training pictures of the avatars domain.

    python -m recipes.data --count 60000

Writes pictures (500, 128, 128, 3) uint8 as `images/*.npy` under the recipes' folder (`$SDD_HOME/recipes`, by default
~/.cache/sdd/recipes). Drawing again with a larger count draws only what is missing. The people themselves are
`avatars.sample(N, 0, "train")`.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from rich.progress import track

from sdd.domains import avatars

CHUNK = 500
HEADS = {name: len(avatars.values(name)) for name in (*avatars.SHAPES, *avatars.COLORS)} | {
    n: 1 for n in avatars.RANGES
}


def home() -> Path:
    """Where recipes keep data and checkpoints."""
    folder = Path(os.environ.get("SDD_HOME", Path.home() / ".cache" / "sdd")) / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _draw(start: int) -> np.ndarray:
    people = [avatars.draw(np.random.default_rng([0, 0, i]), seed=i) for i in range(start, start + CHUNK)]
    return np.stack([person.pixels() for person in people])


def draw(count: int, workers: int | None = None) -> None:
    """Draw `count` pictures (rounded up to chunks of 500), keeping those already there."""
    folder = home() / "images"
    folder.mkdir(exist_ok=True)
    todo = [s for s in range(0, count, CHUNK) if not (folder / f"{s:07d}.npy").exists()]
    with ProcessPoolExecutor(workers) as pool:
        for start, pixels in zip(todo, track(pool.map(_draw, todo), "drawing", total=len(todo)), strict=True):
            aside = folder / f"{start:07d}.part.npy"
            np.save(aside, pixels)
            aside.rename(folder / f"{start:07d}.npy")


def load(count: int | None = None) -> np.ndarray:
    """The first `count` pictures (all there are by default), (N, 128, 128, 3) uint8 in memory."""
    files = sorted((home() / "images").glob("???????.npy"))
    files = files[: -(-count // CHUNK)] if count else files
    if not files:
        raise SystemExit("no training pictures yet; run: python -m recipes.data")
    return np.concatenate([np.load(file) for file in files])


def labels(count: int) -> dict[str, np.ndarray]:
    """Index of each discrete value, -100 where the picture cannot show it; continuous values in [-1, 1]."""
    rows: dict[str, list[float]] = {name: [] for name in HEADS}
    for i in range(count):
        person = avatars.draw(np.random.default_rng([0, 0, i]), seed=i)
        for name in HEADS:
            value = person.attributes[name]
            if name in avatars.RANGES:
                low, high = avatars.RANGES[name]
                rows[name].append((value - (low + high) / 2) / ((high - low) / 2))
            else:
                rows[name].append(avatars.values(name).index(value) if person.visible(name) else -100)
    return {k: np.array(v, dtype=np.float32 if k in avatars.RANGES else np.int64) for k, v in rows.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60000)
    draw(parser.parse_args().count)
