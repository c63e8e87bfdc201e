"""StyleCLIP's mapper is trained as its authors train it, with the loop that sdd has."""

import copy

import pytest
import torch
from torch import nn

from clip_stand_ins import check64, in_float64, recorded_generator, toy_clip, toy_identity
from parity import fixture
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.manipulators.backbone import Backbone
from sdd.manipulators.protocol import Prepared
from sdd.manipulators.stylegan import StyleGAN
from sdd.methods import get
from sdd.methods.models import Models
from sdd.methods.ranger import Ranger
from sdd.methods.styleclip import ClipGuidance, LatentMapper, Options, terms_of, train
from sdd.nets.clip_views import styleclip_view
from sdd.nets.mapper_kinds import build_mapper
from toy import toy_domain


def test_the_published_training():
    known = fixture("styleclip_mapper")
    tensors, x, m = in_float64(known.tensors), in_float64(known.inputs), known.meta
    generator = recorded_generator(tensors)
    mapper = build_mapper({"kind": "LevelsMapper", "levels": ["coarse", "medium"], "style_dim": 512})
    mapper.double().load_state_dict({k[2:]: v for k, v in tensors.items() if k.startswith("m.")})
    clip, identity = toy_clip(tensors), toy_identity(tensors)
    codes = x["w"].flatten(0, 1)
    shape = codes.shape[1:]
    ones = torch.ones(shape, dtype=torch.float64)
    manipulator = StyleGAN(Backbone(generator, nn.Identity(), 0 * ones, ones, ""), mapper)
    before = mapper(x["probe"]).detach()
    check64(known, "delta_before", before)
    steps = train(
        manipulator,
        Prepared({"codes": codes}),
        ClipGuidance(lambda images: clip(styleclip_view(images)), x["text"], m["clip_lambda"]),
        terms_of(manipulator, m["latent_l2_lambda"], identity, identity(generator.synthesis(codes)), m["id_lambda"]),
        Ranger(mapper.parameters(), lr=m["lr"]),
        torch.Generator(),
        choose=lambda step: torch.arange(2) + 2 * step,
    )
    rows = []
    for _, step in zip(range(m["steps"]), steps, strict=False):
        parts = [
            float(step.terms[name].detach()) / m[weight]
            for name, weight in (("identity", "id_lambda"), ("clip", "clip_lambda"), ("l2", "latent_l2_lambda"))
        ]
        rows.append([*parts, float(step.loss)])
    check64(known, "losses", torch.tensor(rows, dtype=torch.float64))
    check64(known, "delta_change", mapper(x["probe"]).detach() - before)


@pytest.mark.parametrize("kind", ["ranger", "ranger_vector"])
def test_ranger_alone(kind):
    known = fixture("styleclip_mapper")
    x = in_float64(known.inputs)
    weight = nn.Parameter(x[f"{kind}_start"].clone())
    optimizer, states = Ranger([weight], lr=0.5), []
    for gradient in x[f"{kind}_grads"]:
        weight.grad = gradient.clone()
        optimizer.step()
        states.append(weight.detach().clone())
    check64(known, f"{kind}_states", torch.stack(states))


def test_ranger_goes_on_from_its_state():
    gradients = torch.randn(8, 3, 4, generator=torch.Generator().manual_seed(0))

    def run(weight, optimizer, part):
        for gradient in part:
            weight.grad = gradient.clone()
            optimizer.step()

    whole = nn.Parameter(torch.ones(3, 4))
    optimizer = Ranger([whole])
    run(whole, optimizer, gradients[:4])
    half = nn.Parameter(whole.detach().clone())
    again = Ranger([half])
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(whole, optimizer, gradients[4:])
    run(half, again, gradients[4:])
    assert torch.equal(whole, half)


class Red:
    """A CLIP that knows one word, and whose features say how red a picture is."""

    def to(self, device):
        return self

    def features(self, images):
        return torch.stack([images[:, 0].mean((1, 2)), images[:, 1:].mean((1, 2, 3)), torch.ones(len(images))], 1)

    def texts(self, texts):
        return torch.tensor([[1.0, 0.0, 0.2]]).repeat(len(texts), 1)


MODELS = Models({"clip": Red})
SHORT = Options(40, 8, 0.3, 1.0, 0.01, 0.0, "levels", True, images=32, hidden=32)


def far(images):
    clip = Red()
    return float((1 - torch.cosine_similarity(clip.features(images), clip.texts([""]))).mean())


@pytest.fixture(scope="module")
def fitted():
    return LatentMapper(SHORT).fit("red", "", toy_domain(), MODELS)


def test_the_mapper_learns_what_clip_wants(fitted):
    images = toy_domain().images(8, 0, "test").clamp(-1, 1)
    assert far(fitted.edit(images)) < 0.8 * far(fitted.edit(images, 0.0))


def test_what_was_learned_is_all_of_it(fitted):
    images = toy_domain().images(2, 0, "test").clamp(-1, 1)
    again = LatentMapper(SHORT).fit("red", "", toy_domain(), Models(), learned=fitted.learned())
    assert torch.equal(again.edit(images), fitted.edit(images))
    with pytest.raises(SddError, match="does not fit"):
        get("styleclip").fit("red", "", toy_domain(), learned={"a": torch.zeros(1)})


def test_its_file_is_an_editor(fitted, tmp_path):
    fitted.editor.save(tmp_path / "red.safetensors")
    images = toy_domain().images(2, 0, "test").clamp(-1, 1)
    read = Editor.load(tmp_path / "red.safetensors", toy_domain())
    assert torch.equal(read(images, blend=False), fitted.edit(images))


def test_what_it_cannot_do():
    with pytest.raises(SddError, match="needs a CLIP"):
        get("styleclip").fit("red", "", toy_domain())
    with pytest.raises(SddError, match="prompt is empty"):
        get("styleclip").fit(" ", "", toy_domain(), MODELS)
