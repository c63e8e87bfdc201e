"""What a worker is given, and what it says when it is done: paths and numbers, no pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sdd.errors import SddError

if TYPE_CHECKING:
    from PIL.Image import Image

Layers = tuple["Image", "Image | None"]  # a picture as it is seen, and where parts are transparent as it is
AT_ONCE = 16  # pictures of a task


@dataclass(frozen=True)
class Place:
    """One picture of a source.

    Attributes:
        source: the file that the manifest names: the picture's own, or the shard's.
        index: its number among the pictures of that file.
        member: its name inside that file; empty where it has none.
        output: where the result goes, relative to the output folder: a file of its own, or the shard it will be in.
        span: where it lies in the shard: offset and bytes in a tar, row group and row of it in Parquet.
        error: why it cannot be edited, where that is known without opening it.
    """

    source: str
    index: int = 0
    member: str = ""
    output: str = ""
    span: tuple[int, int] = (0, 0)
    error: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from all other pictures."""
        return self.source, self.index


class Reader(Protocol):
    """Reads pictures of one source; small, and can be sent to another machine."""

    def read(self, places: Sequence[Place], background: str) -> Iterator[Layers | SddError]:
        """The picture at each place, or why there is none."""
        ...


@dataclass(frozen=True)
class Task:
    """Pictures of one source that are edited together, one after another in it.

    Attributes:
        number: of this run; names its parts.
        shard: the file that all of them will be in, relative to the output folder; empty if each has its own.
    """

    number: int
    reader: Reader
    places: tuple[Place, ...]
    shard: str = ""


@dataclass
class Report:
    """What came of a task.

    Attributes:
        parts: names of the files that hold its rows.
        edited: pictures that were. broken: one sentence for each that could not be. psnr: sum over the edited, dB.
        foreign: how many came back far worse than their domain's own.
    """

    task: Task
    parts: list[str] = field(default_factory=list)
    edited: int = 0
    broken: list[str] = field(default_factory=list)
    psnr: float = 0.0
    foreign: int = 0
