"""A pickle machine that cannot call anything: instructions in, plain values, `Record`s and tensor claims out.

Unpickling runs whatever the file asks for. `torch.load(weights_only=True)` stops that, but it still believes the sizes
that a file claims (a kilobyte saying "ten terabytes" is allocated, a tensor larger than its storage makes the storage
grow), and it cannot read NVIDIA's files. This machine has no call instruction: a global is only ever a name, `REDUCE`
looks the name up in a table of our own builders, and what a builder would allocate is first a *claim*, compared with
the bytes that the file has.

What may appear is exactly: plain Python values, tensors, the persistent records of NVIDIA's stylegan2-ada (their
Python source dropped), and the `HARMLESS` classes. Every other name is refused, by name.
"""

from __future__ import annotations

import io
import math
import os
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import torch

from sdd.errors import SddError
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

MAX_OPS = 500_000  # pickle instructions; a DiffAE training checkpoint has 0.1 M
MAX_CONTAINERS = 100_000  # dicts, lists, sets: 64 to 216 bytes of memory for one byte of file
MAX_GLOBALS = 1_000  # different names; a training checkpoint has some 20
MAX_BITS = 512  # of an integer: random generators keep 128, and a float holds no more than 1024
SHARED = 4  # times that the bytes of a file may be claimed by tensors that share them

# Classes that training scripts leave in their checkpoints. They carry settings, not weights; they are never built,
# only recorded.
HARMLESS = frozenset(
    {
        "argparse.Namespace",
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
        "pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor",
        "pytorch_lightning.callbacks.timer.Timer",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
        "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "pathlib.PurePosixPath",
    }
)

_STORAGE_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
_STORAGE_NAMES = {
    f"{module}.{name}": dtype
    for name, dtype in _STORAGE_TYPES.items()
    for module in ("torch", "torch.cuda", "torch.storage")
}
_DTYPES = {
    str(d): d
    for d in set(_STORAGE_TYPES.values())
    | {torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2}
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy._core.multiarray": "numpy.core.multiarray"}


_MARK = object()


@dataclass
class Machine:
    """Interprets pickle instructions on plain values. See the module's docstring: there is no way to call anything.

    `budget` is what is left of the bytes that all copies together may take: the file's size and some slack. Whatever a
    single instruction would copy is paid for from it, so that work stays in proportion to the file. `views` is the same
    for the values of tensors.
    """

    label: str
    size: int
    permissive: bool = False
    storage: Callable[[Storage], Storage] | None = None  # binds a claim to the file's bytes
    globals: dict[str, None] = field(default_factory=dict)  # in order of appearance
    refused: dict[str, None] = field(default_factory=dict)
    ops: int = 0
    containers: int = 0
    tensors: int = 0

    def __post_init__(self) -> None:
        self.budget, self.views = self.size + SLACK, SHARED * self.size + SLACK

    def spend(self, count: int) -> None:
        """Take `count` bytes from the budget; refuse the file when it is used up."""
        self.budget -= count
        if self.budget < 0:
            raise self.too_much()

    def too_much(self) -> SddError:
        """The error for a small file that would be large in memory."""
        return SddError(
            f"{self.label} unpacks to far more than its own size, as no real checkpoint does; it was refused"
        )

    def run(self, file: BinaryIO) -> Any:
        """One pickle, from the file's position to its STOP.

        Raises:
            SddError: a refused name, an instruction weights do not need, a limit exceeded, or a malformed pickle.
        """
        try:
            return self._run(file)
        except SddError:
            raise
        except MemoryError:
            raise
        except _OddKey as error:
            raise SddError(
                f"{self.label} uses a key that is no short text and no number of 64 bits, as no checkpoint needs; save "
                "it again without, or its tensors as safetensors"
            ) from error
        except Exception as error:  # ValueError, struct.error, …: an instruction that does not fit its operands
            raise damaged(self.label, f"its pickle is malformed: {type(error).__name__}") from error

    def _run(self, file: BinaryIO) -> Any:
        stack: list[Any] = []
        memo: dict[int, Any] = {}
        push = stack.append

        def to_mark() -> list[Any]:
            at = len(stack) - 1
            while stack[at] is not _MARK:
                at -= 1
                if at < 0:
                    raise ValueError("no mark")
            items = stack[at + 1 :]
            del stack[at:]
            return items

        for opcode, arg, _ in pickletools.genops(file):
            op = opcode.name
            self.ops += 1
            if self.ops > MAX_OPS or self.containers > MAX_CONTAINERS:
                raise SddError(
                    f"{self.label} is a pickle of more than {MAX_OPS} instructions or {MAX_CONTAINERS} containers, as "
                    "no checkpoint is; it was refused"
                )
            if op in _CONSTANTS:
                push(_CONSTANTS[op])
            elif op in _LITERALS:
                if isinstance(arg, int) and arg.bit_length() > MAX_BITS:
                    raise SddError(
                        f"{self.label} holds an integer of {arg.bit_length()} bits, as no checkpoint does; it was "
                        "refused"
                    )
                push(arg)
            elif op in ("BINPUT", "LONG_BINPUT", "PUT"):
                if int(arg or 0) >> 32:  # a decimal PUT may name any number, and chosen ones collide in a dict
                    raise ValueError("memo")
                memo[int(arg or 0)] = stack[-1]
            elif op == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif op in ("BINGET", "LONG_BINGET", "GET"):
                push(memo[int(arg or 0)])
            elif op == "MARK":
                push(_MARK)
            elif op in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET"):
                self.containers += 1
                push({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set}[op]())
            elif op in ("DICT", "LIST", "FROZENSET"):
                self.containers += 1
                items = to_mark()
                push(items if op == "LIST" else set(map(_key, items)) if op == "FROZENSET" else self.put({}, items))
            elif op == "EMPTY_TUPLE":
                push(())
            elif op == "TUPLE":
                push(tuple(to_mark()))
            elif op in ("TUPLE1", "TUPLE2", "TUPLE3"):
                n = int(op[-1])
                stack[-n:] = [tuple(stack[-n:])]
            elif op in ("APPEND", "APPENDS"):
                items = [stack.pop()] if op == "APPEND" else to_mark()
                self.extend(stack[-1], items)
            elif op in ("SETITEM", "SETITEMS"):
                items = [stack.pop(-2), stack.pop()] if op == "SETITEM" else to_mark()
                self.put(stack[-1], items)
            elif op == "ADDITEMS":
                items = to_mark()
                if not isinstance(stack[-1], set):
                    raise TypeError("not a set")
                stack[-1].update(map(_key, items))
            elif op == "GLOBAL":
                push(self.name(*str(arg).split(" ", 1)))
            elif op == "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                if not (isinstance(name, str) and isinstance(module, str)):
                    raise TypeError("a global needs two strings")
                push(self.name(module, name))
            elif op in ("REDUCE", "NEWOBJ"):
                args = stack.pop()
                push(self.build(stack.pop(), args))
            elif op == "NEWOBJ_EX":
                kwargs, args = stack.pop(), stack.pop()
                push(self.build(stack.pop(), (*args, kwargs)))
            elif op == "BUILD":
                state = stack.pop()
                stack[-1] = self.state(stack[-1], state)
            elif op == "BINPERSID":
                push(self.persistent(stack.pop()))
            elif op == "POP":
                stack.pop()
            elif op == "POP_MARK":
                to_mark()
            elif op == "DUP":
                push(stack[-1])
            elif op in ("PROTO", "FRAME"):
                pass
            elif op == "STOP":
                return stack.pop()
            else:
                raise SddError(
                    f"{self.label} uses the pickle instruction {op}, which no checkpoint of weights needs; it was "
                    "refused"
                )
        raise ValueError("no STOP")

    def name(self, module: str, name: str) -> Name:
        full = f"{_OLD_MODULES.get(module[:100], module[:100])}.{name[:100]}"  # no known name is as long
        shown = full if len(full) <= 100 and full.isprintable() else repr(full[:100])
        self.globals[shown] = None
        if len(self.globals) > MAX_GLOBALS:
            raise SddError(
                f"{self.label} mentions more than {MAX_GLOBALS} names, as no checkpoint does; it was refused"
            )
        if full.startswith("dnnlib.tflib.") and not self.permissive:
            raise SddError(
                f"{self.label} is a StyleGAN pickle of the TensorFlow era, which holds program code instead of plain "
                "weights; convert it with NVIDIA's legacy.py of stylegan2-ada-pytorch, or use the publisher's PyTorch "
                "file"
            )
        if full not in _KNOWN:
            self.refused[shown] = None
            if not self.permissive:
                raise SddError(
                    f"{self.label} asks for {shown}, which is not on the list of what a checkpoint may contain, so it "
                    "was refused and nothing in it ran; take the file from its publisher, or have its tensors saved "
                    "as safetensors"
                )
        return Name(full, shown)

    def build(self, what: Any, args: Any) -> Any:
        if not isinstance(what, Name) or not isinstance(args, tuple):
            raise TypeError("only a name can be built")
        self.spend(8 * len(args))
        builder = _BUILDERS.get(what.name)
        if builder is None:  # HARMLESS, a type name, or in permissive mode a refused name
            self.containers += 1
            return Record(what.label or what.name, args if args else {})
        return builder(self, args)

    def put(self, target: Any, items: list[Any]) -> Any:
        if isinstance(target, Record):
            if not isinstance(target.state, dict):
                target.state = {}
            target = target.state
        if not isinstance(target, dict):
            raise TypeError("not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value
        return target

    def extend(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, Record) and self.permissive:
            return
        if not isinstance(target, list):
            raise TypeError("not a list")
        target.extend(items)

    def state(self, target: Any, state: Any) -> Any:
        if isinstance(target, Record):
            if isinstance(state, dict):
                self.spend(64 * len(state))
                if not isinstance(target.state, dict):
                    target.state = {}
                target.state.update(state)
            else:
                target.state = state
        elif isinstance(target, NumpyType):
            if not (isinstance(state, tuple) and len(state) >= 2 and state[1] in ("<", ">", "|", "=")):
                raise ValueError("numpy dtype state")
            target.code = state[1] + target.code.lstrip("<>|=")
        elif not isinstance(target, dict):  # an OrderedDict's attributes (`_metadata`) are of no use
            raise TypeError("cannot set a state")
        return target

    def persistent(self, pid: Any) -> Any:
        if not (isinstance(pid, tuple) and len(pid) >= 5):
            raise ValueError("persistent id")
        if pid[0] == "module":
            raise SddError(
                f"{self.label} holds a whole module with its program code instead of plain weights; have its "
                "state_dict saved instead"
            )
        kind, what, key, _, numel = pid[:5]
        if kind != "storage" or not isinstance(what, Name) or what.name not in _STORAGE_NAMES or self.storage is None:
            raise ValueError("persistent id")
        if not isinstance(key, (str, int)) or len(str(key)) > MAX_NAME or not counts(numel):
            raise ValueError("storage")
        claim = self.storage(Storage(str(key), _STORAGE_NAMES[what.name], numel))
        if len(pid) > 5 and pid[5] is not None:
            _, offset, length = pid[5]
            if not counts(offset, length) or offset + length > numel:
                raise ValueError("storage view")
            claim = Storage(claim.key, claim.dtype, length, claim.block, offset)
        return claim


class _OddKey(Exception):
    """A key of a dict, or a member of a set, that is not taken."""


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8",
}  # fmt: skip


def _key(key: Any) -> Any:
    """A dict key or set member that is safe to hash.

    Hashing deeply nested tuples would overflow the C stack. Integers beyond 64 bits, and tuples of numbers, can be
    chosen so that all have one hash, which makes a dict of n of them take n² steps; the hash of text is salted.
    """
    if isinstance(key, Name):
        return key.name
    parts = key if isinstance(key, tuple) else (key,)
    if len(parts) > 16:
        raise _OddKey
    for part in parts:
        if isinstance(part, (str, bytes)):
            plain = len(part) <= MAX_NAME
        else:
            number = isinstance(part, (int, float, type(None))) and not isinstance(key, tuple)
            plain = number and not (isinstance(part, int) and part.bit_length() > 64)
        if not plain:
            raise _OddKey
    return key


def _tensor(
    machine: Machine, storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None
) -> TensorClaim:
    """A tensor claim, refused unless every element lies inside its storage."""
    if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise TypeError("tensor")
    dtype = dtype or storage.dtype
    if len(size) != len(stride) or not possible(size, dtype.itemsize) or not counts(offset, *stride):
        raise ValueError("tensor geometry")
    if storage.offset * storage.dtype.itemsize % dtype.itemsize:
        raise ValueError("a view that splits values")
    machine.tensors += 1
    if machine.tensors > MAX_TENSORS:
        raise too_many(machine.label)
    held = storage.numel * storage.dtype.itemsize
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if math.prod(size) else 0
    if math.prod(size) and (last + 1) * dtype.itemsize > held:
        raise SddError(
            f"{machine.label} claims a tensor of shape {brief(size)}, but stores only {held} bytes for it; it was "
            "refused"
        )
    claim = TensorClaim(dtype, size, stride, storage, offset)
    # A network copies its tensors, so that many views of one storage, or one expanded by stride 0, would take more
    # memory than the file has.
    machine.views -= claim.nbytes
    if machine.views < 0:
        raise machine.too_much()
    return claim


def _rebuild_tensor(machine: Machine, args: tuple[Any, ...]) -> TensorClaim:
    storage, offset, size, stride = args[:4]
    return _tensor(machine, storage, offset, size, stride)


def _rebuild_tensor_v3(machine: Machine, args: tuple[Any, ...]) -> TensorClaim:
    dtype = args[6]
    if not isinstance(dtype, Name) or dtype.name not in _DTYPES:
        raise ValueError("dtype")
    storage, offset, size, stride = args[:4]
    return _tensor(machine, storage, offset, size, stride, _DTYPES[dtype.name])


def _rebuild_parameter(machine: Machine, args: tuple[Any, ...]) -> TensorClaim:
    if not isinstance(args[0], TensorClaim):
        raise TypeError("parameter")
    return args[0]


def _ordered_dict(machine: Machine, args: tuple[Any, ...]) -> dict[Any, Any]:
    machine.containers += 1
    if not args or args == ((),):
        return {}
    machine.spend(64 * len(args[0]))
    pairs = args[0].items() if isinstance(args[0], dict) else args[0]
    return {_key(k): v for k, v in pairs}


def _default_dict(machine: Machine, args: tuple[Any, ...]) -> dict[Any, Any]:
    machine.containers += 1
    return {}


def _set(machine: Machine, args: tuple[Any, ...]) -> set[Any]:
    machine.containers += 1
    if not args:
        return set()
    machine.spend(64 * len(args[0]))
    return set(map(_key, args[0]))


def _encode(machine: Machine, args: tuple[Any, ...]) -> bytes:
    if not isinstance(args[0], str) or (len(args) > 1 and args[1] not in ("latin1", "latin-1", "utf-8", "ascii")):
        raise ValueError("encoding")
    machine.spend(len(args[0]))
    return args[0].encode(args[1] if len(args) > 1 else "utf-8")


def _size(machine: Machine, args: tuple[Any, ...]) -> tuple[int, ...]:
    machine.spend(8 * len(args[0]))
    return tuple(int(n) for n in args[0])


def _device(machine: Machine, args: tuple[Any, ...]) -> str:
    return ":".join(str(a)[:64] for a in args[:2] if isinstance(a, (str, int)))[:64]


def _new_object(machine: Machine, args: tuple[Any, ...]) -> Any:
    """`copyreg._reconstructor(class, base, state)` of protocols 0 and 1, for the names that `build` knows."""
    return machine.build(args[0], ())


def _numpy_type(machine: Machine, args: tuple[Any, ...]) -> NumpyType:
    code = args[0]
    known = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
    if not isinstance(code, str) or len(code) > 4 or code.lstrip("<>|=") not in known:
        raise ValueError("numpy dtype")
    return NumpyType(code)


def _numpy_scalar(machine: Machine, args: tuple[Any, ...]) -> int | float | bool:
    kind, data = args
    if not isinstance(kind, NumpyType) or not isinstance(data, bytes) or len(data) > 8:
        raise ValueError("numpy scalar")
    value: int | float | bool = np.frombuffer(data, np.dtype(kind.code), count=1)[0].item()
    return value


def _nvidia_record(machine: Machine, args: tuple[Any, ...]) -> Record:
    """`torch_utils.persistence._reconstruct_persistent_obj(meta)`; the Python source in `meta["module_src"]` is
    dropped unread.
    """
    meta = args[0]
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str):
        raise ValueError("persistent record")
    machine.containers += 1
    return Record(meta["class_name"], meta.get("state"))


def _storage_bytes(machine: Machine, args: tuple[Any, ...]) -> Any:
    """`torch.storage._load_from_bytes(b)`: a whole legacy torch file inside the pickle."""
    (data,) = args
    if not isinstance(data, bytes):
        raise TypeError("storage bytes")
    if machine.storage is not None:
        raise SddError(f"{machine.label} nests a torch file in a torch file, as no checkpoint does; it was refused")
    machine.spend(len(data))
    inner = io.BytesIO(data)
    if data[:4] == b"PK\x03\x04":
        raise SddError(f"{machine.label} nests a zip archive in a tensor, as no checkpoint does; it was refused")
    found = legacy(inner, len(data), machine.label, machine)
    if not isinstance(found, (Storage, TensorClaim)):
        raise ValueError("storage bytes")
    return found


_BUILDERS: dict[str, Callable[[Machine, tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch.storage._load_from_bytes": _storage_bytes,
    "torch.Size": _size,
    "torch.device": _device,
    "torch_utils.persistence._reconstruct_persistent_obj": _nvidia_record,
    "dnnlib.util.EasyDict": _ordered_dict,
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "builtins.dict": _ordered_dict,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _new_object,
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray.scalar": _numpy_scalar,
}
# names that may stand in a file as values: the types in persistent ids and dtypes, and the arguments of the builders
# above
_VALUES = {"builtins.object", "builtins.int", "builtins.float", "builtins.list", *_STORAGE_NAMES, *_DTYPES}
_KNOWN = frozenset(_BUILDERS) | HARMLESS | _VALUES


def legacy(file: BinaryIO, size: int, label: str, outer: Machine) -> Any:
    """A torch file from before PyTorch 1.6: five pickles, then each storage as an 8-byte count and its values.

    Counts `outer`'s instructions on, so nesting does not multiply the limits.
    """
    claims: dict[str, Storage] = {}
    total = 0

    def bind(claim: Storage) -> Storage:
        nonlocal total
        first = claims.setdefault(claim.key, claim)
        if first is claim:
            total += claim.numel * claim.dtype.itemsize
            if total > size:
                raise SddError(f"{label} claims storages of {total} bytes but is {size} bytes long; it was refused")
            claim.block = Block(claim.numel * claim.dtype.itemsize, lambda: np.empty(0, np.uint8))
        elif (first.numel, first.dtype) != (claim.numel, claim.dtype):
            raise ValueError("one storage with two sizes")
        return first

    kept = outer.storage
    outer.storage = bind
    try:
        magic, version, system = outer.run(file), outer.run(file), outer.run(file)
        if magic != LEGACY_MAGIC or version != 1001:
            raise SddError(f"{label} is a torch file of an unknown version; save it again with a current PyTorch")
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise SddError(
                f"{label} was written on a big-endian machine, which is not supported; save it again on an ordinary one"
            )
        data, keys = outer.run(file), outer.run(file)
    finally:
        outer.storage = kept
    if not isinstance(keys, list) or not all(isinstance(k, (str, int)) for k in keys):
        raise damaged(label, "its list of storages is malformed")
    if {str(k) for k in keys} != set(claims) or len(keys) != len(claims):
        raise damaged(label, "its list of storages does not fit its pickle")
    for key in keys:
        claim = claims[str(key)]
        count = file.read(8)
        need = claim.numel * claim.dtype.itemsize
        if len(count) < 8 or int.from_bytes(count, "little") != claim.numel or file.tell() + need > size:
            raise damaged(label, f"the storage {str(key)[:40]} is not complete")
        assert claim.block is not None
        claim.block.load = range_reader(file, file.tell(), need)
        file.seek(need, os.SEEK_CUR)
    return data
