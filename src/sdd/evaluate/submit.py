"""A method of anybody's, scored on the published people (`sdd.evaluate.people`) and entered into a leaderboard.

The folder of edits is a stranger's: pictures are read within the limits of `sdd.io.pictures.read`, and nothing else of
it is looked at. The answers are drawn from the people's specification.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from sdd.domains.avatars.truth import AVATARS
from sdd.errors import SddError, one_line
from sdd.evaluate.intervals import Mean, mean
from sdd.evaluate.judge import Judge
from sdd.evaluate.markdown import estimate, refuse_other, table
from sdd.evaluate.people import EDITION, Published, file_of, folder_of
from sdd.evaluate.prompts import prompt
from sdd.evaluate.trial import Figures, Subjects, compared, drifted, rounded
from sdd.io.files import write_text
from sdd.io.progress import Report, silent

MOST_BYTES = 1 << 24  # of a leaderboard
TITLE = "# Leaderboard"
COLUMNS = {
    "success": ("%", "success"), "side_effects": ("%", "side effects"), "editability": ("", "editability"),
    "fidelity": ("dB", "fidelity"), "gain": ("", "gain"), "drift": ("", "drift, px"), "clip": ("", "CLIP"),
    "directional": ("", "directional"),
}  # fmt: skip
Name = Annotated[str, Field(min_length=1, max_length=80)]
Numbers = Annotated[list[float], Field(max_length=1000)]


class Entry(BaseModel):
    """A row of a leaderboard.

    Attributes:
        name: of the method. people: the set (`Published.name`). date: UTC.
        prompts: prompt → figure → one number a person (`COLUMNS`), nan as none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    people: Annotated[str, Field(max_length=200)]
    date: Annotated[str, Field(max_length=40)]
    prompts: dict[Name, dict[Name, list[float | None]]] = Field(max_length=100)

    def figure(self, name: str) -> Mean:
        """A figure's mean over prompts, and its interval over prompts and people."""
        found = [row[name] for row in self.prompts.values() if name in row]
        return mean([[float("nan") if x is None else x for x in values] for values in found])


class Leaderboard(BaseModel):
    """All rows of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edition: int = EDITION
    entries: tuple[Entry, ...] = Field(default=(), max_length=10_000)


# --- Scoring ---------------------------------------------------------------------------------------------------------


def score(edited: Path, asked: Published, judge: Judge, report: Report = silent) -> dict[str, Figures]:
    """Prompt → figures of each person, of the prompts whose folder is there.

    Raises:
        SddError: there is no folder of any prompt, or one lacks a picture, or holds one that cannot be read.
    """
    if not os.path.isdir(edited):
        raise SddError(f"there is no folder {edited}; it holds a folder of edits for each prompt, as people.json says")
    there = [text for text in asked.prompts if os.path.isdir(edited / folder_of(text))]
    if not there:
        raise SddError(
            f"{edited} holds no folder of a prompt, such as {folder_of(asked.prompts[0])}; name edits as "
            "`sdd bench people` names their sources"
        )
    found = {}
    pictures = {text: _read(edited / folder_of(text), asked.count) for text in there}  # all, before anything is judged
    for k, text in enumerate(there):
        subjects = Subjects.make(prompt(text), AVATARS, judge, asked.count, asked.seed)
        found[text] = scored(pictures[text], subjects, judge)
        report("scoring", k + 1, len(there))
    return found


def scored(edited: Tensor, there: Subjects, judge: Judge) -> Figures:
    """The figures of `COLUMNS` of each person."""
    people, found, _ = there.judge(edited, judge)
    people |= compared(edited, there, judge, None) | drifted(edited, there.images, there.answers(found.chosen))
    return {name: rounded(people[name]) for name in COLUMNS if name in people}


def _read(folder: Path, count: int) -> Tensor:
    """The edits of a prompt at the size of its people, (count, 3, S, S) in [-1, 1]."""
    from sdd.domains.avatars import IMAGE_SIZE
    from sdd.io.pictures.read import open_image
    from sdd.io.pictures.shape import resize, to_tensor

    found = []
    for i in range(count):
        path = folder / file_of(i)
        if not os.path.isfile(path):
            raise SddError(f"{path} is missing; a prompt that is edited at all is edited on all of its {count} people")
        picture = open_image(path)
        if picture.width != picture.height:
            raise SddError(f"{path} has {picture.width}x{picture.height} pixels; an edit is square, as its source is")
        if picture.width > 8 * IMAGE_SIZE:
            picture = picture.reduce(picture.width // (4 * IMAGE_SIZE))
        found.append(resize(to_tensor(picture)[None], IMAGE_SIZE)[0])
    return torch.stack(found)


# --- The leaderboard -------------------------------------------------------------------------------------------------


def submit(
    edited: Path, name: str, asked: Published, board: Path, judge: Judge, replace: bool = False, report: Report = silent
) -> Entry:
    """Score a folder, and write the leaderboard with its row, as JSON and beside it as Markdown.

    Args:
        board: the JSON file, made if it is not there.
        replace: put the row in the place of one of the same name and set.

    Raises:
        SddError: what `score` and `read_board` raise; a name that is no name, or that is taken.
    """
    said = one_line(name, 80)
    if not said:
        raise SddError("a method has a name; give one with --name")
    if board.suffix.lower() != ".json":
        raise SddError(f"a leaderboard is a JSON file, not {board.name}; give --board leaderboard.json")
    rows = list(read_board(board).entries) if board.exists() else []
    beside = board.with_suffix(".md")
    refuse_other(beside, TITLE)
    taken = [row for row in rows if (row.name, row.people) == (said, asked.name)]
    if taken and not replace:
        raise SddError(f"{board} has a row of the name {said!r} already; give another --name, or --replace it")
    figures = score(edited, asked, judge, report)
    clean = {text: {k: [x if x == x else None for x in v] for k, v in row.items()} for text, row in figures.items()}
    entry = Entry(name=said, people=asked.name, date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), prompts=clean)
    found = Leaderboard(entries=(*(row for row in rows if row not in taken), entry))
    write_text(board, json.dumps(found.model_dump(mode="json"), ensure_ascii=False) + "\n")
    write_text(beside, page(found))
    return entry


def read_board(path: Path) -> Leaderboard:
    """A leaderboard's file.

    Raises:
        SddError: it is no leaderboard, or too large.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SddError(f"{path} has {path.stat().st_size} bytes, more than a leaderboard; name another --board")
        return Leaderboard.model_validate_json(path.read_bytes())
    except (ValidationError, OSError, RecursionError) as error:
        raise SddError(f"{path} is no leaderboard; name another file with --board") from error


def page(board: Leaderboard) -> str:
    """The leaderboard as Markdown: one table a set of people, the largest gain first; partial rows last."""
    lines = [TITLE, ""]
    for people in dict.fromkeys(entry.people for entry in board.entries):
        rows = [entry for entry in board.entries if entry.people == people]
        whole = max(len(entry.prompts) for entry in rows)
        rows.sort(key=lambda entry: (len(entry.prompts) < whole, -entry.figure("gain").value))
        lines += [f"## People: {people}", "", *table(_head(), [_row(entry) for entry in rows]), ""]
    lines += [
        "Means over prompts with 95 % bootstrap intervals over prompts and people, the largest gain first; rows of "
        "fewer prompts come last and are not comparable. What the columns mean: `src/sdd/evaluate/metrics.py`. "
        "Success, side effects and CLIP are read by the judge of the avatars, which taught none of the shipped models.",
    ]
    return "\n".join(lines) + "\n"


def _head() -> Sequence[str]:
    return ["method", "prompts", "pictures", *(heading for _, heading in COLUMNS.values()), "date"]


def _row(entry: Entry) -> list[str]:
    pictures = sum(len(next(iter(row.values()), [])) for row in entry.prompts.values())
    cells = [estimate(entry.figure(name), unit) for name, (unit, _) in COLUMNS.items()]
    return [plain(entry.name), str(len(entry.prompts)), str(pictures), *cells, entry.date]


def plain(text: str) -> str:
    """A stranger's text as a cell of a table: nothing in it is markup."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-!|~&" else c for c in one_line(text))


def report_lines(entry: Entry) -> list[str]:
    """What a submission reached, a line a figure."""
    found: list[tuple[str, Any]] = [(heading, estimate(entry.figure(n), u)) for n, (u, heading) in COLUMNS.items()]
    return [f"{heading:14} {value}" for heading, value in found]
