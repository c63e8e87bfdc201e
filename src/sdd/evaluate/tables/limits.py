"""What the editors do not do: what was measured of it, and what whoever looked at the pictures saw."""

from __future__ import annotations

import statistics
from typing import Any

from sdd.evaluate.markdown import number, table
from sdd.evaluate.prompts import prompt, subjects

OFTEN = 0.1  # of the pictures that can show an attribute
RARE = 0.9  # success below which a prompt is named

# Seen in the grids of people of seed 5, enlarged, as drawn and as laid into the source; with where it comes from.
SEEN = (
    "**Hair that goes leaves a shade.** *Bald*, *a turban* and *white hair* on wide curls: where they ended a faint "
    "ring stays, in which drawing and source disagree by a pixel (the blend's); hair that hangs behind the neck stays "
    "in part (the drawing's own).",
    "**White hair takes the background's tint**, lilac on lilac and pink on pink, and wide curls become a short cut: "
    "both are in the drawing, so they are the guidance's. It also whitens a little of the shoulders.",
    "**Skin keeps its hue.** *Dark skin* on yellow faces is olive, *pale skin* on them cream: the guidance moves "
    "brightness further than chroma. Bare arms and the neck's edge are blotched.",
    "**A hijab, an eyepatch and narrow frames come back badly.** The generator draws them softly to begin with, so "
    "that an edit near them shows it: an eyepatch turns into a blue lens.",
    "***Angry* takes glasses off**: presumably, at the noise at which the guidance is asked, angry brows explain a "
    "dark line across the eyes as well as a frame does. What holds all change of the picture (`shown_weight`) keeps "
    "more of the glasses and costs other prompts their success.",
    "**What lies behind a lens shines through.** *Sunglasses* over heart eyes are tinted red, closed eyes are faintly "
    "seen; *glasses* redden pupils, and given to somebody with sunglasses they keep dark lenses.",
    "**Mouths are soft.** A tongue leaves a pink tip and is a little magenta, a moustache loses its lower edge, dark "
    "skin gets a speckled rim, and a grimace of teeth becomes a brown blot: a mouth is some sixteen pixels wide, which "
    "is one of the teacher's latents. *Frowning* is a mouth in the teacher's language, so it moves no brows.",
    "**A beard is red-brown whatever the hair**, half transparent on pale faces: nothing in the prompt says otherwise.",
    "**Turning a head blurs clothes and long hair**, and colour prompts for clothes lose prints and leave a hood's "
    "strings behind.",
    "**Nothing finer than 128 × 128 is drawn.** A larger picture keeps its own pixels where nothing changed; what did "
    "change is as soft as the generator.",
)

# Counted by eye in avatars of the JavaScript DiceBear; tests/data/avatars has twelve of them, and how they are drawn.
HAVE = (
    "**Hats come off badly.** *White hair* bleaches hats or draws hair where the brim was (7 of 7; 4 end as a mixture "
    "of hat and hair), bleaches a hijab and blurs it below the chin (2 of 2), and bleaches a crown of flowers (1 of "
    "1).",
    "**White is seldom white.** Red and pink hair becomes pale pink whatever is behind it (12 of 12), brown hair "
    "lilac.",
    "**Long hair over clothes** is whitened in part, so that a lock stays dark or a shoulder is smeared: 3 pictures. "
    "Among them is one of the 3 mirrored people with long hair, registered or not.",
    "**Gradients.** *Sunglasses* and *smile* keep a gradient behind the person (5 of 5); *white hair* leaves a flat "
    "rim or ghost around the hair (4 of 5), for the generator draws one colour. Before a steep one, orange to blue, a "
    "person inverts at 16 dB, before a plain ground at 25 dB, and the warning is of the background.",
    "**An eyepatch stays under sunglasses**: its lens is flat, and a piece of its strap stays on forehead and hair (3 "
    "of 3). *White hair* and *smile* leave it alone.",
    "**Glasses keep their frame's colour** when *sunglasses* darken them (4 of 5).",
    "**An old mouth shows beside a smile**: the ends of puffed cheeks' line (7 of 7), a faint outline of bared teeth "
    "(4 of 6), a faint brown trace of what a sick one spits (2 of 4).",
    "**What is edited is as soft as it is drawn**: a hijab that *white hair* bleaches loses its folds, hair its "
    "strands.",
    "**A person of less than 60 % of the usual size**, as in a photo's wide canvas, is found in a wrong pose, so that "
    "edits lie beside their place (2 of 2), and no warning says so. From two thirds of the size on all are found (6 "
    "of 6).",
    "**A shifted or enlarged person takes seconds to be registered** (5 pictures), where an edit takes a tenth of one.",
)


def _glasses(part: dict[str, Any], text: str) -> str:
    """The gain of people with glasses or an eyepatch and of those without, where there are both."""
    gains = next(row["people"]["gain"] for row in part["rows"] if row["prompt"] == text)
    people = subjects(prompt(text), part["n"], part["seed"])
    wears = [person.attributes["accessories"] != "none" for person in people]
    parts = [[gain for gain, worn in zip(gains, wears, strict=True) if worn is which] for which in (True, False)]
    if not all(parts):
        return ""
    (some, with_), (others, without) = ((len(found), statistics.fmean(found)) for found in parts)
    return f": {with_:.2f} of the {some} who wear glasses or an eyepatch, {without:.2f} of the {others} others"


def section(part: dict[str, Any]) -> list[str]:
    """The part of the page; of the editors' figures."""
    rows = part["rows"]
    success, gain = (
        {row["prompt"]: statistics.fmean(row["people"][name]) for row in rows} for name in ("success", "gain")
    )
    missed = [f"*{text}* ({number(share, '%')})" for text, share in success.items() if share < RARE]
    nearer = [f"*{text}* ({value:.2f}{_glasses(part, text)})" for text, value in gain.items() if value < 0]
    body = []
    for row in rows:
        often = sorted(((share, name) for name, share in row["changed"].items() if share >= OFTEN), reverse=True)
        if often:
            said = ", ".join(f"{name.replace('_', ' ')} {number(share, '%')}" for share, name in often)
            body.append([row["prompt"], said])
    return [
        "## What it does not do",
        "",
        f"Success below {RARE:.0%}: {', '.join(missed) or 'none'}. The untouched source is nearer to what was asked "
        f"(gain below 0): {', '.join(nearer) or 'none'}. What else the judge reads otherwise in at least {OFTEN:.0%} "
        "of the pictures that can show it:",
        "",
        *table(["prompt", "also changes"], body),
        "",
        "Seen in the pictures:",
        "",
        *(f"* {line}" for line in SEEN),
        "",
        "Seen, by *white hair*, *sunglasses* and *smile*, in 47 avatars as people have them: drawn by the JavaScript "
        "DiceBear 9 with default options, 12 as they come, the others mirrored, scaled, shifted, turned, cut to a "
        "circle, on a plain ground or a gradient, or in a larger canvas; 96 to 1024 pixels, PNG, JPEG and WebP. All "
        "keep their size, and where nothing is edited every pixel and its transparency; `sdd bulk` writes what "
        "`sdd edit` does.",
        "",
        *(f"* {line}" for line in HAVE),
        "",
    ]
