"""PIE-Bench (Ju et al., ICLR 2024, arXiv 2310.01506) as it is published: which pictures, what is asked, and where.

    DIR/mapping_file.json      key → image_path, original_prompt, editing_prompt, editing_type_id, mask, ...
    DIR/annotation_images/     the pictures, 512 × 512, under their image_path

Words in square brackets are those that differ. A mask is a list of pairs (start, length) of runs of ones in the
picture read row by row; one pixel along the border counts as edited, as in the authors' evaluation, because
annotations err there. The mapping is a stranger's file: sizes and paths are checked before anything is opened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdd.errors import SddError, one_line

MAPPING, IMAGES = "mapping_file.json", "annotation_images"
SIDE = 512
MOST_BYTES, MOST_PICTURES = 1 << 27, 100_000
TYPES = {
    "0": "random", "1": "change object", "2": "add object", "3": "delete object", "4": "change content",
    "5": "change pose", "6": "change colour", "7": "change material", "8": "change background", "9": "change style",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """One edit of the benchmark.

    Attributes:
        name: of the picture, relative to `annotation_images`.
        before, after: what the source shows and what the edit is to show. kind: of editing, a key of `TYPES`.
        runs: the mask as it is stored.
    """

    name: str
    before: str
    after: str
    kind: str
    runs: tuple[int, ...]

    def mask(self, height: int = SIDE, width: int = SIDE) -> Tensor:
        """Where the picture is to be edited, (1, height, width) bool; nearest pixels where that is another size."""
        found = decode(self.runs)[None, None]
        if (height, width) != (SIDE, SIDE):
            found = torch.nn.functional.interpolate(found.float(), (height, width), mode="nearest") > 0.5
        return found[0]


def is_pie_bench(folder: Path) -> bool:
    """Whether a folder is laid out as PIE-Bench is."""
    return os.path.isfile(folder / MAPPING) and os.path.isdir(folder / IMAGES)


def read_mapping(folder: Path, kinds: Sequence[str] = ()) -> list[Asked]:
    """Every edit of the benchmark, in its order.

    Args:
        kinds: of editing, keys of `TYPES`; none for all.

    Raises:
        SddError: the mapping is missing, too large, no such mapping, or leads out of its folder.
    """
    path = folder / MAPPING
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SddError(f"{path} has {path.stat().st_size} bytes, more than any mapping of PIE-Bench")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SddError(f"{path} is no mapping of PIE-Bench ({one_line(str(error), 100)})") from error
    if not isinstance(raw, dict) or not raw or len(raw) > MOST_PICTURES:
        raise SddError(f"{path} is no mapping of PIE-Bench: it should hold pictures by their keys")
    found = [_asked(path, str(key), value) for key, value in raw.items()]
    found = [asked for asked in found if not kinds or asked.kind in kinds]
    if not found:
        raise SddError(f"{path} has no edit of the types {', '.join(kinds)}; types are {', '.join(TYPES)}")
    return found


def _asked(path: Path, key: str, raw: Any) -> Asked:
    try:
        name, before, after = (str(raw[k]) for k in ("image_path", "original_prompt", "editing_prompt"))
        kind, runs = str(raw["editing_type_id"]), raw["mask"]
    except (KeyError, TypeError, IndexError) as error:
        raise SddError(f"{path}: the entry {one_line(key, 40)!r} lacks {error}") from error
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\\" in name or "\0" in name or not place.name:
        raise SddError(f"{path}: the entry {one_line(key, 40)!r} leads out of its folder ({one_line(name, 80)})")
    if not isinstance(runs, list) or len(runs) > 2 * SIDE * SIDE or len(runs) % 2 or not all(map(_whole, runs)):
        raise SddError(f"{path}: the mask of {one_line(key, 40)!r} is no list of pairs (start, length)")
    before, after = (text.replace("[", "").replace("]", "")[:1000] for text in (before, after))
    return Asked(name, before, after, kind, tuple(runs))


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= SIDE * SIDE


def decode(runs: Sequence[int]) -> Tensor:
    """A mask (512, 512) bool of runs (start, length, start, length, …), with its border."""
    pairs = np.asarray(runs, dtype=np.int64).reshape(-1, 2)
    steps = np.zeros(SIDE * SIDE + 1, dtype=np.int64)
    np.add.at(steps, pairs[:, 0], 1)
    np.add.at(steps, np.minimum(pairs.sum(1), SIDE * SIDE), -1)
    mask = (np.cumsum(steps[:-1]) > 0).reshape(SIDE, SIDE)
    mask[0], mask[-1], mask[:, 0], mask[:, -1] = True, True, True, True
    return torch.from_numpy(mask)
