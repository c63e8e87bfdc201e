"""Realism: how far a set of pictures is from a real one, in the judge's features (torchmetrics).

Neither figure can be compared with one in Inception's features. The FID is biased upwards for sets that are not much
larger than the features are long; the KID is not, and is the one to read for a few dozen pictures.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.evaluate.judge import Judge


class _Features(nn.Module):
    """The judge as torchmetrics wants a feature network."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge
        self.num_features = int(judge.classifier.channels[-1])

    def forward(self, images: Tensor) -> Tensor:
        return self.judge.features(images)


def fid(judge: Judge, real: Tensor, fake: Tensor) -> float:
    """Fréchet distance (arXiv 1706.08500) between two sets of pictures, at least 0.

    Raises:
        SddError: torchmetrics is not installed, or a set has fewer than two pictures.
    """
    _check(real, fake)
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Features(judge))
    metric.set_dtype(torch.float64)
    return float(_seen(metric, real, fake).compute())


def kid(judge: Judge, real: Tensor, fake: Tensor) -> float:
    """Kernel distance (arXiv 1801.01401) between two sets of pictures; unbiased, so that it may be below 0.

    One subset, of all pictures of the smaller set: torchmetrics' many small ones are for sets of thousands.

    Raises:
        SddError: torchmetrics is not installed, or a set has fewer than two pictures.
    """
    _check(real, fake)
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(len(real), len(fake))
    metric = KernelInceptionDistance(feature=_Features(judge), subsets=1, subset_size=size)
    with torch.random.fork_rng():  # which order they are taken in
        torch.manual_seed(0)
        mean, _ = _seen(metric, real, fake).compute()
    return float(mean)


def realism(judge: Judge, real: Tensor, fake: Tensor) -> dict[str, float]:
    """FID and KID where torchmetrics is installed; without it these figures alone are missing."""
    if not find_spec("torchmetrics"):
        return {}
    return {"fid": fid(judge, real, fake), "kid": kid(judge, real, fake)}


def _seen(metric: Any, real: Tensor, fake: Tensor) -> Any:
    for images, is_real in ((real, True), (fake, False)):
        for part in images.split(64):
            metric.update(part, real=is_real)
    return metric


def _check(real: Tensor, fake: Tensor) -> None:
    if not find_spec("torchmetrics"):
        raise SddError("FID and KID need torchmetrics; install it with: pip install 'sdd[metrics]'")
    if min(len(real), len(fake)) < 2:
        raise SddError("FID and KID need at least two pictures of each kind")
