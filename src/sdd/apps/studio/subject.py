"""The picture that a visitor edits: read once, encoded once for each kind of editor, drawn at every strength."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdd.apps.pictures import Wish, edit_pictures, whole_crop
from sdd.apps.studio.limits import MAX_PIXELS, display_name
from sdd.apps.studio.values import data_url
from sdd.beyond.blend import DEFAULT, Blending, padded_quad
from sdd.beyond.blend import blend as lay_in
from sdd.beyond.register import LAID, laid_psnr
from sdd.domains.embedded import EMBEDDED
from sdd.domains.foreign import domain_warning
from sdd.editor import Opened
from sdd.errors import SddError, guarded
from sdd.io.pictures.crop import crop, drawn_in, quads
from sdd.io.pictures.folder import Source
from sdd.io.pictures.read import read_layers
from sdd.io.pictures.shape import fit, resize, to_tensor
from sdd.io.pictures.write import from_tensor
from sdd.manipulators.inversion import psnr

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from sdd.domains.domain import Domain
    from sdd.editor import Composition
    from sdd.manipulators.protocol import Prepared

SHOWN = 384  # side of what is shown while dragging, pixels: the edit at the picture's own size is the download
FROZEN = 4  # encodings of one picture that are kept


@dataclass(frozen=True)
class _Encoded:
    """The picture as manipulators with one frozen part have it; `quad` is where it lies in what is shown, `how` as what
    lies there is laid in.
    """

    frozen: object
    prepared: Prepared
    unedited: Tensor  # (1, 3, S, S)
    quad: NDArray
    how: Blending
    psnr: float


@dataclass
class Subject:
    """A picture as it was handed in.

    Attributes:
        data: the bytes of its file.
        name: what its file was called, a word.
        seed: of the random picture that it is; None for one that was handed in.
        domain: of which that is.
        size: (width, height), pixels.
        shown: at most `SHOWN` a side, on white, (3, h, w) in [-1, 1].
    """

    data: bytes
    name: str
    seed: int | None = None
    domain: str = ""
    size: tuple[int, int] = field(init=False)
    shown: Tensor = field(init=False)
    _encoded: dict[tuple[str, int, bool | None], _Encoded] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Read the picture.

        Raises:
            SddError: it is none, or too large.
        """
        self.name = display_name(self.name)
        before = self._read()
        self.size = before.size
        if max(before.size) > SHOWN:
            before.thumbnail((SHOWN, SHOWN))
        self.shown = to_tensor(before)

    @cached_property
    def before(self) -> Image:
        """What is shown of it."""
        return from_tensor(self.shown)

    @cached_property
    def before_url(self) -> str:
        """The same for a browser."""
        return data_url(self.before)

    def _read(self) -> Image:
        return read_layers(self.data, self.name, most=MAX_PIXELS)[0]

    def seen_by(self, domain: Domain) -> Tensor:
        """What a domain sees of it, (1, 3, S, S) in [-1, 1].

        Raises:
            SddError: there is no such part in it, a face for instance.
        """
        return whole_crop(self._read(), domain.crop, domain.image_size)[None]

    def edited(
        self, editors: Composition, strengths: list[float], levels: tuple[str, ...] | None, blend: bool
    ) -> tuple[Image, str | None]:
        """The edit as it is shown while a slider is dragged, and a warning where the picture is unusual.

        Where the whole picture is shown it is the picture that `saved` makes, pixel for pixel.

        Raises:
            SddError: levels that the editors do not have, or nothing in the picture that they can edit.
        """
        seen = self._encode(editors, blend)
        drawn = editors.draw(seen.prepared, strengths, levels).cpu()
        warning = domain_warning(seen.psnr, editors.domain)
        if not blend:
            return from_tensor(drawn[0]), warning
        after, before = (drawn_in(drawing[0], editors.crop) for drawing in (drawn, seen.unedited))
        return from_tensor(lay_in(self.shown, after, before, seen.quad, seen.how)), warning

    def _encode(self, editors: Composition, blend: bool) -> _Encoded:
        # Editors of one domain share their frozen part; what needs no domain keeps it in the editor itself.
        domain, kind = editors.domain, editors.editors[0].kind
        frozen = editors.manipulator if domain is None or domain.backbone is None else domain.backbone
        # As in `sdd edit`: what is taken whole and laid in is found where it lies.
        register = None if blend and editors.crop is None else False
        key = kind, id(frozen), register
        if key not in self._encoded:
            while len(self._encoded) >= FROZEN:
                self._encoded.pop(next(iter(self._encoded)))
            self._encoded[key] = self._encode_now(editors, frozen, register)
        return self._encoded[key]

    @torch.no_grad()
    def _encode_now(self, editors: Composition, frozen: object, register: bool | None) -> _Encoded:
        photo, side = self._read(), editors.image_size
        width, height = self.shown.shape[-1], self.shown.shape[-2]
        if editors.crop is None:
            quad, square = padded_quad(width, height), fit(photo, side, "pad")
        else:
            there = quads(photo, editors.crop)[0]
            quad, square = there * (width / self.size[0], height / self.size[1]), crop(photo, there, editors.crop, side)
        images = resize(square[None].to(editors.device), editors.manipulator.image_size)
        opened = Opened(editors, images, images, None, register)
        prepared, unedited, _ = opened.placed
        quality, how, pose = float(psnr(unedited, images)), DEFAULT, next(iter(opened.poses), None)
        if pose is not None:
            quality, quad, how = float(laid_psnr(unedited[0], images[0], pose)), pose.quad(width, height), LAID
        return _Encoded(frozen, prepared, unedited.cpu(), quad, how, quality)

    def saved(self, editors: Composition, strengths: list[float], levels: tuple[str, ...] | None, blend: bool) -> bytes:
        """The edit at the picture's own size: the bytes of the PNG file that `sdd edit` writes.

        Raises:
            SddError: it cannot be edited.
        """
        wish = Wish(strengths=tuple(strengths), levels=levels, blend=blend)
        with _file(self.data) as path:
            out = path.with_name("edited.png")
            outcome = edit_pictures([Source(path, Path("picture"))], [out], editors, wish)
            if outcome.broken:
                raise SddError(outcome.broken[0].replace(str(path), self.name))
            return out.read_bytes()


@contextmanager
def _file(data: bytes) -> Iterator[Path]:
    """Bytes as a file that nobody else knows, gone when it has been used."""
    with tempfile.TemporaryDirectory(prefix="sdd-studio-") as folder:
        path = Path(folder) / "picture"
        path.write_bytes(data)
        yield path


def random_subject(domain: Domain, seed: int) -> Subject:
    """A held-out picture of a domain, the one that `sdd sample DOMAIN -n 1 --seed SEED` writes.

    Raises:
        SddError: the domain has no pictures.
    """
    if domain.name == EMBEDDED:
        from sdd.domains import avatars

        tensor = avatars.sample(1, seed, "test")[0].render()
    else:
        found = domain.images(1, seed, "test")
        if len(found) == 0:
            raise SddError(f"the domain {domain.name!r} has no pictures to take one of; drop one of your own")
        tensor = found[0]
    with guarded("the picture", "one that can be shown"):
        file = io.BytesIO()
        from_tensor(tensor).save(file, format="PNG")
    return Subject(file.getvalue(), f"{domain.name}-0000.png", seed, domain.name)
