"""StyleCLIP's global directions: statistics of channels, the text's direction, and what moves along it."""

import pytest
import torch

from clip_stand_ins import in_float64
from parity import fixture
from sdd.errors import SddError
from sdd.methods import channels, styleclip_global
from sdd.methods.models import Models
from sdd.nets.levels import is_rgb
from toy import toy_domain


@pytest.fixture(scope="module")
def recorded():
    known = fixture("styleclip_global")
    x, tensors = in_float64(known.inputs), in_float64(known.tensors)
    features = lambda codes: torch.tanh(codes @ tensors["toy.in"].T) @ tensors["toy.out"].T  # noqa: E731
    rgb = ["ToRGB" in name for name in known.meta["s_names"]]
    movable = channels.movable(known.meta["dims"], rgb)

    def look(in_place):
        return channels.single_channel(
            x["codes"], x["code_mean"], x["code_std"], movable, features, in_place=in_place
        )  # fmt: skip

    return known, x, movable, look


def test_statistics_as_published_and_as_meant(recorded):
    known, _, _, look = recorded
    published, clean = look(True), look(False)
    known.check("single_channel", clean)
    known.check("relevance_published", channels.relevance(published))
    known.check("relevance", channels.relevance(clean))
    assert known.error("relevance", channels.relevance(published)) > 0.1  # the published loop harms what it works on


def test_directions_of_recorded_texts(recorded):
    known, x, movable, look = recorded
    direction = styleclip_global.text_direction(x["text_target"], x["text_neutral"])
    known.check("direction", direction)
    scores = styleclip_global.scores(channels.relevance(look(False)), direction)
    for beta in known.meta["betas"]:
        known.check(f"channels_{beta}", (scores.abs() >= beta).sum().float())
        known.check(f"boundary_{beta}", styleclip_global.boundary(scores, x["code_std"], movable, beta))
    known.check("automatic_beta", torch.tensor(styleclip_global.automatic_beta(scores, known.meta["c_threshold"])))
    along = styleclip_global.boundary(scores, x["code_std"], movable, known.meta["betas"][0])
    alphas = torch.tensor(known.meta["alphas"], dtype=torch.float64)
    known.check("edited_codes", styleclip_global.edited(x["codes"], along, alphas))


def test_no_channel_above_beta_is_said():
    with pytest.raises(SddError, match="no channel"):
        styleclip_global.boundary(torch.tensor([0.1, -0.2]), torch.ones(3), torch.tensor([0, 2]), 0.3)
    with pytest.raises(SddError, match="no channel"):
        styleclip_global.boundary(torch.zeros(2), torch.ones(3), torch.tensor([0, 2]), 0.0)


def test_a_direction_is_in_units_of_the_channels():
    std = torch.tensor([2.0, 3.0, 5.0])
    found = styleclip_global.boundary(torch.tensor([-0.4, 0.2]), std, torch.tensor([0, 2]), 0.1)
    torch.testing.assert_close(found, torch.tensor([-2.0, 0.0, 2.5]))


class Red:
    """A CLIP that sees how red a picture is, and knows "red" and nothing else."""

    def __init__(self):
        self.net = torch.nn.Linear(1, 1)

    def to(self, device):
        return self

    def knows(self, text):
        return text.strip() == ""

    def features(self, images):
        return torch.stack([images[:, 0].mean((1, 2)), images[:, 1:].mean((1, 2, 3)), torch.ones(len(images))], 1)

    def texts(self, texts):
        return torch.stack([torch.tensor([2.0 * ("red" in text), 0.0, 1.0]) for text in texts])


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDD_HOME", str(tmp_path))
    return tmp_path


def test_red_is_found_among_the_channels(home):
    domain, models = toy_domain(), Models({"clip": Red})
    fitted = styleclip_global.METHOD.fit("red", "", domain, models)
    images = domain.images(6, 0, "test").clamp(-1, 1)
    less, none, more = (Red().features(fitted.edit(images, alpha))[:, 0].mean() for alpha in (-3.0, 0.0, 3.0))
    assert less < none < more
    rgb = torch.cat([torch.full((d,), is_rgb(i)) for i, d in enumerate(domain.generator.style_dims)])
    assert float(fitted.direction[rgb].abs().max()) == 0  # to-RGB layers do not move
    (kept,) = (home / "channels").iterdir()
    written = kept.stat().st_mtime_ns
    again = styleclip_global.METHOD.fit("red", "", domain, models)
    assert kept.stat().st_mtime_ns == written and torch.equal(again.direction, fitted.direction)
    learned = styleclip_global.METHOD.fit("red", "", domain, Models(), learned=fitted.learned())
    assert torch.equal(learned.edit(images), fitted.edit(images))


def test_the_same_text_twice_has_no_direction(home):
    with pytest.raises(SddError, match="no channel"):
        styleclip_global.METHOD.fit("red", "red", toy_domain(), Models({"clip": Red}))
