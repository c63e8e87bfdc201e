"""effdiff computes what the published code computes, and is the first step of DiffusionCLIP."""

import copy

import pytest
import torch

from sdd.errors import SddError
from sdd.methods import diffusionclip, effdiff
from sdd.methods.ddim import at, decode, estimate, noised, steps
from sdd.methods.models import Models
from sdd.methods.pixel_diffusion import PixelDiffusion
from tuning import ABAR, Recorded


@pytest.mark.parametrize("name", ["effdiff", "effdiff_single"])
def test_training_equals_the_published_code(name):
    recorded = Recorded(name)
    meta, reference = recorded.meta, recorded.reference
    single, t0 = meta["mode"] == "single image", meta["t_0"]
    noise, level = reference.inputs["noise"][:, 0], at(ABAR, t0)
    train = reference.inputs["train"]
    latents = noised(train, noise[: len(train)], level)
    reference.check("latent", latents)
    with torch.no_grad():
        reference.check("estimate", estimate(latents, recorded.predict(latents, t0), level))
    if single:
        encoded = latents
    else:
        encoded = noised(reference.inputs["test"], noise[len(train) :], level)
        reference.check("test_latent", encoded)
    edited = []

    @torch.no_grad()
    def after(epoch):
        edited.append(decode(recorded.predict, encoded, ABAR, steps(meta["n_train_step"], t0)))

    updates = effdiff.train(
        recorded.predict, recorded.parameters(), train, latents, abar=ABAR, t0=t0, goal=recorded.goal,
        rate=meta["lr"], epochs=meta["n_iter"], after=after,
    )  # fmt: skip
    recorded.check(updates, torch.stack(edited).reshape(reference.outputs["edited"].shape))


def test_equals_diffusionclip_when_the_chain_has_one_step():
    one, other = Recorded("effdiff"), Recorded("effdiff")
    train = one.reference.inputs["train"]
    latents = noised(train, torch.randn(train.shape, generator=torch.Generator().manual_seed(0)), at(ABAR, 350))
    settings = {"abar": ABAR, "rate": 2e-4, "epochs": 2}
    quick = effdiff.train(one.predict, one.parameters(), train, latents, t0=350, goal=one.goal, **settings)
    slow = diffusionclip.train(
        other.predict, other.parameters(), train, latents, chain=steps(1, 350), goal=other.goal, **settings
    )
    assert quick == slow
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_an_update_has_one_call_and_one_backward():
    recorded = Recorded("effdiff")
    train = recorded.reference.inputs["train"]
    with recorded.counted() as calls:
        effdiff.train(
            recorded.predict, recorded.parameters(), train[:1], train[:1], abar=ABAR, t0=350, goal=recorded.goal,
            rate=1e-4, epochs=3,
        )  # fmt: skip
    assert calls == {"forward": 3, "backward": 3}


class Words:
    """A CLIP of sorts: the brightness of a picture, and texts that are about it."""

    size = 16

    def see(self, pixels):
        return torch.stack([pixels.mean((1, 2, 3)), torch.ones(len(pixels)), pixels.std((1, 2, 3))], 1)

    def texts(self, texts):
        return torch.tensor([[float("bright" in text), 1.0, 0.2] for text in texts])

    def knows(self, text):
        return True


class Pictures:
    """A domain of noise."""

    name, teacher, identity, backbone = "noise", "", None, None

    def images(self, n, seed, split):
        return torch.rand(n, 3, 24, 24, generator=torch.Generator().manual_seed(seed)) - 0.5


@pytest.fixture(scope="module")
def models():
    recorded = Recorded("effdiff")
    model = PixelDiffusion(recorded.net, ABAR, 16)
    return Models({"ddpm": lambda: model, "clip": Words})


FEW = {"pictures": 3, "epochs": 2, "rate": 2e-4, "decoded": 3}


@pytest.mark.parametrize(
    "method",
    [
        effdiff.EffDiff(effdiff.Settings(**FEW)),
        diffusionclip.DiffusionCLIP(diffusionclip.Settings(**FEW, inverted=4, trained=3)),
    ],
    ids=["effdiff", "diffusionclip"],
)
def test_fitted(method, models):
    before = copy.deepcopy(models.get("ddpm", "").tensors())
    fitted = method.fit("bright", "", Pictures(), models, seed=1)
    images = Pictures().images(3, 5, "test")
    edited = fitted.edit(images, seed=2)
    assert edited.shape == images.shape and edited.abs().max() <= 1
    after = models.get("ddpm", "").tensors()
    assert all(torch.equal(before[k], after[k]) for k in before), "the domain's network was changed"
    again = method.fit("bright", "", Pictures(), Models({"ddpm": models.loaders["ddpm"]}), learned=fitted.learned())
    assert torch.equal(again.edit(images, seed=2), edited)
    torch.testing.assert_close(fitted.edit(images[1:2], seed=2), edited[1:2], atol=1e-4, rtol=0)
    none, half, whole = (fitted.edit(images, share, seed=2) for share in (0.0, 0.5, 1.0))
    assert torch.equal(whole, edited) and torch.equal(fitted.unedited(images), fitted.edit(images, 0.0))
    assert 0 < (half - none).abs().mean() < (whole - none).abs().mean()
    for wrong in (-1, float("nan")):
        with pytest.raises(SddError, match="ratio"):
            fitted.edit(images, wrong)


def test_training_goes_where_the_text_says(models):
    settings = effdiff.Settings(pictures=4, epochs=6, rate=2e-4, growth=1.0)
    fitted = effdiff.EffDiff(settings).fit("bright", "", Pictures(), models)
    images = Pictures().images(4, 9, "test")
    assert (fitted.edit(images) - fitted.edit(images, 0.0)).mean() > 0.05


def test_single_image_mode_trains_for_each_picture_alone(models):
    method = effdiff.EffDiff(effdiff.Settings(updates=2, rate=2e-4), single=True)
    fitted = method.fit("bright", "", Pictures(), models)
    assert fitted.learned() == {}
    images = Pictures().images(2, 5, "test")
    with torch.no_grad():  # as whoever edits may
        both = fitted.edit(images)
        torch.testing.assert_close(fitted.unedited(images), fitted.edit(images, 0.0), atol=1e-4, rtol=0)
    kept = fitted.learned()
    assert torch.equal(fitted.edit(images[1:]), both[1:])
    again = method.fit("bright", "", Pictures(), models, learned=kept)
    torch.testing.assert_close(again.edit(images[1:]), both[1:])


def test_what_is_missing_is_said(models):
    with pytest.raises(SddError, match="--ddpm"):
        effdiff.METHOD.fit("bright", "", Pictures())
    with pytest.raises(SddError, match="--clip"):
        effdiff.METHOD.fit("bright", "", Pictures(), Models({"ddpm": models.loaders["ddpm"]}))
    with pytest.raises(SddError, match="the same"):
        effdiff.METHOD.fit("bright", "brighter", Pictures(), models)
    with pytest.raises(SddError, match="learned"):
        effdiff.METHOD.fit("bright", "", Pictures(), models, learned={"x": torch.zeros(1)})


def test_noise_depends_on_seed_and_place_alone():
    drawn = effdiff.noise_of(3, torch.zeros(3, 3, 4, 4), 7)
    assert torch.equal(drawn[:2], effdiff.noise_of(2, drawn, 7)) and not torch.equal(drawn[0], drawn[1])
