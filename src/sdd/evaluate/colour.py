"""How far the colour of an edit is from the right one: signed, which tells its direction, and as the eye sees it.

All functions are pure. Pictures are (B, 3, H, W) sRGB in [-1, 1]; masks are (B, 1, H, W), bool or weights ≥ 0, and say
where to look, `metrics.change_mask` for instance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sdd.errors import SddError

# Linear sRGB to CIE XYZ with white at Y = 1, and the reference white D65 (IEC 61966-2-1).
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
D65 = (0.95047, 1.0, 1.08883)


def signed_error(edited: Tensor, counterfactual: Tensor, mask: Tensor) -> Tensor:
    """Mean of edited − counterfactual over the mask: (B, 3) float64, red, green, blue, in units of 255.

    nan where the mask is empty.

    Raises:
        SddError: shapes that do not match.
    """
    _check(edited, counterfactual, mask)
    return _mean((edited.double() - counterfactual.double()) * 127.5, mask)


def delta_e(edited: Tensor, counterfactual: Tensor, mask: Tensor) -> Tensor:
    """Mean over the mask of the CIE76 colour difference, (B,) float64; about 2.3 is just noticeable.

    nan where the mask is empty.

    Raises:
        SddError: shapes that do not match.
    """
    _check(edited, counterfactual, mask)
    distance = torch.linalg.vector_norm(lab(edited) - lab(counterfactual), dim=1, keepdim=True)
    return _mean(distance, mask)[:, 0]


def lab(images: Tensor) -> Tensor:
    """CIE L*a*b* (D65, 2 degrees) of sRGB pictures: (B, 3, H, W) float64, L in [0, 100]; values are clamped first."""
    v = (images.double().clamp(-1, 1) + 1) / 2
    linear = torch.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055).pow(2.4))
    to_xyz = torch.tensor(TO_XYZ, dtype=torch.float64, device=v.device)
    white = torch.tensor(D65, dtype=torch.float64, device=v.device)
    xyz = torch.einsum("ij,bjhw->bihw", to_xyz, linear) / white[:, None, None]
    # CIE 15: the cube root, with a straight line below (6/29)³.
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp_min(1e-12).pow(1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, C, H, W) over the mask, (B, C)."""
    weight = mask.to(values)
    total = weight.sum((2, 3))
    return (values * weight).sum((2, 3)) / total.where(total > 0, torch.nan)


def _check(edited: Tensor, counterfactual: Tensor, mask: Tensor) -> None:
    batch, channels, *size = edited.shape if edited.ndim == 4 else (0, 0)
    if channels != 3 or counterfactual.shape != edited.shape or tuple(mask.shape) != (batch, 1, *size):
        shapes = ", ".join(str(tuple(t.shape)) for t in (edited, counterfactual, mask))
        raise SddError(f"colours need pictures (B, 3, H, W) twice and a mask (B, 1, H, W), not {shapes}")
