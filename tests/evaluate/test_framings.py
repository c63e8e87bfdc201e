"""The table of framings: compared over the same part of the person, and said on the page."""

import pytest
import torch

from sdd.beyond.pose import Pose
from sdd.domains.avatars.truth import AVATARS
from sdd.domains.embedded import embedded
from sdd.evaluate.command import finish
from sdd.evaluate.intervals import median
from sdd.evaluate.page import main
from sdd.evaluate.tables.framings import EDITION, NAME, framed, measured


def test_half_a_turn_loses_nothing():
    person, pose = AVATARS.people(5, 0, 1)[0], Pose(turn=180.0)
    assert torch.equal(framed(person, pose), framed(person, Pose()).flip(1, 2))
    one, pictures = measured(person, pose, embedded())
    assert one.registered == pytest.approx(one.upright, abs=0.01) and one.plain < one.registered - 10 and one.looked
    assert [picture.shape for picture in pictures] == [(3, 128, 128)] * 3


def test_a_median_and_where_it_lies():
    found = median([1.0, 2.0, float("nan"), 9.0])
    assert found.value == 2.0 and 1.0 <= found.low <= 2.0 <= found.high <= 9.0
    assert median([3.0]).value == 3.0


def test_the_page_says_what_is_lost(tmp_path):
    keys = ("upright", "plain", "registered", "lost", "lost_unasked")
    row = {"framing": "80 %", "looked": 0.5, "bar": True} | {key: [float(i), 0.5, 9.5] for i, key in enumerate(keys)}
    finish(NAME, {"figures": {"lost": 3.0}, "rows": [row]}, 2, 0, tmp_path / "figures", EDITION)
    main(tmp_path / "figures", tmp_path / "avatars.md")
    text = (tmp_path / "avatars.md").read_text()
    assert "| 80 % | 0.0 dB | 1.0 dB | 2.0 dB | 3.0 [0.5, 9.5] | 50.0 % | 4.0 [0.5, 9.5] |" in text
    assert "| pictures framed otherwise, registered: lost, worst framing | ≤ 1.5 dB | 3.0 dB | **no** |" in text
