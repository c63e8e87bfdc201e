"""Encoder and generator: PSNR, attributes that survive."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd.domains import avatars
from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.evaluate import metrics
from sdd.evaluate.command import OUT, PICTURES, N, Out, Pictures, Quick, Seed, app, finish
from sdd.evaluate.judge import Judge, same
from sdd.evaluate.markdown import attribute_table, measured_by, number, picture_line
from sdd.evaluate.realism import realism
from sdd.evaluate.sheet import save_rows
from sdd.evaluate.visible import shares, shown
from sdd.manipulators.inversion import invert, psnr

if TYPE_CHECKING:
    from sdd.domains.domain import Domain

NAME, EDITION = "reconstruction", 1


@torch.no_grad()
def reconstruct(images: Tensor, domain: Domain) -> Tensor:
    """What encoder and generator make of pictures, (B, 3, S, S) in [-1, 1]."""
    return invert(images, domain.stylegan).images.clamp(-1, 1)


@torch.no_grad()
def reconstruction(domain: Domain, judge: Judge, n: int, seed: int) -> dict[str, Any]:
    """Encoder and generator on `n` held-out avatars: PSNR, and the share of visible attributes read the same after."""
    persons = AVATARS.people(seed, 0, n)
    images = avatars.render(list(persons))
    drawn = reconstruct(images, domain)
    quality = psnr(drawn, images)
    before, after = judge.read(images), judge.read(drawn)
    hits = {name: shown(same(name, before[name], after[name]), persons, name) for name in avatars.ATTRIBUTES}
    whole = [hit for row in hits.values() for hit in row]
    figures = {
        "psnr": float(quality.mean()),
        "psnr_median": float(quality.median()),
        "psnr_worst": float(quality.min()),
        "unchanged": statistics.fmean(whole),
        "distance": float(judge.distance(drawn, images).mean()),
        **realism(judge, images, drawn),
    }
    if domain.identity is not None:
        figures["identity"] = float(metrics.identity_similarity(domain.identity, images, drawn).mean())
    return {"figures": figures, "attributes": shares(hits)}


@app.command("reconstruction")
def reconstruction_command(
    n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT, pictures: Pictures = PICTURES
) -> None:
    """Encoder and generator."""
    n = n or (32 if quick else 512)
    domain = embedded()
    found = reconstruction(domain, Judge.load(), n, seed)
    if pictures is not None:
        images = avatars.render(list(AVATARS.people(seed, 0, 8)))
        save_rows(pictures / "reconstruction.png", [images, reconstruct(images, domain)])
    finish(NAME, found, n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    f = part["figures"]
    return [
        "## Encoder and generator",
        "",
        measured_by(part),
        "",
        f"PSNR {f['psnr']:.2f} dB on average (median {f['psnr_median']:.2f}, worst picture {f['psnr_worst']:.2f}); the "
        f"judge reads {number(f['unchanged'], '%')} of the visible attributes as before"
        + (f"; FID in the judge's features {f['fid']:.3g}." if "fid" in f else "."),
        "",
        *picture_line(pictures, "reconstruction.png", "sources and their reconstructions"),
        *attribute_table("unchanged", part["attributes"]),
    ]
