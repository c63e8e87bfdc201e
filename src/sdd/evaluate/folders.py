"""Two folders of pictures, sources and edits, where nobody knows the right answer: what can be measured all the same.

    found = compare(pairs(Path("photos"), Path("edited")), Networks(clip=load("ViT-B-32")), prompt="a smile")
    found.means()["psnr_unedit_part"]

Of each pair, by torchmetrics and as PIE-Bench (arXiv 2310.01506) names and computes it, with pictures in [0, 1]:

    psnr, ssim, mse, lpips              the whole picture
    …_unedit_part                       both pictures black inside the mask, averaged over the whole picture
    clip_similarity_source_image, _target_image, _target_image_edit_part      100 · max(cosine, 0), CLIPScore

and ours: l1 (mean absolute difference, [0, 1]); fidelity (PSNR over what lies outside the mask alone, dB); drift, scale
and colour of that (`sdd.evaluate.drift`); directional, the cosine between the changes of picture and text. Of all pairs
together: fid, kid. PIE-Bench's structure distance needs DINO and is not computed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdd.errors import SddError
from sdd.evaluate.drift import drift
from sdd.evaluate.intervals import Mean, mean
from sdd.evaluate.pie_bench import IMAGES, is_pie_bench, read_mapping
from sdd.io.pictures.folder import Source, find
from sdd.io.progress import Report, silent

if TYPE_CHECKING:
    from PIL import Image as PillowImage

    from sdd.methods.clip import Clip

LARGEST = 512  # side that larger pictures are reduced to: the metrics are of pictures, not of film
LEAST = 50  # pictures of a set from which on a FID or a KID means anything
UNITS = {
    "psnr": "dB", "psnr_unedit_part": "dB", "fidelity": "dB", "drift": "px", "drift_scale": "%",
    "drift_colour": "levels",
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A source and its edit.

    Attributes:
        mask: asked with (height, width): where the edit may be, (1, H, W) bool; None for nowhere said.
        before, after: what the source shows, and what the edit is to show; "" where nothing is said.
        kind: of editing, where the benchmark has some.
    """

    name: str
    source: Path
    edited: Path
    mask: Callable[[int, int], Tensor] | None = None
    before: str = ""
    after: str = ""
    kind: str = ""


@dataclass
class Networks:
    """What is asked beside the pixels; None leaves its figures out.

    Attributes:
        clip: for CLIP similarities. lpips: (a, b) in [-1, 1] → distance of a pair. inception: a module that gives
            features (B, D) of uint8 pictures, or the weights that torch-fidelity reads.
        missing: one sentence for each that was not given.
    """

    clip: Clip | None = None
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None
    inception: Any = None
    missing: list[str] = field(default_factory=list)


@dataclass
class Compared:
    """Figures of two folders.

    Attributes:
        rows: of each pair its name, kind and figures. sets: of all together. said: sentences about what is missing.
    """

    rows: list[dict[str, Any]]
    sets: dict[str, float]
    said: list[str]

    def means(self, kind: str | None = None) -> dict[str, Mean]:
        """Mean of each figure over pictures, with its bootstrap interval; of one kind of editing, or of all."""
        rows = [row for row in self.rows if kind in (None, row["kind"])]
        names = dict.fromkeys(name for row in rows for name in row["figures"])
        return {name: mean([[row["figures"].get(name, math.nan) for row in rows]]) for name in names}


# --- Which pictures --------------------------------------------------------------------------------------------------


def pairs(
    source: Path, edited: Path, mask: Path | None = None, before: str = "", after: str = "", kinds: Sequence[str] = ()
) -> tuple[list[Pair], list[str]]:
    """Sources with their edits, by name; suffixes do not count. A folder of PIE-Bench says masks and prompts itself.

    Args:
        mask: a folder of masks of the same names, white where the edit may be, or one for all.
        kinds: of PIE-Bench's kinds of editing; none for all.

    Returns:
        The pairs, and a sentence about sources that have no edit.

    Raises:
        SddError: a folder is missing, or no edit has a source, or an edit has none.
    """
    for folder in (source, edited):
        if not os.path.isdir(folder):
            raise SddError(f"there is no folder {folder}; give folders of pictures with --source and --edited")
    if is_pie_bench(source):
        return _of_pie_bench(source, edited, kinds)
    if kinds:
        raise SddError(f"{source} is no PIE-Bench (mapping_file.json, annotation_images/), which alone has edit types")
    sources, edits = _named(find([source])), _named(find([edited]))
    masks = _masks(mask)
    if strange := [name for name in edits if name not in sources]:
        raise SddError(f"{edits[strange[0]]} has no source of its name in {source}; edits are named as their sources")
    if lacking := [n for n in edits if masks is not None and "" not in masks and n not in masks]:
        raise SddError(f"{edits[lacking[0]]} has no mask of its name in {mask}")
    found = []
    for name, path in edits.items():
        place = None if masks is None else masks.get(name, masks.get(""))
        found.append(Pair(name, sources[name], path, None if place is None else _Mask(place), before, after))
    left = len(sources) - len(edits)
    return found, [f"{left} of {len(sources)} sources have no edit and are left out"] if left else []


def _of_pie_bench(source: Path, edited: Path, kinds: Sequence[str]) -> tuple[list[Pair], list[str]]:
    asked = read_mapping(source, kinds)
    below = edited / IMAGES if os.path.isdir(edited / IMAGES) else edited
    there = [a for a in asked if os.path.isfile(below / a.name)]
    if not there:
        raise SddError(f"{below} holds no edit of PIE-Bench, such as {asked[0].name}")
    left = len(asked) - len(there)
    found = [Pair(a.name, source / IMAGES / a.name, below / a.name, a.mask, a.before, a.after, a.kind) for a in there]
    return found, [f"{left} of {len(asked)} pictures have no edit and are left out"] if left else []


def _named(sources: Sequence[Source]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for source in sources:
        name = str(source.name.with_suffix(""))
        if name in found:
            raise SddError(f"{found[name]} and {source.path} have one name without their suffix; rename one of them")
        found[name] = source.path
    return found


def _masks(mask: Path | None) -> dict[str, Path] | None:
    """Masks by name; of one file under ""."""
    if mask is None:
        return None
    if os.path.isfile(mask):
        return {"": mask}
    return _named(find([mask]))


@dataclass(frozen=True)
class _Mask:
    """A mask in a file: white where the edit may be."""

    path: Path

    def __call__(self, height: int, width: int) -> Tensor:
        from sdd.io.pictures.read import open_image

        picture = open_image(self.path).convert("L")
        if picture.width * height != picture.height * width:
            raise SddError(f"{self.path} is {picture.width}x{picture.height}, of another shape than its picture")
        grey = picture.resize((width, height))
        return torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8).view(1, height, width) >= 128


# --- What is measured ------------------------------------------------------------------------------------------------


@torch.no_grad()
def compare(found: Sequence[Pair], networks: Networks, report: Report = silent, said: Sequence[str] = ()) -> Compared:
    """Every figure that can be had.

    Raises:
        SddError: a picture cannot be read, or an edit has another shape than its source.
    """
    rows, sets, resized = list[dict[str, Any]](), _Sets(networks.inception, len(found)), 0
    for k, pair in enumerate(found):
        x, y, again = _opened(pair)
        resized += again
        rows.append({"name": pair.name, "kind": pair.kind, "figures": of_pair(x, y, pair, networks)})
        sets.see(x, y)
        report("comparing", k + 1, len(found))
    lines = [*said, *networks.missing, *_missing(found, networks), *sets.said]
    if resized:
        lines.append(f"{resized} edits have another size than their sources and were resized to it")
    return Compared(rows, sets.figures(), lines)


def of_pair(x: Tensor, y: Tensor, pair: Pair, networks: Networks) -> dict[str, float]:
    """Figures of a source and an edit (1, 3, H, W) in [-1, 1]."""
    a, b = ((v.double() + 1) / 2 for v in (x, y))
    mask = None if pair.mask is None else pair.mask(int(x.shape[-2]), int(x.shape[-1]))[None]
    figures = {"l1": float((a - b).abs().mean()), **_distances(a, b, "", networks)}
    if mask is not None and not bool(mask.all()):
        kept = ~mask
        figures |= _distances(a * kept, b * kept, "_unedit_part", networks)
        error = float(((a - b).square() * kept).sum() / (3 * kept.sum()))
        figures["fidelity"] = -10 * math.log10(max(error, 1e-12))
    went = drift(y, x, torch.zeros_like(x[:, :1], dtype=torch.bool) if mask is None else mask)
    names = ("drift", "drift_scale", "drift_colour")
    figures |= dict(zip(names, map(float, (went.pixels, went.percent, went.levels)), strict=True))
    return figures | _texts(x, y, mask, pair, networks.clip)


def _distances(a: Tensor, b: Tensor, part: str, networks: Networks) -> dict[str, float]:
    """Distances of a pair in [0, 1], (1, 3, H, W) float64."""
    error = float((a - b).square().mean())
    found = {f"psnr{part}": -10 * math.log10(max(error, 1e-12)), f"mse{part}": error}
    if find_spec("torchmetrics") and min(a.shape[-2:]) > 10:  # its window is 11 pixels wide
        from torchmetrics.functional.image import structural_similarity_index_measure

        # In float32, as PIE-Bench has it: float64 takes fifteen times as long.
        found[f"ssim{part}"] = float(structural_similarity_index_measure(a.float(), b.float(), data_range=1.0))
    if networks.lpips is not None:
        found[f"lpips{part}"] = float(networks.lpips((a * 2 - 1).float(), (b * 2 - 1).float()))
    return found


def _texts(x: Tensor, y: Tensor, mask: Tensor | None, pair: Pair, clip: Clip | None) -> dict[str, float]:
    if clip is None or not pair.after:
        return {}
    pictures = [x, y] if mask is None else [x, y, torch.where(mask, y, -1)]
    seen = torch.nn.functional.normalize(torch.cat([clip.features(p) for p in pictures]).cpu(), dim=1)
    texts = clip.texts([pair.after, *([pair.before] if pair.before else [])]).cpu()
    texts = torch.nn.functional.normalize(texts, dim=1)

    def score(picture: int, text: int) -> float:
        return 100 * max(float(seen[picture] @ texts[text]), 0.0)

    found = {"clip_similarity_target_image": score(1, 0)}
    if mask is not None:
        found["clip_similarity_target_image_edit_part"] = score(2, 0)
    if pair.before:
        found["clip_similarity_source_image"] = score(0, 1)
        change = torch.nn.functional.cosine_similarity(seen[1] - seen[0], texts[0] - texts[1], dim=0)
        found["directional"] = float(change)
    return found


class _Sets:
    """FID and KID of all sources against all edits, where Inception is there and they are enough."""

    def __init__(self, inception: Any, count: int) -> None:
        self.metrics: dict[str, Any] = {}
        self.said: list[str] = []
        if inception is None:
            return
        if count < LEAST:
            self.said = [f"FID and KID of {count} pictures mean nothing and are left out; give at least {LEAST}"]
            return
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance

        known = {"feature_extractor_weights_path": str(inception)} if isinstance(inception, str | Path) else {}
        features = 2048 if known else inception
        fid, kid = (
            FrechetInceptionDistance(feature=features, **known),
            KernelInceptionDistance(feature=features, subset_size=min(count, 100), subsets=min(count, 100), **known),
        )
        fid.set_dtype(torch.float64)
        self.metrics = {"fid": fid, "kid": kid}

    def see(self, x: Tensor, y: Tensor) -> None:
        for metric in self.metrics.values():
            for picture, real in ((x, True), (y, False)):
                metric.update(picture.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8), real=real)

    def figures(self) -> dict[str, float]:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # which subsets the KID takes
            found = {name: metric.compute() for name, metric in self.metrics.items()}
        return {name: float(value[0] if isinstance(value, tuple) else value) for name, value in found.items()}


def _missing(found: Sequence[Pair], networks: Networks) -> Iterator[str]:
    if not find_spec("torchmetrics"):
        yield "SSIM is left out, because torchmetrics is not installed: pip install 'sdd[metrics]'"
    if all(pair.mask is None for pair in found):
        yield "what lies outside the edit is not known, so that all figures are of whole pictures; give --mask"
    if networks.clip is not None and not any(pair.after for pair in found):
        yield "CLIP similarities are left out, because nobody said what the edits are to show; give --prompt"


def _opened(pair: Pair) -> tuple[Tensor, Tensor, bool]:
    """Source and edit, (1, 3, H, W) in [-1, 1] of one size, and whether the edit had another."""
    from sdd.io.pictures.read import open_image
    from sdd.io.pictures.shape import to_tensor

    source, edited = open_image(pair.source), open_image(pair.edited)
    if edited.width * source.height != edited.height * source.width:
        if edited.width < source.width or edited.height < source.height or not pair.kind:
            raise SddError(f"{pair.edited} is {edited.width}x{edited.height}, of another shape than {pair.source}")
        # What PIE-Bench's methods write is a strip of pictures, of which the last is the edit.
        right, low = edited.size
        edited = edited.crop((right - source.width, low - source.height, right, low))
    other = edited.size != source.size
    source = _smaller(source)
    edited = edited.resize(source.size) if edited.size != source.size else edited
    return to_tensor(source)[None], to_tensor(edited)[None], other


def _smaller(picture: PillowImage.Image) -> PillowImage.Image:
    most = max(picture.size)
    if most <= LARGEST:
        return picture
    return picture.resize((max(1, picture.width * LARGEST // most), max(1, picture.height * LARGEST // most)))


# --- Networks --------------------------------------------------------------------------------------------------------


def networks(clip: str | None, inception: Path | None, lpips: str | None) -> Networks:
    """What was asked for by name; one sentence for each that was not, or is not here.

    Args:
        clip: folder, file or hub id. inception: the weights that torch-fidelity reads. lpips: alex, vgg or squeeze.

    Raises:
        SddError: a file that was named is not there, or a CLIP that is none.
    """
    found = Networks()
    if clip is not None:
        from sdd.methods.clip import load

        found.clip = load(clip)
    else:
        found.missing.append("CLIP similarities are left out; name a CLIP (folder, file or hub id) with --clip")
    if inception is not None:
        if not os.path.isfile(inception):
            raise SddError(f"there is no file {inception}; --inception names weights that torch-fidelity reads")
        if find_spec("torch_fidelity") and find_spec("torchmetrics"):
            found.inception = inception
        else:
            found.missing.append("FID and KID are left out, because torch-fidelity is not installed: pip install it")
    else:
        found.missing.append("FID and KID are left out; give Inception's weights with --inception")
    if lpips is not None:
        found.lpips = _lpips(lpips, found.missing)
    else:
        found.missing.append("LPIPS is left out; ask for it with --lpips alex, vgg or squeeze")
    return found


def _lpips(name: str, missing: list[str]) -> Callable[[Tensor, Tensor], Tensor] | None:
    if name not in ("alex", "vgg", "squeeze"):
        raise SddError(f"LPIPS has the networks alex, vgg and squeeze, not {name!r}")
    if not (find_spec("torchvision") and find_spec("torchmetrics")):
        missing.append("LPIPS is left out, because torchvision or torchmetrics is not installed: pip install them")
        return None
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        metric: Callable[[Tensor, Tensor], Tensor] = LearnedPerceptualImagePatchSimilarity(net_type=name)
    except Exception as error:  # its weights come from a hub, whose clients raise many unrelated types
        missing.append(f"LPIPS is left out, because the weights of {name} could not be had ({type(error).__name__})")
        return None
    return metric
