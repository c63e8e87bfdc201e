"""From what the controls of the first tab say to pictures, words and a command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from shlex import join
from typing import TYPE_CHECKING

from sdd.apps.studio import values
from sdd.domains.embedded import EMBEDDED
from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.apps.studio.shelf import Shelf
    from sdd.apps.studio.subject import Subject

SLOTS = 4  # editors at a time
NONE = "none"  # what a slot without an editor says
LEAST, MOST = -1.0, 2.0  # of a slider
LEVELS = ("coarse", "medium", "fine")


@dataclass(frozen=True)
class Wanted:
    """What the controls say.

    Attributes:
        names: of editors. strengths: one for each.
        levels: None for all.
        blend: lay the edit into the picture.
    """

    names: tuple[str, ...]
    strengths: list[float]
    levels: tuple[str, ...] | None
    blend: bool


@dataclass(frozen=True)
class Drawn:
    """What is to be seen: the value of the pair of pictures (None leaves what there is), a line, the command."""

    pair: str | None
    said: str
    command: str


def wanted(
    names: Sequence[str | None], strengths: Sequence[float | None], levels: Sequence[str], blend: bool
) -> Wanted:
    """What the controls say, checked: a browser may send anything.

    Raises:
        SddError: a strength that is none, or no level at all.
    """
    pairs = [(name, value) for name, value in zip(names, strengths, strict=True) if name and name != NONE]
    checked = list[float]()
    for _, value in pairs:
        if not isinstance(value, int | float) or not math.isfinite(value) or not LEAST <= value <= MOST:
            raise SddError(f"a strength lies between {LEAST:g} and {MOST:g}")
        checked.append(float(value))
    some = tuple(level for level in LEVELS if level in levels)
    if not some:
        raise SddError("choose at least one of coarse, medium and fine, or nothing can change")
    return Wanted(tuple(str(name) for name, _ in pairs), checked, None if some == LEVELS else some, bool(blend))


def edit(subject: Subject | None, controls: Sequence[object], shelf: Shelf) -> Drawn:
    """The picture before and after, and what there is to say of it; whatever is wrong is said too.

    Args:
        controls: names of editors, as many strengths, levels, whether to blend.
    """
    if subject is None:
        return Drawn(None, values.sentence("Drop a picture, or take a random one."), "")
    try:
        asked = of_controls(controls)
        if not asked.names:
            hint = "Choose an editor." if shelf.names() else "There is no editor yet: make one on the tab Train."
            return Drawn(values.shown(subject.before_url, subject.before_url), values.sentence(hint), "")
        editors = shelf.together(asked.names)
        after, warning = subject.edited(editors, asked.strengths, asked.levels, asked.blend)
    except SddError as error:
        return Drawn(None, values.sentence(str(error), "error"), "")
    note = values.sentence(f"{subject.name}, {subject.size[0]} × {subject.size[1]} pixels")
    if warning is not None:
        note = values.sentence(warning, "warning")
    return Drawn(values.shown(subject.before_url, values.data_url(after)), note, command(subject, asked, shelf))


def of_controls(controls: Sequence[object]) -> Wanted:
    """`wanted` of values in the order of the controls."""
    names, strengths, (levels, blend) = controls[:SLOTS], controls[SLOTS : 2 * SLOTS], controls[2 * SLOTS :]
    return wanted(names, strengths, levels if isinstance(levels, list) else [], bool(blend))  # type: ignore[arg-type]


def save(subject: Subject | None, controls: Sequence[object], shelf: Shelf) -> tuple[bytes, str]:
    """The bytes of the edited picture at its own size, and the name of the file, as `sdd edit` writes both.

    Raises:
        SddError: there is nothing to save, or it cannot be edited.
    """
    asked = of_controls(controls)
    if subject is None or not asked.names:
        raise SddError("there is no edit to save yet; drop a picture and choose an editor")
    data = subject.saved(shelf.together(asked.names), asked.strengths, asked.levels, asked.blend)
    return data, f"{PurePath(subject.name).stem or 'picture'}.png"


def command(subject: Subject, asked: Wanted, shelf: Shelf) -> str:
    """The command line that does the same."""
    words = ["sdd", "edit", f"samples/{subject.name}" if subject.seed is not None else subject.name]
    for name in asked.names:
        words += ["-e", str(shelf.path(name))]
    words += ["-o", "edited/"]
    strengths = asked.strengths if len({*asked.strengths}) > 1 else asked.strengths[:1]
    if strengths != [1.0]:
        words += [f"--strength={value:g}" for value in strengths]
    if asked.levels is not None:
        words += ["--levels", ",".join(asked.levels)]
    if not asked.blend:
        words.append("--no-blend")
    if subject.seed is None:
        return join(words)
    made = ["sdd", "sample", subject.domain or EMBEDDED, "-n", "1", "--seed", str(subject.seed), "-o", "samples/"]
    return f"{join(made)} && {join(words)}"
