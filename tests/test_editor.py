"""Editors: the file comes back byte for byte, damaged files are refused; strengths, levels and sums are exact."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdd.editor import Composition, Editor, EditorInfo, domain_warning
from sdd.errors import SddError
from sdd.manipulators.inversion import encode
from sdd.nets.mapper_kinds import build_mapper
from toy import STYLE_DIM, toy_domain


def editor(kind="levels", seed=0, domain=None, **info):
    domain = domain or toy_domain()
    layers = domain.generator.n_latent
    config = {"kind": kind}
    if "tyle" in kind:
        config |= {"dims": [s.shape[1] for s in domain.generator.styles(domain.latent_mean[None])]}
    else:
        config |= {"style_dim": STYLE_DIM} | ({"n_latent": layers} if kind in ("levels", "single") else {})
    mapper = build_mapper(config)
    random = torch.Generator().manual_seed(seed)
    for p in mapper.parameters():
        p.data.normal_(generator=random)
    described = {"prompt": "white hair", "domain": "toy", "generator": domain.generator_hash}
    return Editor(mapper, EditorInfo(**{**described, "mapper": mapper.config(), **info}), domain)


@pytest.fixture(scope="module")
def images():
    return toy_domain().images(5, seed=3, split="test")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "white-hair.safetensors"
    editor(hqs={"hqs": [0.1, 1 / 3]}, figures={"steps": 3.0}, timesteps=[700], notes=["Zöe's notes"]).save(path)
    return path


@pytest.mark.parametrize("kind", ["levels", "single", "stylespace", "LevelsMapper", "FullStyleSpaceMapper"])
def test_file_round_trip_is_byte_for_byte(kind, tmp_path, images):
    made = editor(kind)
    made.save(tmp_path / "a.safetensors")
    read = Editor.load(tmp_path / "a.safetensors", toy_domain())
    read.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert read.info == made.info and torch.equal(read(images), made(images))


@pytest.mark.parametrize("kind", ["levels", "stylespace", "SingleMapper"])
def test_strength_zero_draws_the_inversion(kind, images):
    domain = toy_domain()
    inverted = domain.generator.synthesis(domain.encoder(images)).clamp(-1, 1)
    assert torch.equal(editor(kind)(images, strength=0), inverted)
    assert not torch.allclose(editor(kind)(images, strength=1), inverted)


def test_strength_is_linear_in_the_code(images):
    domain, e = toy_domain(), editor(strength=1.25)
    codes = encode(images, domain)
    for s in (-0.5, 0.3, 1.0, 2.0):
        wanted = domain.generator.synthesis(codes + s * 1.25 * e.mapper(codes)).clamp(-1, 1)
        torch.testing.assert_close(e(images, strength=s), wanted)


def test_levels_add_up(images):
    domain, e = toy_domain(), editor()
    codes = encode(images, domain)
    delta = e.mapper(codes)
    delta[:, 4:] = 0
    wanted = domain.generator.synthesis(codes + delta).clamp(-1, 1)
    torch.testing.assert_close(e(images, levels=["coarse"]), wanted)
    assert torch.equal(e(images, levels=["coarse", "medium", "fine"]), e(images))
    assert torch.equal(e(images, levels=[]), e(images, strength=0))


def test_any_size_and_number_of_images(images):
    e = editor()
    assert e(images[:0]).shape == (0, 3, 32, 32)
    assert e(torch.rand(2, 3, 50, 70) * 2 - 1).shape == (2, 3, 32, 32)
    torch.testing.assert_close(e(images, batch=2), e(images))


def test_composition_adds_changes(images):
    domain, a, b = toy_domain(), editor(seed=1), editor(seed=2)
    codes = encode(images, domain)
    wanted = domain.generator.synthesis(codes + 0.5 * a.mapper(codes) - 2 * b.mapper(codes)).clamp(-1, 1)
    torch.testing.assert_close(Editor.compose([a, b])(images, [0.5, -2.0]), wanted)
    torch.testing.assert_close(Editor.compose([b, a])(images), Editor.compose([a, b])(images))
    assert torch.equal(Editor.compose([a])(images), a(images))


def test_composition_of_both_spaces(images):
    domain, a, b = toy_domain(), editor(seed=1), editor("stylespace", seed=2)
    codes = encode(images, domain)
    g = domain.generator
    changes = b.mapper(g.styles(codes))
    styles = [x + y for x, y in zip(g.styles(codes + a.mapper(codes)), changes, strict=True)]
    wanted = g.synthesis_from_styles(styles).clamp(-1, 1)
    torch.testing.assert_close(Editor.compose([a, b])(images), wanted)


def test_edit_reports_the_inversion(images):
    domain = toy_domain()
    edit = editor().edit(images)
    assert torch.equal(edit.images, editor()(images)) and edit.inversion.psnr.shape == (5,)
    noise = editor().edit(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).round() * 2 - 1)
    assert "not of that domain" in domain_warning(float(noise.inversion.psnr), domain)
    assert domain_warning(19.0, domain) is None


def test_bad_calls_are_refused(images):
    e = editor()
    with pytest.raises(SddError, match="unknown level 'huge'"):
        e(images, levels=["huge"])
    with pytest.raises(SddError, match="strength"):
        e(images, strength=float("nan"))
    with pytest.raises(SddError, match=r"\(B, 3, H, W\)"):
        e(images[0])
    with pytest.raises(SddError, match="3 strengths"):
        Composition([e])(images, [1, 2, 3])
    with pytest.raises(SddError, match="no editor"):
        Editor.compose([])


def test_another_generator_is_named(path):
    with pytest.raises(SddError, match="made for generator 000000000000 of domain 'toy'"):
        Editor.load(path, toy_domain(0xABC))
    with pytest.raises(SddError, match="different generators"):
        Editor.compose([editor(), editor(domain=toy_domain(0xABC))])


def refused(path, match):
    with pytest.raises(SddError, match=match) as caught:
        Editor.load(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_missing_and_foreign_files_are_refused(tmp_path):
    refused(tmp_path / "none.safetensors", "no editor file")
    refused(tmp_path, "folder")
    (tmp_path / "text").write_text("hello")
    refused(tmp_path / "text", "truncated or not an editor")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    refused(tmp_path / "other.safetensors", "not an sdd editor")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors", {"sdd": "{"})
    refused(tmp_path / "other.safetensors", "description is damaged")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors", {"sdd": "[" * 100_000})
    refused(tmp_path / "other.safetensors", "description is damaged")


def test_truncation_at_any_length_is_refused(path):
    whole = path.read_bytes()
    for k in range(40):
        path.write_bytes(whole[: len(whole) * k // 40])
        refused(path, "truncated")


def test_header_that_claims_too_much_is_refused(path):
    path.write_bytes(struct.pack("<Q", 10**13) + path.read_bytes()[8:])
    refused(path, "truncated")


def change(path, tensors=None, **info):
    """Rewrite an editor file with something wrong in it."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["sdd"])
    described.update(info)
    save_file(tensors if tensors is not None else load_file(path), path, {"sdd": json.dumps(described)})


@pytest.mark.parametrize(
    ("info", "match"),
    [
        ({"format": 99}, "newer sdd"),
        ({"format": "1"}, "damaged: format"),
        ({"prompt": None}, "damaged: prompt"),
        ({"surprise": 1}, "damaged: surprise"),
        ({"strength": float("nan")}, "damaged: strength"),
        ({"mapper": {"kind": "magic"}}, "unknown mapper kind 'magic'"),
        ({"mapper": {}}, "unknown mapper kind"),
        ({"mapper": {"kind": "levels", "n_latent": 8, "style_dim": 10**9}}, "damaged"),
        ({"mapper": {"kind": "levels", "n_latent": -8, "style_dim": 8}}, "lacks|cannot be built|has a tensor"),
        ({"mapper": {"kind": "levels", "n_latent": 8, "style_dim": 8, "depth": 10**9}}, "impossible size"),
        ({"mapper": {"kind": "stylespace", "dims": [1] * 10**5}}, "impossible size"),
        ({"mapper": {"kind": "stylespace", "dims": 7}}, "cannot be built|impossible"),
        ({"mapper": {"kind": "levels", "n_latent": 8, "style_dim": 8, "depth": "x"}}, "impossible size"),
    ],
)
def test_damaged_descriptions_are_refused(path, info, match):
    change(path, **info)
    refused(path, match)


def test_damaged_tensors_are_refused(path):
    good = load_file(path)
    name = "networks.coarse.weights.0"
    cases = [
        ({k: v for k, v in good.items() if k != name}, "lacks the tensor"),
        ({**good, name: good[name][:-1].clone()}, "its mapper needs"),
        ({**good, name: good[name].double()}, "its mapper needs"),
        ({**good, "extra": torch.zeros(1)}, "does not know"),
        ({**good, name: good[name] * float("nan")}, "NaN or infinity"),
        ({**good, name: good[name] / 0}, "NaN or infinity"),
    ]
    for tensors, match in cases:
        change(path, tensors)
        refused(path, match)
    change(path, good)
    Editor.load(path, toy_domain())


def test_weights_that_are_not_finite_are_not_saved(path):
    before = path.read_bytes()
    e = editor()
    next(iter(e.mapper.parameters())).data.fill_(float("nan"))
    with pytest.raises(SddError, match="NaN"):
        e.save(path)
    assert path.read_bytes() == before
