"""The recorded answers of the original networks (`tests/data/parity`), and the weights they belong to.

A fixture is NAME.json (the rule of every tensor, hyper-parameters, tolerances) and NAME.safetensors (`out.*`, the
answers, and the small inputs `in.*`). Weights are not stored: every tensor is drawn from its own generator, seeded by
its name.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent / "data" / "parity"


def draw(name: str, rule: dict[str, Any], seed: str) -> np.ndarray:
    """One tensor from its rule: computed in float64, cast at the end."""
    random = np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}/{name}".encode())))
    shape = tuple(rule["shape"])
    match rule["kind"]:
        case "normal":
            x = rule["mean"] + rule["std"] * random.standard_normal(shape)
        case "uniform":
            x = rule["low"] + (rule["high"] - rule["low"]) * random.random(shape)
        case "const":
            x = np.full(shape, rule["value"])
        case "literal":
            x = np.array(rule["values"]).reshape(shape)
        case "waves":
            x = _waves(random, shape, rule)
        case kind:
            raise ValueError(f"unknown kind {kind!r} of tensor {name}")
    return np.ascontiguousarray(np.asarray(x).astype(rule["dtype"]))


def _waves(random: np.random.Generator, shape: tuple[int, ...], rule: dict[str, Any]) -> np.ndarray:
    """A smooth picture: a sum of `count` cosines of up to `freq` cycles, of std `std`, and some noise."""
    b, c, h, w = shape
    n = rule["count"]
    fy, fx = random.uniform(-rule["freq"], rule["freq"], (2, b, c, n, 1))
    phase = random.uniform(0, 2 * np.pi, (b, c, n, 1))
    rows = np.exp(2j * np.pi * fy * (np.arange(h) + 0.5) / h)
    columns = np.exp(2j * np.pi * fx * (np.arange(w) + 0.5) / w + 1j * phase)
    x = np.matmul(rows.swapaxes(-1, -2), columns).real * (rule["std"] * (2 / n) ** 0.5)
    return np.clip(x + rule["noise"] * random.standard_normal(shape), -1, 1)


@dataclass(frozen=True)
class Fixture:
    """One recorded network: its weights, inputs and answers."""

    name: str
    doc: dict[str, Any]
    tensors: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    @property
    def meta(self) -> dict[str, Any]:
        """Hyper-parameters; a reader must infer those that the original file does not hold."""
        meta: dict[str, Any] = self.doc["meta"]
        return meta

    def error(self, output: str, got: Tensor) -> float:
        """max |got − want| / std(want); for a single number |got − want| / |want|; for a gradient the root mean square
        or a tenth of the maximum, whichever is larger.

        Where an activation lies within rounding of zero, the processor decides on which side, and the few entries of
        the gradient that depend on it move by up to 1.3e-2: the recording was made on one kind of CPU. All entries
        together hardly move, and a wrong derivative moves them by something of order one.
        """
        want = self.outputs[output]
        if got.numel() == want.numel() == 1:  # numbers are stored with shape (1,)
            got = got.reshape(want.shape)
        assert got.shape == want.shape, f"{output}: {tuple(got.shape)} instead of {tuple(want.shape)}"
        got, want = got.detach().double(), want.double()
        scale = want.std() if want.numel() > 1 else want.abs()
        difference = (got - want).abs()
        size = difference.max()
        if output.startswith("grad_"):
            size = torch.maximum(difference.square().mean().sqrt(), size / 10)
        return float(size / scale)

    def check(self, output: str, got: Tensor) -> None:
        """Fail unless `got` is the recorded output within its tolerance."""
        error, allowed = self.error(output, got), self.doc["tolerance"][output]
        assert error < allowed, f"{self.name} {output}: {error:.2e}, allowed {allowed:.0e}"


@cache
def document(name: str) -> dict[str, Any]:
    """A fixture's JSON."""
    doc: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return doc


@lru_cache(maxsize=1)  # the last one only: an encoder takes half a gigabyte
def weights(name: str) -> dict[str, Tensor]:
    """A fixture's weights, drawn again. They are shared: do not write to them.

    Raises:
        AssertionError: they are not those of the recording, because numpy's random stream has changed.
    """
    doc = document(name)
    arrays = {k: draw(k, rule, doc["seed"]) for k, rule in doc["tensors"].items()}
    digest = np.zeros(3)
    for a in arrays.values():  # one at a time: in float64 an encoder alone would take a gigabyte
        wide = a.astype(np.float64)
        digest += (wide.size, wide.sum(), np.abs(wide).sum())
    assert np.allclose(digest, doc["digest"], rtol=1e-7, atol=1e-3), f"the weights of {name} do not match its digest"
    return {k: torch.from_numpy(a) for k, a in arrays.items()}


def fixture(name: str) -> Fixture:
    """A fixture with its weights, inputs and answers; the inputs are drawn anew each time.

    Raises:
        AssertionError: the weights or inputs are not those of the recording.
    """
    doc = document(name)
    stored = load_file(FOLDER / f"{name}.safetensors")
    inputs = {k: torch.from_numpy(draw(k, rule, doc["seed"])) for k, rule in doc["inputs"].items()}
    for key, value in stored.items():
        if key.startswith("in."):
            assert torch.equal(inputs[key[3:]], value), f"input {key[3:]} of {name} is not the recorded one"
    outputs = {k[4:]: v for k, v in stored.items() if k.startswith("out.")}
    return Fixture(name, doc, dict(weights(name)), inputs, outputs)
