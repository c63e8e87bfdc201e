"""Write a model card for each shipped model: data, recipe, figures, licence.

    python -m recipes.cards

Cards go beside the weights, into `src/sdd/weights/avatars/README.md`. Sizes and shapes are read from the files, figures
from the recipes' logs and the benchmark's JSON (docs/figures); what was not measured is said so.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from recipes.data import home
from recipes.inversion import STAGES
from recipes.ship import WEIGHTS
from sdd.io.files import write_text

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
DATA = (
    'Pictures drawn with DiceBear\'s style "Avataaars" by Pablo Stanley (see THIRD_PARTY_NOTICES.md), 128×128, from '
    '`avatars.sample(N, 0, "train")`; captions from the grammar in `sdd.domains.avatars.captions`. No photograph, '
    "no person and no scraped text is in them."
)
LICENCE = "Apache-2.0, as the code. The weights were trained by this project from random initialisation."


@dataclass(frozen=True)
class Card:
    """What is to be said about one model.

    Attributes:
        files: of the model, relative to the weights' folder; folders count as all they hold.
        what: the architecture and its input and output.
        recipe: commands that make it from nothing.
        run: the recipes' folder whose log has its training figures.
        measured: (part of the benchmark, figure, wording, unit).
        limits: what it must not be used for, or does badly.
    """

    title: str
    files: tuple[str, ...]
    what: str
    recipe: tuple[str, ...]
    run: str
    measured: tuple[tuple[str, str, str, str], ...]
    limits: str

    def text(self) -> str:
        """The card, in markdown; empty if none of its files is shipped."""
        found = [f for name in self.files for f in _files(WEIGHTS / name)]
        if not found:
            return ""
        values = sum(_values(f) for f in found)
        size = sum(f.stat().st_size for f in found)
        lines = [
            f"## {self.title}",
            "",
            self.what,
            "",
            f"* **Files**: {', '.join(f'`{name}`' for name in self.files)}; {values / 1e6:.2f} M "
            f"values, {size / 1e6:.1f} MB, "
            "half precision on disk, used in float32.",
            f"* **Data**: {DATA}",
            f"* **Recipe**: {'; '.join(f'`{command}`' for command in self.recipe)}.",
            f"* **Training**: {_training(self.run) or _said(self.title) or 'the log is not on this machine.'}",
            f"* **Figures** on held-out avatars: {self._figures()}",
            f"* **Limits**: {self.limits}",
            f"* **Licence**: {LICENCE}",
            "",
        ]
        return "\n".join(lines)

    def _figures(self) -> str:
        said = []
        for part, key, wording, unit in self.measured:
            path = FIGURES / f"{part}.json"
            if path.is_file():
                value = json.loads(path.read_text(encoding="utf-8"))["figures"].get(key)
                if value is not None:
                    said.append(
                        f"{wording} {100 * value:.1f} %" if unit == "%" else f"{wording} {value:.3g} {unit}".rstrip()
                    )
        return ("; ".join(said) + " (docs/avatars.md has how and on what machine).") if said else "not measured yet."


CARDS = (
    Card(
        "Generator",
        ("generator.safetensors",),
        "StyleGAN2 (arXiv 1912.04958): W+ codes (12, 128) → pictures 128×128. Holds the codes' mean and standard "
        "deviation as well.",
        tuple(f"python -m recipes.inversion --stage {stage}" for stage in STAGES),
        "inversion-detail",
        (
            ("reconstruction", "psnr", "reconstruction with the encoder", "dB"),
            ("reconstruction", "fid", "FID in the judge's features", ""),
        ),
        "Draws avatars of this one style and nothing else.",
    ),
    Card(
        "Encoder",
        ("encoder.safetensors",),
        "A small residual network: pictures 128×128 → W+ codes (12, 128) of the generator above. One trunk sees the "
        "whole picture and says how the face is posed, a second one sees the face cut out upright.",
        tuple(f"python -m recipes.inversion --stage {s}" for s in ("encoder", "joint", "detail")),
        "inversion-detail",
        (
            ("reconstruction", "psnr", "PSNR (peak 2)", "dB"),
            ("reconstruction", "unchanged", "attributes that the judge reads unchanged", "%"),
        ),
        "Of a picture that is no avatar it finds the nearest avatar; editors warn of that.",
    ),
    Card(
        "Teacher",
        ("teacher",),
        "A text-to-image latent diffusion model as a diffusers `StableDiffusionPipeline`: "
        "AutoencoderKL (64×64 pictures), "
        "CLIPTextModel with a vocabulary of its own, UNet2DConditionModel with cross-attention, 1000 "
        "steps, scaled-linear "
        "betas, ε-prediction.",
        ("python -m recipes.vae", "python -m recipes.teacher"),
        "teacher",
        (
            ("teacher", "found", "of what captions say the judge finds", "%"),
            ("teacher", "all_found", "captions of which all is found", "%"),
        ),
        "Knows the words of its captions only; others are named in a warning.",
    ),
    Card(
        "Identity network",
        ("identity.safetensors",),
        "IR-SE with ArcFace's margin (arXiv 1801.07698): pictures reduced to 64×64 → 128 numbers of "
        "unit length. A person "
        "is skin colour, facial hair and how bushy the brows are; everything else varied while it learned.",
        ("python -m recipes.identity",),
        "identity",
        (("reconstruction", "identity", "likeness of a picture and its reconstruction", ""),),
        "Tells drawings apart, not people; of no use on photographs. Trained on people of its own, 400 of them with "
        "twelve pictures each (`recipes.identity`). Skin and "
        "beard are part of a person here, so that it holds their edits back a little.",
    ),
    Card(
        "CLIP",
        ("clip",),
        "A transformers `CLIPModel` (arXiv 2103.00020) on 64×64 pictures with the captions' "
        "vocabulary, for methods that "
        "steer by CLIP.",
        ("python -m recipes.data --count 24000", "python -m recipes.clip --which embedded --count 24000"),
        "clip-embedded",
        (),
        "Knows the words of its captions only, and takes some mouths for others (clip/README.md).",
    ),
    Card(
        "Diffusion model in pixel space",
        ("ddpm",),
        "An unconditional diffusers `UNet2DModel` (arXiv 2006.11239) on 64×64 pictures: ε-prediction, 1000 steps, "
        "linear betas 1e-4 … 0.02, for the methods that fine-tune one (DiffusionCLIP, effdiff).",
        ("python -m recipes.data --count 11000", "python -m recipes.ddpm"),
        "ddpm",
        (),
        "Made to be inverted and decoded from the middle of the chain; half of its training was there.",
    ),
    Card(
        "Instructed U-Net",
        ("instructed",),
        "InstructPix2Pix (arXiv 2211.09800): what the teacher's U-Net, with as many input channels more for a picture, "
        "learned from pairs; its middle block and embeddings are the teacher's, beside which it is loaded "
        "(`sdd.teachers.instructed`). The picture is the autoencoder's mode, not scaled, as in the released weights.",
        ("python -m recipes.instructed",),
        "instructed",
        (),
        "Follows the phrases of the captions, bare or as an order; draws the whole picture anew, at 64×64.",
    ),
    Card(
        "Diffusion autoencoder",
        ("diffae.safetensors",),
        "DiffAE (arXiv 2111.15640): pictures 64×64 → codes of 128 numbers and noise, and back, with the codes' "
        "statistics and a linear classifier of every value of every attribute.",
        ("python -m recipes.data --count 24000", "python -m recipes.diffae --count 24000"),
        "diffae",
        (),
        "Background and pose lie partly in the noise, which edits leave alone.",
    ),
    Card(
        "Judge: attributes",
        ("judge/attributes.safetensors",),
        "A convolutional classifier of every attribute: one trunk for whole pictures, a second for the head, cut out "
        "upright; their scores are added. Teaches nothing: no training imports it.",
        ("python -m recipes.judge",),
        "judge-close",
        (("judge", "mean", "mean accuracy over attributes", "%"), ("judge", "worst", "worst attribute", "%")),
        "Knows whole avatars; what it reads in other pictures means nothing.",
    ),
    Card(
        "Judge: CLIP",
        ("judge/clip",),
        "A second `CLIPModel`, of another seed and shape than the CLIP above. Teaches nothing.",
        ("python -m recipes.clip --which judge",),
        "clip-judge",
        (),
        "Knows the words of its captions only.",
    ),
)


def _files(path: Path) -> list[Path]:
    return sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path] if path.is_file() else []


def _values(path: Path) -> int:
    if path.suffix != ".safetensors":
        return 0
    with safe_open(path, "pt") as file:
        return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118


def _said(title: str) -> str:
    """What the card said of the training so far: a model trained on another machine keeps its line."""
    path, mark = WEIGHTS / "README.md", "* **Training**: "
    card = path.read_text(encoding="utf-8").partition(f"## {title}\n")[2] if path.is_file() else ""
    lines = card.partition("\n## ")[0].splitlines()
    return next((line.removeprefix(mark) for line in lines if line.startswith(mark)), "")


def _training(run: str) -> str:
    """The last line of the recipe's log; nothing where there is none."""
    log = home() / run / "log.jsonl"
    if not log.is_file():
        return ""
    row: dict[str, Any] = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    shown = {k: v for k, v in row.items() if k not in ("step", "seconds")}
    return f"{row['step']} steps; " + ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in shown.items()) + "."


def main() -> None:
    texts = [card.text() for card in CARDS]
    head = [
        "# Models of the avatars domain",
        "",
        "Written by `python -m recipes.cards`. All of them are small, trained from nothing on drawn "
        "avatars, and made to be",
        "tried and measured, not to be admired. Figures with their bars: docs/avatars.md.",
        "",
        "The shipped files were not made in one go, and not from nothing by today's recipes: schedules changed on the",
        "way. Generator and encoder had 900 joint steps at `--lr 3e-3 --noise 0.3` with the face not weighted, 2500 as",
        "`joint` is now, and 1600 of `detail` at `--noise 0.12` with an encoder whose second trunk saw whole pictures.",
        "A second trunk that sees the face was then taught the old one's codes (300 steps, by hand), and `detail` went",
        "on for 950 steps, 300 of them at `--noise 0.12`, the rest at 0.07. Then the generator got more channels, of",
        "which nothing came at first (64 to 96 at 32×32, 32 to 48 at 64×64), and both went on as `detail` is now, two",
        "processes with half of each batch, for as many steps as their card says. The teacher's U-Net had 3750 steps",
        "on 8 latent channels, then 3000 on 12; its autoencoder and text encoder went on from older ones. The judge",
        "had 2200 steps and then 2800 for its first trunk. `detail`, the second sitting of that trunk and the second",
        "trunk saw all 60 000 pictures, everything else the first 30 000. The judge's CLIP had `--steps 900`.",
        "",
    ]
    write_text(WEIGHTS / "README.md", "\n".join(head) + "\n" + "\n".join(t for t in texts if t))
    missing = [card.title for card, text in zip(CARDS, texts, strict=True) if not text]
    print(f"wrote {WEIGHTS / 'README.md'}" + (f"; not shipped yet: {', '.join(missing)}" if missing else ""))


if __name__ == "__main__":
    main()
