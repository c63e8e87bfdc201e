"""The manifest: a Parquet file with a row for each picture; and the parts that it is made of.

A part is a small Parquet file of some rows of the manifest. Until it is settled it also holds the edited pictures, as
PNG: one rename makes both last. The parts of a run lie in a folder of that run. The next run renames that folder, so
that what is left of an earlier one (a worker that outlived its driver, on whatever machine) can no longer commit
anything: what had been committed by then is done, and nothing else is.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.errors import SddError, one_line
from sdd.io.files import check_target, write_text

if TYPE_CHECKING:
    import pyarrow

NAME, STATE = "manifest.parquet", ".sdd-bulk"  # in the output folder
EDITED, BROKEN = "edited", "broken"
GROUP = 4_000  # rows of the manifest that are written together
_ENDED = ".ended"  # of the folder of a run that can commit nothing more


@dataclass(frozen=True)
class Row:
    """One picture in the manifest.

    Attributes:
        source: its file, or its shard's. index: its number in that. member: its name in that, where it has one.
        output: the file, or the shard, that the result is in, relative to the output folder; empty if there is none.
        status: `edited` or `broken`.
        seconds: that a worker spent on it: reading, its share of the networks' time, writing.
        inversion_db: how near the picture comes when it is drawn unedited; None if it was not edited.
        error: why it was not edited, else empty.
    """

    source: str
    index: int
    member: str
    output: str
    status: str
    seconds: float
    inversion_db: float | None
    error: str


def arrow() -> Any:
    """The module pyarrow, with `pyarrow.parquet`.

    Raises:
        SddError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise SddError(
            "`sdd bulk` writes its manifest with pyarrow; install it with: pip install 'sdd[bulk]'"
        ) from error
    return pyarrow


def schema() -> pyarrow.Schema:
    """Columns of the manifest."""
    pa = arrow()
    text = pa.string()
    return pa.schema(
        [
            ("source", text), ("index", pa.int64()), ("member", text), ("output", text), ("status", text),
            ("seconds", pa.float64()), ("inversion_db", pa.float64()), ("error", text),
        ]
    )  # fmt: skip


class Parts:
    """The parts in the state folder of an output folder, and the run that now adds to them.

    Args:
        out: the output folder.
        settings: what makes a difference to the pictures; an output folder takes those of one kind only.

    Raises:
        SddError: it holds edits that were made otherwise, or cannot be written.
    """

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self.out, self.state = out, out / STATE
        _check_settings(self.state / "settings.json", out, settings)
        self.state.mkdir(parents=True, exist_ok=True)
        for folder in list(self.state.glob("run-[0-9]*")):
            if not folder.name.endswith(_ENDED):
                ended = folder.with_name(folder.name + _ENDED)
                with suppress(FileNotFoundError):  # another run may begin at this moment
                    folder.rename(ended)
                for half in ended.glob(".*"):  # what it was writing when it was killed
                    half.unlink(missing_ok=True)
        number = 1 + max((int(f.name[4:].removesuffix(_ENDED)) for f in self.state.glob("run-[0-9]*")), default=0)
        self.run = self.state / f"run-{number:05d}"
        try:
            self.run.mkdir()
        except FileExistsError as error:
            raise taken_over(out) from error

    def __iter__(self) -> Iterator[Path]:
        """All parts that are committed, in the order of the runs and their tasks."""
        for folder in sorted(self.state.glob("run-[0-9]*")):
            yield from sorted(folder.glob("*.parquet"))

    def done(self) -> set[tuple[str, int]]:
        """Keys of all pictures that are done, broken ones too."""
        keys: set[tuple[str, int]] = set()
        for part in self:
            table = read(part, ["source", "index"])
            keys.update(zip(table["source"].to_pylist(), table["index"].to_pylist(), strict=True))
        return keys

    def merge(self, more: Sequence[Row] = ()) -> Path:
        """Write the manifest anew from all parts, a few rows at a time, and from some rows that no part holds."""
        pa, path = arrow(), self.out / NAME
        with whole(self.run, path) as aside, pa.parquet.ParquetWriter(aside, schema()) as writer:
            waiting, rows = [_table(more)], len(more)
            for part in self:
                waiting.append(read(part, schema().names))
                rows += len(waiting[-1])
                if rows >= GROUP:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting, rows = [], 0
            writer.write_table(pa.concat_tables([_table(()), *waiting]))
        return path


def _table(rows: Sequence[Row]) -> pyarrow.Table:
    return arrow().table({key: [getattr(row, key) for row in rows] for key in schema().names}, schema=schema())


@contextmanager
def whole(run: Path, target: Path) -> Iterator[Path]:
    """Yield a path in a run's folder; what is written there becomes `target` on success, whole.

    Raises:
        SddError: another run has begun since, the target is no regular file, or the disk is full.
    """
    out = run.parent.parent
    aside = run / f".{uuid.uuid4().hex}"  # as no other machine calls one
    try:
        yield aside
        if target.parent != run:
            check_target(target)
            target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside, target)
    except FileNotFoundError as error:  # the folder is that of a run that has ended
        raise taken_over(out) from error
    except OSError as error:
        why = one_line(error.strerror or str(error), 120)
        raise SddError(f"could not write {target} ({why}); mend that, and the same command goes on") from error
    finally:
        aside.unlink(missing_ok=True)


def commit(part: Path, rows: Sequence[Row], pictures: Sequence[bytes | None] | None) -> Path:
    """Make a part last; with its pictures, unless it is settled.

    Raises:
        SddError: see `whole`.
    """
    pa = arrow()
    table = _table(rows)
    if pictures is not None:
        table = table.append_column("picture", pa.array(list(pictures), pa.large_binary()))
    with whole(part.parent, part) as aside:
        pa.parquet.write_table(table, aside, compression="none", use_dictionary=False, write_statistics=False)
    return part


def read(part: Path, columns: Sequence[str]) -> pyarrow.Table:
    """Some columns of a part.

    Raises:
        SddError: the file was damaged.
    """
    try:
        with arrow().parquet.ParquetFile(part) as file:
            return file.read(list(columns))
    except (OSError, arrow().ArrowException) as error:
        why = one_line(str(error), 120)
        raise SddError(f"{part} is damaged ({why}); remove it, and its pictures are edited again") from error


def is_settled(part: Path) -> bool:
    """Whether its pictures are where they belong."""
    return "picture" not in arrow().parquet.read_schema(part).names


def part_name(task: int, number: int, shard: bool) -> str:
    """The name of a part of a task: of pictures that will be in a shard, or in files of their own."""
    return f"{task:07d}{'s' if shard else ''}-{number:03d}.parquet"


def is_of_shard(part: Path) -> bool:
    """Whether its pictures will be in a shard."""
    return part.stem.partition("-")[0].endswith("s")


def rows_of(part: Path) -> list[Row]:
    """The rows of a part."""
    return [Row(**row) for row in read(part, schema().names).to_pylist()]


def strip(part: Path) -> None:
    """Mark a part as settled: its pictures are where they belong."""
    commit(part, rows_of(part), None)


def taken_over(out: Path) -> SddError:
    """What is said where two runs write to one folder."""
    return SddError(f"another `sdd bulk` has begun to write to {out} and edits the rest; this one stopped")


def _check_settings(path: Path, out: Path, settings: dict[str, Any]) -> None:
    if not path.exists():
        write_text(path, json.dumps(settings, indent=1))
        return
    try:
        found = json.loads(path.read_text("utf-8"))
        assert isinstance(found, dict)
    except (OSError, ValueError, AssertionError, RecursionError) as error:
        raise SddError(f"{path} is damaged; name another output folder") from error
    for name in sorted({*found, *settings}):
        was, wish = found.get(name), json.loads(json.dumps(settings.get(name)))
        if was != wish:
            said = f"{one_line(name, 40)} {one_line(repr(was), 60)}, not {one_line(repr(wish), 60)}"
            raise SddError(f"{out} holds edits that were made otherwise ({said}); name another folder with -o")
