"""Files that nobody thought of: small valid checkpoints and pictures, mutated at random with the seed of the day.

Whatever the bytes, `sdd.io.load`, `sdd.io.inspect` and `open_image` give an answer or an `SddError`, in 5 s of
processor time and a gigabyte. It takes 20 s here; longer by

    SDD_FUZZ_SECONDS=600 python -m pytest tests/io/untrusted/test_fuzz.py -n 0 -s

The seed is the date. A failure names its seed and case, and the file stays in pytest's folder; it is repeated by

    SDD_FUZZ_SEED=20261124:375 python -m pytest tests/io/untrusted/test_fuzz.py -n 0
"""

from __future__ import annotations

import datetime
import io
import json
import os
import pickle
import random
import re
import struct
import time
import zipfile
import zlib
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from hostile import bounded
from sdd.errors import LONGEST, SddError
from sdd.io import inspect, load
from sdd.io.pictures.read import open_image
from sdd.io.pictures.shape import fit
from sdd.io.readers.encoders import E4E
from sdd.nets.arcface import IRSE
from sdd.nets.diffae import DiffAE
from sdd.nets.encoder import build_encoder
from sdd.nets.mapper_kinds import build_mapper
from sdd.nets.stylegan2 import Generator

SECONDS = float(os.environ.get("SDD_FUZZ_SECONDS", "20"))
SEED, _, ONE = os.environ.get("SDD_FUZZ_SEED", f"{datetime.date.today():%Y%m%d}").partition(":")

# Numbers at which something overflows, or something else begins.
EDGES = [0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**61 - 1, 2**63 - 1, 2**64 - 1]
DIGITS = [b"-1", b"0", b"1e999", b"NaN", b"9" * 5000, *(str(n).encode() for n in EDGES)]


# What kinds of networks are known by, for readers that infer the rest from names and shapes.
NAMES = {
    "guided": [
        "time_embed.0.weight", "time_embed.2.weight", "input_blocks.0.0.weight", "middle_block.1.qkv.weight",
        "out.2.weight", "input_blocks.1.0.in_layers.2.weight", "input_blocks.1.0.emb_layers.1.weight",
        "output_blocks.1.0.in_layers.2.weight",
    ],
    "clip": [
        "visual.conv1.weight", "visual.proj", "text_projection", "token_embedding.weight", "positional_embedding",
        "visual.positional_embedding", "visual.transformer.resblocks.0.mlp.c_fc.weight",
        "transformer.resblocks.0.mlp.c_fc.weight",
    ],
    "nvidia": [
        *(f"synthesis.b{r}.{part}.weight" for r in (4, 8) for part in ("conv0", "conv1", "torgb", "conv1.affine")),
        "synthesis.b4.const", "mapping.fc0.weight", "mapping.w_avg",
    ],
}  # fmt: skip


# --- what is mutated ---


def torch_bytes(content: Any, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def checkpoints() -> dict[str, bytes]:
    """Small files of each format and of several kinds, by name."""
    torch.manual_seed(0)
    net = Generator(16, style_dim=8, n_mlp=2, channels={4: 4, 8: 4, 16: 4})
    tensors = dict(net.state_dict())
    mapper = build_mapper({"kind": "levels", "n_latent": 6, "style_dim": 8}, torch.Generator().manual_seed(0))
    hqs = {"timesteps": [100, 500], "hqs": [0.1, 0.9]}
    facts: dict[str, Any] = {"prompt": "white hair", "domain": "toy", "generator": "0" * 64, "hqs": hqs}
    said = json.dumps({**facts, "format": 1, "mapper": mapper.config()})
    opts = Namespace(size=16, path=PurePosixPath("a"), rate=0.5, names=("x", "y"), more={"k": [1, 2]})
    training = {"g_ema": tensors, "latent_avg": torch.zeros(8), "args": opts, "step": np.float64(3), "none": None}
    moments = {i: {"step": 3, "exp_avg": torch.zeros(3)} for i in range(4)}
    optimiser = {"state": moments, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.99), "params": [0, 1, 2, 3]}]}
    ddpm = {name: torch.zeros(32, 32, 1, 1) for name in ("conv_in.weight", "temb.dense.0.weight", "norm_out.weight")}
    ddpm |= {f"down.{i}.block.{j}.conv1.weight": torch.zeros(32, 32, 1, 1) for i in range(2) for j in range(2)}
    array = io.BytesIO()
    np.save(array, np.arange(96.0, dtype=np.float32).reshape(2, 6, 8))
    published = build_mapper({"kind": "LevelsMapper", "levels": ["coarse", "fine"], "style_dim": 4})
    space = build_mapper({"kind": "FullStyleSpaceMapper", "dims": [4, 4, 2]}).state_dict()
    encoder = build_encoder(E4E, n_styles=2, style_dim=8, units=[1] * 4, channels=[4, 8, 16, 32], stem=4, squeeze=2)
    e4e = {f"encoder.{k}": v for k, v in encoder.state_dict().items()}
    identity = IRSE([1, 1], [8, 16], embedding=8, input_size=16, stem=4, squeeze=2).state_dict()
    diffae = DiffAE(32, [32, 32], 1, [1], [32, 32], 1, [1], code=8, time=8).state_dict()
    return {
        "e4e.pt": torch_bytes({"state_dict": e4e, "opts": opts, "latent_avg": torch.zeros(8)}),
        "e4e.safetensors": save(e4e),
        "identity.safetensors": save(identity),
        "diffae.safetensors": save({f"ema_model.{k}": torch.zeros(0, *v.shape[1:]) for k, v in diffae.items()}),
        "space.safetensors": save(space),
        **{f"{kind}.safetensors": save({n: torch.zeros(32, 32, 1, 1) for n in names}) for kind, names in NAMES.items()},
        "generator.pt": torch_bytes(training),
        "legacy.pt": torch_bytes({"g_ema": tensors, "args": opts}, legacy=True),
        "optimiser.pt": torch_bytes({"model": OrderedDict(a=torch.zeros(3)), "optimizer": optimiser, "set": {1, "a"}}),
        "mapper.pt": torch_bytes({"state_dict": {f"mapper.{k}": v for k, v in published.state_dict().items()}}),
        "ddpm.pt": torch_bytes([ddpm, optimiser, 3, 4, ddpm]),
        "plain.pkl": pickle.dumps({"a": [1, 2.5, "x", b"y", (1, 2), {1, 2}], "b": {"c": None, "d": -5}, 3: True}, 2),
        "frames.pkl": pickle.dumps({"a": [1, 2**70, "x" * 300, b"y"], "d": frozenset("ab"), "c": {"c": None}}, 4),
        "tensors.pkl": pickle.dumps({"codes": torch.zeros(2, 6, 8)}),
        "generator.safetensors": save(tensors, {"license": "mit"}),
        "ddpm.safetensors": save({k: v.contiguous() for k, v in ddpm.items()}),
        "editor.safetensors": save(dict(mapper.state_dict()), {"sdd": said}),
        "codes.npy": array.getvalue(),
    }


def pictures() -> dict[str, bytes]:
    """A small picture in each format, by name."""
    y, x = np.mgrid[0:24, 0:40]
    scene = Image.fromarray(np.stack([x * 6, y * 10, 255 - x * 3 - y * 2], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray((x * y * 60).astype(np.uint16))
    kinds: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("png", scene, {"exif": exif}), ("png", wide, {}), ("png", scene.convert("P"), {"transparency": 3}),
        ("png", scene.convert("RGBA"), {}), ("jpeg", scene, {"exif": exif}), ("jpeg", scene.convert("CMYK"), {}),
        ("gif", scene, {"save_all": True, "append_images": [scene.rotate(90)]}), ("webp", scene, {}),
        ("webp", scene, {"lossless": True}), ("tiff", scene, {"compression": "tiff_lzw"}), ("tiff", wide, {}),
        ("tiff", scene.convert("F").point(lambda v: v / 255), {}), ("bmp", scene, {}),
        ("tga", scene, {"compression": "tga_rle"}), ("ppm", scene, {}), ("ico", scene, {}),
        ("pcx", scene, {}), ("sgi", scene, {}), ("jpeg2000", scene, {}),
    ]  # fmt: skip
    made = {}
    for index, (name, picture, options) in enumerate(kinds):
        file = io.BytesIO()
        picture.save(file, format=name, **options)
        made[f"{index}.{name}"] = file.getvalue()
    made["plain.ppm"] = b"P3 4 4 255 " + b"1 2 3 " * 16
    made["run.qoi"] = b"qoif" + struct.pack(">II", 40, 24) + b"\x03\x00" + b"\xfd" * 16 + bytes(7) + b"\x01"
    return made


# --- how it is mutated ---


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """`data` after one to eight accidents, most of them near its beginning, where the structure is."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        size = len(out)
        if not size:
            break
        at = min(int(size * rng.random() ** rng.choice([1, 1, 3])), size - 1)
        length = rng.choice([1, 2, 4, 8, 30, 300])
        match rng.randrange(10):
            case 0:
                out[at] = rng.randrange(256)
            case 1:
                out[at] ^= 1 << rng.randrange(8)
            case 2:
                width = rng.choice([1, 2, 4, 8])
                number = rng.choice(EDGES) & ((1 << 8 * width) - 1)
                out[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))
            case 3:
                del out[at : at + length]
            case 4:
                out[at:at] = out[at : at + length] * rng.choice([1, 2, 50])
            case 5:
                out[at:at] = rng.randbytes(length)
            case 6:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                out[at : at + length] = other[start : start + length]
            case 7:
                numbers = list(re.finditer(rb"\d+", bytes(out[:20_000])))
                if numbers:
                    found = rng.choice(numbers)
                    out[found.start() : found.end()] = rng.choice(DIGITS)
            case 8:
                end = min(at + length, size)
                source = rng.randrange(size)
                out[at:end] = out[source : source + end - at]
            case 9 if rng.random() < 0.3:
                del out[at:]
    return bytes(out)


def mended(name: str, data: bytes, original: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A mutation that is not turned away at the door: lengths and checksums of the container are set right again."""
    if original.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(original)) as archive:
            members = {n: archive.read(n) for n in archive.namelist()}
        target = next(n for n in members if n.endswith("data.pkl"))
        if rng.random() < 0.2:
            target = rng.choice(list(members))
        members[target] = mutated(members[target], others, rng)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return file.getvalue()
    if name.endswith(".safetensors"):
        length = int.from_bytes(original[:8], "little")
        header = mutated(original[8 : 8 + length], others, rng)
        return len(header).to_bytes(8, "little") + header + original[8 + length :]
    if original.startswith(b"\x89PNG"):
        out, at = data[:8], 8
        while at + 12 <= len(data):
            length = min(int.from_bytes(data[at : at + 4], "big"), len(data) - at - 12)
            body = data[at + 4 : at + 8 + length]
            out += struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body))
            at += 12 + length
        return out
    return data


# --- what is asked ---


def ask(path: Path, picture: bool, rng: random.Random) -> list[str]:
    """Each call's outcome, and nothing but `SddError` against it."""
    said = []

    def looked() -> None:
        found = inspect(path)
        json.dumps(found.to_json(), allow_nan=False)
        assert str(found).replace("\n", "").isprintable()

    calls = (
        [lambda: fit(open_image(path), 64, rng.choice(["pad", "crop"]))] if picture else [lambda: load(path), looked]
    )
    for call in calls:
        with bounded(1 << 30, 5):
            try:
                call()
                said.append("taken")
            except SddError as error:
                assert str(error).isprintable() and len(str(error)) <= LONGEST
                said.append("refused")
    return said


@pytest.mark.timeout(SECONDS * 3 + 300)
def test_mutated_files(tmp_path: Path) -> None:
    files = {name: (data, False) for name, data in checkpoints().items()}
    files |= {name: (data, True) for name, data in pictures().items()}
    for name, (data, picture) in files.items():  # whole, they are read; and what is slow to import is imported
        (tmp_path / name).write_bytes(data)
        ask(tmp_path / name, picture, random.Random(0))
    others = [data for data, _ in files.values()]
    names = sorted(files)
    outcomes = {"taken": 0, "refused": 0}
    cases = iter([int(ONE)]) if ONE else iter(range(10**9))
    done, end = 0, time.monotonic() + SECONDS
    for case in cases:
        if time.monotonic() > end:
            break
        rng = random.Random(f"{SEED}/{case}")
        name = rng.choice(names)
        original, picture = files[name]
        data = mutated(original, others, rng)
        if rng.random() < 0.7:
            data = mended(name, data, original, others, rng)
        path = tmp_path / f"case-{name}"
        path.write_bytes(data)
        try:
            for said in ask(path, picture, rng):
                outcomes[said] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            kept = path.rename(tmp_path / f"{SEED}-{case}-{name}")
            raise AssertionError(f"SDD_FUZZ_SEED={SEED}:{case} ({kept}): {type(error).__name__}: {error}") from error
        done += 1
    print(f"seed {SEED}: {done} files, calls {outcomes}")
    assert done and (ONE or all(outcomes.values()))
