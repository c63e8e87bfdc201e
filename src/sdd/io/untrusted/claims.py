"""What a stranger's file claims to hold, before any of it is believed: names, records, storages and tensors, and the
sizes that they may have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch

from sdd.errors import SddError

MAX_TENSORS = 20_000  # in one file; a DiffAE training checkpoint has 4 000
MAX_SIDE = 1 << 48  # of a tensor, and of its strides and offset
MAX_NAME = 1_000  # characters of a key
SLACK = 16 << 20  # bytes a file may claim beyond what it holds, for scalars expanded by stride 0 and the like


@dataclass
class Record:
    """A class instance that a file describes, kept as data and never built.

    `class_name` is the class's dotted name (for NVIDIA records the bare one, such as `Generator`), `state` what the
    file would have put into it: a dict of attributes, or the tuple of constructor arguments.
    """

    class_name: str
    state: Any = None

    def __repr__(self) -> str:
        return f"Record({self.class_name!r})"


@dataclass(eq=False)
class Name:
    """A global the file mentions. It is compared with tables; it is never imported."""

    name: str
    label: str = ""


@dataclass(eq=False)
class Storage:
    """A run of `numel` values the file says it has under `key`; `block` is where their bytes are, once known."""

    key: str
    dtype: torch.dtype
    numel: int
    block: Block | None = None
    offset: int = 0  # in values, of a view into a larger storage (PyTorch before 0.4)


@dataclass(eq=False)
class Block:
    """`size` bytes of the file, read once and shared by the tensors that lie in them."""

    size: int
    load: Callable[[], np.ndarray]
    bytes_: torch.Tensor | None = None

    def tensor(self) -> torch.Tensor:
        if self.bytes_ is None:
            self.bytes_ = torch.from_numpy(self.load())
        return self.bytes_


@dataclass(eq=False)
class TensorClaim:
    """A tensor that a file describes, before its values are read: dtype, shape, and where they are."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    storage: Storage
    offset: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the dense tensor."""
        return math.prod(self.shape) * self.dtype.itemsize

    def load(self) -> torch.Tensor:
        """The tensor, sharing memory with others of the same storage."""
        assert self.storage.block is not None
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.dtype)
        raw = self.storage.block.tensor()
        size = self.dtype.itemsize
        start = self.storage.offset * self.storage.dtype.itemsize + self.offset * size
        usable = raw[start : start + (raw.numel() - start) // size * size]
        return usable.view(self.dtype).as_strided(self.shape, self.stride)


@dataclass(eq=False)
class NumpyType:
    """A numpy dtype in a file, such as `<f4`."""

    code: str


def counts(*numbers: Any) -> bool:
    """Whether all are sizes that a tensor may have."""
    return all(type(n) is int and 0 <= n <= MAX_SIDE for n in numbers)


def possible(shape: tuple[Any, ...], itemsize: int) -> bool:
    """Whether a tensor may have this shape: a side of zero does not excuse the others, which a reader may allocate."""
    return (
        len(shape) <= 64 and counts(*shape) and (0 not in shape or math.prod(n for n in shape if n) * itemsize <= SLACK)
    )


def too_many(label: str) -> SddError:
    """The error for a file of more tensors than any network has."""
    return SddError(f"{label} lists more than {MAX_TENSORS} tensors, as no checkpoint of one network does")


def brief(size: tuple[int, ...]) -> str:
    """A claimed shape for a message, however absurd."""
    text = "x".join(str(n) for n in size[:64]) if all(n < 10**15 for n in size) else "astronomic size"
    return text if len(text) < 60 else f"{text[:60]}…"


def range_reader(file: BinaryIO, start: int, count: int) -> Callable[[], np.ndarray]:
    """Reads `count` bytes from `start`, when called. The caller has compared both with the file's size."""

    def load() -> np.ndarray:
        out = np.empty(count, np.uint8)
        file.seek(start)
        if file.readinto(memoryview(out)) != count:  # type: ignore[attr-defined, arg-type]
            raise OSError("the file became shorter while it was read")
        return out

    return load


def damaged(label: str, why: str) -> SddError:
    """The error for a file that is not what it set out to be."""
    return SddError(
        f"{label} is damaged or cut short ({why}); download it again and compare its size with the publisher's"
    )
