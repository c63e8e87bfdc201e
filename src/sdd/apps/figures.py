"""The numbers that an editor file holds, in words."""

from __future__ import annotations

FIGURES: dict[str, str] = {
    "steps": "how many it was trained",
    "slope": "how much the teacher still gained from going further along the edit when training ended; near 0 is done",
    "change": "root mean square of what the network learned, before strength multiplies it, in the units of its codes",
    "changed": "share of held-out pictures that change visibly at strength 1",
    "area": "share of a held-out picture that changes",
    "outside": "share of that change that lies where the prompt means nothing to the teacher",
    "remaining": "what the teacher still asks for at strength 1, as a share of what it asked for at 0; near 0 is done",
    "inversion_psnr": "dB, how closely the unedited pictures it was trained on come back; 20 is a good likeness",
}


def meaning(name: str) -> str:
    """What a figure is, in a few words; empty for one that is not known."""
    return FIGURES.get(name, "")
