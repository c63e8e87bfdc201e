"""The StyleGAN manipulator: units that no generator changes, and changes that are exactly the code's."""

import pytest
import torch

from sdd.errors import SddError
from sdd.manipulators.protocol import Change
from sdd.manipulators.stylegan import StyleGAN, mapper_config, spread_of, standardise, style_units
from sdd.nets.levels import LEVELS
from sdd.nets.mapper_kinds import build_mapper
from toy import toy_domain


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def manipulator(kind="levels", spread=None, seed=0):
    backbone = toy_domain().stylegan
    mapper = build_mapper(mapper_config(kind, backbone, LEVELS, 16, 2, 0.1))
    generator = torch.Generator().manual_seed(seed)
    for p in mapper.parameters():
        p.data.normal_(generator=generator)
    return StyleGAN(backbone, mapper, spread)


def test_the_size_of_a_change_is_in_units_of_the_code():
    std = random(8, 8).abs() + 0.1
    f = manipulator(spread=[std])
    assert float(f.size(Change((torch.zeros(2, 8, 8),)))) == 0
    assert float(f.size(Change((std.expand(5, 8, 8),)))) == pytest.approx(1)
    scale, delta = random(8, 8, seed=2).abs() + 0.5, random(2, 8, 8, seed=3)
    scaled = manipulator(spread=[std * scale]).size(Change((delta * scale,)))
    torch.testing.assert_close(scaled, f.size(Change((delta,))))
    assert float(manipulator().size(Change((torch.full((2, 8, 8), 3.0),)))) == 9  # the code's own units


def test_style_vectors_count_by_their_length():
    f = manipulator("stylespace", spread=[torch.ones(1), torch.ones(3)])
    assert float(f.size(Change((torch.ones(2, 1), torch.zeros(2, 3))))) == 0.25


def test_units_are_those_of_the_codes_that_are_seen():
    backbone = toy_domain().stylegan
    codes = backbone.encoder(toy_domain().images(50, 0, "train"))
    mean, std = style_units(backbone, codes)
    styles = backbone.generator.styles(codes)
    torch.testing.assert_close(mean[3], styles[3].mean(0))
    assert (std[3] >= styles[3].std(0, unbiased=False) - 1e-6).all()
    assert len(spread_of(backbone, codes, "style")) == len(styles) and len(spread_of(backbone, codes, "wplus")) == 1
    f = manipulator("stylespace")
    standardise(f.mapper, backbone, codes)
    torch.testing.assert_close(f.mapper.get_buffer("style_mean_3"), mean[3])


@pytest.mark.parametrize("kind", ["levels", "stylespace", "LevelsMapper"])
def test_what_is_drawn_is_the_changed_code(kind):
    f, images = manipulator(kind), toy_domain().images(3, 0, "test")
    y = f.prepare(images)
    torch.testing.assert_close(f.draw(y), toy_domain().generator.synthesis(toy_domain().encoder(images)))
    torch.testing.assert_close(f(y, strength=0.0), f.draw(y))
    change = f.change(y)
    torch.testing.assert_close(f(y, strength=0.5), f.draw(y, change.scaled(0.5)))
    torch.testing.assert_close(f.draw(y, change, change.scaled(-1.0)), f.draw(y))
    each = f(y, strength=torch.tensor([0.0, 1.0, -0.5]))
    for i, s in enumerate((0.0, 1.0, -0.5)):
        torch.testing.assert_close(each[i : i + 1], f(y[i : i + 1], strength=s), rtol=1e-4, atol=1e-5)


def test_levels_are_parts_of_a_change():
    for kind in ("levels", "stylespace"):
        f = manipulator(kind)
        change = f.change(f.prepare(toy_domain().images(2, 0, "test")))
        parts = [f.restrict(change, [level]) for level in LEVELS]
        for i, whole in enumerate(change.parts):
            torch.testing.assert_close(sum(part.parts[i] for part in parts), whole)
        with pytest.raises(SddError, match="unknown level 'huge'"):
            f.restrict(change, ["huge"])


def test_a_twin_learns_apart_and_shares_what_is_frozen():
    f = manipulator(seed=1)
    other = manipulator(seed=2)
    twin = f.with_learned(other.learned)
    assert twin.backbone is f.backbone and twin.learned is other.learned and f.learned is not other.learned
    y = f.prepare(toy_domain().images(2, 0, "test"))
    torch.testing.assert_close(twin(y), other(y))
    assert not torch.allclose(twin(y), f(y))
