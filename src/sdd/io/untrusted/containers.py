"""Read a stranger's file into plain data: dicts, lists, numbers, strings, tensors, `Record`s. Nothing in it runs.

Pickles go through the machine of `sdd.io.untrusted.machine`, which has no way to call anything. Every size that a file
claims is compared with the bytes it has before memory is taken for it, so memory stays within a small multiple of the
file's size; and what would be walked again and again, because it is shared, is counted first, so that time does too.
"""

from __future__ import annotations

import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from sdd.errors import SddError, guarded
from sdd.io.untrusted.claims import (
    MAX_NAME,
    MAX_TENSORS,
    SLACK,
    Block,
    Name,
    NumpyType,
    Record,
    Storage,
    TensorClaim,
    brief,
    counts,
    damaged,
    possible,
    range_reader,
    too_many,
)
from sdd.io.untrusted.machine import LEGACY_MAGIC, MAX_OPS, Machine, legacy

__all__ = ["Contents", "Record", "TensorClaim", "describe", "read", "sniff"]

MAX_DEPTH = 100  # nesting; a StyleGAN2 record nests 12 deep
FREE_VALUES = 100_000  # values beyond one for each byte, where shared containers count each time ("billion laughs")
MAX_DIRECTORY = 4 << 20  # bytes of a zip archive's directory; 20 000 members take two MiB
MAX_HEADER = 8 << 20  # bytes of a safetensors header; that of a 400-billion-parameter model has one or two MiB

_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
}


@dataclass
class Contents:
    """What a file says it holds, without its tensors' values: the answer of `describe`.

    `format` is one of torch-zip, torch-legacy, pickle, safetensors, npy; `data` the structure with `TensorClaim`
    leaves; `globals` every global name that the file mentions, `refused` those that would keep `read` from loading it;
    `metadata` safetensors' strings.
    """

    format: str
    size: int
    data: Any
    globals: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)


def read(path: str | Path) -> Any:
    """The file's contents as plain data with CPU tensors.

    Reads torch files (zip and the format before PyTorch 1.6), NVIDIA stylegan2-ada pickles, safetensors (a dict of
    tensors) and `.npy` (one tensor). Classes become `Record`; an `OrderedDict` becomes a dict; tensors never require a
    gradient.

    Memory is bounded by a small multiple of the file's size, whatever the file claims.

    Raises:
        SddError: not such a file, cut short, damaged, or asking for a global that is not on the lists of this module.
    """
    with _opened(path) as (file, size, label):
        kind = sniff(file, size, label)
        if kind == "npy":
            return npy(file, size, label)
        if kind == "safetensors":
            header, _, start = safetensors_header(file, size, label)
            return {name: _claimed(file, start, entry).load() for name, entry in header.items()}
        return _materialise(_pickled(file, size, label, kind, permissive=False).data)


def describe(path: str | Path) -> Contents:
    """What the file holds, without reading tensor values; unlike `read` it also describes files that would be refused.

    Raises:
        SddError: as `read`, except for refused globals, which are listed instead.
    """
    with _opened(path) as (file, size, label):
        kind = sniff(file, size, label)
        if kind == "npy":
            dtype, shape, _ = _npy_header(file, size, label)
            storage = Storage("", dtype, math.prod(shape))
            return Contents(kind, size, TensorClaim(dtype, shape, _dense(shape), storage))
        if kind == "safetensors":
            header, metadata, start = safetensors_header(file, size, label)
            return Contents(kind, size, {n: _claimed(file, start, e) for n, e in header.items()}, metadata=metadata)
        return _pickled(file, size, label, kind, permissive=True)


def sniff(file: BinaryIO, size: int, label: str) -> str:
    """The container format by the file's first bytes: torch-zip, torch-legacy, pickle, safetensors or npy.

    Raises:
        SddError: none of them, saying what it looks like instead.
    """
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    text = head.lstrip().lower()
    if not head:
        raise SddError(f"{label} is empty; download it again")
    if head.startswith(b"PK\x03\x04"):
        return "torch-zip"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"\x80"):
        return "torch-legacy" if head[2:14] == b"\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little") else "pickle"
    if len(head) > 9 and head[8:9] == b"{":
        return "safetensors"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise SddError(
            f"{label} is a web page, not weights: the download was refused or asked for a confirmation; download it "
            "in a browser"
        )
    if head.startswith(b"version https://git-lfs"):
        raise SddError(
            f"{label} is a git-lfs pointer of {size} bytes, not the weights it points to; run `git lfs pull` or "
            "download the file itself"
        )
    known = {
        b"\x89PNG": "a PNG picture",
        b"\xff\xd8\xff": "a JPEG picture",
        b"\x1f\x8b": "a gzip archive; unpack it first",
        b"\x89HDF": "an HDF5 file",
        b"PK\x05\x06": "an empty zip archive",
        b"Rar!": "a RAR archive; unpack it first",
    }
    looks = next((what for magic, what in known.items() if head.startswith(magic)), None)
    if looks is None:
        looks = "text" if all(32 <= b < 127 or b in b"\t\r\n" for b in head) else "an unknown or damaged format"
    raise SddError(f"{label} is not a checkpoint (.pt, .pth, .ckpt, .pkl, .safetensors, .npy) but looks like {looks}")


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[BinaryIO, int, str]]:
    """The open regular file, its size and its name for messages; the errors of reading become `SddError`."""
    label = str(path)
    with guarded(label, "a checkpoint that can be read"):
        try:
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            with open(os.open(path, flags), "rb") as file:
                info = os.fstat(file.fileno())
                if not stat.S_ISREG(info.st_mode):  # a pipe would hang, a device never ends
                    raise SddError(f"{label} is not a file; give the path of a checkpoint file")
                yield file, info.st_size, label
        except FileNotFoundError as error:
            raise SddError(f"there is no file {label}; check the path") from error
        except IsADirectoryError as error:
            raise SddError(f"{label} is a folder; give the path of a checkpoint file in it") from error
        except OSError as error:
            raise SddError(f"cannot read {label} ({error.strerror or error})") from error


@dataclass
class _Within:
    """The file, for parsers that ask for as many bytes as it claims: they get no more than `most` at a time."""

    file: BinaryIO
    most: int

    def read(self, count: int = -1) -> bytes:
        return self.file.read(count if 0 <= count <= self.most else self.most)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _pickled(file: BinaryIO, size: int, label: str, kind: str, permissive: bool) -> Contents:
    machine = Machine(label, size, permissive)
    try:
        if kind == "torch-zip":
            data = _zipped(file, size, label, machine)
        elif kind == "torch-legacy":
            data = legacy(file, size, label, machine)
        else:
            data = machine.run(_Within(file, size))  # type: ignore[arg-type]
        _measure(data, size, label)
    except SddError:
        if not (permissive and machine.refused):
            raise
        data = None  # what a hostile pickle builds need not make sense; its names are the answer
    return Contents(kind, size, data, sorted(machine.globals), sorted(machine.refused))


def _zipped(file: BinaryIO, size: int, label: str, machine: Machine) -> Any:
    """The pickle of a torch zip file, its storages bound to the archive's members."""
    try:
        archive = zipfile.ZipFile(_Within(file, MAX_DIRECTORY))
        members = archive.infolist()
    except Exception as error:  # BadZipFile, ValueError, struct.error, …
        raise damaged(label, "its zip archive has no readable directory") from error
    names = {m.filename: m for m in members}
    if len(names) != len(members):
        raise SddError(f"{label} is a zip archive with two members of one name, as torch never writes; it was refused")
    pickles = [n for n in names if n == "data.pkl" or n.endswith("/data.pkl")]
    if len(pickles) != 1:
        if any(n.endswith(".npy") for n in names):
            raise SddError(f"{label} is a numpy .npz archive; save the one array it needs as .npy or safetensors")
        raise SddError(
            f"{label} is a zip archive but not a torch checkpoint ({len(pickles)} data.pkl in it); unpack it and give "
            "the file inside"
        )
    root = pickles[0][: -len("data.pkl")]
    if f"{root}constants.pkl" in names:
        raise SddError(
            f"{label} is a TorchScript archive, which holds program code; give its state_dict as .pt or safetensors "
            "instead"
        )
    packed = [
        m for m in members if m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size or m.flag_bits & 1
    ]
    declared = sum(m.file_size for m in members)
    if packed or declared > size:
        raise SddError(
            f"{label} is a zip archive that claims {declared} bytes in a file of {size} and would be unpacked, as "
            "torch files never are; it was refused"
        )

    def member(name: str) -> np.ndarray:
        """A member's bytes, its checksum verified."""
        out = np.empty(names[name].file_size, np.uint8)
        view, at = memoryview(out), 0  # type: ignore[arg-type]
        try:
            with archive.open(name) as source:
                while at < len(out):
                    count = source.readinto(view[at : at + (1 << 20)])  # type: ignore[attr-defined]
                    if not count:
                        raise EOFError
                    at += count
                source.read(1)  # reaching the end is what compares the checksum
        except Exception as error:  # BadZipFile, EOFError, zlib.error, …
            raise damaged(label, f"the zip member {name[:80]} does not match its checksum or size") from error
        return out

    if (
        f"{root}byteorder" in names
        and names[f"{root}byteorder"].file_size < 16
        and member(f"{root}byteorder").tobytes() != b"little"
    ):
        raise SddError(
            f"{label} was written on a big-endian machine, which is not supported; save it again on an ordinary one"
        )
    blocks: dict[str, Block] = {}

    def bind(claim: Storage) -> Storage:
        name = f"{root}data/{claim.key}"
        if name not in names:
            raise damaged(label, f"the storage {claim.key[:40]} that its pickle names is missing")
        held, need = names[name].file_size, claim.numel * claim.dtype.itemsize
        if need != held:
            raise SddError(
                f"{label} claims {need} bytes for the storage {claim.key[:40]} but holds {held}; it was refused"
            )
        claim.block = blocks.setdefault(name, Block(held, lambda: member(name)))
        return claim

    machine.storage = bind
    return machine.run(io.BytesIO(member(pickles[0]).tobytes()))


def _measure(data: Any, size: int, label: str) -> None:
    """Refuse structures that nest too deep, contain themselves, or share so much that walking them takes far longer
    than the file is long.

    Counted are the values, the tensors, and the characters of the tensors' names with those of the containers that they
    are in; each as often as it appears to someone who walks the whole.
    """
    totals: dict[int, tuple[int, int, int]] = {}
    path: set[int] = set()
    stack: list[tuple[Any, list[tuple[int, Any]] | None]] = [(data, None)]
    while stack:
        node, children = stack.pop()
        if children is not None:  # all children are counted
            path.discard(id(node))
            values, tensors, names = 1, 0, 0
            for length, child in children:
                v, t, n = totals.get(id(child), (1, int(isinstance(child, TensorClaim)), 0))
                values, tensors, names = values + v, tensors + t, names + n + length * v
            if values > min(size, MAX_OPS) + FREE_VALUES or names > min(size, 4 * SLACK) + SLACK:
                raise SddError(
                    f"{label} describes far more values than it holds by repeating itself, as no checkpoint does; it "
                    "was refused"
                )
            if tensors > MAX_TENSORS:
                raise too_many(label)
            totals[id(node)] = values, tensors, names
            continue
        if id(node) in totals or not isinstance(node, (dict, list, tuple, set, Record)):
            continue
        if id(node) in path or len(path) >= MAX_DEPTH:
            raise SddError(
                f"{label} contains itself or nests more than {MAX_DEPTH} levels deep, as no checkpoint does; it was "
                "refused"
            )
        path.add(id(node))
        if isinstance(node, Record):
            children = [(len(node.class_name), node.state)]
        elif isinstance(node, dict):
            children = [(len(k) if isinstance(k, str) else 8, v) for k, v in node.items()]
        else:
            children = [(8, v) for v in node]
        stack.append((node, children))
        stack.extend((c, None) for _, c in children)


def _materialise(data: Any) -> Any:
    """The structure with its claims read. Shared containers stay shared; `_measure` has bounded the depth."""
    done: dict[int, Any] = {}

    def walk(node: Any) -> Any:
        if isinstance(node, TensorClaim):
            if id(node) not in done:
                done[id(node)] = node.load()
            return done[id(node)]
        if isinstance(node, Name):
            return node.name[:MAX_NAME]
        if isinstance(node, Storage):
            return TensorClaim(node.dtype, (node.numel,), (1,), node).load()
        if isinstance(node, NumpyType):
            return node.code
        if not isinstance(node, (dict, list, tuple, Record)):
            return node
        if id(node) not in done:
            if isinstance(node, dict):
                done[id(node)] = {k: walk(v) for k, v in node.items()}
            elif isinstance(node, Record):
                done[id(node)] = Record(node.class_name, walk(node.state))
            else:
                done[id(node)] = type(node)(walk(v) for v in node)
        return done[id(node)]

    return walk(data)


# --- safetensors and npy ---


def safetensors_header(
    file: BinaryIO, size: int, label: str
) -> tuple[dict[str, tuple[torch.dtype, tuple[int, ...], int, int]], dict[str, str], int]:
    """The validated header: {name: (dtype, shape, begin, end)}, the metadata strings, and where the values start.

    Raises:
        SddError: the header is too long, not JSON, or claims anything that does not fit the file.
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(MAX_HEADER, size - 8):
        raise damaged(label, f"its header claims {length} bytes")
    try:
        header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            raise ValueError("metadata")
        if len(header) > MAX_TENSORS:
            raise too_many(label)
        tensors, spans = {}, []
        for name, entry in header.items():
            dtype, shape, (begin, end) = (
                _SAFETENSORS_DTYPES.get(entry["dtype"]),
                tuple(entry["shape"]),
                entry["data_offsets"],
            )
            if dtype is None:
                raise SddError(
                    f"{label} holds {name[:80]!r} as {str(entry['dtype'])[:20]}, a type this program does not know; "
                    "convert it to float16 or float32"
                )
            if not possible(shape, dtype.itemsize) or not counts(begin, end) or len(name) > MAX_NAME:
                raise ValueError("geometry")
            if end - begin != math.prod(shape) * dtype.itemsize or 8 + length + end > size:
                raise SddError(
                    f"{label} claims a tensor {name[:80]!r} of shape {brief(shape)} that does not fit the file's "
                    f"{size} bytes; it is cut short or forged"
                )
            tensors[name] = (dtype, shape, begin, end)
            spans.append((begin, end))
    except SddError:
        raise
    except Exception as error:  # ValueError, KeyError, RecursionError, …
        raise damaged(label, "its header is not that of a safetensors file") from error
    spans.sort()
    if any(a[1] > b[0] for a, b in pairwise(spans)):
        raise SddError(f"{label} has tensors that overlap, which safetensors forbids; it was refused")
    return tensors, metadata, 8 + length


def _claimed(file: BinaryIO, start: int, entry: tuple[torch.dtype, tuple[int, ...], int, int]) -> TensorClaim:
    dtype, shape, begin, end = entry
    block = Block(end - begin, range_reader(file, start + begin, end - begin))
    return TensorClaim(dtype, shape, _dense(shape), Storage("", dtype, math.prod(shape), block))


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _npy_header(file: BinaryIO, size: int, label: str) -> tuple[torch.dtype, tuple[int, ...], tuple[np.dtype, bool]]:
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError("version")
        parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = parse(file, max_header_size=10_000)
        if dtype.hasobject:
            raise SddError(f"{label} is an array of Python objects, which are pickles; save it as plain numbers")
        native = dtype.newbyteorder("=")
        if native.kind not in "fiub" or native.itemsize > 8:
            raise SddError(f"{label} is an array of {str(dtype)[:40]}, not of numbers")
        if not possible(shape, native.itemsize):
            raise ValueError("shape")
    except SddError:
        raise
    except Exception as error:  # ValueError, SyntaxError, tokenize.TokenError, …
        raise damaged(label, "its header is not that of a .npy file") from error
    if math.prod(shape) * dtype.itemsize != size - file.tell():
        raise SddError(
            f"{label} claims an array of shape {brief(shape)} but holds {size - file.tell()} bytes of values; it is "
            "cut short or forged"
        )
    return torch.from_numpy(np.empty(0, native)).dtype, shape, (dtype, fortran)


def npy(file: BinaryIO, size: int, label: str) -> torch.Tensor:
    """The array of a `.npy` file as a tensor; never a pickle.

    Raises:
        SddError: damaged, of Python objects, or claiming more values than the file has.
    """
    _, shape, (dtype, fortran) = _npy_header(file, size, label)
    values = np.fromfile(file, dtype, math.prod(shape)).reshape(shape, order="F" if fortran else "C")
    return torch.from_numpy(np.ascontiguousarray(values, dtype.newbyteorder("=")).reshape(shape))
