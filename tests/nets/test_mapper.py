"""Mappers: an edit starts at the identity, levels stay apart, and the published arithmetic is reproduced."""

import math

import pytest
import torch

from parity import fixture
from sdd.nets.levels import LEVELS, is_rgb, level_layers, style_layer
from sdd.nets.mapper_kinds import KINDS, build_mapper, published_config, published_mapper

L, D = 10, 16
DIMS = [16, 16, 16, 16, 16, 16, 8, 8, 8, 4, 4]
SIZES = {
    "levels": {"n_latent": L, "style_dim": D, "levels": ["medium", "fine"]},
    "single": {"n_latent": L, "style_dim": D},
    "stylespace": {"dims": DIMS},
    "stylespace_without_rgb": {"dims": DIMS},
    "LevelsMapper": {"style_dim": D, "levels": ["coarse", "fine"]},
    "SingleMapper": {"style_dim": D},
    "FullStyleSpaceMapper": {"dims": DIMS},
    "WithoutToRGBStyleSpaceMapper": {"dims": DIMS},
}
OURS = KINDS[:4]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(kind, seed=0):
    return build_mapper({"kind": kind, **SIZES[kind]}, torch.Generator().manual_seed(seed))


def code(mapper, batch=3, seed=1):
    if mapper.space == "wplus":
        return random(batch, L, D, seed=seed)
    return [random(batch, dim, seed=seed + i) for i, dim in enumerate(DIMS)]


def stir(mapper, seed=5):
    """Give every weight a value, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in mapper.parameters():
            p.normal_(generator=generator)
    return mapper


@pytest.mark.parametrize("kind", KINDS)
def test_config_makes_the_same_mapper_again(kind):
    mapper = stir(make(kind))
    again = build_mapper(mapper.config())
    again.load_state_dict(mapper.state_dict())
    assert again.config() == mapper.config() and again.latent_weight == mapper.latent_weight
    x = code(mapper)
    for a, b in zip(mapper(x), again(x), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_first_weights_depend_on_the_generator_alone(kind):
    a, b, c = make(kind, 1).state_dict(), make(kind, 1).state_dict(), make(kind, 2).state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


@pytest.mark.parametrize("kind", OURS)
def test_an_edit_starts_at_exactly_the_identity(kind):
    mapper = make(kind)
    deltas = mapper(code(mapper))
    assert all(torch.count_nonzero(d) == 0 for d in deltas)
    # and yet the first step moves: the last layer has a gradient
    out = mapper(code(mapper))
    (out.sum() if torch.is_tensor(out) else torch.cat(out, 1).sum()).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in mapper.parameters())


@pytest.mark.parametrize("kind", ["levels", "LevelsMapper"])
def test_levels_that_are_off_do_not_change(kind):
    mapper = stir(make(kind))
    delta = mapper(code(mapper))
    for level in LEVELS:
        layers = level_layers(level, L)
        changed = delta[:, layers.start : layers.stop].abs().sum() > 0
        assert bool(changed) == (level in SIZES[kind]["levels"])


def test_units_of_the_code_cancel():
    """Scaling and shifting the codes, and telling the mapper so, scales its change and nothing else."""
    mapper, x = stir(make("levels")), random(3, L, D)
    plain = mapper(x)
    mean, std = random(L, D, seed=7), random(L, D, seed=8).abs() + 0.1
    mapper.standardise(mean, std)
    torch.testing.assert_close(mapper(x * std + mean), plain * std, rtol=1e-4, atol=1e-5)


def test_normalisation_is_within_a_layer():
    """Ours ignores the size of one layer's code; the published mappers mix the layers of a level."""
    x = random(2, L, D)
    scaled = x.clone()
    scaled[:, 9] *= 3
    ours = stir(make("levels"))
    torch.testing.assert_close(ours(scaled), ours(x), rtol=1e-4, atol=1e-5)
    published = make("SingleMapper")
    assert (published(scaled) - published(x))[:, 0].abs().max() > 1e-2


def test_published_arithmetic_written_out():
    mapper, x = make("LevelsMapper"), random(2, L, D)
    weights = mapper.state_dict()
    h = x[:, :4]
    h = h / (h.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for i in range(1, 5):
        w, b = weights[f"course_mapping.mapping.{i}.weight"], weights[f"course_mapping.mapping.{i}.bias"]
        h = h @ (w * 0.01 / math.sqrt(D)).T + 0.01 * b
        h = torch.where(h > 0, h, 0.2 * h) * math.sqrt(2)
    torch.testing.assert_close(mapper(x)[:, :4], h)
    assert mapper.latent_weight == 0.1


def test_style_space_order_of_a_1024_generator():
    assert [style_layer(i) for i in range(8)] == [0, 1, 1, 2, 3, 3, 4, 5]
    assert style_layer(25) == 17 and [i for i in range(26) if is_rgb(i)] == [1, 4, 7, 10, 13, 16, 19, 22, 25]


def test_stylespace_without_rgb_leaves_rgb_alone():
    for kind in ("stylespace_without_rgb", "WithoutToRGBStyleSpaceMapper"):
        mapper = stir(make(kind))
        for i, d in enumerate(mapper(code(mapper))):
            assert bool(d.abs().sum() > 0) != is_rgb(i)


def test_stylespace_takes_the_published_shape():
    mapper = stir(make("FullStyleSpaceMapper"))
    x = code(mapper)
    for flat, wide in zip(mapper(x), mapper([v[:, None, :, None, None] for v in x]), strict=True):
        assert wide.shape == (*flat.shape[:1], 1, flat.shape[1], 1, 1) and torch.equal(wide.flatten(1), flat)


@pytest.mark.parametrize("kind", KINDS[4:])
def test_published_mappers_are_known_by_their_keys(kind):
    mapper = stir(make(kind))
    again = published_mapper(mapper.state_dict())
    assert again.config() == mapper.config()
    x = code(mapper)
    assert all(torch.equal(a, b) for a, b in zip(mapper(x), again(x), strict=True))


@pytest.mark.parametrize("name", ["sdd_levels_medium_fine", "sdd_single", "styleclip_levels"])
def test_published_mappers_equal_the_originals(name):
    known = fixture(name)
    tensors = {k.removeprefix("mapper."): v for k, v in known.tensors.items() if not k.startswith("decoder.")}
    mapper, wplus = published_mapper(tensors), known.inputs["wplus"].requires_grad_()
    delta = mapper(wplus)
    known.check("delta", delta)
    known.check("wplus_edit", wplus + mapper.latent_weight * delta)
    if "cotangent" in known.inputs:
        optimizer = torch.optim.AdamW(mapper.parameters(), lr=0.005, weight_decay=0.002)
        (delta * known.inputs["cotangent"]).sum().backward()
        known.check("grad_wplus", wplus.grad)
        optimizer.step()
        known.check("delta_after_step", mapper(wplus))


@pytest.mark.parametrize("name", ["sdd_stylespace_full", "sdd_stylespace_without_torgb"])
def test_published_stylespace_mappers_equal_the_originals(name):
    known = fixture(name)
    mapper = published_mapper(known.tensors)
    assert mapper.config()["dims"] == known.meta["dims"]
    deltas = mapper([known.inputs[f"s_{i}"] for i in range(26)])
    known.check("delta", torch.cat([d.flatten(1) for d in deltas], 1))


def test_what_is_not_a_mapper_is_refused():
    with pytest.raises(ValueError, match="published mapper"):
        published_config({"conv.weight": (3, 3)})
    tensors = make("LevelsMapper").state_dict()
    tensors.pop("fine_mapping.mapping.3.bias")
    with pytest.raises(ValueError, match=r"fine_mapping\.mapping\.3\.bias"):
        published_mapper(tensors)
    with pytest.raises(ValueError, match="unknown mapper kind 'magic'"):
        build_mapper({"kind": "magic"})
    with pytest.raises(ValueError, match="levels must be"):
        build_mapper({"kind": "levels", "n_latent": L, "style_dim": D, "levels": ["huge"]})
    with pytest.raises(ValueError, match="cannot be made"):
        build_mapper({"kind": "single", "width": 3})
