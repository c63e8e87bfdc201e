"""What training needs of the source pictures, computed once for every prompt of a domain and kept on disk.

The key is the content: the pictures, and the weights of all that looked at them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sdd.domains.domain import Domain
from sdd.errors import SddError
from sdd.io import zoo
from sdd.io.checkpoints.hash import generator_hash
from sdd.io.files import write_bytes
from sdd.io.progress import Report
from sdd.manipulators.inversion import psnr
from sdd.manipulators.protocol import Manipulator, Prepared
from sdd.nets.arcface import identity_features
from sdd.nets.resize import resize
from sdd.teachers.protocol import Teacher
from sdd.training.config import DistillConfig
from sdd.training.run import fingerprint

KEPT = 16  # preparations; those used longest ago go first


@dataclass
class Source:
    """What training needs of N source pictures.

    Attributes:
        prepared: the pictures, as the manipulator has them.
        pictures: those that the hybrid quality score is taken on, (≤ N, 3, S, S).
        latents: the teacher's latents of the unedited pictures, (N, C, h, w).
        seen: the unedited pictures in the size in which the teacher sees them, (N, 3, s, s).
        features: identity features of the unedited pictures, (N, E); None where nothing asks for them.
        psnr: of the unedited pictures against the source, dB, averaged; 0 where there were codes only.
    """

    prepared: Prepared
    pictures: Tensor
    latents: Tensor
    seen: Tensor
    features: Tensor | None
    psnr: float

    def __len__(self) -> int:
        return len(self.prepared)


@torch.no_grad()
def source_of(
    domain: Domain, manipulator: Manipulator, teacher: Teacher, settings: DistillConfig, seed: int, report: Report
) -> Source:
    """The source pictures of a domain and what follows from them.

    Raises:
        SddError: there are none, or an identity loss is asked for and the domain has no identity network.
    """
    if settings.identity > 0 and domain.identity is None:
        raise SddError(
            f"this training asks for an identity loss (identity = {settings.identity:g}), and the domain "
            f"{domain.name!r} has no identity network; give one with --identity, or do without: --set identity=0"
        )
    count = domain.whole if settings.images == "all" else settings.images
    codes = None if domain.latents is None else domain.latents[:count]
    told = domain.told(count, seed, "train") if codes is None else None
    images = domain.images(count, seed, "train") if codes is None and told is None else None
    key = _key(told or _told(domain, codes if images is None else images), domain, manipulator, teacher, settings)
    path = None if key is None else zoo.home() / "prepared" / f"{key}.safetensors"
    found = None if path is None else _load(path)
    if found is None:
        if images is None and codes is None:
            images = domain.images(count, seed, "train")
        found = _prepare(images, codes, domain, manipulator, teacher, settings, report)
        if path is not None:
            _keep(path, found)
    device = next(manipulator.learned.parameters()).device
    if images is None and codes is None:
        images = domain.images(min(settings.search_images, count), seed, "train")
    pictures = (found["drawn"] if images is None else images)[: settings.search_images].to(device)
    parts = {name[9:]: part.to(device) for name, part in found.items() if name.startswith("prepared.")}
    features = found.get("features")
    return Source(
        Prepared(parts),
        pictures,
        found["latents"].to(device),
        found["seen"].to(device),
        None if features is None else features.to(device),
        float(found["psnr"]),
    )


def _prepare(
    images: Tensor | None,
    codes: Tensor | None,
    domain: Domain,
    manipulator: Manipulator,
    teacher: Teacher,
    settings: DistillConfig,
    report: Report,
) -> dict[str, Tensor]:
    given = images if images is not None else codes
    assert given is not None, "checked before"
    device = next(manipulator.learned.parameters()).device
    random = torch.Generator().manual_seed(0)  # of the posterior's draws, if they are asked for
    rows: dict[str, list[Tensor]] = {}
    size, done = manipulator.batch_size(), 0
    for part in given.split(size):
        part = part.to(device)
        # A domain may come as codes alone, which are what a StyleGAN manipulator would prepare.
        y = manipulator.prepare(part) if images is not None else Prepared({"codes": part})
        drawn = manipulator.draw(y)
        row = {f"prepared.{name}": value for name, value in y.parts.items()}
        row["latents"] = teacher.encode_image(drawn, settings.sample_posterior, random)
        row["seen"] = resize(drawn, teacher.image_size, antialias=False)
        if settings.identity > 0 and domain.identity is not None:
            row["features"] = identity_features(domain.identity, drawn)
        if images is not None:
            row["psnr"] = psnr(drawn, resize(part, manipulator.image_size))
        elif done < settings.search_images:
            row["drawn"] = drawn.clamp(-1, 1)
        for name, value in row.items():
            rows.setdefault(name, []).append(value.cpu())
        done += len(part)
        report("look at the source pictures", done, len(given))
    found = {name: torch.cat(values) for name, values in rows.items()}
    found["psnr"] = found["psnr"].mean() if "psnr" in found else torch.zeros(())
    return found


def _told(domain: Domain, given: Tensor | None) -> str:
    """Pictures or codes by their content."""
    if given is None or len(given) == 0:
        raise SddError(f"the domain {domain.name!r} has no images to train on; give it some")
    return hashlib.sha256(given.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()


def _key(told: str, domain: Domain, manipulator: Manipulator, teacher: Teacher, settings: DistillConfig) -> str | None:
    """What the preparation of what is `told` depends on, in short; None where a teacher cannot be told by its files."""
    seen = fingerprint(getattr(teacher, "name", ""))
    if seen is None:
        return None
    digest = hashlib.sha256(told.encode())
    wants_identity = settings.identity > 0 and domain.identity is not None
    who = generator_hash(domain.identity) if wants_identity and domain.identity is not None else ""
    what = (
        manipulator.frozen_hash(), seen, teacher.image_size, who, settings.sample_posterior,
        settings.search_images if domain.latents is not None else 0, 3,
    )  # fmt: skip
    digest.update(repr(what).encode())
    return digest.hexdigest()[:32]


def _load(path: Path) -> dict[str, Tensor] | None:
    """A kept preparation; None if there is none, or it was damaged."""
    try:
        with safe_open(path, "pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        path.touch()
    except (OSError, SafetensorError):
        return None
    return found if {"latents", "seen", "psnr"} <= set(found) else None


def _keep(path: Path, found: dict[str, Tensor]) -> None:
    try:  # a convenience: a full or read-only disk must not stop a training
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save({name: value.contiguous() for name, value in found.items()}))
        for old in sorted(path.parent.glob("*.safetensors"), key=lambda p: -p.stat().st_mtime)[KEPT:]:
            old.unlink(missing_ok=True)
    except (OSError, SddError):
        return
