"""The teacher's own U-Net as an editor in one step: it answers once, through low-rank updates that learn the edit.

    z = E(picture),  x = √ᾱ z                       the picture's latents as timestep t_edit shows them, without noise
    change = x̂₀(x; U-Net + updates) − x̂₀(x; U-Net)  what the updates (LoRA, arXiv 2106.09685) change of its answer

One call of a text-to-image U-Net with LoRA as a feedforward editor is that of arXiv 2403.12036, which trains it
adversarially on pairs. Here the change is the *difference* to the U-Net's own answer: updates that are zero change
nothing, so the edit starts at the identity and what the U-Net makes of a noiseless input does not matter.

Changes are of latents, in the autoencoder's scaled units, in which latents have variance near 1.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdd.errors import SddError
from sdd.io.checkpoints.hash import generator_hash
from sdd.manipulators.protocol import Change, Manipulator, Prepared
from sdd.nets.resize import resize
from sdd.teachers.latent import LatentDiffusion

if TYPE_CHECKING:
    from sdd.teachers.protocol import Teacher


# Endings of the names of the layers that learn: every convolution and every linear layer of residual blocks, attention,
# samplers and both ends. Those of the time embedding stay, for the timestep is always the same.
LAYERS = (
    "conv_in", "conv_out", "conv1", "conv2", "conv_shortcut", "conv", "proj_in", "proj_out",
    "to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2",
)  # fmt: skip
# The change of the decoded picture, of a range of 2, at which half of it is drawn. Below it lie the faint clouds that
# any change of latents casts far around itself; an edit that is meant is larger.
VISIBLE = 0.4
STEEP = 4  # power of the change in the share that is drawn: half of VISIBLE draws a seventeenth, twice of it nearly all
NEAR = 3  # pixels of the decoded picture, across, whose largest change counts for each: an edge goes with its inside


def updates_of(tensors: Mapping[str, Tensor]) -> nn.ParameterDict:
    """Room for the updates that a file holds, by name.

    Raises:
        ValueError: a name that is no update's.
    """
    for name in tensors:
        if not re.fullmatch(r"[\w/]+/lora_[AB]/default/weight", name):
            raise ValueError(f"{name[:80]!r} is no low-rank update")
    return nn.ParameterDict({name: torch.empty(tensor.shape, dtype=tensor.dtype) for name, tensor in tensors.items()})


class OneStep(Manipulator):
    """A copy of the teacher's U-Net with LoRA, called once.

    `learned` holds the updates alone: A and B of each layer, by the layer's name with "/" for ".".

    Args:
        teacher: a Stable Diffusion 1, 2 or XL, ε- or v-prediction; it stays as it is.
        image_size: side S of the pictures it draws; they are changed at the side the teacher works at.
        rank: of the updates.
        t_edit: the timestep the U-Net is told.
        prompt: what the U-Net is told; "" is the null prompt.

    Raises:
        SddError: a teacher without such a U-Net, a timestep or a rank that is none, or peft is not installed.
    """

    kind = "one-step"
    learned: nn.ParameterDict

    def __init__(
        self, teacher: Teacher, image_size: int, *, rank: int = 8, t_edit: int = 500, prompt: str = ""
    ) -> None:
        super().__init__()
        if not isinstance(teacher, LatentDiffusion):
            raise SddError(
                f"the teacher {teacher.name} has no U-Net that predicts noise, which the manipulator {self.kind} "
                "edits with; take a Stable Diffusion 1, 2 or XL, or another manipulator"
            )
        if not 0 <= t_edit < teacher.num_timesteps:
            raise SddError(f"t_edit lies between 0 and {teacher.num_timesteps - 1}, not {t_edit}")
        if rank < 1:
            raise SddError(f"the rank is at least 1, not {rank}")
        try:
            import peft
        except ImportError as error:
            raise SddError(f"the manipulator {self.kind} needs peft; install it with: pip install peft") from error
        self.teacher, self.image_size, self.rank, self.t_edit, self.prompt = teacher, image_size, rank, t_edit, prompt
        self.unet = copy.deepcopy(teacher.unet)
        with torch.random.fork_rng(devices=[]):  # peft draws its first updates from the global generator
            updates = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LAYERS))
            peft.inject_adapter_in_model(updates, self.unet)
        found = {name: p for name, p in self.unet.named_parameters() if ".lora_" in name}
        # Learned in float32 whatever the teacher's precision.
        self.learned = nn.ParameterDict({name.replace(".", "/"): p for name, p in found.items()}).float()
        self.reset(torch.Generator().manual_seed(0))
        self._condition = teacher.encode_text([prompt])
        self._kept = math.sqrt(float(teacher.alphas_cumprod[t_edit]))
        noise = math.sqrt(1 - self._kept**2)
        # x̂₀ = (x − √(1−ᾱ) ε) / √ᾱ, and x̂₀ = √ᾱ x − √(1−ᾱ) v
        self._to_latents = -noise / (self._kept if teacher.prediction == "epsilon" else 1)

    @classmethod
    def of(cls, teacher: Teacher, config: Mapping[str, Any]) -> Self:
        """As `config` describes it.

        Raises:
            SddError: a description that is none, or of another teacher's U-Net.
        """
        size, rank, t_edit = (config.get(name) for name in ("image_size", "rank", "t_edit"))
        prompt = config.get("prompt")
        if (
            not (isinstance(size, int) and isinstance(rank, int) and isinstance(t_edit, int))
            or not (isinstance(prompt, str) and 8 <= size <= 4096 and rank <= 1024)
        ):  # fmt: skip
            raise SddError("the editor's description of its manipulator is damaged; train it again")
        made = cls(teacher, size, rank=rank, t_edit=t_edit, prompt=prompt)
        if made.config()["unet"] != config.get("unet"):
            raise SddError(
                f"this editor was trained with another U-Net than that of {teacher.name}; give the teacher it was "
                "trained with"
            )
        return made

    def reset(self, generator: torch.Generator) -> None:
        """First weights, the same for the same state of a generator: A as `nn.Linear`'s, B zero: nothing changes."""
        for name, update in self.learned.items():
            if "lora_A" in name:
                first = nn.init.kaiming_uniform_(torch.empty(update.shape), a=math.sqrt(5), generator=generator)
                with torch.no_grad():
                    update.copy_(first)
            else:
                nn.init.zeros_(update)

    def _answer(self, unet: nn.Module, latents: Tensor) -> Tensor:
        """What a U-Net makes of clean latents (B, C, h, w)."""
        t = torch.full((len(latents),), self.t_edit, device=latents.device)
        told = self._condition.repeat(len(latents))
        x, text = (v.to(self.teacher.dtype) for v in (self._kept * latents, told.embeds))
        return unet(x, t, text, **self.teacher._extras(told)).sample.to(latents.dtype)

    @torch.no_grad()
    def prepare(self, images: Tensor) -> Prepared:
        """See `Manipulator`: the `picture`, its `latents`, these `decoded`, and the unchanged U-Net's `answer`."""
        latents = self.teacher.encode_image(images, sample=False)
        return Prepared(
            {
                "picture": resize(images, self.image_size),
                "latents": latents,
                "answer": self._answer(self.teacher.unet, latents),
                "decoded": self.teacher.decode(latents),
            }
        )

    def change(self, y: Prepared) -> Change:
        """See `Manipulator`: one change of the latents, (B, C, h, w)."""
        answer = self._answer(self.unet, y.parts["latents"])
        return Change((self._to_latents * (answer - y.parts["answer"]),))

    def shown(self, y: Prepared, *changes: Change) -> Tensor:
        """See `Manipulator`: of the size the teacher works at, before faint changes are left out."""
        return self.teacher.decode(self.latents(y, *changes)) - y.parts["decoded"]

    def latents(self, y: Prepared, *changes: Change) -> Tensor:
        """The teacher's latents (B, C, h, w) of the edited pictures, without drawing and encoding them."""
        return y.parts["latents"] + sum(change.parts[0] for change in changes)

    def draw(self, y: Prepared, *changes: Change) -> Tensor:
        """See `Manipulator`. Where decoding the changed latents gives something else, that; elsewhere the picture.

        The picture is not what its own latents decode to, nor of the teacher's size: where nothing changes, nothing of
        it is lost. The first change of a pixel has no gradient, so guidance is to act on `latents`.
        """
        edited, side = self.teacher.decode(self.latents(y, *changes)), self.image_size
        size = (edited - y.parts["decoded"]).abs().amax(1, keepdim=True)
        size = F.max_pool2d(size, NEAR, stride=1, padding=NEAR // 2)
        size = F.avg_pool2d(size, NEAR, stride=1, padding=NEAR // 2, count_include_pad=False)  # without steps
        share = size**STEEP / (size**STEEP + VISIBLE**STEEP)
        picture = y.parts["picture"]
        large = F.interpolate(edited, size=(side, side), mode="bicubic", align_corners=False)
        return picture + resize(share, side) * (large - picture)

    def frozen_hash(self) -> str:
        """See `Manipulator`."""
        return f"{self.kind} {self.image_size} {self.t_edit} {self.prompt!r} {generator_hash(self.teacher.unet)}"

    def config(self) -> dict[str, Any]:
        """See `Manipulator`; `unet` is the hash of the U-Net whose updates were learned."""
        return {
            "kind": self.kind,
            "image_size": self.image_size,
            "rank": self.rank,
            "t_edit": self.t_edit,
            "prompt": self.prompt,
            "unet": generator_hash(self.teacher.unet),
        }

    def train(self, mode: bool = True) -> Self:
        """The U-Net's dropout stays off: the difference to the unchanged U-Net is to be the updates' alone."""
        return super().train(False)
