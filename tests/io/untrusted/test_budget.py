"""Time and memory stay in proportion to a hostile file's size, and nothing but `SddError` comes out of one.

Each test is a file that once took gigabytes, seconds, or another exception.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hostile import bounded
from sdd.errors import LONGEST, SddError
from sdd.io import inspect, load
from sdd.io.checkpoints.inspect import render
from sdd.io.untrusted import containers
from sdd.nets.stylegan2 import Generator

MIB = 1 << 20
PRIME = 2**61 - 1  # Python's hash of an integer is its remainder by this


def outcome(path: Path, extra: int = 512 * MIB) -> list[str | None]:
    """What `load` and `inspect` say against the file, None where they take it; in 5 s each, and within memory."""

    def shown(path: Path) -> None:
        found = inspect(path)
        assert str(found) and json.dumps(found.to_json(), allow_nan=False)

    said: list[str | None] = []
    for call in (load, shown):
        with bounded(extra):
            try:
                call(path)
                said.append(None)
            except SddError as error:
                text = str(error)
                assert text.isprintable() and len(text) <= LONGEST
                said.append(text)
    return said


def pickled(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04" + data + b".")
    return path


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


# --- sharing ---


def laughs(leaf: bytes, depth: int = 60, wide: int = 2) -> bytes:
    """A list of lists that share one another: wide ** depth leaves."""
    level = leaf
    return level + b"".join(
        b"q" + bytes([i]) + b"0]q\xff0" + b"h\xff(" + (b"h" + bytes([i])) * wide + b"e" for i in range(depth)
    )


@pytest.mark.parametrize("leaf", [b"N", b"]", text("x" * 100), b"}" + text("k" * 500) + b"Ns"])
@pytest.mark.parametrize("depth", [10, 18, 25, 60])
def test_shared_structures(tmp_path: Path, leaf: bytes, depth: int) -> None:
    said = outcome(pickled(tmp_path, laughs(leaf, depth)))
    assert depth < 18 or all(s and "repeating itself" in s for s in said)


def test_shared_tensors_under_long_names(tmp_path: Path) -> None:
    """A thousand names of a thousand characters for one container of a hundred tensors."""
    inner = {f"{i}": torch.zeros(1) for i in range(100)}
    for length, count in ((900, 400), (10, 100)):
        torch.save({f"{i:04d}".ljust(length, "x"): inner for i in range(count)}, tmp_path / "model.pt")
        assert all(outcome(tmp_path / "model.pt")[:1])


def test_views_of_one_storage(tmp_path: Path) -> None:
    """A network copies what it is given: a thousand views of ten megabytes are ten gigabytes."""
    whole = torch.zeros(2_500_000)
    torch.save({str(i): whole.view(2_500_000) for i in range(200)}, tmp_path / "model.pt")
    said = outcome(tmp_path / "model.pt")
    assert all(s and "own size" in s for s in said)


# --- time ---


@pytest.mark.parametrize("form", ["dict", "set", "frozenset", "memo", "tuples"])
def test_keys_of_one_hash(tmp_path: Path, form: str) -> None:
    """Inserting n keys of one hash takes n² steps; 60 000 of them took a minute."""
    many = range(1, 60_001)
    if form == "memo":
        data = b"N" + b"".join(b"p%d\n" % (i * PRIME) for i in many)
    else:
        keys = [number(i * PRIME) + (number(i) + b"\x86" if form == "tuples" else b"") for i in many]
        data = {
            "dict": b"}(" + b"N".join(keys) + b"Nu",
            "tuples": b"}(" + b"N".join(keys) + b"Nu",
            "set": b"\x8f(" + b"".join(keys) + b"\x90",
            "frozenset": b"(" + b"".join(keys) + b"\x91",
        }[form]
    assert all(outcome(pickled(tmp_path, data)))


def test_states_set_again_and_again(tmp_path: Path) -> None:
    """Each BUILD copies the state it is given: 100 000 of a dict with 20 000 entries."""
    state = b"}q\x01(" + b"".join(text(f"k{i}") + b"N" for i in range(20_000)) + b"u0"
    record = b"cargparse\nNamespace\n)\x81"
    assert all(outcome(pickled(tmp_path, state + record + b"h\x01b" * 100_000)))


def test_work_of_one_short_instruction(tmp_path: Path) -> None:
    """Instructions of a few bytes on a string of eight megabytes that the memo keeps."""
    long = text("a" * (8 * MIB)) + b"q\x01"
    for each in (
        b"h\x01h\x01\x930",  # STACK_GLOBAL
        b"ctorch\ndevice\nh\x01\x85R0",
        b"cnumpy\ndtype\nh\x01\x85R0",
        b"ctorch\nSize\nh\x01\x85R0",
        b"}h\x01Ns0",
    ):
        outcome(pickled(tmp_path, long + each * 20_000))
    outcome(pickled(tmp_path, long + b"(" + b"h\x01" * 100_000 + b"l"))  # as leaves of what `inspect` lists
    outcome(pickled(tmp_path, long + b"}(" + b"".join(text(f"k{i}") + b"h\x01" for i in range(10_000)) + b"u"))


def test_many_of_everything(tmp_path: Path) -> None:
    namespace = b"cargparse\nNamespace\n"
    for data in (
        b"(" + b"K\x01" * 450_000 + b"l",
        namespace + b"q\x010(" + b"h\x01K\x01\x85R" * 95_000 + b"l",
        b"(" + b"".join(b"ca%d\nb\n" % i for i in range(5000)) + b"l",
        b"(" + b"N" * 2_000_000 + b"l",
    ):
        outcome(pickled(tmp_path, data))


@pytest.mark.parametrize("count", [19_000, 100_000])
@pytest.mark.parametrize("form", ["safetensors", "zip"])
def test_many_tensors(tmp_path: Path, count: int, form: str) -> None:
    if form == "safetensors":
        entries = {f"layer.{i}.weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(count)}
        path = safetensors(tmp_path, entries)
    else:
        if count > 20_000:
            pytest.skip("torch itself takes long to write it")
        path = tmp_path / "model.pt"
        one = torch.zeros(1)
        torch.save({f"layer.{i}.weight": one.view(1) for i in range(count)}, path)
    assert all(outcome(path)[:1])


def test_members_of_a_zip(tmp_path: Path) -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0)
    entries = b"".join(entry + b"%04x" % (i & 0xFFFF) for i in range(300_000))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(entries), 4, 0)
    path = tmp_path / "model.pt"
    path.write_bytes(b"PK\x03\x04" + entries + end)
    assert all(outcome(path))


@pytest.mark.parametrize(
    "names",
    [
        ["conv_in.weight", "temb.dense.0.weight", "down.0.block.0.conv1.weight", "down.0.block.99999.conv1.weight"],
        ["time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.1.qkv.weight", "out.2.weight",
         "input_blocks.99999.0.weight", "output_blocks.99999.0.weight"],
        ["input.input", "conv1.conv.weight", "to_rgb1.conv.weight", "to_rgbs.0.conv.weight", "style.99999.weight"],
        ["visual.conv1.weight", "visual.proj", "text_projection", "token_embedding.weight",
         "visual.transformer.resblocks.99999.mlp.c_fc.weight"],
        ["mapper_999999999999.mapping.1.bias", "mapper_999999999999.mapping.1.weight"],
    ],
)  # fmt: skip
def test_names_that_claim_a_hundred_thousand_layers(tmp_path: Path, names: list[str]) -> None:
    save_file({name: torch.zeros(1, 1, 1, 1) for name in names}, tmp_path / "a.safetensors")
    assert all(outcome(tmp_path / "a.safetensors")[:1])


def test_a_grid_of_blocks_is_not_built(tmp_path: Path) -> None:
    names = ["conv_in.weight", "temb.dense.0.weight", *(f"down.0.block.{i}.conv1.weight" for i in range(99))]
    names += [f"down.{i}.{part}" for i in range(99) for part in ("block.0.conv1.weight", "downsample.conv.weight")]
    save_file({name: torch.zeros(32, 1, 1, 1) for name in names}, tmp_path / "a.safetensors")
    assert all(outcome(tmp_path / "a.safetensors")[:1])


def test_a_generator_of_sixteen_thousand_pixels(tmp_path: Path) -> None:
    """Noise that a file lacks is drawn for every pixel."""
    net = Generator(16, style_dim=8, n_mlp=2, channels={4: 1, 8: 1, 16: 1})
    tensors = {k: v for k, v in net.state_dict().items() if not k.startswith("noises.")}
    for i in range(2, 12):
        tensors |= {k.replace("convs.2.", f"convs.{2 * i}."): v for k, v in tensors.items() if k.startswith("convs.2.")}
        tensors |= {k.replace("convs.3.", f"convs.{2 * i + 1}."): v for k, v in tensors.items() if "convs.3." in k}
        tensors |= {k.replace("to_rgbs.1.", f"to_rgbs.{i}."): v for k, v in tensors.items() if "to_rgbs.1." in k}
    torch.save({"g_ema": tensors}, tmp_path / "model.pt")
    assert outcome(tmp_path / "model.pt")[0] and inspect(tmp_path / "model.pt").problem


def test_codes_of_a_million_numbers(tmp_path: Path) -> None:
    """4096 codes are drawn to find their mean."""
    net = Generator(16, style_dim=8, n_mlp=1, channels={4: 1, 8: 1, 16: 1}, z_dim=1_000_000)
    torch.save({"g_ema": net.state_dict()}, tmp_path / "model.pt")
    assert outcome(tmp_path / "model.pt")[0]


def test_a_folder_with_a_deep_configuration(tmp_path: Path) -> None:
    for depth in (100, 300, 450, 700, 900, 5000):
        (tmp_path / "config.json").write_text('{"a":' * depth + "NaN" + "}" * depth)
        outcome(tmp_path)


# --- numbers ---


def safetensors(tmp_path: Path, header: Any, body: bytes = b"") -> Path:
    head = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head + body)
    return path


SHAPES = [(0, 10**30), (2**62, 2**62, 0), (0, 2**40), (2**32, 2**32, 0), (0, 50_000_000), (10**5000, 0)]


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_empty_tensors_with_huge_sides(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """No value needs no bytes, so that nothing else bounds such a shape."""
    entry = '{"w":{"dtype":"F32","shape":[%s],"data_offsets":[0,0]}}'
    with_digits = ",".join("9" * 3000 if n > 10**40 else str(n) for n in shape)
    head = (entry % with_digits).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(head).to_bytes(8, "little") + head)
    assert all(outcome(path))
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({with_digits},), }}\n".encode()
    path = tmp_path / "model.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
    assert all(outcome(path))
    size = b"(" + b"".join(number(n) for n in shape) + b"t"
    stride = b"(" + b"K\x01" * len(shape) + b"t"
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x00tQ"
    tensor = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + size + stride + b"\x89}tR."
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", tensor)
        archive.writestr("a/data/0", b"")
    assert all(outcome(path))


@pytest.mark.parametrize("form", [b"%s", b"]%sa", b"}%sNs", b"}%sK\x01\x86Ns", b"}" + text("conv_clamp") + b"%ss"])
@pytest.mark.parametrize("bits", [65, 1600, 40_000])
def test_integers_beyond_any_use(tmp_path: Path, form: bytes, bits: int) -> None:
    said = outcome(pickled(tmp_path, form.replace(b"%s", number(1 << bits))))
    assert all(said) or bits == 65


def _from_bytes(data: bytes) -> tuple[Any, tuple[bytes]]:
    return torch.storage._load_from_bytes, (data,)


def test_torch_files_in_torch_files(tmp_path: Path) -> None:
    data: Any = torch.zeros(1)
    for _ in range(300):
        inner = io.BytesIO()
        torch.save(data, inner, _use_new_zipfile_serialization=False)
        reduce = partial(_from_bytes, inner.getvalue())
        data = type("Nested", (), {"__reduce__": lambda self, reduce=reduce: reduce()})()
        if len(inner.getvalue()) > 200_000:
            break
    torch.save(data, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert all(s and "nests" in s for s in outcome(tmp_path / "a.pt"))


def test_a_view_of_another_type(tmp_path: Path) -> None:
    """The storage's offset counts its own values, not the view's: bytes 4 to 8 are one float32."""
    raw = np.array([1, 2], np.float32).tobytes()
    view = b"(" + text("0") + b"K\x04K\x04t"
    storage = b"(" + text("storage") + b"ctorch\nByteStorage\n" + text("0") + text("cpu") + b"K\x08" + view + b"tQ"
    for start, values in ((b"K\x04", [2.0]), (b"K\x02", None), (b"K\x05", None)):
        claim = storage.replace(b"K\x04K\x04t", start + b"K\x04t" if values else start + b"K\x02t")
        tensor = b"ctorch._utils\n_rebuild_tensor_v3\n(" + claim + b"K\x00K\x01\x85K\x01\x85\x89}ctorch\nfloat32\ntR."
        path = tmp_path / "model.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", b"\x80\x02" + tensor)
            archive.writestr("a/data/0", raw)
        if values is None:
            assert all(outcome(path))
        else:
            assert containers.read(path).tolist() == values


# --- what a reader makes of it ---


def test_options_of_any_kind(tmp_path: Path) -> None:
    from sdd.io.readers.encoders import E4E
    from sdd.nets.encoder import build_encoder

    net = build_encoder(E4E, n_styles=2, style_dim=8, units=[1, 1, 1, 1], channels=[4, 8, 16, 32], stem=4, squeeze=2)
    tensors = {f"encoder.{k}": v for k, v in net.state_dict().items()}
    options = {"stylegan_size": 2**60, b"bytes": 1, 3: 4, "inf": float("inf"), "nan": float("nan"), "long": "x" * 10**6}
    for opts in (options, Namespace(**{k: v for k, v in options.items() if isinstance(k, str)})):
        torch.save({"state_dict": tensors, "opts": opts, "latent_avg": torch.zeros(8)}, tmp_path / "e4e.pt")
        loaded = load(tmp_path / "e4e.pt")
        assert loaded.kind == "e4e" and set(loaded.config["opts"]) == {"stylegan_size", "long"}
        assert len(loaded.config["opts"]["long"]) == 1000
        assert outcome(tmp_path / "e4e.pt") == [None, None]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1j])
@pytest.mark.parametrize("where", ["conv1.conv.weight", "style.1.bias", "latent_avg"])
def test_weights_that_are_no_numbers(tmp_path: Path, bad: complex, where: str) -> None:
    net = Generator(16, style_dim=8, n_mlp=2, channels={4: 8, 8: 8, 16: 4})
    tensors = {**net.state_dict(), "latent_avg": torch.zeros(8)}
    wrong = tensors[where].to(torch.complex64 if isinstance(bad, complex) else torch.float32)
    tensors[where] = wrong.flatten().index_fill(0, torch.tensor(3), bad).reshape(wrong.shape)
    torch.save({"g_ema": tensors}, tmp_path / "model.pt")
    with pytest.raises(SddError, match=f"tensor {where} holds (NaN|complex)"):
        load(tmp_path / "model.pt")


def test_codes_that_are_no_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "codes.npy", np.full((3, 4, 8), np.nan, np.float32))
    with pytest.raises(SddError, match="NaN"):
        load(tmp_path / "codes.npy")


# --- what is said ---


def test_messages_are_one_short_printable_line(tmp_path: Path) -> None:
    for name in ("\x1b]0;title\x07\x1b[2Jname", "name\n" * 100, "x" * 10**6, "\u202eevil\u2066\x9b31m", "\ud800"):
        error = str(SddError(f"start: the tensor {name} is missing; mend it so"))
        assert error.startswith("start") and error.endswith("mend it so")
        assert error.isprintable() and len(error) <= LONGEST


def test_an_inspection_prints_no_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sdd.apps import terminal

    evil = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eevil"
    save_file({f"{evil}.weight": torch.zeros(2, 2)}, tmp_path / "a.safetensors", {evil: evil, "license": evil})
    torch.save({evil: {evil: torch.zeros(2, 2), "note": evil}, evil + "2": evil}, tmp_path / "b.pt")
    for path in (tmp_path / "a.safetensors", tmp_path / "b.pt"):
        found = inspect(path)
        terminal.console().print(render(found, every=True))
        terminal.say_json(found.to_json())
        printed = capsys.readouterr().out
        assert "evil" in printed and printed.replace("\n", "").isprintable()
        assert json.loads(printed[printed.index("{\n") :]) == found.to_json()
        assert str(found).replace("\n", "").isprintable()


def test_names_too_long_for_a_file_system() -> None:
    for path in ("x" * 300, "x" * 300 + "/y", "a\0b"):
        for call in (load, inspect, containers.read):
            with pytest.raises(SddError):
                call(path)
