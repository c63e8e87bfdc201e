"""The style `avataaars` as data: its options, its words, and how often each is drawn."""

from __future__ import annotations

from sdd.errors import SddError

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
SHARE: dict[tuple[str, str], float] = {
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
OPTION = {  # attribute → DiceBear's option
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
