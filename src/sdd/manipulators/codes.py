"""Codes of a StyleGAN2's mapping network: samples, always the same ones, and their statistics."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.nets.stylegan2 import Generator

SAMPLES = 4096  # codes from which the statistics are taken


def sample_codes(generator: Generator, n: int) -> Tensor:
    """Codes (n, D) of the mapping network, always the same ones; over all classes where there are classes."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(n, generator.z_dim, generator=random)
    if not generator.c_dim:
        return generator.mapping(z)
    classes = torch.randint(generator.c_dim, (n,), generator=random)
    return generator.mapping(z, F.one_hot(classes, generator.c_dim).float())


@torch.no_grad()
def code_statistics(generator: Generator) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) of the mapping network's codes."""
    w = sample_codes(generator, SAMPLES)
    return w.mean(0), w.std(0)
