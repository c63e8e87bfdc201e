"""A guidance in units of its own signal: noise does not count as signal, and a louder teacher is the same teacher."""

import math

import pytest
import torch

from sdd.beyond.guidances import Bound
from sdd.beyond.scale import Scaled, signal, unit_of
from sdd.errors import SddError
from sdd.manipulators.stylegan import StyleGAN, levels_with_signal, mapper_config, signal_in, spread_of
from sdd.nets.levels import LEVELS
from sdd.nets.mapper_kinds import build_mapper
from sdd.paper.objective import ScoreDistillation
from toy import ToyTeacher, toy_domain


def power(guidance, prompt="red", batches=3):
    backbone = toy_domain().stylegan
    mapper = build_mapper(mapper_config("levels", backbone, LEVELS, 1, 1, 0.1))
    probe = StyleGAN(backbone, mapper, spread_of(backbone, torch.zeros(0), "wplus"))
    sources = probe.prepare(toy_domain().images(64, 0, "train"))
    random = torch.Generator().manual_seed(0)
    return signal(probe, sources, ToyTeacher(), guidance, [500], random, batches=batches)


def test_signal_is_not_fooled_by_noise():
    """sds carries the noise itself: its plain power is many times its signal's, which is the same as without noise."""
    noisy = power(ScoreDistillation(ToyTeacher(), "red", 30.0), batches=30)
    quiet = power(Bound("csd", ToyTeacher(), "red", 30.0), batches=30)
    assert float(noisy[0].sum()) == pytest.approx(float(quiet[0].sum()) * 30**2, rel=0.3)


def test_a_prompt_without_meaning_is_refused():
    with pytest.raises(SddError, match="means nothing to the teacher"):
        power(Bound("csd", ToyTeacher(), "nonsense", 5.0))


def test_the_unit_is_the_size_of_the_signal():
    """A gradient of 3 in each of 4 entries has power 36; a change of one unit in all of them weighs √(36·4) = 12."""
    assert unit_of([torch.full((2, 2), 9.0)]) == pytest.approx(12.0)
    assert unit_of([torch.full((2,), 9.0), torch.full((2,), 9.0)]) == pytest.approx(12.0)
    assert unit_of([torch.tensor([-1.0, 0.5])]) == 2.0  # lost in its noise: only finite
    with pytest.raises(SddError, match="not finite at the first step"):
        unit_of([torch.tensor([math.nan])])


def test_scaled_is_scaled():
    got = Scaled(lambda latents, t, noise, index: latents, 0.25)(
        torch.ones(2), torch.ones(2), torch.ones(2), torch.ones(2)
    )
    assert got.tolist() == [0.25, 0.25]


def test_levels_follow_the_signal():
    wplus = torch.zeros(10, 4)
    wplus[1], wplus[5], wplus[9] = 1.0, 8.0, 1.0
    assert levels_with_signal([wplus], 0.2) == ("medium",)
    assert levels_with_signal([wplus], 0.0) == LEVELS == levels_with_signal([torch.zeros(10, 4)], 0.0)
    assert [float(p.sum()) for p in signal_in([wplus], ("coarse", "fine"))] == [8.0]
    styles = [torch.full((3,), float(i == 3)) for i in range(14)]  # vector 3 is made from layer 2, a coarse one
    assert levels_with_signal(styles, 0.02) == ("coarse",)
    assert sum(float(p.sum()) for p in signal_in(styles, ("coarse",))) == 3.0
