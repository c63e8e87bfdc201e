"""Domains of the user's own parts: saved, named, found again by the hash of their generator."""

import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from sdd.domains import assemble as assembling
from sdd.domains import library
from sdd.domains.assemble import assemble, zoo
from sdd.domains.parts import Parts, licences
from sdd.domains.photos import photo_crop
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.io.checkpoints.hash import generator_hash
from sdd.manipulators.inversion import Inverter
from sdd.nets.encoder import Encoder4Editing
from sdd.training.distil import distill
from toy import SIZE, STYLE_DIM, ToyTeacher, toy_domain


class Encoder(nn.Module):
    """Anything that gives codes of the right shape."""

    def __init__(self, layers=8):
        super().__init__()
        self.shape = (layers, STYLE_DIM)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images):
        assert images.shape[2:] == (256, 256), "encoders see 256 px, as published"
        return images.mean((1, 2, 3)).view(-1, 1, 1).expand(-1, *self.shape) * self.weight


@pytest.fixture(autouse=True)
def parts_on_disk(tmp_path, monkeypatch):
    """Files whose contents stand for networks: the readers of real checkpoints have tests of their own."""
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    nets = {"generator.pt": toy_domain(0).generator, "other.pt": toy_domain(1).generator}
    nets |= {"encoder.pt": Encoder(), "short.pt": Encoder(6)}
    for name in nets:
        (tmp_path / name).touch()

    def net(source, what):
        path = zoo.resolve(source)
        return nets[path.name]

    monkeypatch.setattr(assembling, "_net", net)
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(12):
        Image.new("RGB", (60, 40 + i), (20 * i, 255 - 20 * i, 90)).save(photos / f"{i:02}.png")
    codes = torch.randn(20, 8, STYLE_DIM, generator=torch.Generator().manual_seed(0)) * 0.3
    save_file({"latents": codes}, tmp_path / "codes.safetensors")
    monkeypatch.setattr(assembling, "_latents", lambda parts, *_: codes if parts.latents else None)


PARTS = {"generator": "generator.pt", "encoder": "encoder.pt", "images": "photos"}


def test_a_saved_domain_comes_back_as_it_was(tmp_path):
    assert library.saved() == []
    made = library.add("mine", PARTS)
    assert library.names() == ["avatars", "mine"]
    back = library.get("mine")
    assert back.name == "mine" and back.image_size == SIZE and back.crop == "centre"
    assert back.stylegan.generator_hash == made.stylegan.generator_hash == generator_hash(toy_domain(0).generator)
    assert back.expected_psnr == made.expected_psnr is not None
    assert torch.equal(back.images(3, seed=5), made.images(3, seed=5))
    parts = library.read("mine")
    assert parts.generator == str(tmp_path / "generator.pt")  # works from any folder
    library.remove("mine")
    assert library.saved() == []
    with pytest.raises(SddError, match="no saved domain 'mine'"):
        library.remove("mine")


def test_a_domain_that_hardly_resembles_its_pictures_is_said_to(monkeypatch):
    monkeypatch.setattr(library, "_expected_psnr", lambda domain: 7.25)
    with pytest.warns(UserWarning, match=r"7\.2 dB.*--encoder.*--crop"):
        library.add("poor", PARTS)
    assert library.read("poor").expected_psnr == 7.25
    monkeypatch.setattr(library, "_expected_psnr", lambda domain: 17.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        library.add("good", PARTS)


def test_names_are_checked_and_not_overwritten():
    for name in ("", "Mine", "../mine", "a b", "avatars"):
        with pytest.raises(SddError, match="cannot be called"):
            library.add(name, PARTS)
    library.add("mine", PARTS)
    with pytest.raises(SddError, match="already a domain"):
        library.add("mine", PARTS)
    library.add("mine", PARTS | {"encoder": None}, replace=True)
    assert library.read("mine").encoder is None


def test_parts_are_checked():
    with pytest.raises(SddError, match="lacks a generator"):
        library.add("mine", {"encoder": "encoder.pt"})
    with pytest.raises(SddError, match="bad crop"):
        library.add("mine", PARTS | {"crop": "dog"})
    with pytest.raises(SddError, match="neither a file nor a model"):
        library.add("mine", PARTS | {"generator": "gone.pt"})
    with pytest.raises(SddError, match=r"short.pt gives codes of shape \(6, 8\).* takes \(8, 8\)"):
        library.add("mine", PARTS | {"encoder": "short.pt"})
    assert library.saved() == []


def test_a_damaged_file_is_one_sentence():
    library.add("mine", PARTS)
    path = zoo.home() / "domains" / "mine.toml"
    path.write_text("generator = ")
    with pytest.raises(SddError, match="not valid TOML"):
        library.load("mine")
    path.write_text('generator = "generator.pt"\ncolour = 3\n')
    with pytest.raises(SddError, match="bad colour"):
        library.load("mine")


def test_names_the_zoo_knows_fill_in_the_rest(monkeypatch):
    seen = {}
    monkeypatch.setattr(library, "assemble", lambda parts, name: seen.update(parts=parts) or toy_domain())
    library.add("lsun-car", {"teacher": "./my-sd"})
    assert seen["parts"].crop == "car" and seen["parts"].encoder == "e4e-car" and seen["parts"].teacher == "./my-sd"
    assert library.read("lsun-car").generator == "lsun-car"


def test_an_editor_finds_its_generator_by_hash():
    other = generator_hash(toy_domain(1).generator)
    with pytest.raises(SddError, match=rf"{other[:12]}.*--generator"):
        library.by_generator(other)
    library.add("mine", PARTS)
    assemble(Parts(generator="other.pt"))  # used once, never named
    assert library.by_generator(other).stylegan.generator_hash == other
    assert library.by_generator(generator_hash(toy_domain(0).generator)).name == "mine"


def test_an_editor_made_elsewhere_finds_its_domain_under_another_name():
    there = toy_domain(0)
    backbone = replace(there.stylegan, generator_hash=generator_hash(there.generator))
    there = replace(there, backbone=backbone)
    made = distill("red", there, teacher=ToyTeacher(), timesteps="list:500", steps=1, progress=False)
    assert made.info.domain != "mine"
    lost = Editor(made.learned, made.info)
    with pytest.raises(SddError, match="--generator"):
        _ = lost.domain
    library.add("mine", PARTS)
    assert lost.domain.name == "mine"


def test_the_hash_is_of_values_and_names():
    one, other = toy_domain(0).generator, toy_domain(1).generator
    assert generator_hash(one) == generator_hash(one) != generator_hash(other)
    layer = nn.Linear(2, 2)
    before = generator_hash(layer)
    with torch.no_grad():
        layer.weight[0, 0] += 1e-6
    assert generator_hash(layer) != before


def test_photos_are_cropped_split_and_drawn_without_repetition():
    domain = assemble(Parts(**PARTS))
    assert domain.whole == 12
    train, test = domain.images(100, 0, "train"), domain.images(100, 0, "test")
    assert train.shape == (11, 3, SIZE, SIZE) and test.shape == (1, 3, SIZE, SIZE)
    colours = [tuple(image[:, 0, 0].tolist()) for image in torch.cat([train, test])]
    assert len(set(colours)) == 12
    assert torch.equal(domain.images(4, 1), domain.images(4, 1))
    assert not torch.equal(domain.images(4, 1), domain.images(4, 2))


def test_latents_are_the_statistics_and_the_pictures():
    domain = assemble(Parts(generator="generator.pt", latents="codes.safetensors"))
    codes = domain.latents
    assert domain.whole == len(codes) == 20
    torch.testing.assert_close(domain.stylegan.latent_mean, codes.mean(0))
    torch.testing.assert_close(domain.stylegan.latent_std, codes.std(0))
    pictures = domain.images(20, 0)
    drawn = domain.generator.synthesis(codes).clamp(-1, 1)
    for picture in pictures:
        assert (drawn - picture).abs().amax((1, 2, 3)).min() < 1e-5
    # Without an encoder every picture has the mean code, from where optimisation may start.
    assert torch.equal(domain.encoder(pictures[:2]), domain.stylegan.latent_mean.expand(2, -1, -1))


def test_without_images_the_mapping_network_is_sampled():
    domain = assemble(Parts(generator="generator.pt"))
    generator = domain.generator
    w = generator.mapping(torch.randn(20_000, STYLE_DIM, generator=torch.Generator().manual_seed(3)))
    torch.testing.assert_close(domain.stylegan.latent_mean[0], w.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(domain.stylegan.latent_std[3], w.std(0), atol=0.1, rtol=0)
    codes = domain.latents
    assert torch.equal(codes[:, 0], codes[:, -1])
    # Truncation: nearer to the mean than samples are.
    torch.testing.assert_close(codes.std(0)[0], 0.7 * w.std(0), atol=0.15, rtol=0)


def test_a_cars_letterbox_goes_to_its_encoder_without_the_bars():
    seen = []

    class Look(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.mean((1, 2, 3)).view(-1, 1, 1).expand(-1, 16, 512)

    picture = torch.full((1, 3, 512, 512), -1.0)
    picture[:, :, 64:448] = torch.linspace(0, 1, 512)
    Inverter(Look(), car=True)(picture)
    assert seen[0].shape == (1, 3, 192, 256) and seen[0].min() >= 0


def test_a_car_photo_lies_in_the_middle_of_a_black_square(tmp_path):
    Image.new("RGB", (400, 300), (255, 255, 255)).save(tmp_path / "car.png")
    crop = photo_crop(tmp_path / "car.png", "car", 64)
    assert crop.shape == (3, 64, 64)
    assert (crop[:, :8] == -1).all() and (crop[:, 56:] == -1).all() and (crop[:, 8:56] > 0.99).all()


def test_one_unusable_photo_does_not_matter_but_all_do(tmp_path):
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    assert len(assemble(Parts(**PARTS)).images(100)) == 11
    for path in (tmp_path / "photos").glob("*.png"):
        path.unlink()
    with pytest.raises(SddError, match="none of the photos"):
        assemble(Parts(**PARTS)).images(2)


def test_licences_of_known_parts_are_kept(monkeypatch):
    assert licences(Parts(generator="ffhq", encoder="mine.pt", teacher="sd-1.5")) == [
        "generator ffhq: NVIDIA Source Code License (non-commercial).",
        "teacher sd-1.5: CreativeML Open RAIL-M.",
    ]


# The same with real checkpoints, small: what the readers give fits together.


@pytest.fixture
def container(tmp_path, monkeypatch):
    """An e4e file: the encoder, and the generator it was trained for as `decoder`."""
    monkeypatch.undo()
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    torch.manual_seed(0)
    generator = toy_domain().generator
    encoder = Encoder4Editing(generator.n_latent, STYLE_DIM, units=(1, 1, 1, 1), channels=(16, 32, 48, 64), stem=16)
    named = {f"encoder.{k}": v for k, v in encoder.state_dict().items()}
    named |= {f"decoder.{k}": v for k, v in generator.state_dict().items()}
    average = torch.randn(generator.n_latent, STYLE_DIM) * 0.1
    opts = {"encoder_type": "Encoder4Editing", "stylegan_size": SIZE, "start_from_latent_avg": True}
    path = tmp_path / "e4e.pt"
    torch.save({"state_dict": named, "opts": opts, "latent_avg": average}, path)
    return path


def test_one_e4e_file_is_generator_and_encoder(container, tmp_path):
    domain = assemble(Parts(generator=str(container), encoder=str(container)))
    assert domain.stylegan.generator_hash == generator_hash(toy_domain().generator)
    with torch.no_grad():
        codes = domain.encoder(torch.zeros(2, 3, SIZE, SIZE))
    assert codes.shape == (2, *domain.stylegan.latent_mean.shape) and codes.isfinite().all()
    # The same generator in a file of its own has the same hash, so that editors know it again.
    torch.save({"g_ema": toy_domain().generator.state_dict()}, tmp_path / "alone.pt")
    with pytest.warns(UserWarning, match="no latent_avg"):
        alone = assemble(Parts(generator=str(tmp_path / "alone.pt")))
    assert alone.stylegan.generator_hash == domain.stylegan.generator_hash


def test_a_part_of_the_wrong_kind_is_named(container, tmp_path):
    torch.save(torch.zeros(4, 8, STYLE_DIM), tmp_path / "codes.pt")
    both = partial(Parts, generator=str(container))
    with pytest.raises(SddError, match=r"codes.pt was given as the encoder, but is latents"):
        assemble(both(encoder=str(tmp_path / "codes.pt")))
    torch.save(torch.zeros(4, 6, STYLE_DIM), tmp_path / "short.pt")
    with pytest.raises(SddError, match=r"short.pt holds 4x6x8, but the generator takes W\+ codes Nx8x8"):
        assemble(both(latents=str(tmp_path / "short.pt")))
    assert len(assemble(both(latents=str(tmp_path / "codes.pt"))).latents) == 4
