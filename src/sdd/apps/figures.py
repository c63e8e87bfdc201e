"""The numbers that an editor file holds, in words."""

from __future__ import annotations

FIGURES: dict[str, str] = {
    "steps": "how many it was trained",
    "slope": "how much the teacher still gained from going further along the edit when training ended; near 0 is done",
    "change": "root mean square of what the network learned, before strength multiplies it, in the units of its codes",
    "inversion_psnr": "dB, how closely the unedited pictures it was trained on come back; 20 is a good likeness",
}


def meaning(name: str) -> str:
    """What a figure is, in a few words; empty for one that is not known."""
    return FIGURES.get(name, "")
