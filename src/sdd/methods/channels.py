"""What each channel of StyleSpace means to CLIP: the statistics behind StyleCLIP's global directions (arXiv 2103.17249,
Section 6), taken once for a generator and a CLIP.

A StyleSpace code is all style vectors one after the other, (N, C). Those of to-RGB layers are never moved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

REACH = 5.0  # standard deviations to either side at which a channel is looked at


def movable(dims: Sequence[int], rgb: Sequence[bool]) -> Tensor:
    """The channels (K,) of all style vectors but those of to-RGB layers.

    Args:
        dims: length of each style vector. rgb: whether it drives a to-RGB layer.
    """
    kept = torch.cat([torch.full((dim,), not colours) for dim, colours in zip(dims, rgb, strict=True)])
    return kept.nonzero()[:, 0]


@torch.no_grad()
def single_channel(
    codes: Tensor,
    mean: Tensor,
    std: Tensor,
    channels: Tensor,
    features: Callable[[Tensor], Tensor],
    *,
    reach: float = REACH,
    in_place: bool = False,
    advance: Callable[[int], object] = lambda done: None,
) -> Tensor:
    """CLIP's features with one channel at a time at mean - reach · std and at mean + reach · std.

    Args:
        codes: StyleSpace codes of pictures (N, C). mean, std: of the channels (C,).
        channels: which to move, (K,).
        features: codes (N, C) → CLIP features of what they draw, (N, D).
        in_place: as the published loop, which overwrites the codes it works on: every channel that was visited stays at
            its mean while the others are looked at.
        advance: told how many channels are done.

    Returns:
        (K, N, 2, D), not normalised.
    """
    now, rows = codes.clone(), []
    for k, c in enumerate(channels.tolist()):
        moved = now.clone()
        sides = []
        for side in (-reach, reach):
            moved[:, c] = mean[c] + side * std[c]
            sides.append(features(moved))
        rows.append(torch.stack(sides, 1))
        if in_place:
            now[:, c] = mean[c]
        advance(k + 1)
    return torch.stack(rows)


def relevance(single: Tensor) -> Tensor:
    """The direction (K, D) in which each channel moves CLIP's features.

    Differences of normalised features, normalised for each picture, averaged over pictures, normalised.

    Args:
        single: from `single_channel`, (K, N, 2, D).
    """
    sides = normalize(single, dim=-1)
    return normalize(normalize(sides[:, :, 1] - sides[:, :, 0], dim=-1).mean(1), dim=-1)
