"""StyleCLIP's latent optimisation computes what its authors' does."""

import math

import pytest
import torch

from clip_stand_ins import check64, in_float64, recorded_generator, toy_clip, toy_identity
from parity import fixture
from sdd.errors import SddError
from sdd.methods import get
from sdd.methods.styleclip_optimization import Optimisation, optimise, rate
from sdd.nets.clip_views import styleclip_view
from sdd.nets.levels import is_rgb
from toy import toy_domain


@pytest.fixture(scope="module")
def recorded():
    known = fixture("styleclip_optimization")
    tensors, inputs = in_float64(known.tensors), in_float64(known.inputs)
    clip = toy_clip(tensors)
    return known, inputs, recorded_generator(tensors), lambda x: clip(styleclip_view(x)), toy_identity(tensors)


def options(known):
    m = known.meta
    return {"steps": m["steps"], "initial": m["lr"]}


def check(known, name, found):
    check64(known, f"lr_{name}", found.rates)
    check64(known, f"losses_{name}", found.losses)
    got = torch.cat(found.parts, 1) if len(found.parts) > 1 else found.parts[0]
    want = known.outputs[f"latent_{name}"]
    if name == "free_generation":  # recorded with rows that this generator never reads
        want = known.outputs[f"latent_{name}"]
        got = torch.cat([got, want[:, got.shape[1] :].to(got)], 1) if want.shape[1] > got.shape[1] else got
    check64(known, f"latent_{name}", got.reshape(want.shape))
    check64(known, f"image_{name}", found.images)


def test_the_rates_of_300_steps():
    known = fixture("styleclip_optimization")
    rates = [rate(i, 300) for i in range(300)]
    check64(known, "schedule_300", rates)
    assert rates[0] == 0 and max(rates) == 0.1


def test_editing_in_wplus(recorded):
    known, x, generator, features, identity = recorded
    found = optimise(
        [x["wplus"]], lambda p: generator.synthesis(p[0]), features, x["text"], **options(known),
        l2=known.meta["l2_lambda"], identity=identity, identity_weight=known.meta["id_lambda"],
        source=generator.synthesis(x["wplus"]),
    )  # fmt: skip
    check(known, "edit", found)


def test_editing_in_stylespace(recorded):
    known, x, generator, features, identity = recorded
    styles = generator.styles(x["wplus"])
    found = optimise(
        styles, generator.synthesis_from_styles, features, x["text"], **options(known), l2=known.meta["l2_lambda"],
        identity=identity, identity_weight=known.meta["id_lambda"], source=generator.synthesis(x["wplus"]),
        held=[i for i in range(len(styles)) if is_rgb(i)],
    )  # fmt: skip
    check(known, "edit_s", found)
    for i, (before, after) in enumerate(zip(styles, found.parts, strict=True)):
        assert torch.equal(before, after) == is_rgb(i)


def test_free_generation(recorded):
    known, x, generator, features, _ = recorded
    start = x["latent_avg"][:, None].repeat(1, generator.n_latent, 1)
    draw = lambda p: generator.synthesis(p[0])  # noqa: E731
    found = optimise([start], draw, features, x["text"], **options(known), l2=0)
    check(known, "free_generation", found)


class Brightness:
    """A CLIP whose features are a picture's mean red and the rest: "red" is the first."""

    def features(self, images):
        return torch.stack([images[:, 0].mean((1, 2)), images[:, 1:].mean((1, 2, 3)), torch.ones(len(images))], 1)


def fitted(steps=20):
    return Optimisation(torch.tensor([[1.0, 0.0, 0.2]]), Brightness(), toy_domain(), steps=steps)


def test_an_edit_goes_towards_the_text_further_with_less_l2():
    images = toy_domain().images(3, 0, "test").clamp(-1, 1)
    clip, text = Brightness(), torch.tensor([[1.0, 0.0, 0.2]])

    def far(x):
        return float((1 - torch.cosine_similarity(clip.features(x), text)).mean())

    held, free = fitted().edit(images, 1.0), fitted().edit(images, 0.0)
    assert far(free) < far(held) < far(images) + 0.05
    assert far(free) < 0.7 * far(images)


def test_no_picture_depends_on_the_others_of_its_batch():
    images = toy_domain().images(3, 0, "test").clamp(-1, 1)
    together = fitted(5).edit(images)
    torch.testing.assert_close(together[1:2], fitted(5).edit(images[1:2]), atol=1e-4, rtol=1e-3)


def test_pictures_come_back_in_their_own_size():
    assert fitted(1).edit(torch.zeros(2, 3, 40, 24)).shape == (2, 3, 40, 24)


@pytest.mark.parametrize("knob", [-1.0, math.nan, math.inf])
def test_a_weight_that_is_none(knob):
    with pytest.raises(SddError, match="L2"):
        fitted(1).edit(torch.zeros(1, 3, 32, 32), knob)


def test_without_a_clip_it_says_so():
    with pytest.raises(SddError, match="needs a CLIP"):
        get("styleclip-optimization").fit("red", "", toy_domain())
