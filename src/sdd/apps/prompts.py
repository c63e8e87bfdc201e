"""A list of prompts to train one after another, from a TOML file.

Texts, and tables of what is to be trained otherwise:

    prompts = ["white hair", "smile"]   # each becomes an editor of its name

    [[editor]]                          # one that is to be trained otherwise
    prompt = "glasses"
    out = "specs.safetensors"
    seed = 3
    steps = 200                         # any training option
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from sdd.domains.domain import Domain
from sdd.errors import SddError, one_line
from sdd.training.run import slug

MOST = 10_000  # prompts
LARGEST = 2**22  # bytes of the file
SHARED = ("manipulator", "precision")  # options that decide what is loaded, once for all prompts


@dataclass(frozen=True)
class Wanted:
    """One editor to train.

    Attributes:
        out: its file, relative to the folder of all. seed: None for that of all. options: of its training, beside those
            of all.
    """

    prompt: str
    out: Path
    seed: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


def read(path: Path) -> list[Wanted]:
    """The editors that a file asks for, in its order.

    Raises:
        SddError: there is no such file, it says something else, or two editors would be one file.
    """
    if not path.is_file():
        raise SddError(f"there is no list of prompts {path}")
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        given = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SddError(f"{path} is no list of prompts in TOML ({one_line(str(error), 120)})") from error
    prompts, tables = given.pop("prompts", []), given.pop("editor", [])
    if given or not isinstance(prompts, list) or not isinstance(tables, list):
        what = one_line(next(iter(given), "prompts"), 40)
        raise SddError(
            f'{path} has prompts = ["white hair", ...] and tables [[editor]], and nothing else; see {what!r}'
        )
    found = [_wanted(path, {"prompt": prompt}) for prompt in prompts] + [_wanted(path, table) for table in tables]
    if not 1 <= len(found) <= MOST:
        raise SddError(f"{path} names {len(found)} prompts; it takes 1 to {MOST}")
    outs = [str(one.out).casefold() for one in found]
    if twice := [one for one, out in zip(found, outs, strict=True) if outs.count(out) > 1]:
        raise SddError(f"{path} has two editors that would be {twice[0].out}; give one another out = ...")
    return found


def shared(domain: Domain) -> Domain:
    """A domain that draws the same pictures once, for all trainings on them."""
    return replace(domain, draw=cache(domain.draw))


def _wanted(path: Path, table: Any) -> Wanted:
    """One entry, checked."""
    if not isinstance(table, dict) or not isinstance(table.get("prompt"), str) or not table["prompt"].strip():
        raise SddError(f"{path} has an entry without a prompt; each is a text, or a table [[editor]] with prompt = ...")
    options = dict(table)
    prompt = options.pop("prompt").strip()
    out, seed = options.pop("out", f"{slug(prompt)}.safetensors"), options.pop("seed", None)
    said = one_line(prompt, 60)
    if not isinstance(out, str) or not out or Path(out).is_absolute() or ".." in Path(out).parts:
        raise SddError(f"{path}: out of {said!r} is the name of a file in the folder of all")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**62):
        raise SddError(f"{path}: the seed of {said!r} is a whole number from 0 on, of at most 18 digits")
    for name in SHARED:
        if name in options:
            raise SddError(
                f"{path}: {name} is the same for all prompts; give it on the command line (--set {name}=...)"
            )
    return Wanted(prompt, Path(out), seed, options)
