"""Editors: the file comes back byte for byte, damaged files are refused; strengths, levels and sums are exact."""

import json
import struct
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdd.beyond.blend import blend
from sdd.domains.foreign import domain_warning
from sdd.editor import Composition, Editor, EditorInfo
from sdd.errors import SddError
from sdd.manipulators.inversion import encode, psnr
from sdd.nets.mapper_kinds import build_mapper
from toy import STYLE_DIM, toy_domain


def editor(kind="levels", seed=0, domain=None, **info):
    domain = domain or toy_domain()
    layers = domain.generator.n_latent
    config = {"kind": kind}
    if "tyle" in kind:
        config |= {"dims": [s.shape[1] for s in domain.generator.styles(domain.stylegan.latent_mean[None])]}
    else:
        config |= {"style_dim": STYLE_DIM} | ({"n_latent": layers} if kind in ("levels", "single") else {})
    mapper = build_mapper(config)
    random = torch.Generator().manual_seed(seed)
    for p in mapper.parameters():
        p.data.normal_(generator=random)
    described = {"prompt": "white hair", "domain": "toy", "generator": domain.stylegan.generator_hash}
    return Editor(
        mapper,
        EditorInfo(**{**described, "manipulator": {"kind": "stylegan", "mapper": mapper.config()}, **info}),
        domain,
    )


@pytest.fixture(scope="module")
def images():
    return toy_domain().images(5, seed=3, split="test")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "white-hair.safetensors"
    editor(
        hqs={"hqs": [0.1, 1 / 3], "timesteps": [100, 700], "norm": [[1.0, 2.0]]},
        figures={"steps": 3.0},
        timesteps=[700],
        notes=["Zöe's notes"],
    ).save(path)
    return path


@pytest.mark.parametrize("kind", ["levels", "single", "stylespace", "LevelsMapper", "FullStyleSpaceMapper"])
def test_file_round_trip_is_byte_for_byte(kind, tmp_path, images):
    made = editor(kind)
    made.save(tmp_path / "a.safetensors")
    read = Editor.load(tmp_path / "a.safetensors", toy_domain())
    read.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert read.info == made.info and torch.equal(read(images, blend=False), made(images, blend=False))


@pytest.mark.parametrize("kind", ["levels", "stylespace", "SingleMapper"])
def test_strength_zero_draws_the_inversion(kind, images):
    domain = toy_domain()
    inverted = domain.generator.synthesis(domain.encoder(images)).clamp(-1, 1)
    assert torch.equal(editor(kind)(images, strength=0, blend=False), inverted)
    assert not torch.allclose(editor(kind)(images, strength=1, blend=False), inverted)


def test_strength_is_linear_in_the_code(images):
    domain, e = toy_domain(), editor(strength=1.25)
    codes = encode(images, domain.stylegan)
    for s in (-0.5, 0.3, 1.0, 2.0):
        wanted = domain.generator.synthesis(codes + s * 1.25 * e.learned(codes)).clamp(-1, 1)
        torch.testing.assert_close(e(images, strength=s, blend=False), wanted)


def test_levels_add_up(images):
    domain, e = toy_domain(), editor()
    codes = encode(images, domain.stylegan)
    delta = e.learned(codes)
    delta[:, 4:] = 0
    wanted = domain.generator.synthesis(codes + delta).clamp(-1, 1)
    torch.testing.assert_close(e(images, levels=["coarse"], blend=False), wanted)
    assert torch.equal(e(images, levels=["coarse", "medium", "fine"], blend=False), e(images, blend=False))
    assert torch.equal(e(images, levels=[], blend=False), e(images, strength=0, blend=False))


def test_any_size_and_number_of_images(images):
    e = editor()
    assert e(images[:0], blend=False).shape == (0, 3, 32, 32)
    wide = torch.rand(2, 3, 50, 70) * 2 - 1
    assert e(wide, blend=False).shape == (2, 3, 32, 32) and e(wide).shape == wide.shape
    torch.testing.assert_close(e(images, batch=2, blend=False), e(images, blend=False))


def test_composition_adds_changes(images):
    domain, a, b = toy_domain(), editor(seed=1), editor(seed=2)
    codes = encode(images, domain.stylegan)
    wanted = domain.generator.synthesis(codes + 0.5 * a.learned(codes) - 2 * b.learned(codes)).clamp(-1, 1)
    torch.testing.assert_close(Editor.compose([a, b])(images, [0.5, -2.0], blend=False), wanted)
    torch.testing.assert_close(Editor.compose([b, a])(images, blend=False), Editor.compose([a, b])(images, blend=False))
    assert torch.equal(Editor.compose([a])(images), a(images))


def test_composition_of_both_spaces(images):
    domain, a, b = toy_domain(), editor(seed=1), editor("stylespace", seed=2)
    codes = encode(images, domain.stylegan)
    g = domain.generator
    changes = b.learned(g.styles(codes))
    styles = [x + y for x, y in zip(g.styles(codes + a.learned(codes)), changes, strict=True)]
    wanted = g.synthesis_from_styles(styles).clamp(-1, 1)
    torch.testing.assert_close(Editor.compose([a, b])(images, blend=False), wanted)


def test_edit_reports_the_inversion(images):
    domain = toy_domain()
    edit = editor().edit(images)
    assert torch.equal(edit.images, editor()(images, blend=False)) and edit.psnr.shape == (5,) and edit.identity is None
    assert torch.equal(edit.unedited, editor()(images, strength=0, blend=False))
    torch.testing.assert_close(edit.psnr, psnr(edit.unedited, images))
    noise = editor().edit(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).round() * 2 - 1)
    said = domain_warning(float(noise.psnr), domain)
    assert "unusual framing" in said and "not of that domain" in said and "--refine" in said
    assert domain_warning(19.0, domain) is None


def test_bad_calls_are_refused(images):
    e = editor()
    with pytest.raises(SddError, match="unknown level 'huge'"):
        e(images, levels=["huge"], blend=False)
    with pytest.raises(SddError, match="strength"):
        e(images, strength=float("nan"))
    with pytest.raises(SddError, match=r"\(B, 3, H, W\)"):
        e(images[0], blend=False)
    with pytest.raises(SddError, match="3 strengths"):
        Composition([e])(images, [1, 2, 3], blend=False)
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


def described(mapper):
    return {"manipulator": {"kind": "stylegan", "mapper": mapper}}


def change(path, tensors=None, **info):
    """Rewrite an editor file with something wrong in it."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["sdd"])
    said.update(info)
    save_file(tensors if tensors is not None else load_file(path), path, {"sdd": json.dumps(said)})


@pytest.mark.parametrize(
    ("info", "match"),
    [
        ({"format": 99}, "newer sdd"),
        ({"format": "1"}, "damaged: format"),
        ({"prompt": None}, "damaged: prompt"),
        ({"surprise": 1}, "damaged: surprise"),
        ({"strength": float("nan")}, "damaged: strength"),
        ({"generator": "../../etc/passwd"}, "damaged: generator"),
        ({"hqs": {"timesteps": [1], "hqs": ["x"]}}, "damaged: hqs"),
        ({"hqs": {"timesteps": [1, 2], "hqs": [0.5]}}, "damaged: hqs"),
        ({"manipulator": {"kind": "magic"}}, "unknown manipulator 'magic'"),
        ({"manipulator": {}}, "unknown manipulator"),
        (described({"kind": "magic"}), "unknown mapper kind 'magic'"),
        (described({}), "unknown mapper kind"),
        (
            {"manipulator": {"kind": "stylegan", "mapper": {"kind": "levels", "n_latent": 8, "style_dim": 10**9}}},
            "damaged",
        ),
        (
            {"manipulator": {"kind": "stylegan", "mapper": {"kind": "levels", "n_latent": -8, "style_dim": 8}}},
            "lacks|cannot be built|has a tensor",
        ),
        (
            {
                "manipulator": {
                    "kind": "stylegan",
                    "mapper": {"kind": "levels", "n_latent": 8, "style_dim": 8, "depth": 10**9},
                }
            },
            "impossible size",
        ),
        (
            {"manipulator": {"kind": "stylegan", "mapper": {"kind": "stylespace", "dims": [1] * 10**5}}},
            "impossible size",
        ),
        (
            {"manipulator": {"kind": "stylegan", "mapper": {"kind": "stylespace", "dims": 7}}},
            "cannot be built|impossible",
        ),
        (
            {
                "manipulator": {
                    "kind": "stylegan",
                    "mapper": {"kind": "levels", "n_latent": 8, "style_dim": 8, "depth": "x"},
                }
            },
            "impossible size",
        ),
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
        ({**good, name: good[name][:-1].clone()}, "its manipulator needs"),
        ({**good, name: good[name].double()}, "its manipulator needs"),
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
    next(iter(e.learned.parameters())).data.fill_(float("nan"))
    with pytest.raises(SddError, match="NaN"):
        e.save(path)
    assert path.read_bytes() == before


def test_a_file_of_the_first_format_is_read(path):
    """Format 1 knew StyleGAN's mapper alone."""
    from safetensors import safe_open

    wanted = Editor.load(path, toy_domain())
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["sdd"])
    described["mapper"] = described.pop("manipulator")["mapper"]
    for added in ("preset", "departures"):
        described.pop(added)
    save_file(load_file(path), path, {"sdd": json.dumps({**described, "format": 1})})
    assert Editor.load(path, toy_domain()).info == wanted.info


def test_strength_zero_is_the_picture_itself(images):
    """Bit for bit, at any size and aspect, after ten passes too; and a change is laid into the picture's own pixels."""
    e = editor()
    wide = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for picture in (images, wide):
        passed = picture
        for _ in range(10):
            passed = e(passed, strength=0)
        assert torch.equal(passed, picture) and e(picture).shape == picture.shape
        assert not torch.equal(e(picture), picture)


def test_a_blended_edit_is_the_change_laid_into_the_source(images):
    e = editor()
    edit = e.edit(images)
    torch.testing.assert_close(e(images), blend(images, edit.images, edit.unedited))


def test_opened_pictures_are_prepared_once(images, monkeypatch):
    domain = replace_encoder(toy_domain(), seen := [])
    opened = Editor.compose([editor(domain=domain)]).open(images)
    for strength in (0.3, 1.0):
        torch.testing.assert_close(opened(strength), editor()(images, strength=strength))
    drawn = opened.unedited
    assert opened.unedited is drawn and sum(seen) == len(images)


def replace_encoder(domain, seen):
    """The domain with an encoder that counts what it sees."""

    class Counting(torch.nn.Module):
        def forward(self, pictures):
            seen.append(len(pictures))
            return domain.encoder(pictures)

    return replace(domain, backbone=replace(domain.stylegan, encoder=Counting()))
