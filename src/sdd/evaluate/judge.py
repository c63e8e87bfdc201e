"""The judge of the embedded domain: an attribute classifier and a CLIP that no training ever sees.

    judge = Judge.load()
    judge.words(images)                                   # [{"hair_color": "white", "tilt": -3.1, ...}, ...]
    judge.similarity(images, "white hair")                # cosine of CLIP features
    judge.directional(source, edited, "hair", "white hair")

Training code must not import this module: what judges an edit must not have taught it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.domains import avatars
from sdd.domains.embedded import EMBEDDED, weights_folder
from sdd.errors import SddError
from sdd.io.quiet import quiet_libraries
from sdd.nets.clip_pixels import pixels
from sdd.nets.compact import AttributeClassifier

TOLERANCE = 0.25  # of half an attribute's range: how far apart two readings of a continuous attribute are "the same"
BATCH = 32


def half_range(attribute: str) -> float:
    """Half the width of a continuous attribute's range, in its own unit."""
    low, high = avatars.RANGES[attribute]
    return (high - low) / 2


def same(attribute: str, a: Tensor, b: Tensor) -> Tensor:
    """Whether two readings (B,) of an attribute agree: equal words, or numbers within `TOLERANCE` of half the range."""
    if attribute in avatars.RANGES:
        return (a - b).abs() < TOLERANCE * half_range(attribute)
    return a == b


class Judge:
    """Reads attributes from pictures and compares pictures with texts.

    Args:
        classifier: image → scores.
        clip: a transformers `CLIPModel` with `tokenizer`; both None where only attributes are asked for.
    """

    def __init__(self, classifier: AttributeClassifier, clip: Any = None, tokenizer: Any = None) -> None:
        self.classifier = classifier.eval().requires_grad_(False)
        self.clip = None if clip is None else clip.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.attributes = tuple(classifier.heads)

    @classmethod
    @quiet_libraries()
    def load(cls, folder: str | Path | None = None, device: torch.device | str = "cpu") -> Judge:
        """The shipped judge, or one from a folder with `attributes.safetensors` and, where there is one, `clip/`.

        Raises:
            SddError: the attribute classifier is missing or damaged.
        """
        from safetensors import SafetensorError, safe_open

        folder = Path(folder) if folder is not None else weights_folder(EMBEDDED) / "judge"
        path = folder / "attributes.safetensors"
        if not path.is_file():
            raise SddError(f"the judge's weights {path} are missing; reinstall sdd, or run: python -m recipes.judge")
        try:
            with safe_open(path, "pt") as file:
                config = json.loads(file.metadata()["config"])["net"]
                # Half precision on disk, float32 in memory.
                tensors = {k: file.get_tensor(k).float() for k in file.keys()}  # noqa: SIM118
            net = AttributeClassifier(**config)
            net.load_state_dict(tensors)
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise SddError(f"{path} is not an attribute classifier ({str(error)[:150]}); reinstall sdd") from error
        clip = tokenizer = None
        if (folder / "clip" / "config.json").is_file():
            from transformers import CLIPModel, CLIPTokenizer

            clip = CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32).to(device)
            tokenizer = CLIPTokenizer.from_pretrained(folder / "clip")
        return cls(net.to(device), clip, tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the judge computes."""
        return next(self.classifier.parameters()).device

    @torch.no_grad()
    def read(self, images: Tensor) -> dict[str, Tensor]:
        """What the pictures (B, 3, H, W) in [-1, 1] show.

        Returns:
            For each discrete attribute (B,) int64 indices into `avatars.values(attribute)`, for each continuous one
            (B,) float32 in its own unit (degrees, percent, factor).
        """
        found: dict[str, list[Tensor]] = {name: [] for name in self.attributes}
        for part in images.split(BATCH):
            for name, scores in self.classifier(part.to(self.device).clamp(-1, 1)).items():
                if name in avatars.RANGES:
                    low, high = avatars.RANGES[name]
                    found[name].append(scores[:, 0] * (high - low) / 2 + (low + high) / 2)
                else:
                    found[name].append(scores.argmax(1))
        return {name: torch.cat(parts).cpu() if parts else torch.zeros(0) for name, parts in found.items()}

    def words(self, images: Tensor) -> list[dict[str, Any]]:
        """`read` in plain words, one dict a picture."""
        return in_words(self.read(images))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """The classifier's last feature map, averaged over the picture: (B, 3, H, W) → (B, C). The FID's features."""
        net = self.classifier
        parts = []
        for part in images.split(BATCH):
            x = part.to(self.device).clamp(-1, 1)
            if x.shape[-1] != net.size:
                x = F.interpolate(x, size=(net.size, net.size), mode="bilinear", antialias=True)
            parts.append(net.trunk(x).mean((2, 3)))
        return torch.cat(parts) if parts else torch.zeros(0, net.channels[-1])

    @torch.no_grad()
    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Perceptual distance of pictures, (B,): as LPIPS (arXiv 1801.03924, equation 1) with all weights 1.

        Every block's features of the classifier's trunk, normalised over channels; squared differences are summed over
        channels, averaged over places and blocks. 0 for equal pictures.
        """
        trunk, size = self.classifier.trunk, self.classifier.size
        total = []
        for pa, pb in zip(a.split(BATCH), b.split(BATCH), strict=True):
            x = torch.cat([pa, pb]).to(self.device).clamp(-1, 1)
            if x.shape[-1] != size:
                x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
            x = trunk.stem(F.pixel_unshuffle(x, trunk.patch))
            levels = []
            for block in trunk.blocks:
                x = block(x)
                u, v = F.normalize(x, dim=1).chunk(2)
                levels.append((u - v).square().sum(1).mean((1, 2)))
            total.append(torch.stack(levels).mean(0))
        return torch.cat(total).cpu()

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        """CLIP features of pictures (B, 3, H, W) in [-1, 1], of unit length: (B, E)."""
        clip = self._clip()
        size = clip.config.vision_config.image_size
        parts = []
        for part in images.split(BATCH):
            x = pixels(part.to(self.device).clamp(-1, 1), size)
            pooled = clip.vision_model(pixel_values=x).pooler_output
            parts.append(F.normalize(clip.visual_projection(pooled), dim=1))
        return torch.cat(parts).cpu()

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """CLIP features of texts, of unit length: (B, E)."""
        clip = self._clip()
        length = clip.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        pooled = clip.text_model(input_ids=tokens["input_ids"].to(self.device)).pooler_output
        return F.normalize(clip.text_projection(pooled), dim=1).cpu()

    def similarity(self, images: Tensor, text: str) -> Tensor:
        """CLIP similarity (B,): the cosine between each picture and the text."""
        return self.encode_image(images) @ self.encode_text([text])[0]

    def directional(self, source: Tensor, edited: Tensor, before: str, after: str) -> Tensor:
        """Directional CLIP similarity (B,): the cosine between the change of the picture and the change of the text.

        StyleGAN-NADA (arXiv 2108.00946, equation 3). 0 for a picture that did not change.
        """
        change = self.encode_image(edited) - self.encode_image(source)
        u, v = self.encode_text([before, after])
        return F.cosine_similarity(change, (v - u)[None], dim=1)

    def _clip(self) -> Any:
        if self.clip is None:
            raise SddError("this judge has no CLIP; run: python -m recipes.clip --which judge")
        return self.clip


def in_words(readings: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Readings of `Judge.read` as one dict of plain words and numbers a picture."""
    count = len(next(iter(readings.values())))
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, found in readings.items():
        table = None if name in avatars.RANGES else avatars.values(name)
        for row, value in zip(rows, found.tolist(), strict=True):
            row[name] = value if table is None else table[int(value)]
    return rows
