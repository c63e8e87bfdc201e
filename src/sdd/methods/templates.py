"""Sentences that a text is put into before CLIP reads it, so that what they have in common is the text's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sdd.methods.clip import Clip

TEMPLATES = (
    "{}",
    "a photo of {}",
    "a picture of {}",
    "an image of {}",
    "a portrait of {}",
    "a drawing of {}",
    "a painting of {}",
    "a close photo of {}",
    "a cropped photo of {}",
    "a bright photo of {}",
    "a dark photo of {}",
    "a blurry photo of {}",
    "a black and white photo of {}",
    "a low resolution photo of {}",
    "a photo of a person with {}",
    "a person with {}",
    "a photo of one {}",
    "this is {}",
)


def templates_of(clip: Clip) -> list[str]:
    """The templates of which a CLIP knows every word; at least the text alone."""
    return [t for t in TEMPLATES if clip.knows(t.replace("{}", " "))] or ["{}"]


def template_features(clip: Clip, text: str) -> Tensor:
    """Features (N, D), not normalised, of a text in every template that a CLIP knows."""
    return clip.texts([" ".join(t.replace("{}", text).split()) for t in templates_of(clip)])
