"""How far strength 1 goes: to where, along the trained edit, the guidance is satisfied, and a little beyond.

What holds an edit near its source has settled in which direction it goes, and stopped it short of what the prompt asks.
"""

from __future__ import annotations

from collections.abc import Callable


def satisfied(slope: Callable[[float], float]) -> float:
    """The strength at which the guidance no longer falls: where its derivative by strength, `slope`, crosses zero.

    Looked for in [2/3, 2] and interpolated between the strengths tried: further away the manipulator knows nothing.
    """
    here, at = 1.0, slope(1.0)
    for there in (1.25, 1.5, 2.0) if at < 0 else (0.8, 2 / 3):
        beyond = slope(there)
        if (beyond < 0) != (at < 0):
            return here + (there - here) * at / (at - beyond)
        here, at = there, beyond
    return here
