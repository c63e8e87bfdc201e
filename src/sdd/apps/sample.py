"""Pictures of a domain as files, with what is known of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdd.domains import library
from sdd.domains.embedded import EMBEDDED
from sdd.io.files import write_text
from sdd.io.pictures.folder import LISTING, SHEET
from sdd.io.pictures.write import grid, save_png


@dataclass(frozen=True)
class Samples:
    """What was written: pictures, their listing, and one picture of them all."""

    pictures: list[Path]
    listing: Path
    sheet: Path


def write_samples(domain: str, count: int, seed: int, folder: Path, size: int, split: str) -> Samples:
    """Write pictures of a domain, `samples.json` and `grid.png` into a folder.

    Args:
        size: px, of avatars; other domains have a size of their own.
        split: "test" for held-out pictures, "train" for those trained on.

    Raises:
        SddError: there is no such domain, it has no pictures, or the folder cannot be written.
    """
    facts: list[dict[str, Any]]
    if domain == EMBEDDED:
        from sdd.domains import avatars

        people = avatars.sample(count, seed, split)
        tensors = [person.render(size) for person in people]
        facts = [{"caption": person.caption(), "attributes": person.attributes} for person in people]
    else:
        tensors = list(library.get(domain).images(count, seed, split))
        facts = [{} for _ in tensors]
    names = [f"{domain}-{index:04d}.png" for index in range(len(tensors))]
    pictures = [save_png(tensor, folder / name) for name, tensor in zip(names, tensors, strict=True)]
    entries = [{"file": name, **fact} for name, fact in zip(names, facts, strict=True)]
    write_text(folder / LISTING, json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    sheet = save_png(grid(tensors, labels=[str(index) for index in range(len(tensors))]), folder / SHEET)
    return Samples(pictures, folder / LISTING, sheet)
