"""StyleGAN-NADA: which layers are chosen, the directional loss, and the steps, as recorded and as corrected.

The recording is float32's, whose Adam takes steps of full size along gradients that are rounding; float64 comes closer
to it than another order of the same sums in float32.
"""

import copy

import pytest
import torch

from clip_stand_ins import in_float64, recorded_generator, toy_clip
from parity import fixture
from sdd.errors import SddError
from sdd.methods.models import Models
from sdd.methods.stylegan_nada import (
    METHOD,
    Adapting,
    Guide,
    adapt,
    between,
    chosen,
    code_change,
    directional,
    layers_of,
)
from sdd.nets.clip_direction import text_direction
from sdd.nets.clip_views import nada_view
from toy import toy_domain


@pytest.fixture(scope="module")
def recorded():
    known = fixture("stylegan_nada")
    x, m, tensors = in_float64(known.inputs), known.meta, in_float64(known.tensors)
    frozen = recorded_generator(tensors, x["latent_avg"][0])
    guides = []
    for name, weight in zip("ab", m["clip_weights"], strict=True):
        clip = toy_clip(tensors, f"clip_{name}")
        direction = text_direction(x[f"text_source_{name}"], x[f"text_target_{name}"])
        see = lambda images, clip=clip: clip(nada_view(images, m["n_px"]))  # noqa: E731
        guides.append(Guide(see, direction, x[f"text_plain_{name}"], weight))
    return known, x, frozen, guides


def start(known, frozen):
    trained = copy.deepcopy(frozen)
    weights = dict(trained.named_parameters())
    with torch.no_grad():
        for name, delta in known.tensors.items():
            if name.startswith("delta."):
                weights[name[6:]].add_(delta)
    return trained


@pytest.mark.parametrize("unchosen", ["dropped", "zeroed"])
def test_the_recorded_training(recorded, unchosen):
    known, x, frozen, guides = recorded
    m = known.meta
    trained = start(known, frozen)
    how = Adapting(
        k=m["k"], select_steps=m["auto_layer_iters"], lr=m["lr"], published=True, unchosen=unchosen, noise="none"
    )
    steps = adapt(
        frozen, trained, lambda i: frozen.mapping(x["z"][i]), guides, how, lambda i: frozen.mapping(x["select_z"][i])
    )
    done = [step for _, step in zip(range(m["iters"]), steps, strict=False)]
    if unchosen == "dropped":
        known.check("layer_weights", torch.stack([step.change for step in done]))
        known.check("chosen", torch.tensor([step.layers for step in done]).float())
        known.check("losses", torch.tensor([step.loss for step in done]))
    w = frozen.truncate(frozen.mapping(x["z_eval"]), m["truncation"])
    with torch.no_grad():
        before, after = frozen.synthesis(w, "none"), trained.synthesis(w, "none")
    known.check("frozen_images", before)
    suffix = "" if unchosen == "dropped" else "_zeroed"
    known.check(f"adapted_images{suffix}", after)
    known.check(f"eval_loss{suffix}", directional(guides, before, after))


def reads(generator, layer):
    """The W+ layers whose code a module reads: those that change what it makes of its input."""
    names = {id(conv): k for conv, k in generator._modulated()}
    return names[id(layer.conv)]


def test_a_layer_is_the_one_that_reads_the_code():
    generator = toy_domain().generator
    assert [reads(generator, layer) for layer in layers_of(generator)] == list(range(generator.n_latent - 1))
    published = [reads(generator, layer) for layer in layers_of(generator, published=True)]
    assert published == [0, 1, *range(1, generator.n_latent - 1)]  # one behind from the third on


def test_codes_move_where_the_text_is():
    """A guide that looks at the last to-RGB layer's work alone would move every code; one that sees nothing, none."""
    generator = toy_domain().generator
    w = torch.randn(2, generator.style_dim, generator=torch.Generator().manual_seed(0))
    blind = Guide(lambda x: 0 * x.mean((2, 3)) + torch.tensor([1.0, 0, 0]), torch.ones(1, 3), torch.ones(1, 3))
    assert float(code_change(generator, w, [blind], 1).max()) == 0
    assert chosen(torch.tensor([0.1, 0.9, 0.5]), 2).tolist() == [1, 2]


def colour(images):
    return torch.stack([images[:, 0].mean((1, 2)), images[:, 1:].mean((1, 2, 3)), torch.ones(len(images))], 1)


class Red:
    """A CLIP that sees how red a picture is, and knows "red" and nothing else."""

    size = 32

    def to(self, device):
        return self

    def knows(self, text):
        return text.strip() == ""

    def features(self, images):
        return colour(images)

    def see(self, pixels):
        return colour(pixels)

    def texts(self, texts):
        return torch.stack([torch.tensor([2.0 * ("red" in text), 0.0, 1.0]) for text in texts])


def test_only_chosen_layers_train_and_the_frozen_generator_does_not():
    domain = toy_domain()
    frozen, trained = domain.generator, copy.deepcopy(domain.generator)
    before = {name: w.clone() for name, w in frozen.named_parameters()}
    guide = Guide(colour, torch.tensor([[1.0, 0, 0]]), torch.tensor([[1.0, 0, 0.2]]))
    w = torch.randn(4, frozen.style_dim, generator=torch.Generator().manual_seed(0))
    step = next(adapt(frozen, trained, lambda i: w, [guide], Adapting(k=2), lambda i: w))
    layers = layers_of(trained)
    allowed = {id(p) for index in step.layers for p in layers[index].parameters()}
    for name, weight in trained.named_parameters():
        assert torch.equal(weight, before[name]) or id(weight) in allowed, name
    assert all(torch.equal(w, before[name]) for name, w in frozen.named_parameters())
    assert any(not torch.equal(w, before[name]) for name, w in trained.named_parameters())


def test_the_strength_of_noise_trains_where_it_is_to():
    domain, w = toy_domain(), torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    guide = Guide(colour, torch.tensor([[1.0, 0, 0]]), torch.tensor([[1.0, 0, 0.2]]))
    for strengths in (True, False):
        trained = copy.deepcopy(domain.generator)
        next(adapt(domain.generator, trained, lambda i: w, [guide], Adapting(strengths=strengths)))
        pairs = zip(trained.named_parameters(), domain.generator.parameters(), strict=True)
        moved = {name for (name, a), b in pairs if not torch.equal(a, b)}
        assert any(name.endswith("noise.weight") for name in moved) == strengths and moved


def test_weights_between_two_generators():
    domain = toy_domain()
    other = copy.deepcopy(domain.generator)
    with torch.no_grad():
        other.conv1.activate.bias.add_(1)
    half = between(domain.generator, other, 0.5)
    torch.testing.assert_close(half.conv1.activate.bias, domain.generator.conv1.activate.bias + 0.5)
    assert torch.equal(half.input.input, domain.generator.input.input)


def test_it_learns_and_what_it_learned_is_all_of_it():
    domain = toy_domain()
    images = domain.images(4, 0, "test").clamp(-1, 1)
    fitted = METHOD.fit("red", "", domain, Models({"clip": Red}))
    none, half, whole = (colour(fitted.edit(images, share))[:, 0].mean() for share in (0.0, 0.5, 1.0))
    assert none < half < whole
    torch.testing.assert_close(
        fitted.edit(images, 0.0), domain.generator.synthesis(domain.encoder(images)).clamp(-1, 1)
    )
    again = METHOD.fit("red", "", domain, Models(), learned=fitted.learned())
    assert torch.equal(again.edit(images), fitted.edit(images))
    with pytest.raises(SddError, match="does not fit"):
        METHOD.fit("red", "", domain, learned={"conv1.activate.bias": torch.zeros(3)})
