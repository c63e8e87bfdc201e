"""An editor as a network that needs nothing of ours to run: picture and strengths in, edited picture out.

It is two networks, which the browser keeps apart: what is done once a picture (`Opening`), and what is done whenever a
slider moves (`Drawing`). `Portable` is both.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdd.editor import Composition, Editor
from sdd.errors import SddError
from sdd.export import dense
from sdd.manipulators.protocol import Change, Manipulator, Prepared
from sdd.manipulators.stylegan import StyleGAN
from sdd.nets.resize import resize
from sdd.nets.stylegan2 import Blur, Upsample

PORTABLE = ("stylegan", "image-to-image")


class Opening(nn.Module):
    """Pictures (B, 3, S, S) in [-1, 1] → what `Drawing` takes of them.

    Returns:
        The pictures unedited (B, 3, S, S), the parts of what is prepared of them, and those of each editor's change at
        strength 1; all with B first. `names` names them.
    """

    def __init__(self, editors: Composition) -> None:
        super().__init__()
        self.manipulators = nn.ModuleList(_plain(editor) for editor in editors.editors)
        self.factors = [editor.info.strength for editor in editors.editors]
        first = self.manipulators[0]
        assert isinstance(first, Manipulator), "made so"
        self.first, self.size = first, first.image_size
        with torch.no_grad():
            y, changes = self.parts(torch.zeros(1, 3, self.size, self.size))
        self.prepared = tuple(y.parts)
        self.counts = [len(change.parts) for change in changes]

    @property
    def names(self) -> list[str]:
        """What `forward` returns, by name."""
        changes = [f"change_{i}_{j}" for i, count in enumerate(self.counts) for j in range(count)]
        return ["unedited", *(f"prepared_{name}" for name in self.prepared), *changes]

    def parts(self, picture: Tensor) -> tuple[Prepared, list[Change]]:
        """What is prepared of pictures, and each editor's change of them at strength 1."""
        y = _prepare(self.first, picture)
        each = [m for m in self.manipulators if isinstance(m, Manipulator)]
        return y, [m.change(y).scaled(f) for m, f in zip(each, self.factors, strict=True)]

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        y, changes = self.parts(picture)
        return (self.first.draw(y).clamp(-1, 1), *y.parts.values(), *(p for change in changes for p in change.parts))


class Drawing(nn.Module):
    """Pictures, strengths (B, E) of E editors, and what `Opening` made of the pictures → edited pictures (B, 3, S, S).

    Args:
        blend: lay the edit into the picture, as an editor does; else it is drawn anew.
    """

    def __init__(self, opening: Opening, blend: bool = True) -> None:
        super().__init__()
        self.first, self.prepared, self.counts, self.blend = (
            opening.first, opening.prepared, opening.counts, blend,
        )  # fmt: skip

    def forward(self, picture: Tensor, strength: Tensor, unedited: Tensor, *rest: Tensor) -> Tensor:
        y, changes = Prepared(dict(zip(self.prepared, rest, strict=False))), list[Change]()
        at = len(self.prepared)
        for editor, count in enumerate(self.counts):
            changes.append(Change(rest[at : at + count]).scaled(strength[:, editor]))
            at += count
        edited = self.first.draw(y, *changes).clamp(-1, 1)
        return dense.blend(picture, edited, unedited) if self.blend else edited


class Portable(nn.Module):
    """Pictures (B, 3, S, S) in [-1, 1] and strengths (B, E) of E editors → edited pictures (B, 3, S, S) in [-1, 1].

    What `editors(pictures, strengths)` gives. Strength 0 gives the picture back, bit for bit.

    Raises:
        SddError: a kind of editor that cannot leave.
    """

    def __init__(self, editors: Composition | Editor, blend: bool = True) -> None:
        super().__init__()
        if isinstance(editors, Editor):
            editors = Composition([editors])
        self.opening = Opening(editors)
        self.drawing = Drawing(self.opening, blend)

    @property
    def size(self) -> int:
        """Side S of the pictures."""
        return self.opening.size

    @property
    def count(self) -> int:
        """How many editors, E."""
        return len(self.opening.counts)

    def forward(self, picture: Tensor, strength: Tensor) -> Tensor:
        edited: Tensor = self.drawing(picture, strength, *self.opening(picture))
        return edited


# Helpers


def _plain(editor: Editor) -> Manipulator:
    """An editor's manipulator on the CPU, drawing without grouped convolutions; what is frozen is copied."""
    if editor.kind not in PORTABLE:
        raise SddError(
            f"an editor of the kind {editor.kind} edits with its teacher's networks, which export does not carry; "
            f"export one of the kind {' or '.join(PORTABLE)}"
        )
    manipulator = editor.manipulator
    if isinstance(manipulator, StyleGAN):
        backbone = copy.copy(manipulator.backbone)
        backbone.generator, backbone.encoder = copy.deepcopy(backbone.generator), copy.deepcopy(backbone.encoder)
        plain = StyleGAN(backbone.to("cpu"), copy.deepcopy(manipulator.mapper))
        # What a dataclass holds is no part of a module until it is said to be.
        plain.add_module("generator", _ungrouped(backbone.generator))
        plain.add_module("encoder", backbone.encoder)
        return plain.to("cpu").freeze()
    return copy.deepcopy(manipulator).to("cpu").freeze()


def _prepare(manipulator: Manipulator, picture: Tensor) -> Prepared:
    """`Manipulator.prepare` in one piece: how it is split follows the number of pictures, which a graph leaves open."""
    if isinstance(manipulator, StyleGAN):
        return Prepared({"codes": manipulator.backbone.encoder(picture)})
    return manipulator.prepare(resize(picture, manipulator.image_size))


def _ungrouped(net: nn.Module) -> nn.Module:
    """The network with the same filters written without grouped convolutions, in place: browsers are slow at these."""
    for name, child in net.named_children():
        if isinstance(child, Blur):
            setattr(net, name, _Blur(child.kernel))
        elif isinstance(child, Upsample):
            setattr(net, name, _Upsample(child.kernel))
        else:
            _ungrouped(child)
    return net


class _Blur(nn.Module):
    """`sdd.nets.stylegan2.Blur` with each channel as a picture of its own."""

    kernel: Tensor

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self.register_buffer("kernel", kernel.flip(0, 1)[None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        channels, side = x.shape[1], x.shape[2]
        x = F.conv2d(x.reshape(-1, 1, side, side), self.kernel, padding=1)
        return x.view(-1, channels, side - 1, side - 1)


class _Upsample(nn.Module):
    """`sdd.nets.stylegan2.Upsample`, likewise."""

    kernel: Tensor

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self.register_buffer("kernel", kernel[None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        channels, side = x.shape[1], x.shape[2]
        x = F.conv_transpose2d(x.reshape(-1, 1, side, side), self.kernel, stride=2, padding=1)
        return x.view(-1, channels, 2 * side, 2 * side)
