"""The configuration: its presets, what in them is not the paper's, and its TOML form."""

import pytest

from sdd.errors import SddError
from sdd.training.config import DEPARTURES, PAPER, PRESETS, DistillConfig, departures


@pytest.mark.parametrize("strategy", ["above:1e-3", "above:.5", "above:-0.25", "list:3", "list: 1, 2"])
def test_strategies_are_spelled_as_numbers_are(strategy):
    assert DistillConfig.make(timesteps=strategy).timesteps == strategy


def test_timesteps_may_be_a_list():
    assert DistillConfig.make(timesteps=[700, 750]).timesteps == "list:700,750"


def test_config_round_trip(tmp_path):
    for name in PRESETS:
        config = DistillConfig.make(name)
        assert config.preset == name
        config.save(tmp_path / "c.toml")
        assert DistillConfig.make(tmp_path / "c.toml") == config
    (tmp_path / "c.toml").write_text('preset = "published"\nsteps = 7\n')
    assert DistillConfig.make(tmp_path / "c.toml") == DistillConfig.make("published", steps=7)
    (tmp_path / "c.toml").write_text("steps = \n")
    with pytest.raises(SddError, match="not a TOML file"):
        DistillConfig.make(tmp_path / "c.toml")


def test_paper_has_nothing_of_ours():
    assert departures(DistillConfig.make("paper")) == []
    assert departures(DistillConfig.make("default")) == list(DEPARTURES)
    assert departures(DistillConfig.make("published", levels=["coarse", "medium", "fine"])) == ["released code"]
    assert departures(DistillConfig.make("paper", guidance="csd")) == ["guidance"]


def test_every_option_is_the_papers_or_has_a_name():
    """What differs between `default` and `paper` belongs to one departure, so that each can be left out alone."""
    default, paper = DistillConfig.make("default"), DistillConfig.make("paper")
    kept = {"preset", "checkpoint_every", "grid_every"}
    differing = {f for f in DistillConfig.model_fields if getattr(default, f) != getattr(paper, f)} - kept
    owned = [option for options, _ in DEPARTURES.values() for option in options]
    assert len(owned) == len(set(owned)) and differing <= set(owned)
    assert set(PAPER) <= set(DistillConfig.model_fields)


def test_the_paper_is_the_paper():
    """Section 4 and 5.1, and the released hyperparameters where these leave a choice."""
    paper = DistillConfig.make("paper")
    assert paper.guidance == "sds" and paper.timesteps.startswith("above:") and paper.shuffle
    assert (paper.search_gradient, paper.search_scale, paper.search_weighted) == ("image", 1.0, False)
    assert (paper.l2, paper.identity, paper.images) == (10.0, 1.0, "all")
    published = DistillConfig.make("published")
    assert (published.timesteps, published.scale, published.topk, published.shuffle) == ("list:800", 100.0, 1024, False)
    assert published.levels == ("medium", "fine") and published.steps == 4000 and published.batch == 2
