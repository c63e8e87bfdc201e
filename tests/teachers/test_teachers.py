"""Teachers: tiny random pipelines of every class, made by diffusers itself, against closed forms and the full graph."""

import json
import socket
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace

import diffusers
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from pipelines import LENGTH, SIZE, autoencoder, flux, sd, sd3, sdxl, unet
from sdd.errors import SddError
from sdd.nets.resize import resize
from sdd.paper.search import search
from sdd.teachers.flow import Flux, StableDiffusion3
from sdd.teachers.latent import LatentDiffusion, LatentDiffusionXL
from sdd.teachers.load import load_teacher
from sdd.teachers.protocol import Conditioning

KINDS = {
    "sd": LatentDiffusion,
    "sd-v": LatentDiffusion,
    "sdxl": LatentDiffusionXL,
    "sd3": StableDiffusion3,
    "flux": Flux,
}


@contextmanager
def hub(answer, asked):
    """A hub on this machine that refuses every file with (status, the hub's own code); None: nobody listens."""

    class Refuses(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(answer[0])
            self.send_header("X-Error-Code", answer[1])
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        if answer is None:
            server.server_close()
            yield address
            return
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield address
        server.shutdown()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A saved pipeline of each kind."""
    root = tmp_path_factory.mktemp("teachers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = {"sd": sd(), "sd-v": sd("v_prediction"), "sdxl": sdxl(), "sd3": sd3(), "flux": flux()}
    for kind, pipeline in made.items():
        pipeline.save_pretrained(root / kind)
    return root


@pytest.fixture(scope="module")
def teachers(folders):
    """Loaded from the folders with the network cut off, in float64 so that identities show; do not change them."""

    def refuse(*_, **__):
        raise AssertionError("a local folder was loaded through the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        return {
            kind: load_teacher(folders / kind, dtype=torch.float64, image_size=SIZE if kind == "flux" else None)
            for kind in KINDS
        }


@pytest.fixture(params=KINDS)
def teacher(request, teachers):
    return teachers[request.param]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_each_kind_is_recognised(teachers):
    assert {kind: type(teacher) for kind, teacher in teachers.items()} == KINDS


def test_shapes(teacher):
    assert teacher.image_size == SIZE
    assert teacher.latent_shape == (4, SIZE // 2, SIZE // 2)
    assert teacher.num_timesteps == len(teacher.alphas_cumprod) == 1000
    latents = teacher.encode_image(draw(2, 3, 24, 24).clamp(-1, 1))
    assert latents.shape == (2, *teacher.latent_shape)
    condition = teacher.encode_text(["white hair", ""])
    eps = teacher.predict_noise(latents, torch.tensor([3, 900]), condition)
    assert eps.shape == latents.shape
    assert eps.isfinite().all()
    assert not eps.requires_grad
    one = teacher.predict_noise(latents[1:], torch.tensor([900]), teacher.encode_text([""]))
    torch.testing.assert_close(eps[1:], one, rtol=1e-5, atol=1e-6)


def test_schedule_falls_from_clean_to_noise(teacher):
    abar = teacher.alphas_cumprod
    assert abar.dtype == torch.float64
    assert (abar.diff() < 0).all()
    assert abar[0] > 0.99
    assert 0 <= abar[-1] < 0.01


def test_everything_is_frozen(teacher):
    nets = [n for n in teacher.pipeline.components.values() if isinstance(n, torch.nn.Module)]
    assert len(nets) >= 3
    for net in nets:
        assert not net.training
        assert not any(p.requires_grad for p in net.parameters())


def test_encode_image_is_the_autoencoders_scaled_posterior(teacher):
    images = draw(2, 3, 40, 40).clamp(-1, 1)
    posterior = teacher.vae.encode(resize(images, SIZE, antialias=False)).latent_dist
    config = teacher.vae.config
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(5))
    for sample, latents in ((False, posterior.mean), (True, posterior.mean + posterior.std * noise)):
        want = (latents - (config.shift_factor or 0)) * config.scaling_factor
        got = teacher.encode_image(images, sample, torch.Generator().manual_seed(5))
        torch.testing.assert_close(got, want)


def test_decode_is_the_autoencoders_decoder_of_unscaled_latents(teacher):
    latents, config = draw(2, *teacher.latent_shape), teacher.vae.config
    want = teacher.vae.decode(latents / config.scaling_factor + (config.shift_factor or 0)).sample
    torch.testing.assert_close(teacher.decode(latents), want)
    assert want.shape == (2, 3, SIZE, SIZE)


def test_decode_is_differentiable(teacher):
    latents = draw(1, *teacher.latent_shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: teacher.decode(x).mean((2, 3)), latents, fast_mode=True)


def test_injected_gradient_is_that_of_the_full_graph(teacher):
    """d/d image of ½ w‖ε_θ(x_t) − ε‖², the denoiser's Jacobian kept: in one graph, and handed over at the latents."""
    images = draw(1, 3, 20, 20).clamp(-1, 1).requires_grad_()
    noise, t, condition = (
        draw(1, *teacher.latent_shape, seed=1),
        torch.tensor([600]),
        teacher.encode_text(["white hair"]),
    )
    predict = type(teacher).predict_noise.__wrapped__  # without its no_grad

    def loss(latents):
        eps = predict(teacher, teacher.add_noise(latents, noise, t), t, condition)
        return 0.5 * (1 - teacher.alphas_cumprod[600]) * (eps - noise).square().sum()

    want = torch.autograd.grad(loss(teacher.encode_image(images, sample=False)), images)[0]
    latents = teacher.encode_image(images, sample=False)
    leaf = latents.detach().requires_grad_()
    g = torch.autograd.grad(loss(leaf), leaf)[0]
    got = torch.autograd.grad((latents * g).sum(), images)[0]
    assert want.abs().max() > 0
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12 * float(want.abs().max()))


def test_gradient_on_the_image_against_finite_differences(teacher):
    images, step = draw(1, 3, 20, 20).clamp(-1, 1).requires_grad_(), draw(1, 3, 20, 20, seed=2)
    g = draw(1, *teacher.latent_shape, seed=3)

    def value(x):
        return (teacher.encode_image(x, sample=False) * g).sum()

    slope = (torch.autograd.grad(value(images), images)[0] * step).sum()
    with torch.no_grad():
        difference = (value(images + 1e-5 * step) - value(images - 1e-5 * step)) / 2e-5
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("step", [0, 1, 500, 998, 999])
def test_noise_from_v(teachers, monkeypatch, step):
    """v = √ᾱ ε − √(1 − ᾱ) x₀ gives ε back exactly."""
    teacher = teachers["sd-v"]
    x0, noise, t = draw(2, *teacher.latent_shape), draw(2, *teacher.latent_shape, seed=1), torch.full((2,), step)
    a = teacher.alphas_cumprod[step]

    def v(latents, t, text):
        return SimpleNamespace(sample=a.sqrt() * noise - (1 - a).sqrt() * x0)

    monkeypatch.setattr(teacher, "unet", v)
    got = teacher.predict_noise(teacher.add_noise(x0, noise, t), t, teacher.encode_text(["", ""]))
    torch.testing.assert_close(got, noise)


@pytest.mark.parametrize("kind", ["sd3", "flux"])
@pytest.mark.parametrize("step", [0, 1, 500, 998, 999])
def test_noise_from_flow(teachers, monkeypatch, kind, step):
    """The net is shown x_σ = (1 − σ) x₀ + σ ε, and v = ε − x₀ gives ε back exactly."""
    teacher = teachers[kind]
    x0, noise, t = draw(2, *teacher.latent_shape), draw(2, *teacher.latent_shape, seed=1), torch.full((2,), step)
    s = (step + 1) / 1000
    shift = 3 if kind == "sd3" else 1
    sigma = shift * s / (1 + (shift - 1) * s)

    def velocity(latents, given, condition):
        torch.testing.assert_close(given, torch.full((2,), sigma, dtype=torch.float64))
        torch.testing.assert_close(latents, (1 - sigma) * x0 + sigma * noise)
        return noise - x0

    monkeypatch.setattr(teacher, "_velocity", velocity)
    got = teacher.predict_noise(teacher.add_noise(x0, noise, t), t, teacher.encode_text(["", ""]))
    torch.testing.assert_close(got, noise)


def test_flow_schedule_is_the_samplers(teachers, folders):
    for kind in ("sd3", "flux"):
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(folders / kind / "scheduler")
        torch.testing.assert_close(teachers[kind].sigmas.float(), scheduler.sigmas.flip(0))


def test_sd_is_what_the_pipelines_net_says(teachers):
    teacher = teachers["sd"]
    latents, t = draw(1, *teacher.latent_shape), torch.tensor([321])
    text = teacher.pipeline.encode_prompt(["white hair"], "cpu", 1, False)[0]
    torch.testing.assert_close(teacher.encode_text(["white hair"]).embeds, text.float())
    want = teacher.unet(latents, t, text.float().double()).sample
    torch.testing.assert_close(teacher.predict_noise(latents, t, teacher.encode_text(["white hair"])), want)


def test_sdxl_is_told_the_size_and_the_null_prompt_is_zero(teachers):
    teacher = teachers["sdxl"]
    condition = teacher.encode_text(["white hair", ""])
    assert condition.embeds.shape == (2, LENGTH, 32)
    assert condition.extras["pooled"].shape == (2, 16)
    assert condition.embeds[0].any()
    assert condition.extras["pooled"][0].any()
    assert not condition.embeds[1].any()
    assert not condition.extras["pooled"][1].any()
    want = teacher.pipeline._get_add_time_ids((SIZE, SIZE), (0, 0), (SIZE, SIZE), torch.float64, 16)
    given = teacher._extras(condition)["added_cond_kwargs"]
    assert torch.equal(given["time_ids"], want.expand(2, 6))


def test_flux_packs_as_its_pipeline(teachers, monkeypatch):
    teacher = teachers["flux"]
    latents, seen = draw(2, *teacher.latent_shape), {}

    def net(**given):
        seen.update(given)
        return SimpleNamespace(sample=given["hidden_states"])

    net.config = teacher.net.config
    monkeypatch.setattr(teacher, "net", net)
    out = teacher._velocity(latents, torch.tensor([0.3, 0.4]), teacher.encode_text(["white", ""]))
    side = SIZE // 2
    assert torch.equal(out, latents)
    assert torch.equal(seen["hidden_states"], teacher.pipeline._pack_latents(latents, 2, 4, side, side))
    want = teacher.pipeline._prepare_latent_image_ids(2, side // 2, side // 2, "cpu", torch.float64)
    assert torch.equal(seen["img_ids"], want)
    assert seen["guidance"].tolist() == [1, 1]
    assert seen["timestep"].tolist() == pytest.approx([0.3, 0.4])


@pytest.mark.parametrize("gradient", ["image", "latent"])
def test_search_runs_on_every_kind(teacher, gradient):
    got = search(teacher, draw(2, 3, 16, 16).float().clamp(-1, 1), "white hair", (200, 800), gradient=gradient)
    assert got.norm.shape == (2, 2)
    assert (got.norm > 0).all()


def test_conditioning_repeats_and_joins():
    one = Conditioning(draw(2, 3, 4), {"pooled": draw(2, 5)})
    twice = one.repeat(2)
    assert torch.equal(twice.embeds, torch.cat([one.embeds, one.embeds]))
    joined = Conditioning.cat([one, one])
    assert torch.equal(joined.embeds, twice.embeds)
    assert torch.equal(joined.extras["pooled"], twice.extras["pooled"])


def test_unknown_words(teacher):
    assert teacher.unknown_words("White hair, smile!") == []
    assert teacher.unknown_words("white e hair") == [("e", [])]  # a letter has a token and is no word
    assert teacher.unknown_words("whit hair xyz") == [("whit", ["white"]), ("xyz", [])]


def test_a_big_vocabulary_is_not_asked(teachers, monkeypatch):
    monkeypatch.setattr(teachers["sd"], "tokenizer", SimpleNamespace(get_vocab=lambda: dict.fromkeys(range(6000))))
    assert teachers["sd"].unknown_words("anything") == []
    of_bytes = {"\u0120white": 0, "white": 1, "x": 2}
    monkeypatch.setattr(teachers["sd"], "tokenizer", SimpleNamespace(get_vocab=lambda: of_bytes))
    assert teachers["sd"].unknown_words("anything white") == []


def test_autoencoder_override(folders, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        blocks = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
        tiny = diffusers.AutoencoderTiny(**blocks, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))
        other = autoencoder(scaling_factor=0.7)
    tiny.save_pretrained(tmp_path / "tiny")
    other.save_pretrained(tmp_path / "other")
    images = draw(1, 3, SIZE, SIZE).float().clamp(-1, 1)
    teacher = load_teacher(folders / "sd", vae=tmp_path / "tiny")
    assert teacher.latent_shape == (4, SIZE // 2, SIZE // 2)
    assert teacher.name == f"{folders / 'sd'} with the autoencoder {tmp_path / 'tiny'}"
    images.requires_grad_()
    latents = teacher.encode_image(images)
    torch.testing.assert_close(latents, tiny.encode(images).latents)
    latents.sum().backward()
    assert images.grad.any()
    got = load_teacher(folders / "sd", vae=tmp_path / "other").encode_image(images, sample=False)
    torch.testing.assert_close(got, 0.7 * other.encode(images).latent_dist.mean)


def test_half_precision_keeps_a_fragile_autoencoder_whole(folders):
    teacher = load_teacher(folders / "sdxl", dtype=torch.float16)
    assert teacher.unet.dtype == torch.float16
    assert teacher.vae.dtype == torch.float32
    latents = teacher.encode_image(draw(1, 3, SIZE, SIZE).float())
    assert latents.dtype == torch.float32
    eps = teacher.predict_noise(latents, torch.tensor([500]), teacher.encode_text(["white"]))
    assert eps.dtype == torch.float32


class TestRefuses:
    @pytest.mark.parametrize("name", ["nowhere", "./no/such", "/no/such/folder", "a/b/c", "../x", ""])
    def test_nothing_there(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SddError, match="teacher"):
            load_teacher(name if name else tmp_path / "empty")

    @pytest.mark.parametrize("given", ["teacher", "autoencoder"])
    @pytest.mark.parametrize(
        ("answer", "says"),
        [
            ((403, "GatedRepo"), "the {} some/one is gated: accept its licence"),
            ((404, "RepoNotFound"), "the hub has no model some/one"),
            ((404, "EntryNotFound"), "has no {file}, so that it cannot be the {}"),
            ((503, ""), r"the {} some/one is not here and the hub cannot be reached \(.*503"),
            (None, r"the {} some/one is not here and the hub cannot be reached \(.*refused"),
        ],
    )
    def test_a_hub_that_does_not_give(self, monkeypatch, folders, given, answer, says):
        """A hub of our own that answers like the real one: asked once, and the reason it gives is told."""
        asked = []
        with hub(answer, asked) as address:
            monkeypatch.setattr(constants, "ENDPOINT", address)
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/{revision}/{filename}")
            file = "model_index.json" if given == "teacher" else "config.json"
            with pytest.raises(SddError, match=says.format(given, file=file)) as caught:
                load_teacher("some/one") if given == "teacher" else load_teacher(folders / "sd", vae="some/one")
        assert "\n" not in str(caught.value)
        assert asked == ([] if answer is None else [f"/some/one/main/{file}"])

    def test_offline_by_choice(self, monkeypatch):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(SddError, match="the teacher some/one is not in the hub's cache, and HF_HUB_OFFLINE is set"):
            load_teacher("some/one")

    def test_a_device_that_is_not_there(self, folders):
        with pytest.raises(SddError, match="no device 'meta'"):
            load_teacher(folders / "sd", device="meta")

    def test_a_folder_of_something_else(self, tmp_path):
        with pytest.raises(SddError, match=r"no model_index\.json"):
            load_teacher(tmp_path)

    def test_another_pipeline(self, tmp_path):
        (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "KandinskyPipeline"}))
        with pytest.raises(SddError, match="is a KandinskyPipeline, which is not understood"):
            load_teacher(tmp_path)

    def test_a_pipeline_that_brings_its_own_code(self, tmp_path):
        (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": ["pipeline", "Own"]}))
        with pytest.raises(SddError, match="not understood"):
            load_teacher(tmp_path)

    def test_a_broken_index(self, tmp_path):
        (tmp_path / "model_index.json").write_text("{")
        with pytest.raises(SddError, match="could not load the teacher"):
            load_teacher(tmp_path)

    def test_an_index_and_nothing_else(self, tmp_path, folders):
        (tmp_path / "model_index.json").write_text((folders / "sd" / "model_index.json").read_text())
        with pytest.raises(SddError, match="could not load the teacher") as caught:
            load_teacher(tmp_path)
        assert "\n" not in str(caught.value)

    def test_a_size_that_does_not_fit(self, folders):
        with pytest.raises(SddError, match="multiples of 4, not on 18"):
            load_teacher(folders / "sd3", image_size=18)

    def test_a_net_for_other_latents(self, teachers):
        parts = teachers["sd"].pipeline
        other = SimpleNamespace(
            vae=parts.vae, text_encoder=parts.text_encoder, tokenizer=parts.tokenizer, scheduler=parts.scheduler,
            unet=unet(in_channels=9),
        )  # fmt: skip
        with pytest.raises(SddError, match="takes 9 channels and its autoencoder gives 4"):
            LatentDiffusion("inpainting", other, torch.device("cpu"), torch.float64)

    def test_a_prediction_of_the_image_itself(self, teachers):
        parts = teachers["sd"].pipeline
        other = SimpleNamespace(
            vae=parts.vae, text_encoder=parts.text_encoder, tokenizer=parts.tokenizer, unet=parts.unet,
            scheduler=diffusers.DDPMScheduler(prediction_type="sample"),
        )  # fmt: skip
        with pytest.raises(SddError, match="predicts 'sample'"):
            LatentDiffusion("x0", other, torch.device("cpu"), torch.float64)

    def test_an_autoencoder_that_is_not_there(self, folders, tmp_path):
        with pytest.raises(SddError, match="could not load the autoencoder"):
            load_teacher(folders / "sd", vae=tmp_path / "none")


class TestSingleFile:
    @pytest.mark.parametrize(
        ("key", "kind", "found"),
        [
            ("model.diffusion_model.input_blocks.0.0.weight", "StableDiffusionPipeline", "sd"),
            ("conditioner.embedders.1.model.ln_final.bias", "StableDiffusionXLPipeline", "sdxl"),
            ("model.diffusion_model.joint_blocks.0.x_block.attn.proj.bias", "StableDiffusion3Pipeline", "sd3"),
            ("double_blocks.0.img_attn.proj.bias", "FluxPipeline", "flux"),
        ],
    )
    def test_the_kind_is_read_from_the_tensors(self, tmp_path, monkeypatch, teachers, key, kind, found):
        path = tmp_path / "model.safetensors"
        save_file({key: torch.zeros(1)}, path)
        given = []

        def load(file, **options):
            given.append(file)
            return teachers[found].pipeline

        monkeypatch.setattr(getattr(diffusers, kind), "from_single_file", load)
        assert isinstance(load_teacher(path, dtype=torch.float64, image_size=SIZE), KINDS[found])
        assert given == [str(path)]

    def test_of_something_else(self, tmp_path):
        path = tmp_path / "model.safetensors"
        save_file({"mapper.weight": torch.zeros(1)}, path)
        with pytest.raises(SddError, match="is not a Stable Diffusion or Flux checkpoint"):
            load_teacher(path)

    @pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt"])
    def test_broken(self, tmp_path, name):
        path = tmp_path / name
        path.write_bytes(b"not a checkpoint")
        with pytest.raises(SddError, match="is not a checkpoint"):
            load_teacher(path)
