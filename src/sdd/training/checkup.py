"""How a training went: the editor on held-out pictures, asked of its own teacher, in plain words.

No judge is needed, so that any domain can be told: what of the pictures changed, how much of that lies where the prompt
means nothing to the teacher, and whether the teacher would go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.beyond.blend import change_region
from sdd.beyond.descent import descended
from sdd.beyond.mask import edit_mask
from sdd.domains.domain import Domain
from sdd.editor import Composition, Editor, Opened
from sdd.errors import SddError
from sdd.manipulators.inversion import psnr
from sdd.nets.resize import resize
from sdd.teachers.protocol import Teacher
from sdd.training.config import DistillConfig
from sdd.training.source import Source
from sdd.training.teaching import guidance_of

LEAST = 0.005  # share of a picture from which on it changed visibly
ELSEWHERE = 0.3  # share of an edit outside the mask from which on it is worth saying
GOES_ON = 0.5  # share of what the teacher asked of the unedited pictures, from which on it is not satisfied
MASK_DRAWS = 2


@dataclass(frozen=True)
class Checkup:
    """What an editor does to pictures that it was not trained on, at strength 1.

    Attributes:
        count: pictures.
        changed: how many of them changed visibly.
        area: share of a picture that changed, averaged.
        outside: share of the change that lies where the prompt means nothing to the teacher, averaged.
        remaining: what the teacher still asks along the edit, as a share of what it asked of the unedited pictures: 0
            is satisfied, below 0 it would go back, 1 is as if nothing were done. None if it never asked for this edit.
    """

    count: int
    changed: int
    area: float
    outside: float
    remaining: float | None

    @property
    def figures(self) -> dict[str, float]:
        """By the names under which an editor's file has them."""
        found = {"changed": self.changed / self.count, "area": self.area, "outside": self.outside}
        return found if self.remaining is None else found | {"remaining": self.remaining}

    def note(self, editor: Editor) -> None:
        """Have an editor, and the file it is saved to, say it too."""
        figures = {name: float(f"{value:.4g}") for name, value in self.figures.items()}
        editor.info = editor.info.model_copy(update={"figures": editor.info.figures | figures})

    @property
    def sentence(self) -> str:
        """All of it in plain words."""
        seen = f"{self.changed} of {self.count} held-out pictures change visibly, in {self.area:.0%} of their pixels"
        return f"{seen}; {self.outside:.0%} of the change lies elsewhere than where the prompt means something"

    @property
    def advice(self) -> str | None:
        """What is wrong, and what to do; None if nothing is."""
        if self.changed <= self.count // 2:
            return "most pictures hardly change; train longer (--steps 100), or say what is to be seen in other words"
        if self.remaining is None:
            return "the teacher does not ask for what was learned; try another --seed, or say it in other words"
        if self.remaining > GOES_ON:
            return (
                f"the teacher would go on ({self.remaining:.0%} of what it asked remains); train longer (--steps 100)"
            )
        if self.outside > ELSEWHERE:
            return "much changes that was not asked for; edit at a lower --strength, or say it in other words"
        return None


def check_up(editor: Editor, teacher: Teacher, domain: Domain, count: int = 8, seed: int = 0) -> Checkup:
    """Edit held-out pictures of a domain, and ask the teacher how far that went.

    Raises:
        SddError: the domain has no pictures, or the editor's file does not say how it was trained.
    """
    if editor.info.config is None or not editor.info.timesteps:
        raise SddError(
            "the editor's file does not say how it was trained, so that its teacher cannot be asked about it"
        )
    settings = DistillConfig.model_validate(editor.info.config)
    composed = Composition([editor])
    device, prompt, timesteps = composed.device, editor.prompt, editor.info.timesteps
    images = domain.images(count, seed, "test").to(device).float().clamp(-1, 1)
    if len(images) == 0:
        raise SddError(f"the domain {domain.name!r} has no pictures to check an editor on")
    opened = composed.open(images)
    edited, unedited = opened(1.0, blend=False), opened.unedited
    random = torch.Generator().manual_seed(seed + 3)
    with torch.no_grad():
        latents = torch.cat([teacher.encode_image(part, False) for part in unedited.split(settings.batch)])
        null, text = teacher.encode_text([""]), teacher.encode_text([prompt])
        masks = edit_mask(teacher, latents, null, text, timesteps, random, MASK_DRAWS, settings.mask_saturation)
        area = (change_region(edited, unedited)[0] > 0).float().mean((1, 2, 3))
        change = (opened(1.0) - images).abs().mean(1, keepdim=True)
        meant = F.interpolate(masks, size=change.shape[-2:], mode="bilinear", align_corners=False)
        outside = ((1 - meant) * change).sum() / change.sum().clamp_min(1e-6)
    guidance = guidance_of(prompt, teacher, _source(opened, images, latents, teacher), settings, masks)
    index = torch.arange(len(images), device=device)
    last = _last(editor, settings, teacher)
    t = torch.tensor(last, device=device)[index * len(last) // len(images)]
    noise = torch.randn(len(images), *teacher.latent_shape, generator=random).to(device)

    def asks(strength: float) -> float:
        """How much the guidance falls when the edit grows."""
        manipulator, total = editor.manipulator, 0.0
        for part in index.split(settings.batch):  # as many at a time as the training had
            factor = torch.tensor(strength * editor.info.strength, device=device, requires_grad=True)
            y = opened.prepared[part]
            moved = manipulator.change(y).scaled(factor)
            known = manipulator.latents(y, moved)
            there: Tensor = known if known is not None else teacher.encode_image(manipulator.draw(y, moved), False)
            g = guidance(there.detach(), t[part], noise[part], part)
            (slope,) = torch.autograd.grad((there * g).sum(), factor)
            total -= float(slope)
        return total

    first = asks(0.0)
    remaining = asks(1.0) / first if first > 0 else None
    return Checkup(len(images), int((area > LEAST).sum()), float(area.mean()), float(outside), remaining)


def check_up_file(path: Path, editor: Editor, teacher: Teacher, domain: Domain) -> Checkup:
    """The same, noted in the editor and in its file.

    Raises:
        SddError: as `check_up`; the file is then left as it is.
    """
    found = check_up(editor, teacher, domain)
    found.note(editor)
    editor.save(path)
    return found


def _last(editor: Editor, settings: DistillConfig, teacher: Teacher) -> list[int]:
    """The timesteps at which its training ended."""
    if settings.timesteps.startswith("list"):
        return editor.info.timesteps
    limit = settings.max_steps if settings.steps == "auto" else settings.steps
    share = min(1.0, editor.info.figures.get("steps", limit) / limit)
    return descended(editor.info.timesteps, settings.descend, teacher.num_timesteps, share)


def _source(opened: Opened, images: Tensor, latents: Tensor, teacher: Teacher) -> Source:
    """Held-out pictures as a training has its own."""
    unedited = opened.unedited
    seen = resize(unedited, teacher.image_size, antialias=False)
    likeness = psnr(unedited, resize(images, unedited.shape[-1]))
    return Source(opened.prepared, images, latents, seen, None, float(likeness.mean()))
