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
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from sdd.errors import SddError

if TYPE_CHECKING:
    import torch

IMAGE_SIZE = 128

# What each plain word may be drawn as; the first drawing is the one `replace` uses, all of them are valid
# counterfactuals.
SHAPES: dict[str, dict[str, tuple[str, ...]]] = {
    "hair": {
        "bald": (),
        "short": ("shortFlat", "shortRound", "theCaesar", "theCaesarAndSidePart"),
        "wavy": ("shortWaved", "shortCurly", "frizzle"),
        "bob": ("bob", "miaWallace", "longButNotTooLong"),
        "bun": ("bun",),
        "curly": ("curly", "curvy", "bigHair"),
        "afro": ("fro", "froBand"),
        "dreadlocks": ("dreads", "dreads01"),
        "spiky": ("dreads02",),
        "long": ("straight01", "straight02", "straightAndStrand"),
        "shaggy": ("shaggy", "shaggyMullet"),
        "undercut": ("shavedSides",),
        "balding": ("sides",),
        "flowers": ("frida",),
    },
    "hat": {
        "none": (),
        "sun hat": ("hat",),
        "winter hat": ("winterHat02", "winterHat1"),
        "beanie": ("winterHat03", "winterHat04"),
        "turban": ("turban",),
        "hijab": ("hijab",),
    },
    "mouth": {
        "smile": ("smile",),
        "sad": ("sad",),
        "serious": ("serious",),
        "surprised": ("disbelief",),
        "tongue": ("tongue",),
        "neutral": ("default",),
        "smirk": ("twinkle",),
        "concerned": ("concerned",),
        "scream": ("screamOpen",),
        "grimace": ("grimace",),
        "eating": ("eating",),
        "vomit": ("vomit",),
    },
    "eyes": {
        "open": ("default",),
        "closed": ("closed",),
        "happy": ("happy",),
        "wink": ("wink",),
        "wacky": ("winkWacky",),
        "wide": ("surprised",),
        "squint": ("squint",),
        "side": ("side",),
        "rolling": ("eyeRoll",),
        "crying": ("cry",),
        "hearts": ("hearts",),
        "dizzy": ("xDizzy",),
    },
    "brows": {
        "neutral": ("default", "defaultNatural"),
        "angry": ("angry", "angryNatural"),
        "raised": ("raisedExcited", "raisedExcitedNatural"),
        "worried": ("sadConcerned", "sadConcernedNatural", "frownNatural"),
        "flat": ("flatNatural",),
        "skewed": ("upDown", "upDownNatural"),
        "unibrow": ("unibrowNatural",),
    },
    "facial_hair": {
        "none": (),
        "beard": ("beardMedium", "beardMajestic"),
        "stubble": ("beardLight",),
        "moustache": ("moustacheFancy", "moustacheMagnum"),
    },
    "accessories": {
        "none": (),
        "glasses": ("prescription02", "prescription01"),
        "round glasses": ("round",),
        "sunglasses": ("wayfarers", "sunglasses", "kurt"),
        "eyepatch": ("eyepatch",),
    },
    "clothes": {
        "hoodie": ("hoodie",),
        "shirt": ("shirtCrewNeck", "shirtScoopNeck", "shirtVNeck"),
        "blazer": ("blazerAndShirt", "blazerAndSweater"),
        "sweater": ("collarAndSweater",),
        "graphic shirt": ("graphicShirt",),
        "overall": ("overall",),
    },
}

_HAIR_COLORS = {
    "black": "#2c1b18",
    "brown": "#724133",
    "dark brown": "#4a312c",
    "auburn": "#a55728",
    "golden": "#b58143",
    "blonde": "#d6b370",
    "platinum": "#ecdcbf",
    "red": "#c93305",
    "pink": "#f59797",
    "white": "#e8e1e1",
}
_CLOTH_COLORS = {
    "black": "#262e33",
    "blue": "#5199e4",
    "light blue": "#65c9ff",
    "pale blue": "#b1e2ff",
    "navy": "#25557c",
    "grey": "#929598",
    "light grey": "#e6e6e6",
    "dark grey": "#3c4f5c",
    "green": "#a7ffc4",
    "yellow": "#ffffb1",
    "pink": "#ff488e",
    "pale pink": "#ffafb9",
    "red": "#ff5c5c",
    "white": "#ffffff",
}
COLORS: dict[str, dict[str, str]] = {
    "hair_color": _HAIR_COLORS,
    "facial_hair_color": _HAIR_COLORS,
    "skin_color": {
        "light": "#edb98a",
        "pale": "#ffdbb4",
        "tan": "#d08b5b",
        "brown": "#ae5d29",
        "dark": "#614335",
        "orange": "#fd9841",
        "yellow": "#f8d25c",
    },
    "hat_color": _CLOTH_COLORS,
    "clothes_color": _CLOTH_COLORS,
    "accessories_color": _CLOTH_COLORS,
    "background_color": {
        "white": "#ffffff",
        "blue": "#b6e3f4",
        "purple": "#c0aede",
        "lavender": "#d1d4f9",
        "pink": "#ffd5dc",
        "orange": "#ffdfbf",
        "green": "#c8e6c9",
        "grey": "#d5d8dc",
        "black": "#30363d",
    },
}
RANGES: dict[str, tuple[float, float]] = {
    "tilt": (-16.0, 16.0),  # degrees, clockwise
    "shift_x": (-6.0, 6.0),  # percent of the width
    "shift_y": (-6.0, 6.0),  # percent of the height
    "zoom": (0.88, 1.14),  # factor
}
ATTRIBUTES: tuple[str, ...] = (*SHAPES, *COLORS, *RANGES)

# How much more often than its share of the drawings a value is drawn: rare things must be seen, absences must be
# common.
_SHARE: dict[tuple[str, str], float] = {
    ("hair", "bald"): 2.0,
    ("hat", "none"): 28.0,
    ("mouth", "eating"): 0.4,
    ("mouth", "vomit"): 0.4,
    ("mouth", "grimace"): 0.6,
    ("mouth", "scream"): 0.6,
    ("eyes", "open"): 3.0,
    ("eyes", "wacky"): 0.6,
    ("eyes", "hearts"): 0.6,
    ("eyes", "dizzy"): 0.6,
    ("eyes", "rolling"): 0.6,
    ("facial_hair", "none"): 7.0,
    ("accessories", "none"): 10.0,
    ("background_color", "white"): 2.0,
    ("accessories_color", "black"): 30.0,
}
_OPTION = {  # attribute → DiceBear's option
    "mouth": "mouth", "eyes": "eyes", "brows": "eyebrows", "facial_hair": "facialHair", "accessories": "accessories",
    "clothes": "clothes", "hair_color": "hair", "facial_hair_color": "facialHair", "skin_color": "skin",
    "hat_color": "hat", "clothes_color": "clothes", "accessories_color": "accessories", "background_color":
    "background",
}  # fmt: skip


def values(attribute: str) -> tuple[str, ...]:
    """The words a discrete attribute may take.

    Raises:
        SddError: no such attribute, or a continuous one.
    """
    table = SHAPES.get(attribute) or COLORS.get(attribute)
    if table is None:
        raise SddError(f"no avatar attribute named {attribute!r}; there are {', '.join(ATTRIBUTES)}")
    return tuple(table)


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
        from sdd.domains.captions import caption

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
        for name, option in _OPTION.items():
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

        return str(Drawing(_style(), self.options()))

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
def _style() -> Any:
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
    weight = np.array([_SHARE.get((attribute, v), 1.0) * max(1, len(drawings.get(v, ()))) ** 0.5 for v in names])
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
