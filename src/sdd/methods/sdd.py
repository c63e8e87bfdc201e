"""Selective diffusion distillation, the method of this package, as one of the methods.

`fit` trains an editor (`sdd.training.distil`), `edit` runs it in one forward pass and lays the edit into the picture
(`sdd.beyond.blend`). The paper's equations as functions are in `sdd.paper`: `hqs`, `guidance`, `timesteps`, `cost`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd import editor_file
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.io.progress import Report, silent
from sdd.methods.kept import run_folder
from sdd.methods.of_domain import models_of
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.training.distil import distill

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.models import Models


class Distilled(Fitted):
    """A trained editor."""

    def __init__(self, editor: Editor) -> None:
        self.editor = editor

    @torch.no_grad()
    def edit(self, images: Tensor, knob: float | None = None, seed: int = 0, report: Report = silent) -> Tensor:
        """See `Fitted`; the knob is the strength. Nothing is drawn at random."""
        strength = CARD.knob.default if knob is None else float(knob)
        if len(images) == 0:
            return images.clone()
        edited = self.editor(images, strength).to(images)
        report("editing", len(images), len(images))
        return edited

    def unedited(self, images: Tensor) -> Tensor:
        """See `Fitted`: the edit is already laid into the picture, so that this is the picture itself."""
        return images

    def learned(self) -> dict[str, Tensor]:
        """See `Fitted`."""
        return editor_file.to_tensors(self.editor.info, self.editor.learned)


CARD = Card(
    name="sdd",
    title="selective diffusion distillation: one pass, taught by a teacher",
    paper="Wang, Yang et al., ICCV 2023, arXiv 2307.08448",
    needs=("teacher", "generator"),
    trains="an editor, a minute or two",
    calls="1 encoder + 1 generator",
    licence="MIT",
    knob=Knob("strength", 1.0, (0.25, 0.5, 0.75, 1.0, 1.25, 1.5), "how far the learned change goes"),
)


class Distillation(Method):
    """Selective diffusion distillation.

    Args:
        preset: "default", "paper" or "published". options: of `DistillConfig`, `manipulator` for one.
    """

    card = CARD

    def __init__(self, preset: str = "default", **options: Any) -> None:
        self.preset, self.options = preset, options
        if options.get("manipulator", "stylegan") != "stylegan":
            self.card = replace(CARD, needs=("teacher",), calls="1 U-Net + 1 autoencoder")

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
        """See `Method`.

        Raises:
            SddError: also where the domain has no generator and the manipulator needs one, or where what was learned
                belongs to another generator.
        """
        if learned is not None:
            info, module = editor_file.of_tensors(learned, f"what {CARD.name} learned of {prompt!r}")
            return Distilled(Editor(module, info, domain))
        if "generator" in self.card.needs:
            _ = domain.stylegan  # says what to give, before a teacher is loaded
        if not prompt.strip():
            raise SddError('the prompt is empty; say what the edited images should show, "white hair" for instance')
        models = models or models_of(domain)
        teacher = models.get("teacher", CARD.name)
        editor = distill(
            prompt, domain, teacher=teacher, config=self.preset, seed=seed, device=_device(domain), report=report,
            source_prompt=source_prompt, run=run_folder(self, prompt, source_prompt, domain, models, seed),
            **self.options,
        )  # fmt: skip
        return Distilled(editor)


def _device(domain: Domain) -> torch.device | None:
    return None if domain.backbone is None else domain.backbone.device


METHOD = Distillation()
