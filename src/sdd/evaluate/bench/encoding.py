"""What effdiff rests on (arXiv 2304.04344), measured without a training: that noise in one shot encodes a picture well
enough, and that CLIP sees the same change between two pictures that are blurred alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdd.evaluate.bench.cells import Bench, Cell
from sdd.evaluate.trial import Rows
from sdd.io.code import code_of
from sdd.manipulators.inversion import psnr
from sdd.methods.ddim import at, decode, estimate, invert, noised, steps
from sdd.methods.directional import unit
from sdd.methods.effdiff import noise_of
from sdd.methods.pixel_diffusion import PixelDiffusion
from sdd.methods.tuned import fitting
from sdd.nets.clip_views import nada_view

if TYPE_CHECKING:
    from sdd.methods.clip import Clip

T0 = (100, 200, 300, 350, 400, 500)
NOTHING, INVERTED, DECODED = "one shot of noise", 40, 6  # the published numbers of steps
PEOPLE = 1  # seed of the people
PAIRS = {"sharp": (False, False), "blurred alike": (True, True), "one blurred": (False, True)}


def encodings(bench: Bench, n: int) -> Rows:
    """How well a picture comes back from the state at t₀, decoded in six steps: of each t₀, and of both encodings."""
    cells: list[Cell] = [{"encoding": way, "t0": t0, "n": n} for t0 in T0 for way in (NOTHING, f"{INVERTED} steps")]
    return bench.measured("encodings", cells, lambda cell: _back(bench, cell), lambda cell: _used(bench))


@torch.no_grad()
def _back(bench: Bench, cell: Cell) -> Cell:
    network = PixelDiffusion.of(bench.models.get("ddpm", "effdiff"))
    images, t0 = fitting(_people(bench, "white hair", cell["n"])[0], network.size), cell["t0"]
    if cell["encoding"] == NOTHING:
        state = noised(images, noise_of(1, images, 0), at(network.abar, t0))
    else:
        state = invert(network, images, network.abar, steps(INVERTED, t0))
    back = decode(network, state, network.abar, steps(DECODED, t0))
    return {"psnr": psnr(back.clamp(-1, 1), images).tolist()}


def directions(bench: Bench, texts: tuple[str, ...], n: int) -> Rows:
    """The cosine between CLIP's change from a person to the right answer, and the same where both, or the second alone,
    are one-step estimates from t₀; people's own, of each prompt.
    """
    cells: list[Cell] = [{"directions": text, "t0": t0, "n": n} for text in texts for t0 in T0]
    return bench.measured("directions", cells, lambda cell: _cosines(bench, cell), lambda cell: _used(bench))


@torch.no_grad()
def _cosines(bench: Bench, cell: Cell) -> Cell:
    network = PixelDiffusion.of(bench.models.get("ddpm", "effdiff"))
    clip: Clip = bench.models.get("clip", "effdiff")
    before, after = (fitting(x, network.size) for x in _people(bench, cell["directions"], cell["n"]))
    noise, now = noise_of(1, before, 0), at(network.abar, cell["t0"])

    def seen(images: Tensor, blurred: bool) -> Tensor:
        if blurred:
            x = noised(images, noise, now)
            images = estimate(x, network(x, cell["t0"]), now)
        return unit(clip.see(nada_view(images, clip.size)))

    change = {name: seen(after, b) - seen(before, a) for name, (a, b) in PAIRS.items()}
    cosine = torch.cosine_similarity
    return {name: cosine(change[name], change["sharp"]).tolist() for name in PAIRS if name != "sharp"}


def _people(bench: Bench, text: str, n: int) -> tuple[Tensor, Tensor]:
    """People, and the right answer for each."""
    there = bench.subjects(text, n, PEOPLE)
    return there.images, torch.stack([answers[0] for answers in there.counterfactuals])


def _used(bench: Bench) -> list[str | None]:
    return [code_of(__name__), *(bench.models.fingerprint(role) for role in ("ddpm", "clip"))]
