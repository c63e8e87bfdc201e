"""Parquet files with a column of pictures: binary, or a struct with `bytes` as data sets of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdd.apps.bulk.manifest import arrow
from sdd.apps.bulk.remote import open_binary
from sdd.apps.bulk.task import Layers, Place
from sdd.errors import SddError, guarded, one_line
from sdd.io.pictures.read import read_layers

if TYPE_CHECKING:
    import pyarrow

RUN = 64  # rows of a task at least: each task reads its row group from the start
TASKS = 64  # of a row group at most, for the same reason
BUFFER = 2**20  # bytes of a column that are read ahead


@dataclass(frozen=True)
class TableReader:
    """Reads pictures of one file."""

    path: str
    column: str

    def read(self, places: Sequence[Place], background: str) -> Iterator[Layers | SddError]:
        """See `Reader`; the places are rows of one row group, in order."""
        first, last = places[0].span[1], places[-1].span[1]
        wanted = {place.span[1] for place in places}
        at = 0
        with _opened(self.path) as file:
            for batch in file.iter_batches(16, row_groups=[places[0].span[0]], columns=[self.column]):
                if at + len(batch) > first:
                    for row, value in enumerate(batch.column(0).to_pylist(), at):
                        if row in wanted:
                            yield self._picture(places[0].index + row - first, value, background)
                at += len(batch)
                if at > last:
                    return

    def _picture(self, number: int, value: Any, background: str) -> Layers | SddError:
        data, name = value.get("bytes") if isinstance(value, dict) else value, f"{self.path}: row {number}"
        if not data:  # a struct may name a file instead, which a stranger's table does not get opened
            return SddError(f"{name} holds no picture")
        try:
            return read_layers(data, name, background)
        except SddError as error:
            return error


@dataclass
class Table:
    """One Parquet file; the result is one with the same rows and columns, and edited pictures in that column.

    Args:
        path: the file. shard: the result, relative to the output folder. column: of the pictures; None for the only one
            that can be.

    Raises:
        SddError: no Parquet file, or no such column.
    """

    path: str
    shard: str
    column: str | None = None

    def __post_init__(self) -> None:
        with _opened(self.path) as file:
            self.column = _column(self.path, file.schema_arrow, self.column)
            self.groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]

    @property
    def reader(self) -> TableReader:
        """What workers read it with."""
        return TableReader(self.path, str(self.column))

    def left(self, done: set[tuple[str, int]]) -> int:
        """How many rows are not done."""
        return sum(self.groups) - sum((self.path, row) in done for row in range(sum(self.groups) if done else 0))

    def tasks(self, done: set[tuple[str, int]]) -> Iterator[tuple[Place, ...]]:
        """Rows that are not done, in runs without gaps."""
        start = 0
        for group, length in enumerate(self.groups):
            most, waiting = max(RUN, -(-length // TASKS)), list[Place]()
            for row in range(length):
                if (self.path, start + row) not in done:
                    waiting.append(Place(self.path, start + row, output=self.shard, span=(group, row)))
                if waiting and (len(waiting) == most or waiting[-1].span[1] != row):
                    yield tuple(waiting)
                    waiting = []
            if waiting:
                yield tuple(waiting)
            start += length

    def assemble(self, pictures: Iterator[tuple[int, bytes | None]], path: Path) -> None:
        """Write the result to `path`; `pictures` are those of all rows, in order, None for one that is broken."""
        pa, number = arrow(), 0
        with _opened(self.path) as file:
            schema = file.schema_arrow
            at = schema.get_field_index(str(self.column))
            with pa.parquet.ParquetWriter(path, schema) as writer:
                for group in range(file.num_row_groups):
                    for batch in file.iter_batches(256, row_groups=[group]):
                        edited = []
                        for _ in range(len(batch)):
                            edited.append(expect(pictures, number, self.path))
                            number += 1
                        old = batch.column(at)
                        new = pa.array(_in_place(old, edited, schema.field(at).type), schema.field(at).type)
                        columns = [new if i == at else batch.column(i) for i in range(len(schema))]
                        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def expect(pictures: Iterator[tuple[int, bytes | None]], number: int, path: str) -> bytes | None:
    """The next picture, which has to be that one.

    Raises:
        SddError: it is another: the shard is not what it was when its pictures were edited.
    """
    found, picture = next(pictures, (-1, None))
    if found != number:
        raise SddError(f"{path} has changed since its pictures were edited; name another folder with -o")
    return picture


def _in_place(old: Any, edited: list[bytes | None], kind: pyarrow.DataType) -> list[Any]:
    if not arrow().types.is_struct(kind):
        return edited
    rows: list[Any] = []
    for was, data in zip(old.to_pylist(), edited, strict=True):
        rows.append(None if data is None else {**(was or {}), "bytes": data})
    return rows


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    with open_binary(path) as raw:
        with guarded(path, "a Parquet file that can be read"):
            file = arrow().parquet.ParquetFile(raw, buffer_size=BUFFER, pre_buffer=False)
        yield file


def _column(path: str, schema: pyarrow.Schema, name: str | None) -> str:
    """The column of pictures."""
    types = arrow().types

    def holds(kind: pyarrow.DataType) -> bool:
        if types.is_struct(kind):
            field = kind.get_field_index("bytes")
            return field >= 0 and holds(kind.field(field).type) and not types.is_struct(kind.field(field).type)
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    able = [field.name for field in schema if holds(field.type)]
    listed = ", ".join(one_line(n, 40) for n in able[:10]) or "none"
    if name is None:
        if len(able) != 1:
            raise SddError(f"which column of {path} holds the pictures? name it with --column; of bytes are: {listed}")
        return able[0]
    if name not in able or schema.names.count(name) != 1:
        raise SddError(f"{path} has no column {one_line(name, 40)!r} of bytes; of bytes are: {listed}")
    return name
