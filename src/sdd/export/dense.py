"""`sdd.beyond.blend` for pictures of the drawing's own size, as dense tensors, which other runtimes can run.

The blend picks the pixels that it works on, which no traced graph can. Where source and drawing are of one size every
pixel lies at its own place, so that the same arithmetic can be done for all of them, and what was not to be touched put
back at the end. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop
from torch.nn import functional as F

from sdd.beyond.blend import DEFAULT, SEEK, UNIT, Blending, change_region, connected


def blend(source: Tensor, edited: Tensor, unedited: Tensor, how: Blending = DEFAULT) -> Tensor:
    """The edit laid into the source; where nothing was edited the result is the source's, bit for bit.

    Args:
        source, edited, unedited: (B, 3, S, S) in [-1, 1]: the picture, and what is drawn of it.
    """
    region, certain = change_region(edited, unedited, how, hang_together)
    unit = max(1, round(source.shape[-1] / UNIT))
    looks = (round(how.reach) + 1) * unit
    touched = F.max_pool2d(region, 2 * looks + 1, 1, looks) > 0
    fields = torch.cat([unedited, region * (edited - unedited), certain], 1)
    moved = _resembling(source, fields, unit, how)
    drawn, change, sure = moved[:, :3], moved[:, 3:6], moved[:, 6:]
    other = source - drawn
    lost = 1 - torch.exp(-(other / how.grain).pow(4).amax(1, keepdim=True))
    return torch.where(touched, (source + change - sure * lost * other).clamp(-1, 1), source)


def hang_together(found: Tensor, within: Tensor) -> Tensor:
    """`sdd.beyond.blend.connected`; in a graph, as a loop that it can hold."""
    if not torch.compiler.is_exporting():
        return connected(found, within)

    def grows(found: Tensor, within: Tensor, more: Tensor) -> Tensor:
        return more.clone()

    def grow(found: Tensor, within: Tensor, more: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        larger = F.max_pool2d(found, 3, 1, 1) * within
        return larger, within.clone(), (larger - found).amax((0, 1, 2, 3)) > 0

    inside = within.float()
    start = found.float() * inside
    return while_loop(grows, grow, (start, inside, torch.ones((), dtype=torch.bool, device=found.device)))[0] > 0


def _resembling(colours: Tensor, fields: Tensor, step: int, how: Blending) -> Tensor:
    """Fields of a drawing (B, C, S, S) for the source's pixels; see the function of this name in `sdd.beyond.blend`.

    All places that a pixel looks at are seen at once, (B, C, places, S, S).
    """
    channels, height, width = fields.shape[1:]
    reach = round(how.reach)
    span = range(-reach, reach + 1)
    places = [(dy, dx) for dy in span for dx in span if dy * dy + dx * dx <= how.reach**2]
    pick = np.zeros((len(places), 1, len(span), len(span)), np.float32)
    for k, (dy, dx) in enumerate(places):
        pick[k, 0, dy + reach, dx + reach] = 1
    edge = reach * step
    padded = F.pad(fields, (edge, edge, edge, edge), mode="replicate").flatten(0, 1)[:, None]
    there = F.conv2d(padded, torch.from_numpy(pick).to(fields), dilation=step).view(
        -1, channels, len(places), height, width
    )
    unlike = (there[:, :3] - colours[:, :, None]).square().sum(1) / how.alike**2
    down, across = (_near([place[axis] * step for place in places], fields.shape[2 + axis], step * how.near)
                    for axis in (0, 1))  # fmt: skip
    near = down[:, :, None] * across[:, None]
    weight = near.to(fields) * (torch.exp(-0.5 * unlike) + 1e-6)
    found = (there * weight[:, None]).sum(2) / weight.sum(1, keepdim=True)
    unlike = (fields[:, :3] - colours).square().sum(1, keepdim=True) / how.alike**2
    elsewhere = (1 - torch.exp(-0.5 * unlike) - SEEK).clamp_min(0) / (1 - SEEK)
    return fields + elsewhere * (found - fields)


def _near(moves: Sequence[int], length: int, spread: float) -> Tensor:
    """How near what lies that many pixels further is, along one axis: (moves, length).

    At a border it is the border's own pixel that is looked at, as far away as that lies.
    """
    places = np.arange(length)
    far = np.clip(places + np.array(moves)[:, None], 0, length - 1) - places
    return torch.from_numpy(np.exp(-0.5 * (far / spread) ** 2).astype(np.float32))
