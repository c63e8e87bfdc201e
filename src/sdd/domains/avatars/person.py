"""The embedded domain: people drawn by DiceBear, every option of which can be set.

Because a picture is drawn from options, the exact answer to an edit can be drawn too: the same person with one option
changed, the *counterfactual*. That makes this the one test bed of text-driven editing on which the right answer is
known.

    avatars = sample(4, seed=7)
    avatars[0].render()                                # (3, 128, 128) in [-1, 1]
    avatars[0].caption()                               # "a man with white hair, ..."
    avatars[0].replace(hair_color="white").render()    # the counterfactual

Art: "Avataaars" by Pablo Stanley, drawn through DiceBear (see THIRD_PARTY_NOTICES.md).
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdd.domains.avatars.avataaars import COLORS, IMAGE_SIZE, OPTION, RANGES, SHAPES, SHARE, values
from sdd.errors import SddError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Avatar:
    """One person: `attributes` in plain words, `drawings` (which of a word's drawings is used), `graphic` on a
    graphic shirt.

    `round_crop` draws the picture inside a circle on white, as many avatar pictures found elsewhere are.
    """

    attributes: dict[str, Any]
    drawings: dict[str, str | None] = field(default_factory=dict)
    graphic: str = "bear"
    round_crop: bool = False
    seed: int = 0

    def replace(self, **changes: Any) -> Avatar:
        """The same person with some attributes changed: the counterfactual.

        Asking for hair takes off a hat that would hide it, as an editor of the picture would have to.

        Raises:
            SddError: an unknown attribute or value, or a number out of range.
        """
        return self._replaced(changes, {name: 0 for name in changes})

    def counterfactuals(self, **changes: Any) -> list[Avatar]:
        """Every valid drawing of `replace(**changes)`: a word such as "beard" has several."""
        shapes = [name for name in changes if name in SHAPES]
        counts = [max(1, len(SHAPES[name].get(changes[name], ()))) for name in shapes]
        return [
            self._replaced(changes, dict(zip(shapes, map(int, index), strict=True))) for index in np.ndindex(*counts)
        ]

    def _replaced(self, changes: dict[str, Any], drawing: dict[str, int]) -> Avatar:
        attributes, drawings = dict(self.attributes), dict(self.drawings)
        for name, value in changes.items():
            _validate(name, value)
            if name in SHAPES and attributes[name] != value:
                choices = SHAPES[name][value]
                drawings[name] = choices[drawing.get(name, 0)] if choices else None
            attributes[name] = value
        return replace(self, attributes=attributes, drawings=drawings)

    def visible(self, attribute: str) -> bool:
        """Whether the picture can show `attribute` at all (hair under a turban cannot)."""
        a = self.attributes
        covered = a["hat"] != "none"
        match attribute:
            case "hair":
                return not covered
            case "hair_color":
                return not covered and a["hair"] != "bald"
            case "facial_hair_color":
                return a["facial_hair"] != "none"
            case "hat_color":
                return covered
            case "accessories_color":
                return a["accessories"] != "none"
            case "eyes":
                return a["accessories"] not in ("sunglasses", "eyepatch")
            case "brows":
                return a["accessories"] not in ("sunglasses", "eyepatch") and a["hat"] not in ("winter hat", "beanie")
            case "clothes":
                return a["hat"] != "hijab"
        return True

    def caption(self, seed: int | None = None) -> str:
        """A sentence about some of what the picture shows; another `seed` words it another way."""
        from sdd.domains.avatars.captions import caption

        return caption(self, np.random.default_rng([self.seed if seed is None else seed, 2]))

    def options(self) -> dict[str, Any]:
        """DiceBear's options for style `avataaars`."""
        a = self.attributes
        options: dict[str, Any] = {
            "seed": str(self.seed),
            "noseVariant": "default",
            "clothesGraphicVariant": self.graphic,
            "rotate": a["tilt"],
            "translateX": a["shift_x"],
            "translateY": a["shift_y"],
            "scale": a["zoom"],
        }
        top = self.drawings["hat"] if a["hat"] != "none" else self.drawings["hair"]
        options["topProbability"] = 100 if top else 0
        if top:
            options["topVariant"] = top
        for name, option in OPTION.items():
            if name in COLORS:
                options[f"{option}Color"] = COLORS[name][a[name]]
            else:
                drawing = self.drawings[name]
                options[f"{option}Probability"] = 100 if drawing else 0
                if drawing:
                    options[f"{option}Variant"] = drawing
        if self.round_crop:
            options["borderRadius"] = 50
        return options

    def svg(self) -> str:
        """The drawing as SVG."""
        from dicebear import Avatar as Drawing

        return str(Drawing(drawing_style(), self.options()))

    def pixels(self, size: int = IMAGE_SIZE) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The drawing as (size, size, 3) uint8."""
        import resvg_py
        from PIL import Image

        png = resvg_py.svg_to_bytes(
            svg_string=self.svg(), width=size, height=size, skip_system_fonts=True, background="#ffffff"
        )
        return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB"))

    def render(self, size: int = IMAGE_SIZE) -> torch.Tensor:
        """The drawing as an image: float32 (3, size, size) in [-1, 1]."""
        import torch

        return torch.from_numpy(self.pixels(size).copy()).permute(2, 0, 1).float() / 127.5 - 1


@cache
def drawing_style() -> Any:
    from dicebear import Style

    definition = json.loads(files("dicebear_styles").joinpath("avataaars.json").read_text(encoding="utf-8"))
    # The style keeps some colours apart (no hat of the background's colour, say); here every option may be set freely.
    for color in definition["colors"].values():
        color.pop("notEqualTo", None)
    return Style(definition)


def _validate(name: str, value: Any) -> None:
    if name in RANGES:
        low, high = RANGES[name]
        if not isinstance(value, int | float) or not low <= value <= high:
            raise SddError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")
    elif value not in values(name):
        raise SddError(f"{name} cannot be {value!r}; it can be {', '.join(values(name))}")


def _draw(rng: np.random.Generator, attribute: str) -> str:
    names = values(attribute)
    drawings = SHAPES.get(attribute, {})
    weight = np.array([SHARE.get((attribute, v), 1.0) * max(1, len(drawings.get(v, ()))) ** 0.5 for v in names])
    return str(rng.choice(names, p=weight / weight.sum()))


def draw(rng: np.random.Generator, seed: int = 0) -> Avatar:
    """One person, drawn at random."""
    attributes: dict[str, Any] = {name: _draw(rng, name) for name in (*SHAPES, *COLORS)}
    if rng.random() < 0.7:  # most people's beards have the colour of their hair
        attributes["facial_hair_color"] = attributes["hair_color"]
    # Most pictures have DiceBear's own framing; some heads are tilted, some pictures framed otherwise.
    tilted, framed = rng.random() < 0.2, rng.random() < 0.15
    for name, (low, high) in RANGES.items():
        value, neutral = round(float(rng.uniform(low, high)), 2), 1.0 if name == "zoom" else 0.0
        attributes[name] = value if (tilted if name == "tilt" else framed) else neutral
    drawings: dict[str, str | None] = {
        name: str(rng.choice(table[attributes[name]])) if table[attributes[name]] else None
        for name, table in SHAPES.items()
    }
    graphics = ("bat", "bear", "cumbia", "deer", "diamond", "hola", "pizza", "resist", "skull", "skullOutline")
    return Avatar(attributes, drawings, str(rng.choice(graphics)), bool(rng.random() < 0.04), seed)


def sample(n: int, seed: int = 0, split: str = "test") -> list[Avatar]:
    """`n` people; the i-th depends on (`seed`, i) alone.

    `split="train"` is what the shipped models were trained on, `"test"` shares no person with it whatever the seed.

    Raises:
        SddError: a negative `n` or `seed`, or an unknown split.
    """
    if n < 0 or seed < 0 or split not in ("train", "test"):
        raise SddError(f"sample needs n ≥ 0, seed ≥ 0 and split 'train' or 'test', not {n}, {seed}, {split!r}")
    stream = 0 if split == "train" else 1
    return [draw(np.random.default_rng([seed, stream, i]), seed=i) for i in range(n)]


def render(avatars: list[Avatar], size: int = IMAGE_SIZE) -> torch.Tensor:
    """(n, 3, size, size) in [-1, 1]."""
    import torch

    return torch.stack([a.render(size) for a in avatars]) if avatars else torch.zeros(0, 3, size, size)


class Drawn:
    """`sample` and `render` in one: (n, seed, split) → (n, 3, S, S) in [-1, 1]."""

    def __call__(self, n: int, seed: int, split: str) -> torch.Tensor:
        return render(sample(n, seed, split))

    def told(self, n: int, seed: int, split: str) -> str:
        """What those pictures follow from: this package, what draws them, and which people they are."""
        digest = sha256()
        for file in sorted(Path(__file__).parent.glob("*.py")):
            digest.update(file.read_bytes())
        drawing = [f"{n} {version(n)}" for n in ("dicebear-core", "dicebear-styles", "resvg-py", "numpy", "pillow")]
        return f"{digest.hexdigest()}, {', '.join(drawing)}: {n} people of seed {seed}, {split}"
