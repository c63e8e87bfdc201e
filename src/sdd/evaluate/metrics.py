"""How good an edit is, where the right answer is known.

x is the source picture that the user gave, y what they get back, c a counterfactual: the same person with the asked
option changed and nothing else. M is the set of pixels in which any channel of c and x differ. Whatever a method does
on its way, x is never its reconstruction.

    editability = 1 − Σ_M |y − c| / Σ_M |x − c|      1: the exact edit; 0: nothing done
    fidelity    = PSNR of y against x outside M      dB, peak 2
    gain        = 1 − Σ |y − c| / Σ |x − c|          over the whole picture; below 0 the source itself was nearer

Where a prompt has several valid counterfactuals ("a beard" has two drawings) each picture is compared with the one for
which its editability is largest, in all three. Names in brackets are those of the counterfactual literature (Monteiro
et al., ICLR 2023; Melistas et al., NeurIPS 2024):

    success        [effectiveness]  the judge reads the asked value
    side effects   [minimality]     share of the other attributes whose reading differs between x and y
    composition                     PSNR against x of the edit at strength 0, after one pass and after ten
    reversibility                   PSNR against x of the picture edited at 1, and that edited at −1
    drift          (`sdd.evaluate.drift`)    shift, scale and colour of what lies outside M
    realism        (`sdd.evaluate.realism`)  FID and KID in the judge's features
    NIQE           (`sdd.evaluate.niqe`)     how far from photographs, without any reference

All functions are pure; images are (B, 3, H, W) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.evaluate.judge import same
from sdd.manipulators.inversion import PEAK, psnr

if TYPE_CHECKING:
    from sdd.nets.arcface import IRSE


def change_mask(source: Tensor, counterfactual: Tensor) -> Tensor:
    """M: (B, 1, H, W) bool, where any channel differs."""
    return (source != counterfactual).any(1, keepdim=True)


def editability(edited: Tensor, source: Tensor, counterfactual: Tensor) -> Tensor:
    """1 − Σ_M |y − c| / Σ_M |x − c| of each picture, (B,); nan where source and counterfactual are equal."""
    mask = change_mask(source, counterfactual)
    left = ((edited - counterfactual).abs() * mask).double().flatten(1).sum(1)
    whole = ((source - counterfactual).abs() * mask).double().flatten(1).sum(1)
    return 1 - left / whole.where(whole > 0, torch.nan)


def fidelity(edited: Tensor, source: Tensor, counterfactual: Tensor) -> Tensor:
    """PSNR (peak 2) of y against x outside M, dB, (B,); at most 120, nan where M is the whole picture."""
    outside = ~change_mask(source, counterfactual)
    count = outside.flatten(1).sum(1).double() * source.shape[1]
    error = ((edited - source).square() * outside).double().flatten(1).sum(1) / count.where(count > 0, torch.nan)
    return 10 * torch.log10(PEAK**2 / error.clamp_min(PEAK**2 * 1e-12))


def gain(edited: Tensor, source: Tensor, counterfactual: Tensor) -> Tensor:
    """1 − Σ |y − c| / Σ |x − c| over the whole picture, (B,); nan where source and counterfactual are equal."""
    left = (edited - counterfactual).abs().double().flatten(1).sum(1)
    whole = (source - counterfactual).abs().double().flatten(1).sum(1)
    return 1 - left / whole.where(whole > 0, torch.nan)


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of each pair of pictures, (B,) float64, in [0, 4]."""
    return (a - b).double().square().flatten(1).mean(1)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of each pair of pictures (Wang et al., 2004; Gaussian window of 11), (B,), at most 1.

    Raises:
        SddError: torchmetrics is not installed.
    """
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure
    except ImportError as error:
        raise SddError("SSIM needs torchmetrics; install it with: pip install 'sdd[metrics]'") from error
    if len(a) == 0:
        return torch.zeros(0, dtype=torch.float64)
    # Its comparison of luminances is of light, which is not negative: pictures in [0, 1].
    a, b = a.double().add(1) / 2, b.double().add(1) / 2
    found = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
    assert isinstance(found, Tensor), "without the full picture"
    return found.reshape(-1)


@dataclass(frozen=True)
class Measured:
    """Figures of each picture, (B,) float64, and which counterfactual each was compared with."""

    editability: Tensor
    fidelity: Tensor
    gain: Tensor
    chosen: Tensor


def measure(edited: Tensor, source: Tensor, counterfactuals: Sequence[Tensor]) -> Measured:
    """Editability, fidelity and gain of each picture against its best counterfactual.

    Args:
        counterfactuals: for each picture its valid ones, (K_i, 3, H, W) with K_i ≥ 1.

    Raises:
        SddError: a picture without counterfactual, or shapes that do not match.
    """
    if not len(edited) == len(source) == len(counterfactuals):
        raise SddError("edited pictures, sources and counterfactuals must be equally many")
    rows = []
    for y, x, options in zip(edited, source, counterfactuals, strict=True):
        if len(options) == 0:
            raise SddError("a picture has no counterfactual, so that there is nothing to compare its edit with")
        many = (len(options), -1, -1, -1)
        scores = editability(y.expand(many), x.expand(many), options)
        best = int(scores.nan_to_num(-torch.inf).argmax())
        c = options[best : best + 1]
        rows.append((scores[best], fidelity(y[None], x[None], c)[0], gain(y[None], x[None], c)[0], torch.tensor(best)))
    columns = [torch.stack(column) for column in zip(*rows, strict=True)] if rows else [torch.zeros(0)] * 4
    return Measured(*columns)


def side_effects(
    before: dict[str, Tensor], after: dict[str, Tensor], kept: Sequence[Sequence[str]]
) -> tuple[Tensor, dict[str, float]]:
    """Share of the attributes in `kept` whose reading changed.

    Args:
        before: the judge's readings (`Judge.read`) of the sources. after: of the edited pictures.
        kept: for each picture the attributes it should keep (`Truth.kept`). A discrete one changed if another word is
            read, a continuous one if the reading moved by `judge.TOLERANCE` (0.25) of half its range: 4 degrees, 1.5
            percent, 0.033.

    Returns:
        (B,) float64, nan for a picture that keeps nothing; and for each attribute the share of pictures in which it
        changed.
    """
    changed = {name: ~same(name, before[name], after[name]) for name in before}
    shares, counts = [], dict[str, list[bool]]()
    for i, names in enumerate(kept):
        hits = [bool(changed[name][i]) for name in names]
        shares.append(sum(hits) / len(hits) if hits else float("nan"))
        for name, hit in zip(names, hits, strict=True):
            counts.setdefault(name, []).append(hit)
    each = {name: sum(hits) / len(hits) for name, hits in counts.items()}
    return torch.tensor(shares, dtype=torch.float64), each


Edit = Callable[[Tensor, float], Tensor]  # pictures and a strength → what the user gets back


def composition(edit: Edit, images: Tensor, passes: int = 1) -> Tensor:
    """PSNR (peak 2) of pictures against what `passes` edits of strength 0, one after the other, leave of them, (B,) dB.

    The axiom of composition: an edit of strength 0 is the picture itself (120 dB).
    """
    found = images
    for _ in range(passes):
        found = edit(found, 0.0)
    return psnr(found, images)


def reversibility(edit: Edit, images: Tensor) -> Tensor:
    """PSNR (peak 2) of pictures against what an edit at 1, and one of its result at −1, leave of them, (B,) dB."""
    return psnr(edit(edit(images, 1.0), -1.0), images)


def monotonicity(curve: Sequence[float]) -> float:
    """Share of the steps of a curve that go up, in [0, 1]; nan for fewer than two points."""
    steps = [b - a for a, b in pairwise(curve)]
    return sum(step > 0 for step in steps) / len(steps) if steps else float("nan")


def uniformity(curve: Sequence[float]) -> float:
    """How evenly a curve over equally spaced strengths rises, in [0, 1].

    With p_i the share that step i of n has of the whole rise, 1 − Σ |p_i − 1/n| / (2 − 2/n): 1 for a straight line, 0
    where all happens in one step, where steps go back and forth as far as that, and where the curve does not rise.
    nan for fewer than three points.
    """
    steps = [b - a for a, b in pairwise(curve)]
    n, whole = len(steps), sum(steps)
    if n < 2:
        return float("nan")
    if whole <= 0:
        return 0.0
    return max(0.0, 1 - sum(abs(step / whole - 1 / n) for step in steps) / (2 - 2 / n))


def identity_similarity(net: IRSE, a: Tensor, b: Tensor, batch: int = 32) -> Tensor:
    """Cosine of a network's identity features of two batches of pictures, (B,)."""
    from sdd.nets.arcface import identity_features

    with torch.no_grad():
        pairs = zip(a.split(batch), b.split(batch), strict=True)
        parts = [(identity_features(net, p) * identity_features(net, q)).sum(1) for p, q in pairs]
    return torch.cat(parts) if parts else torch.zeros(0)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, in [-1, 1]; ties share their mean rank; nan if one side does not vary."""
    ranks = [_ranks(values) for values in (a, b)]
    u, v = (r - r.mean() for r in ranks)
    scale = float(torch.linalg.vector_norm(u) * torch.linalg.vector_norm(v))
    return float(u @ v) / scale if scale > 0 else float("nan")


def jaccard(a: Sequence[int], b: Sequence[int]) -> float:
    """|A ∩ B| / |A ∪ B| of two sets, in [0, 1]; 1 for two empty ones."""
    return len(set(a) & set(b)) / len(set(a) | set(b)) if set(a) | set(b) else 1.0


def _ranks(values: Sequence[float]) -> Tensor:
    x = torch.tensor(list(values), dtype=torch.float64)
    return (x[:, None] > x).sum(1).double() + ((x[:, None] == x).sum(1).double() - 1) / 2
