"""Drift: by how much what an edit should have left alone was moved, scaled and tinted.

Least squares over the pixels outside M, by Gauss-Newton: y(p) ≈ x(c + (p − c − d) / s) + o, with c the picture's
centre, d the shift in pixels, s the scale and o an offset of each channel. A PSNR tells that a picture differs, this
tells how.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ROUNDS = 12
RIM = 3  # pixels around M, and at the picture's border, that are not looked at: the edit's own rim is no drift


@dataclass(frozen=True)
class Drift:
    """Of each picture: shift (B, 2) in pixels (right, down), scale (B,) as a factor, colour (B, 3) as images have it.

    All nan where too little lies outside M.
    """

    shift: Tensor
    scale: Tensor
    colour: Tensor

    @property
    def pixels(self) -> Tensor:
        """Length of the shift, (B,) pixels."""
        return self.shift.norm(dim=1)

    @property
    def percent(self) -> Tensor:
        """How far the scale is from 1, (B,) percent."""
        return 100 * (self.scale - 1).abs()

    @property
    def levels(self) -> Tensor:
        """The largest offset of a channel, (B,), in levels of 8 bits."""
        return 127.5 * self.colour.abs().amax(1)


@torch.no_grad()
def drift(edited: Tensor, source: Tensor, mask: Tensor) -> Drift:
    """Where the source went in the edited picture, outside a mask.

    Args:
        edited, source: (B, 3, H, W) in [-1, 1].
        mask: M, (B, 1, H, W) bool: what is not looked at.
    """
    found = [_fit(y.double(), x.double(), m) for y, x, m in zip(edited, source, mask, strict=True)]
    rows = torch.stack(found) if found else torch.zeros(0, 6, dtype=torch.float64)
    return Drift(rows[:, :2], rows[:, 2].exp(), rows[:, 3:])


def _fit(y: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """(dx, dy, log s, o_1, o_2, o_3) of one picture (3, H, W)."""
    height, width = x.shape[-2:]
    near = F.max_pool2d(mask[None].float(), 2 * RIM + 1, 1, RIM)[0, 0] > 0
    looked = ~near
    looked[:RIM], looked[-RIM:], looked[:, :RIM], looked[:, -RIM:] = False, False, False, False
    if int(looked.sum()) < 32:
        return torch.full((6,), torch.nan, dtype=torch.float64)
    down, right = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    right, down = right - (width - 1) / 2, down - (height - 1) / 2
    p = torch.zeros(6, dtype=torch.float64)
    for _ in range(ROUNDS):
        scale = torch.exp(-p[2])
        u, v = (right - p[0]) * scale, (down - p[1]) * scale
        warped = _sampled(x, u, v)
        by_right, by_down = _slopes(warped)
        # ∂/∂d and ∂/∂log s of x(c + (p − c − d) / s), in terms of the slopes of the warped picture.
        moved = torch.stack([-by_right, -by_down, -(by_right * (right - p[0]) + by_down * (down - p[1]))], -1)
        columns = torch.cat([moved, torch.eye(3, dtype=torch.float64)[:, None, None].expand(-1, height, width, -1)], -1)
        a = columns[:, looked].reshape(-1, 6)
        left = (y - warped - p[3:, None, None])[:, looked].reshape(-1)
        unit = a.square().sum(0).sqrt().clamp_min(1e-12)  # flat pictures say nothing of shift and scale: these stay
        normal = (a / unit).T @ (a / unit) + 1e-9 * torch.eye(6, dtype=torch.float64)
        step = torch.linalg.solve(normal, (a / unit).T @ left) / unit
        step = torch.where(unit > 1e-9, step, 0)
        p = p + step.clamp(torch.tensor([-2.0, -2, -0.05, -2, -2, -2]), torch.tensor([2.0, 2, 0.05, 2, 2, 2]))
        if float(step.abs().max()) < 1e-6:
            break
    return p


def _sampled(x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """A picture (3, H, W) read at u, v pixels right of and below its centre.

    Bilinearly: torch's bicubic kernel (a = −0.75) does not reproduce a slope, and takes a quarter pixel for a fifth.
    """
    height, width = x.shape[-2:]
    grid = torch.stack([2 * u / (width - 1), 2 * v / (height - 1)], -1)[None]
    return F.grid_sample(x[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0]


def _slopes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences to the right and down, (3, H, W) each."""
    wide = F.pad(x[None], (1, 1, 1, 1), mode="replicate")[0]
    return (wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2]) / 2, (wide[:, 2:, 1:-1] - wide[:, :-2, 1:-1]) / 2
