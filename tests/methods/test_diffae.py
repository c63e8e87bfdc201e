"""DiffAE computes what the authors' code computes, and its defaults give the picture back."""

import pytest
import torch
from torch.nn import functional as F

from parity import fixture
from sdd.errors import SddError
from sdd.io.checkpoints.loaded import Loaded
from sdd.io.readers.diffae import read_diffae
from sdd.methods import diffae
from sdd.methods.models import Models
from sdd.nets.diffae import DiffAE, LatentClassifier
from toy import toy_domain


@pytest.fixture(scope="module")
def recorded():
    reference = fixture("diffae_edit")
    net, _, _ = read_diffae({k: v for k, v in reference.tensors.items() if not k.startswith("cls.")})
    net.eval().requires_grad_(False)
    return reference, lambda x, t, code: net(x, t, code), net


def test_both_codes_and_the_edit(recorded):
    reference, predict, net = recorded
    inputs, meta, abar = reference.inputs, reference.meta, diffae.linear_abar()
    code = net.encode(inputs["image"])
    reference.check("code", code)
    x_T = diffae.encode_stochastic(predict, inputs["image"], code, abar, meta["T_inv"], published=True)
    reference.check("x_T", x_T)
    rendered = diffae.render(predict, x_T, code, abar, meta["T_render"], published=True)
    reference.check("reconstruction", (rendered + 1) / 2)
    row = reference.tensors["cls.weight"][meta["cls_id"]]
    for strength in meta["strengths"]:
        moved = diffae.moved(code, row, strength, inputs["conds_mean"], inputs["conds_std"])
        reference.check(f"code_{strength}", moved)
        rendered = diffae.render(predict, x_T, moved, abar, meta["T_render"], published=True)
        reference.check(f"edited_{strength}", (rendered + 1) / 2)


def test_the_classifier(recorded):
    reference, _, _ = recorded
    inputs, (weight, bias) = reference.inputs, (reference.tensors[f"cls.{name}"] for name in ("weight", "bias"))
    batches = list(zip(inputs["train_codes"], inputs["labels"], strict=True))
    found = diffae.train_classifier(batches, inputs["conds_mean"], inputs["conds_std"], weight, bias)
    reference.check("classifier_losses", torch.tensor(found.losses))
    reference.check("weight_change", found.classifier.weight - weight)
    reference.check("bias_change", found.classifier.bias - bias)
    reference.check("ema_weight_change", found.average.weight - weight)


def gaussian(x, t, code):
    """The noise in pictures of N(code, 0.3²), exactly."""
    a = float(diffae.linear_abar()[t])
    mean = code[:, :3, None, None]
    return (1 - a) ** 0.5 * (x - a**0.5 * mean) / (1 - a + a * 0.09)


def test_many_steps_return_the_picture_and_more_of_them_better():
    random = torch.Generator().manual_seed(0)
    image, code = torch.randn(2, 3, 4, 4, generator=random) * 0.3, torch.zeros(2, 3)
    errors = {}
    for published in (False, True):
        for steps in (20, 1000):
            x_T = diffae.encode_stochastic(gaussian, image, code, diffae.linear_abar(), steps, published)
            back = diffae.render(gaussian, x_T, code, diffae.linear_abar(), steps, published)
            errors[published, steps] = float((back - image).abs().max())
    assert errors[False, 1000] < 0.01 < errors[False, 20] / 10
    assert errors[False, 1000] < errors[True, 1000] / 3  # the last move to ᾱ = 0 is not inverse to anything


def test_x_T_is_standard_normal_where_the_code_says_the_mean():
    random = torch.Generator().manual_seed(1)
    image = 0.5 + 0.3 * torch.randn(64, 3, 8, 8, generator=random)
    x_T = diffae.encode_stochastic(gaussian, image, torch.full((64, 3), 0.5), diffae.linear_abar(), 100)
    assert abs(float(x_T.mean())) < 0.05 and abs(float(x_T.std()) - 1) < 0.05


def test_a_strength_is_in_deviations_of_the_codes():
    mean, std = torch.tensor([1.0, 2, 3, 4]), torch.tensor([0.5, 1, 2, 4])
    found = diffae.moved(torch.zeros(1, 4), torch.tensor([0.0, 0, 7, 0]), 0.5, mean, std)
    assert torch.allclose(found, torch.tensor([[0, 0, 0.5 * 2 * 2, 0]]), atol=1e-6)  # 0.5 · √4 deviations of 2


def test_clip_finds_the_code_that_it_sees():
    random = torch.Generator().manual_seed(2)
    codes = torch.randn(400, 6, generator=random)
    codes[:, 1] = 0.8 * codes[:, 0] + 0.6 * codes[:, 1]  # goes along with what is seen, and is not it
    codes = (codes - codes.mean(0)) / codes.std(0)
    images = torch.stack([3 + 0.2 * codes[:, 0], torch.full((400,), 3.0)], 1)
    direction = diffae.clip_direction(codes, images, torch.tensor([[0.0, 1], [1, 0]]))
    assert direction[0] > 0.98 and abs(float(direction.norm()) - 1) < 1e-5


def test_timesteps_divide_the_schedule():
    assert diffae.timesteps(1000, 4) == [0, 250, 500, 750]
    with pytest.raises(SddError, match="divides 1000"):
        diffae.timesteps(1000, 300)


# --- The method ------------------------------------------------------------------------------------------------------


def tiny():
    torch.manual_seed(0)
    net = DiffAE(32, [32, 32], 1, [], [32, 32], 1, [], code=16, time=32)
    return net.eval().requires_grad_(False)


class Eye:
    """A CLIP whose features are the mean colour."""

    def to(self, device):
        return self

    def features(self, images):
        return F.pad(images.mean((2, 3)) + 2, (0, 1))

    def texts(self, texts):
        return torch.tensor([[1.0, 1, 1, 0] if not text else [2.0, 1, 1, 0] for text in texts])


def test_a_direction_from_text_is_kept_and_found_again():
    models = Models({"diffae": lambda: Loaded("diffae", tiny(), {"image_size": 16}), "clip": Eye})
    method = diffae.DiffusionAutoencoder(steps=(4, 4))
    domain = toy_domain()
    fitted = method.fit("red", "", domain, models)
    images = domain.images(3, 5, "test")
    edited = fitted.edit(images)
    assert edited.shape == images.shape and edited.abs().max() <= 1
    again = method.fit("red", "", domain, models, learned=fitted.learned())
    assert torch.equal(again.edit(images), edited)
    alone = fitted.edit(images[1:2])  # a random network at its clamp magnifies rounding
    assert (alone - edited[1:2]).abs().mean() < 1e-3 < (edited[0] - edited[1]).abs().mean()
    assert torch.equal(fitted.edit(images, 0.0), fitted.unedited(images))


def test_a_classifier_that_knows_the_prompt_is_asked():
    classifier = LatentClassifier(16, 2)
    auto = diffae.Autoencoder(
        tiny(), 16, torch.zeros(16), torch.ones(16), classifier, ("mouth=smile", "hair_color=white")
    )
    fitted = diffae.METHOD.fit("a person with white hair", "", None, Models({"diffae": lambda: auto}))
    assert torch.equal(fitted.direction, classifier.classifier.weight[1]) and fitted.steps == diffae.SMALL
    with pytest.raises(SddError, match="needs a CLIP"):
        diffae.METHOD.fit("sunglasses", "", toy_domain(), Models({"diffae": lambda: auto}))
    with pytest.raises(SddError, match="--diffae"):
        diffae.METHOD.fit("sunglasses", "", toy_domain())


def test_the_shipped_form_is_read_again(tmp_path):
    auto = diffae.Autoencoder(
        tiny(), 16, torch.arange(16.0), torch.ones(16), LatentClassifier(16, 2), ("mouth=smile", "hair_color=white")
    )
    path = tmp_path / "diffae.safetensors"
    path.write_bytes(auto.to_bytes())
    again = diffae.Autoencoder.load(path)
    assert (again.size, again.classes) == (auto.size, auto.classes) and torch.equal(again.mean, auto.mean)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    assert torch.allclose(again.codes(images), auto.codes(images), atol=1e-2)  # half precision
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(SddError):
        diffae.Autoencoder.load(path)
