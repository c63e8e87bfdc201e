"""Hostile files: nothing in them runs, memory stays bounded, and the user reads one sentence."""

import io
import os
import pickle
import random
import resource
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sdd.errors import SddError
from sdd.io import inspect, load
from sdd.io.untrusted import containers

MIB = 1 << 20


@contextmanager
def memory(extra=256 * MIB):
    """Fail allocations beyond what the process has now plus `extra` bytes, even ones that are never touched."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def refused(path, *words, extra=256 * MIB):
    """`read`, `load` refuse the file in one sentence; `inspect` reports or refuses it; all within bounded memory."""
    with memory(extra):
        for entry in (containers.read, load):
            with pytest.raises(SddError) as error:
                entry(path)
            text = str(error.value)
            assert "\n" not in text and len(text) < 500 and "Traceback" not in text and "Error:" not in text
            assert all(word in text for word in words), text
        try:
            found = inspect(path)
        except SddError as same:
            assert "\n" not in str(same)
            return None
    assert found.problem, found
    assert str(found) and found.to_json()
    return found


class Run:
    """Runs a shell command when unpickled."""

    def __init__(self, mark, call=os.system):
        self.mark, self.call = mark, call

    def __reduce__(self):
        return self.call, (f"touch {self.mark}",)


class Execute(Run):
    """The same through Python source."""

    def __reduce__(self):
        return eval, (f"__import__('os').system('touch {self.mark}')",)


class Partial(Run):
    """The same hidden in functools.partial and __setstate__."""

    def __reduce__(self):
        from functools import partial

        return partial, (os.system, f"touch {self.mark}"), (os.system, (f"touch {self.mark}",), {}, None)


class Loads(Run):
    """A pickle inside the pickle."""

    def __reduce__(self):
        return pickle.loads, (pickle.dumps(Run(self.mark)),)


@pytest.fixture
def mark(tmp_path):
    """The file that an attack would create."""
    yield tmp_path / "ran"
    assert not (tmp_path / "ran").exists(), "the attack ran"


# --- code ---


@pytest.mark.parametrize(
    "attack, name",
    [(Run, "posix.system"), (Execute, "builtins.eval"), (Partial, "functools.partial"), (Loads, "pickle.loads")],
)
@pytest.mark.parametrize("layout", ["zip", "legacy", "pickle"])
def test_code_in_a_pickle(tmp_path, mark, attack, name, layout):
    path = tmp_path / "model.pt"
    content = {"g_ema": {"weight": torch.ones(3)}, "extra": attack(mark)}
    if layout == "pickle":
        path.write_bytes(pickle.dumps({"G_ema": attack(mark)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=layout == "zip")
    found = refused(path, "loads" if attack is Loads else name, "refused")
    assert found.refused and found.kind is None and "UNSAFE" in str(found)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol(tmp_path, mark, protocol):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Run(mark), protocol))
    refused(path)


@pytest.mark.parametrize(
    "module, name",
    [
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch.storage", "_load_from_bytes.__globals__"),
        ("torch._utils", "_rebuild_tensor_v2.__class__"),
        ("builtins", "getattr"),
        ("builtins", "bytearray"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("os", "system"),
        ("sdd.io.untrusted.containers", "read"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch_utils.persistence", "_module_to_src_dict"),
    ],
)
def test_names_beside_the_list(tmp_path, module, name):
    """Names close to the allowed ones, by both instructions that can mention a global."""
    path = tmp_path / "model.pkl"
    args = b"(X\x01\x00\x00\x00at"
    path.write_bytes(b"\x80\x02c" + f"{module}\n{name}\n".encode() + args + b"R.")
    refused(path, f"{module}.{name}", "refused")
    both = b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, name))
    path.write_bytes(b"\x80\x04" + both + b"\x93" + args + b"R.")
    refused(path, f"{module}.{name}", "refused")


def nvidia(state, source, extra=None):
    """A pickle as NVIDIA's persistence writes it, by stand-in classes of the same names."""
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("called")

    class EasyDict(dict):
        pass

    for module, thing in ((persistence, _reconstruct_persistent_obj), (util, EasyDict)):
        thing.__module__, thing.__qualname__ = module.__name__, thing.__name__
        setattr(module, thing.__name__, thing)

    class Persistent:
        def __init__(self, **fields):
            self.meta = EasyDict(type="class", version=6, module_src=source, **fields)

        def __reduce__(self):
            return _reconstruct_persistent_obj, (self.meta,)

    before = dict(sys.modules)
    sys.modules.update({"torch_utils": types.ModuleType("torch_utils"), persistence.__name__: persistence})
    sys.modules.update({"dnnlib": types.ModuleType("dnnlib"), util.__name__: util})
    try:
        record = Persistent(class_name="Generator", state=state)
        return pickle.dumps({"training_set_kwargs": EasyDict(), "G_ema": record, **(extra or {})}, protocol=3)
    finally:
        for name in set(sys.modules) - set(before):
            if name.startswith(("torch_utils", "dnnlib")):
                del sys.modules[name]


def module_state():
    weight = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4))
    buffers = OrderedDict(scale=torch.tensor(2.5), average=torch.ones(2, dtype=torch.float64))
    return {
        "_parameters": OrderedDict(weight=weight),
        "_buffers": buffers,
        "_modules": OrderedDict(),
        "training": False,
        "w_dim": np.float64(0.5),
    }


def test_source_in_an_nvidia_record_is_dropped(tmp_path, mark):
    path = tmp_path / "ffhq.pkl"
    source = f"import os\nos.system('touch {mark}')\nclass Generator: pass\n"
    path.write_bytes(nvidia(module_state(), source))
    with memory():
        record = containers.read(path)["G_ema"]
    assert isinstance(record, containers.Record) and record.class_name == "Generator"
    assert torch.equal(record.state["_parameters"]["weight"], torch.arange(12.0).reshape(3, 4))
    assert record.state["_buffers"]["scale"] == 2.5 and record.state["_buffers"]["average"].dtype == torch.float64
    assert record.state["w_dim"] == 0.5
    assert "touch" not in repr(vars(record))
    found = inspect(path)
    assert not found.refused and "torch_utils.persistence._reconstruct_persistent_obj" in found.globals


def test_code_in_the_bytes_of_a_tensor(tmp_path, mark):
    """`_load_from_bytes` holds a whole torch file, which may again hold anything."""
    inner = io.BytesIO()
    torch.save(Run(mark), inner, _use_new_zipfile_serialization=False)

    class Nested:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    path = tmp_path / "ffhq.pkl"
    path.write_bytes(pickle.dumps({"G_ema": Nested()}))
    refused(path, "posix.system")
    inner.seek(0)
    torch.save(torch.ones(3), inner)
    path.write_bytes(pickle.dumps({"G_ema": Nested()}))
    refused(path)


def test_pickles_beside_the_checkpoint_in_a_zip_are_not_opened(tmp_path, mark):
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.arange(3.0)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/evil.pkl", pickle.dumps(Run(mark)))
        archive.writestr("model/data/7", pickle.dumps(Run(mark)))
    with memory():
        assert torch.equal(containers.read(path)["weight"], torch.arange(3.0))


def test_tensorflow_pickles_are_refused_by_what_they_are(tmp_path):
    path = tmp_path / "stylegan2-ffhq-config-f.pkl"
    path.write_bytes(b"\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81}q\x00X\x01\x00\x00\x00ab.")
    refused(path, "TensorFlow")


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "clip.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    refused(path, "TorchScript")


# --- sizes ---


def rewritten(path, ending, old, new):
    """Replace bytes in the member of a zip archive with that ending."""
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            assert old in data or not name.endswith(ending)
            archive.writestr(name, data.replace(old, new) if name.endswith(ending) else data)


def test_zip_bomb(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("model/data.pkl", "w") as member:
        member.write(bytes(64 * MIB))
    assert path.stat().st_size < MIB
    refused(path, "refused", extra=24 * MIB)


def test_zip_bomb_of_overlapping_members(tmp_path):
    """One megabyte that a directory lists a thousand times."""
    path = tmp_path / "model.pt"
    torch.save({"w": torch.zeros(MIB // 4)}, path)
    with zipfile.ZipFile(path) as archive:
        body = path.read_bytes()[: archive.start_dir]
        info = next(i for i in archive.infolist() if i.filename.endswith("data/0"))
    name = info.filename.encode()
    entries = b""
    for i in range(1000):
        copy = name[:-1] + b"%04d" % i
        sizes = info.CRC, info.file_size, info.file_size, len(copy), 0, 0, 0, 0, 0, info.header_offset
        entries += struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 0, *sizes) + copy
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(entries), len(body), 0)
    path.write_bytes(body + entries + end)
    refused(path)


def test_storage_sizes_that_lie(tmp_path):
    path = tmp_path / "model.pt"
    honest = {"weight": torch.zeros(64, 64)}
    for size in (b"\x8a\x06" + (10**13 // 4).to_bytes(6, "little"), b"M\x01\x10"):
        torch.save(honest, path)
        rewritten(path, "data.pkl", b"M\x00\x10t", size + b"t")  # the end of the storage's persistent id
        refused(path, "claims", "holds 16384")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "shape, stride", [((10**13,), (1,)), ((2 * 10**6, 10**6), (0, 0)), ((4, 4), (-1, 1)), ((65, 64), (64, 1))]
)
def test_tensor_shapes_that_lie(tmp_path, shape, stride, legacy):
    """torch.load itself would let the storage grow to the claimed size, or hand out a view of terabytes."""

    class Lie:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (
                torch.storage.TypedStorage(
                    wrap_storage=torch.zeros(64, 64).untyped_storage(), dtype=torch.float32, _internal=True
                ),
                0,
                shape,
                stride,
                False,
                OrderedDict(),
            )

    path = tmp_path / "model.pt"
    torch.save({"weight": Lie()}, path, _use_new_zipfile_serialization=not legacy)
    refused(path)


def test_legacy_storage_sizes_that_lie(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.zeros(64, 64)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for size in (10**13 // 4, 4097):
        lie = data.replace(b"M\x00\x10N", b"\x8a\x06" + size.to_bytes(6, "little") + b"N")
        assert lie != data
        path.write_bytes(lie.replace(struct.pack("<q", 4096), struct.pack("<q", size)))
        refused(path)


def safetensors(path, header, body=b""):
    text = header if isinstance(header, bytes) else __import__("json").dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [10**13 // 4], "data_offsets": [0, 10**13]}},
        {"w": {"dtype": "F32", "shape": [10**13 // 4], "data_offsets": [0, 16]}},
        {"w": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 16]}},
        {"w": {"dtype": "F32", "shape": [-4], "data_offsets": [0, -16]}},
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [16, 32]}},
        {"w": {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]}},
        {"w": {"dtype": "F32", "shape": [4.0], "data_offsets": [0, 16]}},
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0]}},
        {"w": 1},
        {
            "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
        },
        b'{"w":' + b"[" * 100_000,
        b"{" + b" " * 50,
    ],
)
def test_safetensors_headers_that_lie(tmp_path, header):
    refused(safetensors(tmp_path / "model.safetensors", header, bytes(16)))


def test_safetensors_header_length_that_lies(tmp_path):
    path = tmp_path / "model.safetensors"
    for length in (2**63, 10**13, 100):
        path.write_bytes(length.to_bytes(8, "little") + b'{"w":1}')
        refused(path)


def test_npy_that_lies(tmp_path):
    path = tmp_path / "w.npy"
    np.save(path, np.zeros(16, np.float32))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"(16,), }       ", b"(2500000000000,"[:15].ljust(15)))
    refused(path)
    path.write_bytes(data.replace(b"(16,), }              ", b"(2500000000000,), }   "))
    refused(path, "claims")


def test_npy_of_objects(tmp_path, mark):
    path = tmp_path / "w.npy"
    np.save(path, np.array([Run(mark)], dtype=object), allow_pickle=True)
    refused(path, "objects")


# --- pickles that only want to be large ---


def laughs():
    """Ten lists of ten lists of ten …: 10^40 values."""
    level = [0] * 10
    for _ in range(40):
        level = [level] * 10
    return pickle.dumps(level)


BOMBS = {
    "laughs": laughs(),
    "memo and get": b"\x80\x02Nj\xff\xff\xff\x7f.",
    "bytes": b"\x80\x04\x8e" + (10**13).to_bytes(8, "little") + b"abc.",
    "bytearray": b"\x80\x05\x96" + (10**13).to_bytes(8, "little") + b"abc.",
    "text": b"\x80\x04\x8d" + (10**13).to_bytes(8, "little") + b"abc.",
    "integer": b"\x80\x02\x8b\xff\xff\xff\x7f1.",
    "decimal integer": b"\x80\x02L" + b"9" * 100_000 + b"L\n.",
    "dicts": b"\x80\x02(" + b"}" * 520_000 + b"l.",
    "deep lists": b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 20_000 + b".",
    "deep key": b"\x80\x02}" + b")" + b"\x85" * 20_000 + b"Ns.",
    "own member": b"\x80\x02]q\x00h\x00a.",
    "encode": (
        b"\x80\x02" + b"X\x00\x00\x40\x00" + b"a" * (4 * MIB) + b"q\x00X\x06\x00\x00\x00latin1q\x01"
        b"0c_codecs\nencode\nq\x02(" + b"h\x02h\x00h\x01\x86R" * 500 + b"l."
    ),
    "extension": b"\x80\x02\x82\x01.",
    "instance": b"\x80\x02(ios\nsystem\n.",
    "pops": b"\x80\x020.",
    "no mark": b"\x80\x02Nt.",
    "odd items": b"\x80\x02}(Nu.",
    "append to None": b"\x80\x02NNa.",
    "state of None": b"\x80\x02NNb.",
    "call None": b"\x80\x02N)R.",
    "call a number": b"\x80\x02K\x01)R.",
    "bad name": b"\x80\x02c\n\n.",
    "bad persistent id": b"\x80\x02NQ.",
    "bad utf-8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_pickle_bombs(tmp_path, name):
    path = tmp_path / "model.pkl"
    path.write_bytes(BOMBS[name])
    refused(path)


# --- damage ---


def small():
    return {
        "state_dict": OrderedDict(
            a=torch.arange(600.0).reshape(20, 30),
            b=torch.ones(7, dtype=torch.float16),
            c=torch.zeros(0, 3),
            n=torch.tensor(3),
        ),
        "opts": {"size": 32, "names": ["x", "y"], "rate": 0.5},
    }


def written(folder, layout):
    path = folder / f"model.{layout}"
    if layout in ("zip", "legacy"):
        torch.save(small(), path, _use_new_zipfile_serialization=layout == "zip")
    elif layout == "nvidia":
        path.write_bytes(nvidia(module_state(), "class Generator: pass"))
    elif layout == "safetensors":
        save_file(small()["state_dict"], path)
    else:
        with path.open("wb") as file:
            np.save(file, np.arange(600.0))
    return path


LAYOUTS = ["zip", "legacy", "nvidia", "safetensors", "npy"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_truncation_at_every_twentieth(tmp_path, layout):
    path = written(tmp_path, layout)
    data = path.read_bytes()
    containers.read(path)  # whole, it loads
    for i in range(20):
        path.write_bytes(data[: len(data) * i // 20])
        refused(path)
    path.write_bytes(data[:-1])
    refused(path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_flipped_bytes(tmp_path, layout):
    """Whatever the damage: it loads, or it is refused in one sentence."""
    path = written(tmp_path, layout)
    data = path.read_bytes()
    rng = random.Random(0)
    outcomes = set()
    with memory():
        for _ in range(100):
            broken = bytearray(data)
            for _ in range(rng.choice([1, 1, 4, 20])):
                # most of a file is values, which no format but zip protects: aim at the structure
                broken[rng.randrange(min(len(data), 1500)) * rng.choice([1, -1])] = rng.randrange(256)
            path.write_bytes(broken)
            try:
                containers.read(path)
                outcomes.add("read")
            except SddError as error:
                assert "\n" not in str(error)
                outcomes.add("refused")
            try:
                inspect(path)
            except SddError as error:
                assert "\n" not in str(error)
    assert "refused" in outcomes


def test_a_changed_value_in_a_zip_is_noticed(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.full((100,), 7.0)}, path)
    old, new = (torch.full((100,), value).numpy().tobytes() for value in (7.0, 8.0))
    path.write_bytes(path.read_bytes().replace(old, new))
    refused(path, "checksum")


# --- what is not a checkpoint ---


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Google Drive - Virus scan warning", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 381462551\n", "git-lfs"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"hello world, this is text", "text"),
        (bytes(range(200)), "unknown"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path, content, words):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    refused(path, words)


def test_paths_that_are_no_files(tmp_path):
    refused(tmp_path / "missing.pt", "no file")
    os.mkfifo(tmp_path / "pipe.pt")
    refused(tmp_path / "pipe.pt", "not a file")
    refused("/dev/zero", "not a file")
    with pytest.raises(SddError, match="folder"):
        containers.read(tmp_path)
    archive = tmp_path / "some.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "hi")
    refused(archive, "not a torch checkpoint")


# --- and honest files ---


@pytest.mark.parametrize("legacy", [False, True])
def test_what_training_scripts_save_comes_back_as_plain_data(tmp_path, legacy):
    from argparse import Namespace
    from pathlib import PosixPath

    shared = torch.randn(4, 6)
    content = {
        "g_ema": OrderedDict(a=shared, view=shared.t()[1:3], parameter=torch.nn.Parameter(torch.randn(3).half())),
        "types": [
            torch.ones(2, dtype=t) for t in (torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64)
        ],
        "args": Namespace(size=1024, path=PosixPath("/data"), channels=(1, 2)),
        "step": np.float64(3.5),
        "expanded": torch.ones(1).expand(5, 5),
        "scalar": torch.tensor(5),
        "empty": torch.zeros(0, 3),
        "others": [None, True, -1, 2**70, 1.5, "ü", b"bytes", {1, 2}, (), {"k": ()}],
        "device": torch.device("cuda:1"),
    }
    path = tmp_path / "train.pt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    got = containers.read(path)
    for name, tensor in content["g_ema"].items():
        assert torch.equal(got["g_ema"][name], tensor) and got["g_ema"][name].dtype == tensor.dtype
        assert not got["g_ema"][name].requires_grad
    assert got["g_ema"]["a"].untyped_storage().data_ptr() == got["g_ema"]["view"].untyped_storage().data_ptr()
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(got["types"], content["types"], strict=True))
    assert got["args"].class_name == "argparse.Namespace" and got["args"].state["channels"] == (1, 2)
    assert got["step"] == 3.5 and torch.equal(got["expanded"], torch.ones(5, 5)) and got["scalar"] == 5
    assert got["others"] == content["others"] and got["empty"].shape == (0, 3) and got["device"] == "cuda:1"


def test_large_files_take_little_more_than_their_size(tmp_path):
    path = tmp_path / "large.pt"
    torch.save({str(i): torch.zeros(2 * MIB) for i in range(8)}, path)
    with memory(112 * MIB):
        assert len(containers.read(path)) == 8
    with memory(16 * MIB):
        assert inspect(path).values == 16 * MIB


def test_arrays_and_safetensors(tmp_path):
    for array in (
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(4, dtype=">f4"),
        np.float32(3),
        np.zeros((0, 2)),
    ):
        np.save(tmp_path / "a.npy", array)
        got = containers.read(tmp_path / "a.npy")
        assert got.shape == array.shape and np.array_equal(got.numpy(), array)
    tensors = {"a": torch.randn(2, 3), "b": torch.ones(3, dtype=torch.bfloat16), "c": torch.zeros(0)}
    save_file(tensors, tmp_path / "a.safetensors", {"license": "mit"})
    got = containers.read(tmp_path / "a.safetensors")
    assert got.keys() == tensors.keys() and all(torch.equal(got[k], v) for k, v in tensors.items())
    assert inspect(tmp_path / "a.safetensors").licence == "mit"
