"""What the project promised: figures, and the values they must reach."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sdd.evaluate.markdown import number

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
        """What, bar, measured, met."""
        sign = "≤" if self.most else "≥"
        promised = number(self.value, self.unit)
        bar = f"{sign} {promised}"
        if self.part not in found:
            return [self.what, bar, "not measured", "–"]
        measured = found[self.part]["figures"].get(self.key)
        if measured is None or math.isnan(measured):
            return [self.what, bar, "not measured", "–"]
        if self.met(measured):
            return [self.what, bar, number(measured, self.unit), "yes"]
        shown = number(measured, self.unit)
        if shown == promised:  # missed by less than a digit
            shown = number(measured, self.unit, more=2)
        return [self.what, bar, shown, "**no**"]

    def met(self, measured: float) -> bool:
        """Whether a figure reaches the bar."""
        return measured <= self.value if self.most else measured >= self.value


BARS = (
    Bar("reconstruction, mean PSNR (peak 2)", "reconstruction", "psnr", 30, unit="dB"),
    Bar("attributes the judge reads unchanged after reconstruction", "reconstruction", "unchanged", 0.97, unit="%"),
    Bar("judge's accuracy, worst attribute", "judge", "worst", 0.99, unit="%"),
    Bar("teacher: captioned attributes the judge finds", "teacher", "found", 0.95, unit="%"),
    Bar("editors: success, mean", "editors", "success", 0.9, unit="%"),
    Bar("editors: success, worst prompt", "editors", "worst_success", 0.75, unit="%"),
    Bar("editors: side effects, mean", "editors", "side_effects", 0.05, most=True, unit="%"),
    Bar("editors: editability, mean", "editors", "editability", 0.6),
    Bar("editors: fidelity, mean", "editors", "fidelity", 26, unit="dB"),
    Bar("editors: gain, mean", "editors", "gain", 0.3),
    Bar("training one editor, search included", "speed", "train", 60, most=True, unit="s"),
    Bar("editing: cold `sdd edit` of one picture", "speed", "cold_edit", 5, most=True, unit="s"),
    Bar("editing: warm, per picture in a batch of 64", "speed", "warm_edit", 0.015, most=True, unit="ms"),
    Bar("`sdd --help`", "speed", "help", 0.7, most=True, unit="s"),
)
