"""What the original networks compute: recorded outputs, and weights that are drawn from a rule instead of being stored.

`fixture("ddpm_32")` gives the original's state dict, its inputs and its recorded outputs. Every tensor is drawn from
its own generator, seeded by its name, in float64, and cast at the end; the digest in the fixture guards against a
numpy whose random stream has changed.
"""

import json
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).parent / "data" / "parity"


@dataclass
class Fixture:
    """One reference network: `doc` is its description; the rest tensors by name (outputs without `out.`)."""

    doc: dict
    tensors: dict[str, torch.Tensor]
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]

    def error(self, name: str, got: torch.Tensor) -> float:
        """Largest difference over the output's standard deviation; for a single number, relative."""
        want = self.outputs[name]
        assert got.numel() == want.numel(), f"{name}: {tuple(got.shape)} instead of {tuple(want.shape)}"
        got, want = got.detach().double().reshape(want.shape), want.double()
        scale = want.std() if want.numel() > 1 else want.abs()
        return float((got - want).abs().max() / scale)

    def check(self, name: str, got: torch.Tensor) -> None:
        """Assert that `got` is the recorded output within the fixture's tolerance."""
        error = self.error(name, got)
        assert error < self.doc["tolerance"][name], f"{self.doc['name']} {name}: off by {error:.2e}"


@cache
def fixture(name: str) -> Fixture:
    """The fixture `tests/data/parity/NAME.{json,safetensors}`."""
    doc = json.loads((FOLDER / f"{name}.json").read_text())
    stored = load_file(FOLDER / f"{name}.safetensors")
    weights = {k: draw(k, rule, doc["seed"]) for k, rule in doc["tensors"].items()}
    sums = [v.astype(np.float64) for v in weights.values()]
    digest = [sum(v.size for v in sums), sum(v.sum() for v in sums), sum(np.abs(v).sum() for v in sums)]
    assert np.allclose(digest, doc["digest"], rtol=1e-7, atol=1e-3), "numpy's random stream has changed"
    inputs = {k: torch.from_numpy(draw(k, rule, doc["seed"])) for k, rule in doc["inputs"].items()}
    tensors = {k: torch.from_numpy(v) for k, v in weights.items()}
    return Fixture(doc, tensors, inputs, {k[4:]: v for k, v in stored.items() if k.startswith("out.")})


def draw(name: str, rule: dict, seed: str) -> np.ndarray:
    """One tensor from its rule: normal, uniform, const, literal, or waves (a smooth picture, (B, C, H, W) in [-1,
    1]).
    """
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}/{name}".encode())))
    shape, kind = tuple(rule["shape"]), rule["kind"]
    if kind == "normal":
        x = rule["mean"] + rule["std"] * rng.standard_normal(shape)
    elif kind == "uniform":
        x = rule["low"] + (rule["high"] - rule["low"]) * rng.random(shape)
    elif kind == "const":
        x = np.full(shape, rule["value"])
    elif kind == "literal":
        x = np.array(rule["values"]).reshape(shape)
    else:
        assert kind == "waves", kind
        b, c, h, w = shape
        n = rule["count"]
        fy, fx = rng.uniform(-rule["freq"], rule["freq"], (2, b, c, n, 1))
        phase = rng.uniform(0, 2 * np.pi, (b, c, n, 1))
        ty = np.exp(2j * np.pi * fy * (np.arange(h) + 0.5) / h)
        tx = np.exp(2j * np.pi * fx * (np.arange(w) + 0.5) / w + 1j * phase)
        x = np.matmul(ty.swapaxes(-1, -2), tx).real * (rule["std"] * (2 / n) ** 0.5)
        x = np.clip(x + rule["noise"] * rng.standard_normal(shape), -1, 1)
    return np.ascontiguousarray(np.asarray(x).astype(rule["dtype"]))
