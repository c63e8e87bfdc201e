"""How good an edit is, where the right answer is known.

x is the source picture, y the edited one, r the unedited reconstruction (x itself for methods that do not invert), c a
counterfactual: the same person with the asked option changed. M is the set of pixels in which any channel of c and x
differ.

    editability = 1 − Σ_M |y − c| / Σ_M |x − c|      1: the exact edit; 0: nothing done
    fidelity    = PSNR of y against x outside M      dB, peak 2
    gain        = 1 − Σ |y − c| / Σ |r − c|          over the whole picture; punishes collapse, as editability does not
    success       = the judge reads the asked value
    side effects  = share of the other attributes whose reading differs between r and y

Where a prompt has several valid counterfactuals ("a beard" has two drawings) each picture is compared with the one for
which its editability is largest, in all three measures. All functions are pure; images are (B, 3, H, W) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sdd.domains import avatars
from sdd.errors import SddError
from sdd.evaluate.judge import same
from sdd.manipulators.inversion import PEAK

if TYPE_CHECKING:
    from sdd.domains.avatars.person import Avatar
    from sdd.domains.domain import Domain
    from sdd.evaluate.judge import Judge


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


def gain(edited: Tensor, reconstruction: Tensor, counterfactual: Tensor) -> Tensor:
    """1 − Σ |y − c| / Σ |r − c| over the whole picture, (B,); nan where the reconstruction is the counterfactual."""
    left = (edited - counterfactual).abs().double().flatten(1).sum(1)
    whole = (reconstruction - counterfactual).abs().double().flatten(1).sum(1)
    return 1 - left / whole.where(whole > 0, torch.nan)


@dataclass(frozen=True)
class Measured:
    """Figures of each picture, (B,) float64, and which counterfactual each was compared with."""

    editability: Tensor
    fidelity: Tensor
    gain: Tensor
    chosen: Tensor


def measure(edited: Tensor, source: Tensor, reconstruction: Tensor, counterfactuals: Sequence[Tensor]) -> Measured:
    """Editability, fidelity and gain of each picture against its best counterfactual.

    Args:
        counterfactuals: for each picture its valid ones, (K_i, 3, H, W) with K_i ≥ 1.

    Raises:
        SddError: a picture without counterfactual, or shapes that do not match.
    """
    if not len(edited) == len(source) == len(reconstruction) == len(counterfactuals):
        raise SddError("edited pictures, sources, reconstructions and counterfactuals must be equally many")
    rows = []
    for y, x, r, options in zip(edited, source, reconstruction, counterfactuals, strict=True):
        if len(options) == 0:
            raise SddError("a picture has no counterfactual, so that there is nothing to compare its edit with")
        many = (len(options), -1, -1, -1)
        scores = editability(y.expand(many), x.expand(many), options)
        best = int(scores.nan_to_num(-torch.inf).argmax())
        c = options[best : best + 1]
        rows.append((scores[best], fidelity(y[None], x[None], c)[0], gain(y[None], r[None], c)[0], torch.tensor(best)))
    columns = [torch.stack(column) for column in zip(*rows, strict=True)] if rows else [torch.zeros(0)] * 4
    return Measured(*columns)


def counterfactuals(person: Avatar, changes: Sequence[dict[str, Any]], size: int = avatars.IMAGE_SIZE) -> Tensor:
    """The valid pictures of an edit, (K, 3, size, size).

    Every drawing of the asked word (`Avatar.counterfactuals`), in every colour of a thing that the source does not show
    and the prompt does not name: the beard that "a beard" adds had no colour before.

    Args:
        changes: the edits the prompt may mean, any of which is right.
    """
    found: dict[str, Avatar] = {}
    for change in changes:
        for option in person.counterfactuals(**change):
            free = [n for n in appearing(person, option) if n in avatars.COLORS and n not in change]
            variants = [option]
            for name in free:
                variants += [option.replace(**{name: value}) for value in avatars.values(name)]
            for variant in variants:
                found.setdefault(variant.svg(), variant)
    return avatars.render(list(found.values()), size)


def appearing(before: Avatar, after: Avatar) -> list[str]:
    """Attributes the second picture shows and the first cannot."""
    return [n for n in avatars.ATTRIBUTES if after.visible(n) and not before.visible(n)]


def others(before: Avatar, after: Avatar, changed: Iterable[str]) -> list[str]:
    """The attributes an edit must leave alone: visible before and after, and not the ones asked to change."""
    asked = set(changed)
    return [n for n in avatars.ATTRIBUTES if n not in asked and before.visible(n) and after.visible(n)]


def side_effects(
    before: dict[str, Tensor], after: dict[str, Tensor], kept: Sequence[Sequence[str]]
) -> tuple[Tensor, dict[str, float]]:
    """Share of the attributes in `kept` whose reading changed.

    Args:
        before: the judge's readings (`Judge.read`) of the unedited reconstructions. after: of the edited pictures.
        kept: for each picture the attributes it should keep (`others`). A discrete one changed if another word is read,
            a continuous one if the reading moved by `judge.TOLERANCE` (0.25) of half its range: 4 degrees, 1.5 percent,
            0.033.

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


def identity_similarity(domain: Domain, a: Tensor, b: Tensor, batch: int = 32) -> Tensor:
    """Cosine of the domain's identity features of two batches of pictures, (B,).

    Raises:
        SddError: the domain has no identity network.
    """
    if domain.identity is None:
        raise SddError(f"the domain {domain.name!r} has no identity network to compare people with")
    from sdd.nets.arcface import IRSE, identity_features

    net = domain.identity
    assert isinstance(net, IRSE), "the one kind of identity network there is"
    with torch.no_grad():
        pairs = zip(a.split(batch), b.split(batch), strict=True)
        parts = [(identity_features(net, p) * identity_features(net, q)).sum(1) for p, q in pairs]
    return torch.cat(parts) if parts else torch.zeros(0)


class _Features(nn.Module):
    """The judge as torchmetrics wants a feature network."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge
        self.num_features = int(judge.classifier.channels[-1])

    def forward(self, images: Tensor) -> Tensor:
        return self.judge.features(images)


def fid(judge: Judge, real: Tensor, fake: Tensor) -> float:
    """Fréchet distance (arXiv 1706.08500) between two sets of pictures, in the judge's features.

    Not comparable to an Inception FID, and biased upwards for sets that are not much larger than the features are long.

    Raises:
        SddError: torchmetrics is not installed, or a set has fewer than two pictures.
    """
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ImportError as error:
        raise SddError("the FID needs torchmetrics; install it with: pip install 'sdd[metrics]'") from error
    if min(len(real), len(fake)) < 2:
        raise SddError("the FID needs at least two pictures of each kind")
    metric = FrechetInceptionDistance(feature=_Features(judge))
    metric.set_dtype(torch.float64)
    for images, is_real in ((real, True), (fake, False)):
        for part in images.split(64):
            metric.update(part, real=is_real)
    return float(metric.compute())


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation, in [-1, 1]; ties share their mean rank; nan if one side does not vary."""
    ranks = [_ranks(values) for values in (a, b)]
    u, v = (r - r.mean() for r in ranks)
    scale = float(torch.linalg.vector_norm(u) * torch.linalg.vector_norm(v))
    return float(u @ v) / scale if scale > 0 else float("nan")


def _ranks(values: Sequence[float]) -> Tensor:
    x = torch.tensor(list(values), dtype=torch.float64)
    return (x[:, None] > x).sum(1).double() + ((x[:, None] == x).sum(1).double() - 1) / 2
