"""The CLIP that methods steer by: features of pictures and of texts, and how far the two are apart.

    clip = load("clip-vit-base-patch32")          # a folder or hub id of transformers, or open_clip's tensors
    clip.features(images), clip.texts(["white hair"])

It is never the one that judges edits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdd.domains.domain import Domain
from sdd.domains.embedded import weights_folder
from sdd.errors import SddError
from sdd.io.quiet import quiet_libraries
from sdd.io.readers.clip import load_clip
from sdd.methods.models import Models
from sdd.nets.clip_pixels import pixels


class Clip:
    """A frozen CLIP.

    Args:
        net: transformers' `CLIPModel`. tokenizer: its `CLIPTokenizer`.

    Attributes:
        size: side of what it looks at.
    """

    def __init__(self, net: Any, tokenizer: Any) -> None:
        self.net = net.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.size = int(net.config.vision_config.image_size)

    def to(self, device: torch.device | str) -> Clip:
        """Move it (in place) and return it."""
        self.net.to(device)
        return self

    def see(self, pixels: Tensor) -> Tensor:
        """Features (B, D), not normalised, of what CLIP gets: (B, 3, size, size), prepared by whoever asks."""
        features: Tensor = self.net.visual_projection(self.net.vision_model(pixel_values=pixels).pooler_output)
        return features

    def features(self, images: Tensor) -> Tensor:
        """Features (B, D), not normalised, of images (B, 3, H, W) in [-1, 1]; differentiable."""
        return self.see(pixels(images, self.size))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Features (N, D), not normalised, of texts."""
        length = self.net.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )["input_ids"]
        device = self.net.logit_scale.device
        features: Tensor = self.net.text_projection(self.net.text_model(input_ids=tokens.to(device)).pooler_output)
        return features

    def knows(self, text: str) -> bool:
        """Whether every word of a text is one token of its vocabulary."""
        return all(len(self.tokenizer(word)["input_ids"]) == 3 for word in text.split())


def text_distance(images: Tensor, text: Tensor) -> Tensor:
    """1 - cos between features of pictures (B, D) and of a text (1, D): (B,) in [0, 2]. StyleCLIP, equation 1."""
    return 1 - torch.cosine_similarity(images, text, dim=-1)


@quiet_libraries()
def load(name_or_path: str | Path) -> Clip:
    """A CLIP with its tokenizer, in float32.

    Args:
        name_or_path: a folder or hub id of transformers, or a file of tensors beside which a tokenizer lies.

    Raises:
        SddError: no CLIP there, or no tokenizer.
    """
    from transformers import CLIPTokenizer

    path = Path(name_or_path)
    net = load_clip(name_or_path)[0]
    try:
        tokenizer = CLIPTokenizer.from_pretrained(str(path.parent if path.is_file() else name_or_path))
    except Exception as error:  # the hub's client and transformers raise many unrelated types
        raise SddError(
            f"the CLIP {name_or_path} has no tokenizer beside it (vocab.json, merges.txt or tokenizer.json); add it"
        ) from error
    return Clip(net.float(), tokenizer)


def clip_of(domain: Domain, models: Models | None, method: str) -> Clip:
    """The CLIP that a method is given; without models the domain's own.

    Raises:
        SddError: there is none.
    """
    if models is None:
        folder = weights_folder(domain.name) / "clip"
        models = Models({"clip": lambda: load(folder)} if (folder / "config.json").is_file() else {})
    clip: Clip = models.get("clip", method)
    return clip if domain.backbone is None else clip.to(domain.backbone.device)


def asked(prompt: str) -> str:
    """A prompt without the blanks around it.

    Raises:
        SddError: it is empty.
    """
    if not prompt.strip():
        raise SddError('the prompt is empty; say what the edited images should show, "white hair" for instance')
    return prompt.strip()
