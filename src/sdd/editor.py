"""An editor: a trained manipulator with what it needs to be used again.

editor = Editor.load("white-hair.safetensors")
edited = editor(images, strength=0.8)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, overload

import torch
from torch import Tensor, nn

from sdd import card, editor_file, given, strengths
from sdd.beyond.blend import DEFAULT
from sdd.beyond.blend import blend as lay_in
from sdd.beyond.pose import Pose
from sdd.beyond.register import LAID, Registered, laid_psnr, registered_where
from sdd.device import pick_device
from sdd.domains import library
from sdd.domains.domain import Domain
from sdd.editor_file import EditorInfo
from sdd.errors import SddError
from sdd.given import File, Images, Picture, Pictures
from sdd.io import hub
from sdd.io.pictures.shape import resize as reduce
from sdd.io.pictures.shape import square
from sdd.manipulators import kinds
from sdd.manipulators.inversion import psnr
from sdd.manipulators.protocol import Manipulator, Prepared
from sdd.nets.arcface import identity_features
from sdd.nets.resize import resize
from sdd.strengths import Parsed, Strength, Strengths
from sdd.teachers.load import load_teacher

SAMPLES = 4  # pictures of a card
Progress = Callable[[int, int], None]  # called with (images done, images in all)


@dataclass(frozen=True)
class Edit:
    """Edited images, and how well their sources came back unedited.

    Attributes:
        images: (B, 3, S, S) in [−1, 1].
        unedited: the same at strength 0, (B, 3, S, S) in [−1, 1].
        psnr: of the unedited pictures, laid where they belong, against their sources, (B,) dB.
        identity: cosine of the identity features of source and unedited, (B,); None without an identity network.
        poses: how each source shows what the images show upright; None for one that was not registered.
    """

    images: Tensor
    unedited: Tensor
    psnr: Tensor
    identity: Tensor | None
    poses: tuple[Pose | None, ...] = ()


class Editor:
    """Edits images of one domain in one forward pass.

    Strength 0 draws each image unedited, as the manipulator sees it; 1 is the edit as trained; more exaggerates it,
    less than 0 reverses it.

    Args:
        learned: what was learned (`Manipulator.learned`).
        info: what the file says.
        domain: the domain it works in; found by its name at first use if not given.
    """

    def __init__(self, learned: nn.Module, info: EditorInfo, domain: Domain | None = None) -> None:
        self.learned = learned.eval().requires_grad_(False)
        self.info = info
        self._domain: Domain | None = None
        self._manipulator: Manipulator | None = None
        if domain is not None:
            self.attach(domain)

    @property
    def prompt(self) -> str:
        """The target text."""
        return self.info.prompt

    @property
    def domain(self) -> Domain | None:
        """The domain this editor works in; None for one that needs none and whose own is not known here.

        Raises:
            SddError: there is no such domain here, or its generator is another one.
        """
        if self._manipulator is None:
            self.attach(None)
        return self._domain

    @property
    def manipulator(self) -> Manipulator:
        """What edits.

        Raises:
            SddError: what it needs beside its file is not here.
        """
        if self._manipulator is None:
            self.attach(None)
        assert self._manipulator is not None, "attached above"
        return self._manipulator

    @property
    def kind(self) -> str:
        """The kind of manipulator it is."""
        return str(self.info.manipulator["kind"])

    def attach(self, domain: Domain | None) -> None:
        """Work in this domain; None for the one that the file names, or one with its generator.

        Raises:
            SddError: there is no such domain here, or the editor was made for another generator.
        """
        needs = kinds.needs(self.kind)
        if domain is None:
            if needs == "generator":
                domain = library.matching(self.info.domain, self.info.generator)
            elif self.info.domain in library.names():
                domain = library.get(self.info.domain)
        if needs == "generator":
            assert domain is not None, "found above"
            self._check(domain)
            self._manipulator = kinds.build(self.info.manipulator, self.learned, domain.stylegan)
            self.learned.to(domain.stylegan.device)
        else:
            own = domain is not None and self.info.teacher in ("", domain.name)
            name = domain.teacher if domain is not None and own else self.info.teacher
            teacher = load_teacher(name) if needs == "teacher" else None
            self._manipulator = kinds.build(self.info.manipulator, self.learned, teacher=teacher)
            self.learned = self._manipulator.learned
        self._domain = domain
        self._manipulator.freeze()

    def _check(self, domain: Domain) -> None:
        found = domain.stylegan.generator_hash
        if found != self.info.generator:
            raise SddError(
                f"the editor {self.info.prompt!r} was made for generator {self.info.generator[:12]} of domain "
                f"{self.info.domain!r}, but the generator of domain {domain.name!r} is {found[:12]}; "
                f"use the domain it was made for, or train it again on this one"
            )
        if self.info.needs.get("encoder", "") not in ("", domain.stylegan.encoder_hash):
            warnings.warn(
                f"the editor {self.info.prompt!r} was made with another encoder than that of domain {domain.name!r} "
                f"here; its edits may differ",
                stacklevel=2,
            )

    def to(self, device: torch.device | str) -> Editor:
        """Move the editor and its domain to `device` (in place) and return it.

        Raises:
            SddError: no such device here, or a precision: editors compute in float32.
        """
        if isinstance(device, torch.dtype):
            raise SddError(
                f"an editor computes in float32 and moves to devices only, not to {device}; hand it pictures of that "
                f"precision, which come back in it"
            )
        device = pick_device(device)
        if self.domain is not None:
            self.domain.to(device)
        self.manipulator.to(device)
        return self

    @overload
    def __call__(self, images: Tensor, strength: Strength = ..., *how: Any, **named: Any) -> Tensor: ...

    @overload
    def __call__(self, images: Picture | File, strength: Strength = ..., *how: Any, **named: Any) -> Picture: ...

    @overload
    def __call__(self, images: Pictures, strength: Strength = ..., *how: Any, **named: Any) -> list[Picture]: ...

    def __call__(
        self,
        images: Images,
        strength: Strength = 1.0,
        levels: Sequence[str] | None = None,
        batch: int | None = None,
        blend: bool = True,
        register: bool | None = False,
    ) -> Any:
        """Edited images, of the kind that was handed in.

        Args:
            images: (B, 3, H, W) in [-1, 1], of any size, aspect and floating precision; or a PIL picture, a path, or a
                list of pictures and paths (`sdd.given`), of which the part is edited that the domain knows. A picture
                comes back in its size and mode, with its transparency.
            strength: 0 leaves the picture alone, 1 is the edit, anything else goes further or the other way; a list or
                tensor (B,) for one for each picture.
            levels: which of coarse, medium, fine to change; None for all that were trained.
            batch: images at a time; None for what fits a few hundred megabytes.
            blend: lay the edit into the picture, at its own size, whatever was not edited equal bit for bit
                (`sdd.beyond.blend`). Without, what comes back is drawn anew, (B, 3, S, S) at the manipulator's size,
                as the paper does.
            register: look for the pose (turn, size, place, side) in which a picture inverts, and lay the edit back
                through it (`sdd.beyond.register`), seconds each; None looks where one inverts far worse than the
                domain's own, as `sdd edit` does.

        Raises:
            SddError: unknown level, strength that is not finite, images of another shape or range (integers, or floats
                of 0 to 255), a picture that cannot be read, or `register` where there is nothing to register by.
        """
        return Composition([self])(images, [strength], levels, batch, blend, register)

    def encode(self, images: Images, batch: int | None = None) -> Prepared:
        """Pictures, of any kind that can be edited, as the manipulator has them (for StyleGAN: codes); see `draw`."""
        return Composition([self]).encode(images, batch)

    def draw(
        self, y: Prepared, strength: Strength = 1.0, levels: Sequence[str] | None = None, batch: int | None = None
    ) -> Tensor:
        """Edited images of encoded pictures, (B, 3, S, S) in [-1, 1], drawn anew; other arguments as in a call."""
        return Composition([self]).draw(y, [strength], levels, batch)

    def __add__(self, other: Editor | Composition) -> Composition:
        """Both editors as one: the changes they make are added."""
        return Composition([self]) + other

    def edit(
        self,
        images: Tensor,
        strength: Strength = 1.0,
        levels: Sequence[str] | None = None,
        batch: int | None = None,
        refine: int = 0,
        progress: Progress | None = None,
        identity: bool = True,
        register: bool | None = False,
    ) -> Edit:
        """The edit as the manipulator draws it, with the unedited pictures and how close they come.

        Args:
            refine: steps by which a manipulator that inverts comes closer to each picture.
            progress: called with (images done, images in all).
            identity: whether identities are to be compared too; costs two passes through that network.
            register: as in a call; what is drawn is upright, and `Edit.poses` says where it belongs.
        """
        return Composition([self]).edit(images, [strength], levels, batch, refine, progress, identity, register)

    @staticmethod
    def compose(editors: Sequence[Editor]) -> Composition:
        """Several editors as one: the changes they make are added."""
        return Composition(editors)

    def save(self, path: str | Path) -> None:
        """Write the editor to one file, atomically; equal editors give equal bytes.

        Raises:
            SddError: a weight is not finite, or the file cannot be written.
        """
        editor_file.write(path, self.info, self.learned)

    @classmethod
    def load(cls, path: str | Path, domain: Domain | str | None = None) -> Editor:
        """Read an editor file; everything in it is checked, nothing in it is executed.

        Args:
            path: the file.
            domain: the domain (or its name) to work in; None for the one the file names, or one with its generator,
                found at first use.

        Raises:
            SddError: no such file, truncated, not an editor, made by a newer sdd or for another generator, tensors that
                are missing, of another shape or not finite.
        """
        info, learned = editor_file.read(Path(path))
        return cls(learned, info, library.get(domain) if isinstance(domain, str) else domain)

    @classmethod
    def from_pretrained(cls, name: str | Path, domain: Domain | str | None = None, **options: Any) -> Editor:
        """The editor of a repository on the Hugging Face hub, or of a folder that `save_pretrained` wrote.

        Args:
            name: `user/name`, or a folder.
            domain: as in `load`.
            options: revision, token, cache_dir, force_download, local_files_only, as huggingface_hub has them.

        Raises:
            SddError: there is no such repository or file, or see `load`.
        """
        return cls.load(hub.download(name, **options), domain)

    def save_pretrained(self, folder: str | Path, pictures: Tensor | None = None, repo: str = "you/editor") -> None:
        """Write the editor and its card, README.md with curve and samples, into a folder.

        Args:
            pictures: (N, 3, H, W) in [-1, 1] to show edits of; None for four held-out ones of its domain.
            repo: where the card says that it is found.

        Raises:
            SddError: the folder cannot be written, or what the editor needs is not here.
        """
        if pictures is None:
            pictures = torch.zeros(0) if self.domain is None else self.domain.images(SAMPLES, 0, "test").clamp(-1, 1)
        rows = list[tuple[str, Tensor]]()
        if len(pictures):
            edits = [(f"strength {s:g}", self(pictures, strength=s)) for s in (0.5, 1.0)]
            rows = [("the pictures as they are", pictures), *edits]
        self.save(Path(folder) / hub.FILE)
        card.write(Path(folder), self.info, rows, repo, hub.FILE)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        pictures: Tensor | None = None,
        commit_message: str = "Upload an editor",
        private: bool | None = None,
        **options: Any,
    ) -> str:
        """Upload the editor and its card to the Hugging Face hub; the commit's address.

        Args:
            repo_id: `user/name`; made if there is none.
            pictures: as in `save_pretrained`.
            private: whether a new repository is; None for the account's default.
            options: token, branch, create_pr, as huggingface_hub has them.

        Raises:
            SddError: the hub refuses or cannot be reached.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, pictures, repo_id)
            return hub.upload(Path(folder), repo_id, commit_message, private, **options)

    def __repr__(self) -> str:
        kind = self.info.manipulator.get("kind")
        return f"Editor({self.info.prompt!r}, domain={self.info.domain!r}, manipulator={kind!r})"


class Composition:
    """Several editors applied together: the changes they make to a picture, as the manipulator has it, are added."""

    def __init__(self, editors: Sequence[Editor]) -> None:
        if not editors:
            raise SddError("there is no editor to apply; give at least one")
        self.editors = list(editors)
        first = self.editors[0]
        self.domain, self.manipulator = first.domain, first.manipulator
        for editor in self.editors[1:]:
            if editor.kind != first.kind:
                raise SddError(
                    f"the editors {first.prompt!r} and {editor.prompt!r} are of different kinds ({first.kind} and "
                    f"{editor.kind}); apply them one after the other"
                )
            if editor.info.generator != first.info.generator:
                raise SddError(
                    f"the editors {first.prompt!r} and {editor.prompt!r} were made for different generators "
                    f"({first.info.generator[:12]} and {editor.info.generator[:12]}); apply them one after the other"
                )
            editor.attach(self.domain)

    @overload
    def __call__(self, images: Tensor, strength: Strengths = ..., *how: Any, **named: Any) -> Tensor: ...

    @overload
    def __call__(self, images: Picture | File, strength: Strengths = ..., *how: Any, **named: Any) -> Picture: ...

    @overload
    def __call__(self, images: Pictures, strength: Strengths = ..., *how: Any, **named: Any) -> list[Picture]: ...

    @torch.no_grad()
    def __call__(
        self,
        images: Images,
        strength: Strengths = 1.0,
        levels: Sequence[str] | None = None,
        batch: int | None = None,
        blend: bool = True,
        register: bool | None = False,
    ) -> Any:
        """Edited images; as `Editor.__call__`, with one strength for all editors or a list of one for each, either of
        which may be a tensor (B,) of one for each picture.
        """
        parsed = self.strengths(strength)
        strengths.check_count(parsed, given.count(images))
        if register and (not blend or self.crop is not None):
            why = "is drawn anew" if not blend else f"is cut out by the rule {self.crop!r}"
            raise SddError(f"a picture that {why} cannot be registered too; leave register=True out")

        def edit(part: Tensor, at: Sequence[int], laid: bool) -> tuple[Tensor, Opened]:
            opened = self.open(part, batch, register if laid and self.crop is None else False)
            return opened(strengths.of(parsed, at), levels, laid), opened

        return given.edited(images, edit, self.crop, self.image_size, blend)

    def __add__(self, other: Editor | Composition) -> Composition:
        """All editors as one."""
        if not isinstance(other, Editor | Composition):
            return NotImplemented
        return Composition([*self.editors, *(other.editors if isinstance(other, Composition) else [other])])

    def encode(self, images: Images, batch: int | None = None) -> Prepared:
        """As `Editor.encode`."""
        return self.open(given.squares(images, self.crop, self.image_size), batch, False).prepared

    @torch.no_grad()
    def open(self, images: Tensor, batch: int | None = None, register: bool | None = False) -> Opened:
        """Images (B, 3, H, W) in [-1, 1] ready to be edited at several strengths; what is common to these is done once.

        Args:
            register: as in a call; done when an edit is first laid into the images.

        Raises:
            SddError: images of another shape.
        """
        self._check(images)
        images = images.float()
        side = self.image_size
        squares = images
        if images.shape[-2] != images.shape[-1] and len(images):
            squares = torch.stack([square(image, "pad") for image in images])
        return Opened(self, images, reduce(squares.to(self.device), side), batch, register)

    @torch.no_grad()
    def edit(
        self,
        images: Tensor,
        strength: Strengths = 1.0,
        levels: Sequence[str] | None = None,
        batch: int | None = None,
        refine: int = 0,
        progress: Progress | None = None,
        identity: bool = True,
        register: bool | None = False,
    ) -> Edit:
        """Edited images, and the same unedited; as `Editor.edit`."""
        self._check(images)
        wanted = self.strengths(strength)
        images = resize(images.to(self.device).float(), self.manipulator.image_size)
        size = batch or self.manipulator.batch_size()

        def told(done: int) -> None:
            if progress is not None:
                progress(done, len(images))

        opened = Opened(self, images, images, batch, register, told if refine <= 0 else None)
        y, unedited, seen = opened.placed
        if refine > 0:
            pieces = list[Prepared]()
            for at in (slice(start, start + size) for start in range(0, len(seen), size)):
                pieces.append(self.manipulator.refine(seen[at], y[at], refine))
                told(sum(map(len, pieces)))
            y = Prepared.cat(pieces) if pieces else y
            unedited = self.draw(y, 0.0, None, batch)
        edited = self.draw(y, wanted, levels, batch)
        likeness = None
        if identity and self.domain is not None and self.domain.identity is not None and len(images):
            pairs = zip(seen.split(size), unedited.split(size), strict=True)
            net = self.domain.identity
            likeness = torch.cat([(identity_features(net, a) * identity_features(net, b)).sum(1) for a, b in pairs])
        quality = psnr(unedited, images)
        for i, pose in enumerate(opened.poses):
            if pose is not None:
                quality[i] = laid_psnr(unedited[i], images[i], pose)
        return Edit(edited, unedited, quality, likeness, opened.poses)

    def redraw(self, images: Tensor, batch: int | None = None) -> Tensor:
        """Images (B, 3, S, S) as they are encoded and drawn unedited, in [-1, 1]."""
        return self.draw(self.manipulator.prepare(images), 0.0, None, batch)

    @property
    def crop(self) -> str | None:
        """Which part of a photo its pictures show; None takes a picture whole."""
        return self.editors[0].info.crop if self.domain is None else self.domain.crop

    @property
    def image_size(self) -> int:
        """Side of the pictures drawn."""
        return self.manipulator.image_size

    @property
    def device(self) -> torch.device:
        """Where the editors compute."""
        return next(self.editors[0].learned.parameters()).device

    @torch.no_grad()
    def draw(
        self,
        y: Prepared,
        strength: Strengths = 1.0,
        levels: Sequence[str] | None = None,
        batch: int | None = None,
    ) -> Tensor:
        """Edited images of prepared pictures: (B, 3, S, S) in [-1, 1]."""
        wanted = self.strengths(strength)
        strengths.check_count(wanted, len(y))
        size = batch or self.manipulator.batch_size()
        pieces = [slice(start, start + size) for start in range(0, len(y), size)]
        parts = [self._drawn(y[piece], strengths.of(wanted, piece), levels) for piece in pieces]
        side = self.manipulator.image_size
        return torch.cat(parts) if parts else torch.zeros(0, 3, side, side, device=self.device)

    def _drawn(self, y: Prepared, wanted: Parsed, levels: Sequence[str] | None) -> Tensor:
        changes = []
        for editor, s in zip(self.editors, wanted, strict=True):
            factor = (torch.tensor(s) if isinstance(s, tuple) else s) * editor.info.strength
            if isinstance(factor, Tensor) or factor != 0:
                change = editor.manipulator.change(y)
                changes.append(self.manipulator.restrict(change, levels).scaled(factor))
        return self.manipulator.draw(y, *changes).clamp(-1, 1)

    def strengths(self, strength: Strengths) -> Parsed:
        """The strength of each editor; see `sdd.strengths.parse`."""
        return strengths.parse(strength, len(self.editors))

    @staticmethod
    def _check(images: Tensor) -> None:
        given.check(images)


class Opened:
    """Pictures that were opened for editing; called with a strength they are edited.

    Attributes:
        images: (B, 3, H, W) in [-1, 1].
        squares: the same as the manipulator sees them, (B, 3, S, S); prepared: as it has them.
    """

    def __init__(
        self, editors: Composition, images: Tensor, squares: Tensor, batch: int | None = None,
        register: bool | None = False, told: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        if register and kinds.needs(editors.editors[0].kind) != "generator":
            raise SddError(
                f"the manipulator {editors.editors[0].kind} keeps the picture as it is, so that nothing tells how it "
                f"lies; leave --register (register=True) out"
            )
        self.editors, self.images, self.squares, self.batch = editors, images, squares, batch
        self.register = register
        size, pieces = batch or editors.manipulator.batch_size(), list[Prepared]()
        for part in squares.split(size):
            pieces.append(editors.manipulator.prepare(part))
            if told is not None:
                told(sum(map(len, pieces)))
        self.prepared = Prepared.cat(pieces)

    @cached_property
    def unedited(self) -> Tensor:
        """The pictures at strength 0 as the manipulator draws them, (B, 3, S, S); drawn once."""
        return self.editors.draw(self.prepared, 0.0, None, self.batch)

    @cached_property
    def found(self) -> dict[int, Registered]:
        """Where the pictures lie that invert clearly better in another pose, by number."""
        if self.register is False or kinds.needs(self.editors.editors[0].kind) != "generator":
            return {}
        expected = None if self.editors.domain is None else self.editors.domain.expected_psnr
        before = psnr(self.unedited, self.squares)
        redraw = partial(self.editors.redraw, batch=self.batch)
        return registered_where(self.squares, before, redraw, expected, always=bool(self.register))

    @property
    def poses(self) -> tuple[Pose | None, ...]:
        """How each picture lies; None as the domain's own."""
        return tuple(self.found[i].pose if i in self.found else None for i in range(len(self.images)))

    @cached_property
    def placed(self) -> tuple[Prepared, Tensor, Tensor]:
        """As the manipulator has the pictures in the poses found; these drawn unedited; and what was encoded there."""
        if not self.found:
            return self.prepared, self.unedited, self.squares
        seen = self.squares.clone()
        for i, one in self.found.items():
            seen[i] = one.image
        again = Opened(self.editors, seen, seen, self.batch)
        return again.prepared, again.unedited, seen

    @torch.no_grad()
    def __call__(self, strength: Strengths = 1.0, levels: Sequence[str] | None = None, blend: bool = True) -> Tensor:
        """Edited images; see `Editor.__call__`."""
        strengths = self.editors.strengths(strength)
        if not blend:
            return self.editors.draw(self.prepared, strengths, levels, self.batch)
        if not any(strengths) or len(self.images) == 0:
            return self.images.clone()
        prepared, unedited, _ = self.placed
        edited = self.editors.draw(prepared, strengths, levels, self.batch).to(self.images)
        if not self.found:
            return lay_in(self.images, edited, unedited.to(self.images))
        height, width = self.images.shape[-2:]
        quads = [None if pose is None else pose.quad(width, height) for pose in self.poses]
        each = zip(self.images, edited, unedited.to(self.images), quads, strict=True)
        return torch.stack([lay_in(*one, DEFAULT if one[-1] is None else LAID) for one in each])
