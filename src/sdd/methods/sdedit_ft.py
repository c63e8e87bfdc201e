"""SDEdit with the teacher first fine-tuned on the domain: the starred row of the paper's Table 1.

The paper gives neither code nor numbers for it; ours are in `sdd.methods.teacher_lora.Tuning`, the caption of all
pictures is the source prompt. The computations as functions: those of `sdd.methods.sdedit`, and of
`sdd.methods.teacher_lora`

    target        what the network is to say of noisy latents
    fine_tune     low-rank updates of a teacher on pictures, resumed from its last checkpoint
    tuned         the teacher with them
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.methods import sdedit
from sdd.methods.kept import run_folder
from sdd.methods.of_domain import models_of
from sdd.methods.protocol import Fitted, Method
from sdd.methods.teacher_lora import Tuning, fine_tune, tuned
from sdd.teachers.latent import LatentDiffusion

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models

CARD = replace(
    sdedit.CARD,
    name="sdedit-ft",
    title="SDEdit with the teacher fine-tuned on the domain",
    trains="the teacher, once a domain",
)


class Tuned(sdedit.Noised):
    """SDEdit with a fine-tuned teacher, and what was learned."""

    def __init__(self, updates: dict[str, Tensor], teacher: LatentDiffusion, prompt: str, scale: float, steps: int):
        super().__init__(CARD, tuned(teacher, updates), prompt, scale, steps)
        self.updates = updates

    def learned(self) -> dict[str, Tensor]:
        """See `Fitted`."""
        return self.updates


class TunedSDEdit(Method):
    """SDEdit after fine-tuning.

    Args:
        scale, steps: as `sdedit.SDEdit`. tuning: how the teacher is fine-tuned.
    """

    card = CARD
    once = True

    def __init__(self, scale: float = 5.0, steps: int = 50, tuning: Tuning | None = None) -> None:
        self.scale, self.steps, self.tuning = scale, steps, tuning or Tuning()

    def fit(
        self,
        prompt: str,
        source_prompt: str,
        domain: Domain,
        models: Models | None = None,
        *,
        learned: dict[str, Tensor] | None = None,
        seed: int = 0,
        report: Report = silent,
    ) -> Fitted:
        """See `Method`; the source prompt is the caption of all pictures, "" the null prompt.

        Raises:
            SddError: also where the teacher has no U-Net that can be fine-tuned.
        """
        models = models or models_of(domain)
        teacher: Any = models.get("teacher", CARD.name)
        if not isinstance(teacher, LatentDiffusion):
            raise SddError(
                f"the method {CARD.name} fine-tunes a U-Net (Stable Diffusion 1, 2 or XL), which {teacher.name} has "
                "not; give one with --teacher, or use sdedit"
            )
        if learned is None:
            images = domain.images(self.tuning.pictures, seed, "train")
            place = run_folder(self, prompt, source_prompt, domain, models, seed)
            learned = fine_tune(teacher, images, source_prompt, self.tuning, seed, place, report)
        return Tuned(learned, teacher, prompt, self.scale, self.steps)


METHOD = TunedSDEdit()
