"""What the models allow: the right answer itself, as the generator draws it and as the teacher has it.

An editor that learned everything right would still be drawn by the generator and laid in by the blend; and what its
guidance says of a colour it has from the teacher. Nothing here is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import track
from torch import Tensor

from sdd.beyond.blend import blend
from sdd.domains import avatars
from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.evaluate.colour import delta_e
from sdd.evaluate.command import CONSOLE, OUT, N, Out, Quick, Seed, app, finish
from sdd.evaluate.judge import Judge
from sdd.evaluate.markdown import measured_by
from sdd.evaluate.metrics import change_mask
from sdd.evaluate.prompts import PROMPTS, Prompt
from sdd.evaluate.tables.editors import MAIN, by_prompt, summed
from sdd.evaluate.tables.reconstruction import reconstruct
from sdd.evaluate.trial import Rows, Subjects, rounded
from sdd.methods.ddim import estimate
from sdd.nets.resize import resize
from sdd.teachers.load import load_teacher

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.teachers.protocol import Teacher

NAME, EDITION = "ceiling", 1
TIMESTEPS = (300, 500, 700)
COLOURS = {
    "generator": ("", "generator, laid in"), "autoencoder": ("", "autoencoder"),
    **{f"t{t}": ("", f"teacher, t = {t}") for t in TIMESTEPS},
}  # fmt: skip


@torch.no_grad()
def allowed(
    domain: Domain, teacher: Teacher, judge: Judge, n: int, seed: int, prompts: Sequence[Prompt] = PROMPTS
) -> dict[str, Any]:
    """For each prompt, the figures of `n` right answers as the generator draws them, laid into their sources; and of
    colours how far off the generator, the autoencoder and the teacher have them."""
    random = torch.Generator().manual_seed(seed)
    rows: Rows = []
    for asked in track(prompts, "ceiling", console=CONSOLE, disable=not CONSOLE.is_terminal):
        there = Subjects.make(asked, AVATARS, judge, n, seed)
        answers = torch.stack([options[0] for options in there.counterfactuals])
        laid = blend(there.images, reconstruct(answers, domain), reconstruct(there.images, domain))
        people, found, _ = there.judge(laid, judge)
        if asked.attribute in avatars.COLORS:
            nearest, mask = there.answers(found.chosen), change_mask(there.images, answers)
            people["generator"] = delta_e(laid, nearest, change_mask(there.images, nearest)).tolist()
            decoded, estimates = known(teacher, answers, asked.text, random)
            people["autoencoder"] = delta_e(decoded, answers, mask).tolist()
            for step, picture in estimates.items():
                people[f"t{step}"] = delta_e(picture, decoded, mask).tolist()
        rows.append({"prompt": asked.text, "people": {name: rounded(values) for name, values in people.items()}})
    figures, intervals = summed(rows)
    return {"figures": figures, "intervals": intervals, "rows": rows}


def known(teacher: Teacher, pictures: Tensor, text: str, random: torch.Generator) -> tuple[Tensor, dict[int, Tensor]]:
    """Pictures (n, 3, S, S) as the teacher's autoencoder gives them back; and at each of `TIMESTEPS` as the teacher,
    told the text, estimates them in one step from their noisy latents."""
    latents = teacher.encode_image(pictures, False)
    condition = teacher.encode_text([text]).repeat(len(latents))

    def picture(found: Tensor) -> Tensor:
        return resize(teacher.decode(found), pictures.shape[-1]).clamp(-1, 1)

    estimates = {}
    for step in TIMESTEPS:
        t = torch.full((len(latents),), step)
        noisy = teacher.add_noise(latents, torch.randn(latents.shape, generator=random).to(latents), t)
        noise = teacher.predict_noise(noisy, t, condition)
        estimates[step] = picture(estimate(noisy, noise, teacher.alphas_cumprod[step].to(noisy)))
    return picture(latents), estimates


@app.command("ceiling")
def ceiling_command(n: N = None, seed: Seed = 0, quick: Quick = False, out: Out = OUT) -> None:
    """What generator, blend and teacher make of the right answers themselves."""
    n = n or (4 if quick else 24)
    domain = embedded()
    chosen = PROMPTS[::5] if quick else PROMPTS
    finish(NAME, allowed(domain, load_teacher(domain.teacher), Judge.load(), n, seed, chosen), n, seed, out, EDITION)


def section(part: dict[str, Any], pictures: Path | None) -> list[str]:
    """The part of the page."""
    rows = part["rows"]
    return [
        "## What the models allow",
        "",
        measured_by(part),
        "",
        "The right answer itself, encoded, drawn by the generator and laid into the source: what an editor would reach "
        "that had learned everything right. (It may be surpassed: an answer that inverts badly is no good drawing.)",
        "",
        *by_prompt(rows, MAIN),
        "",
        "Its colour, as the CIE76 difference inside M: of what generator and blend lay in from the answer; of what the "
        "teacher's autoencoder gives back from the answer; and, from what the autoencoder gives back, of what the "
        "teacher, told the prompt, estimates in one step from the answer's noisy latents. An edit whose guidance is "
        "the teacher's estimate has colours no better than that, and it begins at the larger timesteps.",
        "",
        *by_prompt([row for row in rows if "generator" in row["people"]], COLOURS),
    ]
