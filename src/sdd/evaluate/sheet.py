"""Sheets of pictures beside the tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor


def save_rows(path: Path, rows: Sequence[Tensor]) -> None:
    """Rows of pictures (N, 3, S, S) as one small PNG: a palette of 128 colours."""
    from PIL import Image

    from sdd.io.files import atomic_path

    sheet = torch.cat([torch.cat(list(row.clamp(-1, 1)), 2) for row in rows], 1)
    pixels = sheet.add(1).mul(127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    with atomic_path(path) as aside:
        Image.fromarray(pixels).quantize(128).save(aside, format="PNG", optimize=True)
