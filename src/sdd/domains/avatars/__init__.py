"""Avatars: people drawn from options that can all be set, so that the exact edited picture can be drawn too.

person = avatars.sample(1, seed=7)[0]
person.render(), person.caption()
person.replace(hair_color="white").render()     the counterfactual: the exact right answer
"""

from sdd.domains.avatars.avataaars import ATTRIBUTES, COLORS, IMAGE_SIZE, RANGES, SHAPES, values
from sdd.domains.avatars.meaning import meaning, shows
from sdd.domains.avatars.person import Avatar, Drawn, draw, render, sample

__all__ = [
    "ATTRIBUTES", "COLORS", "IMAGE_SIZE", "RANGES", "SHAPES", "Avatar", "Drawn", "draw", "meaning", "render", "sample",
    "shows", "values",
]  # fmt: skip
