"""Equations 13 to 15 (`sdd.paper.cost`) with measured seconds, and with those of one call of each real-size network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdd.errors import SddError, one_line
from sdd.paper.cost import break_even, diffusion_cost, distillation_cost

if TYPE_CHECKING:
    from sdd.training.config import DistillConfig

# Networks whose calls are counted, and what a call is.
CALLS = {
    "unet": "the teacher's U-Net, one picture, one prompt",
    "encode": "the autoencoder's encoder",
    "decode": "the autoencoder's decoder",
    "encoder": "the generator's encoder (e4e)",
    "generator": "the generator",
    "backward": "back through encoder and generator, one picture of a training step",
}


def calls_of(given: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Seconds of one call of each network, from NAME=SECONDS.

    Raises:
        SddError: an unknown network, a number that is none, or some but not all.
    """
    found: dict[str, float] = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            seconds = float(value) if equals else math.nan
        except ValueError:
            seconds = math.nan
        if name not in CALLS or not 0 <= seconds < 1e6:
            raise SddError(f"--call takes NAME=SECONDS with one of {', '.join(CALLS)}, not {one_line(text, 40)!r}")
        found[name] = seconds
    if found and (lacking := [name for name in CALLS if name not in found]):
        raise SddError(f"costs of a real size need --call for {', '.join(lacking)}, too")
    return tuple(found.items())


@dataclass(frozen=True)
class Cost:
    """What a method costs, in seconds.

    Attributes:
        train: for a prompt, 0 where nothing is trained. infer: for a picture.
    """

    label: str
    train: float
    infer: float

    def total(self, m: int, n: int) -> float:
        """n prompts on m pictures each: Equation 14, and Equation 13 where nothing is trained."""
        return distillation_cost(m, n, self.train, self.infer) if self.train else diffusion_cost(m, n, self.infer)


def cost_rows(costs: Sequence[Cost], against: Cost) -> list[list[str]]:
    """Of each: to train, an edit, m = 100 for n = 10, m = 1, 10, 100, 1000 for one prompt, and the break-even m."""
    rows = []
    for cost in costs:
        ones = [seconds(cost.total(m, 1)) for m in (1, 10, 100, 1000)]
        even = break_even(cost.train, cost.infer, against.infer) if cost.train else math.nan
        pays = "–" if math.isnan(even) or cost is against else "never" if math.isinf(even) else f"{math.ceil(even)}"
        trained = seconds(cost.train) if cost.train else "–"
        rows.append([cost.label, trained, seconds(cost.infer), seconds(cost.total(100, 10)), *ones, pays])
    return rows


COST_HEAD = [
    "method", "to train a prompt", "an edit", "m = 100, n = 10", "m = 1", "m = 10", "m = 100", "m = 1000",
    "pays from m =",
]  # fmt: skip


def seconds(value: float) -> str:
    """Seconds, minutes, hours or days, with the digits worth reading."""
    if math.isnan(value):
        return "not measured"
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if value >= 2 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def real_sizes(calls: Mapping[str, float], settings: Mapping[str, DistillConfig]) -> list[Cost]:
    """Costs of Stable Diffusion and StyleGAN2 at their published sizes, counted in calls.

    SDEdit runs 0.6 of 50 steps with two prompts, DDIB 0.7 of them back under one and forth under two. A training
    searches 19 timesteps, then draws, encodes and asks the U-Net of each picture of each step under two prompts, twice
    that where the source is asked about as well (dds).

    Args:
        calls: seconds of each of `CALLS`. settings: SDD's configurations by what they are called.
    """
    unet, around = calls["unet"], calls["encode"] + calls["decode"]
    costs = [
        Cost("SDEdit, 30 of 50 steps", 0.0, 60 * unet + around),
        Cost("SDEdit, 50 steps", 0.0, 100 * unet + around),
        Cost("DDIB, 35 of 50 steps", 0.0, 105 * unet + around),
    ]
    for name, made in settings.items():
        steps = made.max_steps if made.steps == "auto" else made.steps
        asked = 4 if made.guidance in ("dds", "pds") else 2
        prompts = 1 if made.search_scale == 1 else 2
        back = calls["backward"] if made.search_gradient == "image" else 0.0
        search = made.search_images * (calls["encode"] + 19 * (prompts * unet + back))
        step = calls["generator"] + calls["encode"] + asked * unet + calls["backward"]
        train = search + steps * made.batch * step
        costs.append(Cost(f"SDD, {name} ({steps} steps of {made.batch})", train, calls["encoder"] + calls["generator"]))
    return costs
