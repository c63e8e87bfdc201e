"""The language of the avatars: a small grammar with synonyms, partial and shuffled, in sentences and bare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sdd.domains.avatars import Avatar

# Each value's wordings. "{c}" is filled by the colour of the thing, or left out.
PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "hair": {
        "bald": ("bald", "no hair", "a bald head", "bald head"),
        "short": ("short {c} hair", "short straight {c} hair"),
        "wavy": ("short wavy {c} hair", "wavy {c} hair", "short curly {c} hair"),
        "bob": ("a {c} bob", "a {c} bob haircut", "medium {c} hair"),
        "bun": ("a {c} bun", "a {c} hair bun", "{c} hair in a bun"),
        "curly": ("long curly {c} hair", "curly {c} hair", "big {c} hair"),
        "afro": ("a {c} afro", "{c} afro hair"),
        "dreadlocks": ("{c} dreadlocks", "{c} dreads"),
        "spiky": ("spiky {c} hair", "messy {c} hair"),
        "long": ("long {c} hair", "long straight {c} hair"),
        "shaggy": ("shaggy {c} hair", "a {c} shag"),
        "undercut": ("shaved sides and {c} hair", "a {c} undercut", "shaved sides"),
        "balding": ("balding {c} hair", "balding", "a receding {c} hairline"),
        "flowers": ("{c} hair with flowers", "flowers in the hair"),
    },
    "hair_color": {
        "black": ("black hair", "raven hair", "jet black hair"),
        "brown": ("brown hair", "brunette", "chestnut hair"),
        "dark brown": ("dark brown hair",),
        "auburn": ("auburn hair", "copper hair"),
        "golden": ("golden hair", "golden blonde hair", "dark blonde hair"),
        "blonde": ("blonde hair", "blond hair", "fair hair"),
        "platinum": ("platinum hair", "platinum blonde hair", "light blonde hair"),
        "red": ("red hair", "ginger hair", "a redhead"),
        "pink": ("pink hair", "pastel pink hair"),
        "white": ("white hair", "snow-white hair", "silver hair", "grey hair", "gray hair"),
    },
    "hat": {
        "none": ("no hat", "without a hat"),
        "sun hat": ("a {c} hat", "a {c} sun hat", "wearing a {c} hat"),
        "winter hat": ("a {c} winter hat", "a {c} hat with ear flaps", "wearing a {c} winter hat"),
        "beanie": ("a {c} beanie", "wearing a {c} beanie", "a {c} woolly hat"),
        "turban": ("a {c} turban", "wearing a {c} turban"),
        "hijab": ("a {c} hijab", "a {c} headscarf", "wearing a {c} hijab"),
    },
    "mouth": {
        "smile": ("a smile", "smiling", "a big smile", "smile", "laughing"),
        "sad": ("a sad mouth", "sad", "frowning", "a frown"),
        "serious": ("a serious mouth", "serious", "a straight face"),
        "surprised": ("surprised", "a surprised mouth", "an astonished look"),
        "tongue": ("tongue out", "sticking the tongue out", "a tongue"),
        "neutral": ("a neutral mouth", "a neutral expression", "neutral"),
        "smirk": ("a smirk", "a slight smile", "smirking"),
        "concerned": ("a concerned mouth", "concerned", "uneasy"),
        "scream": ("screaming", "a scream", "shouting"),
        "grimace": ("a grimace", "bared teeth", "showing teeth"),
        "eating": ("eating", "chewing", "full cheeks"),
        "vomit": ("vomiting", "sick", "throwing up"),
    },
    "eyes": {
        "open": ("open eyes", "normal eyes"),
        "closed": ("closed eyes", "eyes closed", "asleep", "sleeping"),
        "happy": ("happy eyes", "joyful eyes"),
        "wink": ("winking", "a wink"),
        "wacky": ("a wacky wink", "wacky eyes"),
        "wide": ("wide eyes", "wide open eyes", "surprised eyes"),
        "squint": ("squinting", "squinting eyes"),
        "side": ("looking sideways", "eyes looking to the side"),
        "rolling": ("rolling eyes", "eyes rolled up"),
        "crying": ("crying", "a tear", "tears"),
        "hearts": ("heart eyes", "hearts for eyes", "in love"),
        "dizzy": ("dizzy eyes", "dizzy", "crossed out eyes"),
    },
    "brows": {
        "neutral": ("neutral eyebrows", "normal eyebrows"),
        "angry": ("angry", "angry eyebrows", "an angry look", "furious"),
        "raised": ("raised eyebrows", "excited eyebrows", "excited"),
        "worried": ("worried eyebrows", "worried", "sad eyebrows"),
        "flat": ("flat eyebrows", "thick flat eyebrows"),
        "skewed": ("one raised eyebrow", "skeptical eyebrows", "skeptical"),
        "unibrow": ("a unibrow", "unibrow"),
    },
    "facial_hair": {
        "none": ("no beard", "clean-shaven", "shaved"),
        "beard": ("a {c} beard", "a full {c} beard", "bearded", "{c} beard"),
        "stubble": ("{c} stubble", "a light {c} beard", "a short {c} beard"),
        "moustache": ("a {c} moustache", "a {c} mustache", "{c} moustache"),
    },
    "accessories": {
        "none": ("no glasses", "without glasses"),
        "glasses": ("glasses", "wearing glasses", "square glasses", "eyeglasses", "spectacles"),
        "round glasses": ("round glasses", "wearing round glasses"),
        "sunglasses": ("sunglasses", "wearing sunglasses", "dark glasses", "shades"),
        "eyepatch": ("an eyepatch", "wearing an eyepatch", "a pirate"),
    },
    "clothes": {
        "hoodie": ("a {c} hoodie", "wearing a {c} hoodie", "a {c} hooded sweatshirt"),
        "shirt": ("a {c} shirt", "a {c} t-shirt", "wearing a {c} shirt"),
        "blazer": ("a {c} blazer", "a {c} jacket", "wearing a {c} suit"),
        "sweater": ("a {c} sweater", "a {c} sweater with a collar", "a {c} pullover"),
        "graphic shirt": ("a {c} graphic shirt", "a {c} shirt with a print", "a printed {c} shirt"),
        "overall": ("{c} overalls", "wearing {c} overalls", "{c} dungarees"),
    },
    "clothes_color": {
        color: tuple(f"{word} clothes" for word in words)
        for color, words in {
            "black": ("black",),
            "blue": ("blue",),
            "light blue": ("light blue", "sky blue"),
            "pale blue": ("pale blue",),
            "navy": ("navy", "navy blue", "dark blue"),
            "grey": ("grey", "gray"),
            "light grey": ("light grey", "light gray"),
            "dark grey": ("dark grey", "dark gray"),
            "green": ("green", "mint green"),
            "yellow": ("yellow",),
            "pink": ("pink", "hot pink"),
            "pale pink": ("pale pink", "light pink"),
            "red": ("red",),
            "white": ("white",),
        }.items()
    },
    "skin_color": {
        "light": ("light skin", "beige skin"),
        "pale": ("pale skin", "fair skin", "very light skin"),
        "tan": ("tan skin", "tanned skin", "olive skin"),
        "brown": ("brown skin",),
        "dark": ("dark skin", "black skin", "dark brown skin"),
        "orange": ("orange skin",),
        "yellow": ("yellow skin",),
    },
    "background_color": {
        "white": ("a white background",),
        "blue": ("a blue background",),
        "purple": ("a purple background",),
        "lavender": ("a lavender background",),
        "pink": ("a pink background",),
        "orange": ("an orange background", "a peach background"),
        "green": ("a green background",),
        "grey": ("a grey background", "a gray background"),
        "black": ("a black background", "a dark background"),
    },
    "tilt": {
        "left": ("head tilted left", "tilted to the left", "leaning left"),
        "right": ("head tilted right", "tilted to the right", "leaning right"),
        "none": ("head upright", "upright"),
    },
    "zoom": {"near": ("close up", "a close-up"), "far": ("far away", "small in the picture")},
}
# Colours of things, as words in front of a noun; the first is the value itself.
_COLOR_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "hair": {
        "white": ("white", "silver", "snow-white", "grey"),
        "brown": ("brown", "chestnut"),
        "red": ("red", "ginger"),
        "blonde": ("blonde", "blond"),
        "golden": ("golden", "dark blonde"),
        "platinum": ("platinum", "light blonde"),
    },
    "cloth": {
        "grey": ("grey", "gray"),
        "navy": ("navy", "dark blue"),
        "light blue": ("light blue", "sky blue"),
        "pale pink": ("pale pink", "light pink"),
        "pink": ("pink", "hot pink"),
    },
}
_COLOR_OF = {"hair": "hair_color", "facial_hair": "facial_hair_color", "hat": "hat_color", "clothes": "clothes_color"}
_FRAMES = (
    "a person with {}",
    "someone with {}",
    "an avatar with {}",
    "a portrait of a person with {}",
    "a cartoon face with {}",
    "a drawing of a person with {}",
    "a picture of someone with {}",
    "a face with {}",
    "a man with {}",
    "a woman with {}",
    "{}",
)


def tilt_word(degrees: float) -> str | None:
    """The word for a tilt; None where it is neither upright nor clearly tilted."""
    return "none" if abs(degrees) < 2 else "right" if degrees > 6 else "left" if degrees < -6 else None


def word(avatar: Avatar, attribute: str) -> str | None:
    """What the captions call an attribute of this person; None where they have no word for it."""
    value = avatar.attributes[attribute]
    if attribute == "tilt":
        return tilt_word(value)
    if attribute == "zoom":
        return "near" if value > 1.08 else "far" if value < 0.94 else None
    return str(value)


def _phrase(avatar: Avatar, attribute: str, rng: np.random.Generator) -> str | None:
    said = word(avatar, attribute)
    if said is None or not avatar.visible(attribute):
        return None
    text = str(rng.choice(PHRASES[attribute][said]))
    color = ""
    if "{c}" in text and rng.random() < 0.5:
        name = avatar.attributes[_COLOR_OF[attribute]]
        color = str(rng.choice(_COLOR_WORDS["cloth" if attribute in ("hat", "clothes") else "hair"].get(name, (name,))))
    return " ".join(text.replace("{c}", color).split()).replace("a auburn", "an auburn")


def mentions(avatar: Avatar, rng: np.random.Generator) -> list[tuple[str, str]]:
    """A random part of what the picture shows: attributes, and how each is worded.

    Absences ("no hat") are seldom said, and about a quarter of the captions say one thing only, so that a bare
    "white hair" is in the language.
    """
    names = list(rng.permutation(list(PHRASES)))
    count = 1 if rng.random() < 0.25 else int(rng.integers(2, 9))
    found: list[tuple[str, str]] = []
    for name in names:
        absent = word(avatar, name) in ("none", "neutral", "open")
        if absent and rng.random() < 0.7:
            continue
        phrase = _phrase(avatar, name, rng)
        if phrase:
            found.append((str(name), phrase))
        if len(found) == count:
            break
    if not found:
        found = [("skin_color", str(rng.choice(PHRASES["skin_color"][avatar.attributes["skin_color"]])))]
    return found


def sentence(phrases: list[str], rng: np.random.Generator) -> str:
    """Phrases as one caption: bare, or in a full sentence."""
    if rng.random() < 0.45:
        return ", ".join(phrases)
    listing = phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
    return str(rng.choice(_FRAMES)).format(listing)


def caption(avatar: Avatar, rng: np.random.Generator) -> str:
    """A caption of a random part of what the picture shows (`mentions`, `sentence`)."""
    return sentence([phrase for _, phrase in mentions(avatar, rng)], rng)


def words() -> list[str]:
    """Every word of the language, sorted; compounds such as "snow-white" are given as their parts."""
    texts = [text for table in PHRASES.values() for texts in table.values() for text in texts]
    texts += [word for table in _COLOR_WORDS.values() for options in table.values() for word in options]
    texts += [*_FRAMES, "and", "an", "white black yellow"]
    return sorted({w for text in texts for w in text.replace("{c}", " ").replace("{}", " ").replace("-", " ").split()})
