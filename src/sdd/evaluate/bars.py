"""What the project promised: figures, and the values they must reach."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sdd.evaluate.markdown import number, span

Found = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Bar:
    """One thing the project promised: a figure of a part, and the value it must reach (or stay below)."""

    what: str
    part: str
    key: str
    value: float
    most: bool = False  # the figure may be at most the value, instead of at least
    unit: str = ""

    def row(self, found: Found) -> list[str]:
        """What, bar, measured (with its interval, where it is a mean over few), met."""
        sign = "≤" if self.most else "≥"
        promised = number(self.value, self.unit)
        bar = f"{sign} {promised}"
        part = found.get(self.part, {})
        measured = part.get("figures", {}).get(self.key)
        if measured is None or math.isnan(measured):
            return [self.what, bar, "not measured", "–"]
        shown, met = number(measured, self.unit), self.met(measured)
        if shown == promised and not met:  # missed by less than a digit
            shown = number(measured, self.unit, more=2)
        low_high = part.get("intervals", {}).get(self.key)
        if low_high is not None:
            shown = f"{shown} {span(low_high[0], low_high[1], self.unit)}"
        return [self.what, bar, shown, "yes" if met else "**no**"]

    def met(self, measured: float) -> bool:
        """Whether a figure reaches the bar."""
        return measured <= self.value if self.most else measured >= self.value


BARS = (
    Bar("reconstruction, mean PSNR (peak 2)", "reconstruction", "psnr", 30, unit="dB"),
    Bar("attributes the judge reads unchanged after reconstruction", "reconstruction", "unchanged", 0.97, unit="%"),
    Bar("judge's accuracy, worst attribute", "judge", "worst", 0.99, unit="%"),
    Bar("teacher: captioned attributes the judge finds", "teacher", "found", 0.95, unit="%"),
    Bar("editors: success, mean", "editors", "success", 0.95, unit="%"),
    Bar("editors: side effects, mean", "editors", "side_effects", 0.015, most=True, unit="%"),
    Bar("editors: editability, mean", "editors", "editability", 0.68),
    Bar("editors: fidelity, mean", "editors", "fidelity", 38, unit="dB"),
    Bar("editors: gain against the source, mean", "editors", "gain", 0.40),
    Bar("editors: gain against the source, worst prompt", "editors", "worst_gain", 0.0),
    Bar("editors: reversibility, mean", "editors", "reversibility", 35, unit="dB"),
    Bar("pictures framed otherwise, registered: lost, worst framing", "framings", "lost", 1.5, most=True, unit="dB"),
    Bar("training one editor, search included", "speed", "train", 30, most=True, unit="s"),
    Bar("training another prompt of the same domain", "speed", "second_train", 20, most=True, unit="s"),
    Bar("editing: cold `sdd edit` of one picture", "speed", "cold_edit", 3, most=True, unit="s"),
    Bar("editing: warm, per picture in a batch of 64", "speed", "warm_edit", 0.020, most=True, unit="ms"),
    Bar("`sdd --help`", "speed", "help", 0.7, most=True, unit="s"),
)
