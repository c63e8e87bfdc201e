"""Prompt-to-prompt (arXiv 2208.01626): the attention of an edited picture taken from its source's, in any U-Net of
diffusers'.

    control = Control(replaced(mapper), cross=shares, self_steps=20, blend=None)
    with controlled(unet, control):
        for every step:
            noise = unet(...)                 batch [null source, null targets…, source, targets…]
            latents = control.after(latents)  [source, targets…]; counts the step, and blends

Attention maps are (edits, heads, pixels, tokens) of the targets, (heads, pixels, tokens) of the source; what a word has
drawn its pixels to. Only the half of the batch that sees the prompts is changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sdd.errors import SddError

# The source's cross-attention and the targets' own → what the targets get
Transform = Callable[[Tensor, Tensor], Tensor]

SELF_SIDE = 32  # maps of at most so many pixels a side are the source's; prompt-to-prompt's own notebooks take 16


def replaced(mapper: Tensor) -> Transform:
    """`AttentionReplace`: each target token takes its source tokens' maps. mapper: (edits, tokens, tokens)."""
    return lambda source, own: torch.einsum("hns,est->ehnt", source, mapper.to(own))


def refined(index: Tensor, alphas: Tensor) -> Transform:
    """`AttentionRefine`: target tokens with a source token take its map, the others keep their own.

    Args:
        index, alphas: of `alignment.refinement`, (edits, tokens) each.
    """

    def transform(source: Tensor, own: Tensor) -> Tensor:
        share = alphas.to(own)[:, None, None, :]
        return source[:, :, index.to(own.device)].permute(2, 0, 1, 3) * share + own * (1 - share)

    return transform


def reweighted(weights: Tensor, first: Transform | None = None) -> Transform:
    """`AttentionReweight`: maps times a weight a token, after another transform; of the source's maps without one.

    Args:
        weights: of `alignment.equalizer`, (edits or 1, tokens).
    """

    def transform(source: Tensor, own: Tensor) -> Tensor:
        maps = source[None].expand_as(own) if first is None else first(source, own)
        return maps * weights.to(own)[:, None, None, :]

    return transform


class Blend:
    """`LocalBlend`: outside the places that some words draw to, the targets' latents are the source's.

    Cross-attention at a quarter of the latents' side, outside the middle block, is summed over the steps so far and
    over the words' tokens, averaged over layers and heads, spread by a 3×3 maximum, and is a place where it exceeds
    `threshold` of its largest.

    Args:
        words: 1 for the tokens of the words, (prompts, tokens), the source's first.
        threshold: share of the largest. start: share of the steps before it begins.
    """

    COARSE = 4  # side of the latents over that of the maps

    def __init__(self, words: Tensor, threshold: float = 0.3, start: float = 0.2) -> None:
        self.words, self.threshold, self.start = words, threshold, start
        self.maps: dict[int, dict[str, Tensor]] = {}  # by number of pixels, then by layer

    def add(self, name: str, maps: Tensor) -> None:
        """Take a layer's maps (prompts, heads, pixels, tokens) of one step."""
        drawn = (maps * self.words.to(maps)[:, None, None, :]).sum(-1).mean(1)
        layers = self.maps.setdefault(maps.shape[2], {})
        layers[name] = layers[name] + drawn if name in layers else drawn

    def mask(self, size: tuple[int, int]) -> Tensor:
        """The places, (prompts, 1, *size) bool: a target's and the source's."""
        wanted = size[0] * size[1] / self.COARSE**2
        # A small U-Net may have no layer of that size; then those of the nearest.
        pixels = min(self.maps, key=lambda n: abs(math.log(n / wanted)))
        maps = torch.stack(list(self.maps[pixels].values())).mean(0)
        height = round((pixels * size[0] / size[1]) ** 0.5)
        spread = F.max_pool2d(maps.unflatten(-1, (height, -1))[:, None], 3, stride=1, padding=1)
        large = F.interpolate(spread, size=size)
        found = large / large.amax((2, 3), keepdim=True) > self.threshold
        return found | found[:1]

    def __call__(self, latents: Tensor) -> Tensor:
        """Latents (prompts, C, h, w), the source's first."""
        mask = self.mask((latents.shape[-2], latents.shape[-1]))
        return torch.where(mask, latents, latents[:1])


class Control:
    """What becomes of attention in one generation of a source and its targets.

    Args:
        transform: of cross-attention.
        cross: how much of the transformed maps a target token takes at each step, (steps + 1, edits, tokens)
            (`alignment.time_shares`).
        self_steps: for how many steps, from the first, self-attention is the source's.
        self_side: self-attention of more pixels a side stays the targets' own.
        blend: what is laid into the source after each step.

    Attributes:
        step: how many steps are done.
    """

    def __init__(
        self, transform: Transform, cross: Tensor, self_steps: int, blend: Blend | None = None,
        self_side: int = SELF_SIDE,
    ) -> None:  # fmt: skip
        self.transform, self.cross, self.self_steps = transform, cross, self_steps
        self.blend, self.self_side = blend, self_side
        self.step, self.steps = 0, len(cross) - 1

    def attend(self, maps: Tensor, name: str, cross: bool) -> Tensor:
        """What a layer's attention becomes.

        Args:
            maps: (prompts, heads, pixels, tokens or pixels), the source's first.
            name: of the layer, as the U-Net has it. cross: whether it attends to the prompt.
        """
        source, own = maps[0], maps[1:]
        if cross:
            share = self.cross[self.step].to(maps)[:, None, None, :]
            maps = torch.cat([maps[:1], self.transform(source, own) * share + own * (1 - share)])
            if self.blend is not None and not name.startswith("mid_block"):
                self.blend.add(name, maps)
        elif self.step < self.self_steps and maps.shape[2] <= self.self_side**2:
            maps = maps[:1].expand_as(maps)
        return maps

    def after(self, latents: Tensor) -> Tensor:
        """Count a step, and lay the targets' latents (prompts, C, h, w) into the source's where there is a blend."""
        self.step += 1
        if self.blend is not None and self.step > int(self.blend.start * self.steps):
            latents = self.blend(latents)
        return latents


class _Processor:
    """Attention of diffusers' transformers whose maps a control may change."""

    def __init__(self, control: Control, name: str, cross: bool) -> None:
        self.control, self.name, self.cross = control, name, cross

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None, **_: Any,
    ) -> Tensor:  # fmt: skip
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        mask = attn.prepare_attention_mask(attention_mask, context.shape[1], len(context))
        query, key, value = (
            attn.head_to_batch_dim(part) for part in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        maps = attn.get_attention_scores(query, key, mask).unflatten(0, (-1, attn.heads))
        null, told = maps.chunk(2)
        maps = torch.cat([null, self.control.attend(told, self.name, self.cross)])
        out = attn.batch_to_head_dim(maps.flatten(0, 1) @ value)
        return attn.to_out[1](attn.to_out[0](out)) / attn.rescale_output_factor


@contextmanager
def controlled(unet: Any, control: Control) -> Iterator[None]:
    """Let a control change the attention of a diffusers U-Net (text to image), for a while.

    Raises:
        SddError: a U-Net whose attention is of another kind.
    """
    kept = unet.attn_processors
    found = {}
    for name, old in kept.items():
        layer = name.removesuffix(".processor")
        if ".transformer_blocks." not in layer:
            raise SddError(
                f"prompt-to-prompt needs a U-Net with transformer blocks, and this one attends by {type(old).__name__} "
                "elsewhere; take a Stable Diffusion 1, 2 or XL"
            )
        found[name] = _Processor(control, layer, layer.endswith("attn2"))

    unet.set_attn_processor(found)
    try:
        yield
    finally:
        unet.set_attn_processor(kept)
