"""Null-text inversion and prompt-to-prompt compute what the authors' notebook computes, in float64."""

from functools import cache
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel

import pipelines
from parity import fixture
from sdd.domains import avatars
from sdd.domains.embedded import EMBEDDED, weights_folder
from sdd.errors import SddError
from sdd.methods import null_text
from sdd.methods.alignment import Tokens, time_shares
from sdd.methods.attention_control import Blend, Control, controlled, refined, replaced, reweighted
from sdd.methods.models import Models
from sdd.teachers.latent import LatentDiffusion, LatentDiffusionXL
from sdd.teachers.load import load_teacher
from toy import toy_domain

SCALED_LINEAR = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0).double()


class Recorded:
    """The fixture with its network, inverted and optimised once."""

    def __init__(self):
        self.reference = fixture("null_text")
        self.meta = self.reference.meta
        self.unet = UNet2DConditionModel(**self.meta["unet_config"]).double().eval().requires_grad_(False)
        self.unet.load_state_dict({k: v.double() for k, v in self.reference.tensors.items()})
        inputs = {k: v.double() for k, v in self.reference.inputs.items()}
        self.null, self.text = inputs["text_empty"], inputs["text_empty"] + inputs["text_delta"]
        self.scale, steps = self.meta["guidance_scale"], self.meta["steps"]
        self.states = null_text.invert(self.predict, inputs["latent"], self.text[:1], SCALED_LINEAR, steps)
        self.found = null_text.optimise_null(
            self.predict, self.states, self.text[:1], self.null, SCALED_LINEAR, self.scale,
            inner=self.meta["num_inner_steps"], epsilon=self.meta["early_stop_epsilon"],
        )  # fmt: skip

    def predict(self, x, t, embeddings):
        return self.unet(x, t, embeddings).sample

    def drawn(self, which, nulls, control=None):
        return null_text.generate(
            self.predict, self.states[-1], self.text[which], nulls, SCALED_LINEAR, self.scale, control
        )

    def tokens(self, text):
        ids, pieces = zip(*self.meta["tokens"][text], strict=True)
        return Tokens(text, ids, pieces)

    def check(self, name, got):
        if got.ndim == 4:  # latents are recorded at every second row and column
            got = got[..., ::2, ::2]
        error, allowed = self.reference.error(name, got), self.reference.doc["tolerance_float64"][name]
        assert error < allowed, f"{name}: {error:.2e}, allowed {allowed:.0e}"


@cache
def recorded():
    return Recorded()


def test_inversion_and_null_embeddings():
    r = recorded()
    r.check("timesteps", torch.tensor(null_text.timesteps(1000, r.meta["steps"])[::-1]))
    r.check("inverted", torch.cat(r.states[1:]))
    r.check("inner_steps", torch.tensor([len(losses) for losses in r.found.losses]))
    r.check("learning_rates", torch.tensor(r.found.rates, dtype=torch.float64))
    r.check("losses", torch.cat([loss for losses in r.found.losses for loss in losses]))
    r.check("null_last", r.found.embeddings[-1])
    r.check("reconstruction", r.found.latents)


def test_sampling_without_control():
    r = recorded()
    r.check("without_null_text", r.drawn([0], [r.null] * r.meta["steps"]))
    r.check("edit_none", r.drawn([1], r.found.embeddings))


@pytest.mark.parametrize("which", range(3))
def test_sampling_under_attention_control(which):
    r = recorded()
    edit = r.meta["edits"][which]
    source, target = r.meta["prompts"][0], edit["prompt"]
    weights = edit["equalizer"] and dict(zip(edit["equalizer"]["words"], edit["equalizer"]["values"], strict=True))
    control = null_text.attention(
        r.tokens(source), r.tokens(target), r.meta["steps"], 77, cross=edit["cross"], self_share=edit["self"],
        replace=edit["replace"], weights=weights, blend=edit["blend"], published=True,
    )  # fmt: skip
    with controlled(r.unet, control):
        latents = r.drawn([0, r.meta["prompts"].index(target)], r.found.embeddings, control)
    r.check(f"edit_{edit['name']}", latents[1:])
    if edit["blend"] is None:
        r.check("reconstruction", latents[:1])  # the source is drawn as if it were alone


# --- By themselves ---------------------------------------------------------------------------------------------------


def test_a_step_and_its_inverse():
    x, noise = torch.randn(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    there = null_text.move(x, noise, 0.9, 0.3)
    assert torch.allclose(null_text.move(there, noise, 0.3, 0.9), x)
    assert torch.allclose(null_text.move(0.9**0.5 * x + 0.1**0.5 * noise, noise, 0.9, 1.0), x)


def gaussian(x, t, embeddings):
    """The noise in latents of N(m, 1), m the embedding's mean: linear in it, so that guidance pushes it apart."""
    a = float(SCALED_LINEAR[t])
    return (1 - a) ** 0.5 * (x - a**0.5 * embeddings.mean((1, 2)).view(-1, 1, 1, 1))


def test_null_embeddings_undo_guidance_for_each_picture_alone():
    random = torch.Generator().manual_seed(1)
    latents, source = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=random), torch.ones(2, 2, 3).double()
    null = torch.zeros(1, 2, 3).double()
    source[1] = 0.1
    states = null_text.invert(gaussian, latents, source, SCALED_LINEAR, 20)
    plain = null_text.generate(gaussian, states[-1], source, [null] * 20, SCALED_LINEAR, 3.0)
    found = null_text.optimise_null(gaussian, states, source, null, SCALED_LINEAR, 3.0, inner=50, epsilon=1e-9)
    assert (found.latents - latents).abs().max() < 0.1 < (plain - latents).abs().max() / 5
    alone = null_text.optimise_null(
        gaussian, [s[1:] for s in states], source[1:], null, SCALED_LINEAR, 3.0, inner=50, epsilon=1e-9
    )
    assert torch.allclose(alone.latents, found.latents[1:])


def maps(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3)).softmax(-1)


def test_transforms():
    source, own = maps(2, 4, 3), maps(1, 2, 4, 3)
    swap = torch.eye(3)[[0, 2, 1]][None]
    assert torch.equal(replaced(swap)(source, own), source[None, :, :, [0, 2, 1]])
    index, alphas = torch.tensor([[0, -1, 1]]), torch.tensor([[1.0, 0, 1]])
    got = refined(index, alphas)(source, own)
    assert torch.equal(got[0, ..., [0, 2]], source[..., [0, 1]]) and torch.equal(got[..., 1], own[..., 1])
    weights = torch.tensor([[1.0, 2, 0]])
    assert torch.equal(reweighted(weights)(source, own), (source * weights[:, None])[None])


def test_a_blend_keeps_the_source_elsewhere():
    blend = Blend(torch.tensor([[0.0, 1], [0, 1]]), start=0.0)
    seen = torch.zeros(2, 1, 16, 2)
    seen[0, 0, 0, 1] = seen[1, 0, 15, 1] = 1  # of 4×4: the source's word is top left, the target's bottom right
    blend.add("up_blocks.0.attn2", seen)
    latents = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    got = blend(latents)
    want = torch.zeros(8, 8)
    want[:4, :4] = want[4:, 4:] = 1  # twice the 2×2 that the maximum of 3×3 leaves of a corner
    assert torch.equal(got[1, 0], want) and torch.equal(got[0], latents[0])


def teacher(make=pipelines.sd, kind=LatentDiffusion, **options):
    torch.manual_seed(0)
    return kind("tiny", make(**options), torch.device("cpu"), torch.float32)


def test_control_changes_the_target_alone_and_for_a_while():
    unet = teacher().unet
    x, text = torch.randn(1, 4, 8, 8), torch.randn(1, 12, 16)
    prompts = torch.cat([text, text + torch.randn(1, 12, 16)])
    steps = 2
    control = Control(replaced(torch.eye(12)[None]), torch.ones(steps + 1, 1, 12), steps)
    before = unet.attn_processors
    batch = torch.cat([text, text, prompts])
    plain = unet(x.expand(4, -1, -1, -1), 500, batch).sample
    with controlled(unet, control):
        got = unet(x.expand(4, -1, -1, -1), 500, batch).sample
        control.after(x)
    assert control.step == 1 and unet.attn_processors == before
    assert torch.allclose(got[:3], plain[:3], atol=1e-5)  # the null half and the source are as without control
    assert not torch.allclose(got[3], plain[3], atol=1e-3)
    assert torch.equal(unet(x.expand(4, -1, -1, -1), 500, batch).sample, plain)


@pytest.mark.parametrize(
    "make, kind, options",
    [(pipelines.sd, LatentDiffusion, {}), (pipelines.sd, LatentDiffusion, {"prediction": "v_prediction"}),
     (pipelines.sdxl, LatentDiffusionXL, {})],
)  # fmt: skip
def test_any_unet(make, kind, options):
    known = teacher(make, kind, **options)
    network = null_text.Network(known)
    embeddings = network.encode(["white hair", ""])
    x, t = torch.randn(2, *known.latent_shape), 500
    want = known.predict_noise(x, torch.full((2,), t), known.encode_text(["white hair", ""]))
    assert torch.allclose(network.predict(x, t, embeddings), want, atol=1e-5)
    method = null_text.NullText(null_text.Options(steps=2, inner=2))
    fitted = method.fit("white hair", "smile", toy_domain(), Models({"teacher": lambda: known}))
    images = torch.rand(2, 3, 20, 20) * 2 - 1
    found = fitted.edit(images)
    assert found.shape == images.shape and found.abs().max() <= 1
    assert torch.allclose(fitted.edit(images[1:]), found[1:], atol=1e-3)


def test_says_what_it_cannot_do():
    models = Models({"teacher": teacher})
    with pytest.raises(SddError, match="needs a prompt"):
        null_text.METHOD.fit("", "", toy_domain(), models)
    with pytest.raises(SddError, match="between 0 and 1, not 2"):
        null_text.METHOD.fit("smile", "", toy_domain(), models).edit(torch.zeros(1, 3, 16, 16), 2.0)
    flow = SimpleNamespace(name="flow")
    with pytest.raises(SddError, match="has no U-Net whose attention"):
        null_text.METHOD.fit("smile", "", toy_domain(), Models({"teacher": lambda: flow}))
    with pytest.raises(SddError, match="between 1 and 1000 steps"):
        null_text.timesteps(1000, 0)


def test_the_embedded_teacher_gives_the_picture_back():
    """With the source prompt: within half a decibel of what the autoencoder alone makes of it."""
    known = load_teacher(weights_folder(EMBEDDED) / "teacher")
    images = avatars.render(avatars.sample(2, 3))
    fitted = null_text.NullText(null_text.Options(steps=10, inner=3)).fit(
        "white hair", "hair", toy_domain(), Models({"teacher": lambda: known})
    )

    def psnr(got):
        return -10 * torch.log10((got.clamp(-1, 1) - images).square().mean((1, 2, 3)) / 4)

    assert (psnr(fitted.reconstruct(images)) > psnr(fitted.unedited(images)) - 0.5).all()


def test_shares_reach_the_control():
    target = Tokens("white hair", (0, 1, 2, 3), ("<", "white", "hair", ">"))
    control = null_text.attention(target, target, 10, 12, cross=0.4, self_share=0.3)
    assert control.self_steps == 3 and torch.equal(control.cross, time_shares([target], 10, 0.4, 12))
