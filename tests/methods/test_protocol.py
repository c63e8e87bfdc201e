"""What holds for every method there is, what is kept of those that train, and files that mean harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hostile import bounded
from sdd import methods
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.io.code import code_of
from sdd.methods import kept as keeping
from sdd.methods.kept import ENTRY, kept, opened, read, write
from sdd.methods.models import OPTIONS, Models
from sdd.methods.of_domain import models_of
from sdd.methods.protocol import Card, Fitted, Knob, Method
from sdd.methods.sdd import Distillation
from toy import ToyTeacher, toy_domain

CARD = Card("tint", "adds a colour", "nobody", ("teacher",), "a colour", "0", "none", Knob("amount", 1, (0, 1), ""))


TRAINED: list[str] = []


class Tint(Fitted):
    """Adds a learned colour: a whole method small enough to see through."""

    def __init__(self, colour):
        self.colour = colour

    def edit(self, images, knob=None, seed=0, report=None):
        return images + (1 if knob is None else knob) * self.colour

    def learned(self):
        return {"colour": self.colour}


class Tinting(Method):
    """Learns the colour that the teacher has for a prompt."""

    card = CARD

    def fit(self, prompt, source_prompt, domain, models=None, *, learned=None, seed=0, report=None):
        if learned is not None:
            return Tint(learned["colour"].reshape(1, 3, 1, 1))
        TRAINED.append(prompt)
        return Tint(models.get("teacher", "tint").target(prompt)[..., :1, :1] / 10)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    return tmp_path


MODELS = Models({"teacher": ToyTeacher})


def test_every_method_says_what_it_is() -> None:
    found = methods.available()
    assert {"sdd", "sdedit", "sdedit-ft", "ddib", "flowedit"} <= found.keys()
    for name, method in found.items():
        card = method.card
        assert card.name == name and set(card.needs) <= {*OPTIONS, "generator"} and card.needs
        assert card.title and card.paper and card.calls and card.licence and card.knob.meaning
        assert card.knob.values[0] != card.knob.values[-1] and len(card.knob.values) > 1
        assert min(card.knob.values) <= card.knob.default <= max(card.knob.values)
        module = __import__(type(method).__module__, fromlist=["x"])
        assert module.__doc__ and len(module.__doc__) > 100


def test_an_unknown_name_is_one_sentence() -> None:
    with pytest.raises(SddError, match="did you mean 'sdedit'"):
        methods.get("sdedti")


def test_what_was_trained_is_found_again_and_only_for_the_same() -> None:
    domain, images = toy_domain(), toy_domain().images(2)

    def fit(prompt="red", source="", models=MODELS, seed=0, place=domain):
        return kept(Tinting(), prompt, source, place, models, seed=seed).edit(images)

    TRAINED.clear()
    first = fit()
    assert torch.equal(fit(), first) and TRAINED == ["red"]
    others = (
        {"prompt": "green"}, {"source": "blue"}, {"seed": 1}, {"place": toy_domain(1)},
        {"models": Models({"teacher": ToyTeacher}, {"teacher": "another"})},
    )  # fmt: skip
    for count, other in enumerate(others, 2):
        fit(**other)
        assert len(TRAINED) == count, other
        fit(**other)
        assert len(TRAINED) == count == len(list(keeping.folder().glob("*.safetensors"))), other
    assert not torch.equal(fit("green"), first)


def test_a_models_files_are_told_apart_by_what_they_hold(home: Path) -> None:
    path = home / "weights.bin"
    path.write_bytes(b"one")
    models = models_of(toy_domain(), {"clip": str(path), "ddpm": None})
    one = models.fingerprint("clip")
    path.write_bytes(b"two")
    assert models.fingerprint("clip") != one and models.fingerprint("ddpm") == "" and set(models.names) == {"clip"}


def test_a_role_that_is_missing_or_none_is_one_sentence() -> None:
    with pytest.raises(SddError, match=r"a CLIP, and this domain has none; give one with --clip"):
        models_of(toy_domain()).get("clip", "styleclip")
    with pytest.raises(SddError, match="no role 'clap'"):
        models_of(toy_domain(), {"clap": "x"})


def test_a_model_of_another_kind_is_one_sentence(home: Path) -> None:
    save_file({"x": torch.zeros(3)}, home / "x.safetensors")
    for role in ("clip", "ddpm", "diffae", "instructed"):
        for name in (home / "x.safetensors", home / "nothing"):
            with pytest.raises(SddError):
                models_of(toy_domain(), {role: str(name)}).get(role, "any")


def test_sdd_learns_an_editor_and_is_it_again() -> None:
    # `kept` writes what `learned` gives and `fit(learned=...)` takes, here without a training
    from sdd.editor_file import EditorInfo, of_tensors, to_tensors
    from sdd.nets.mapper_kinds import build_mapper

    domain = toy_domain()
    mapper = build_mapper({"kind": "levels", "n_latent": domain.generator.n_latent, "style_dim": 8})
    for parameter in mapper.parameters():
        parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    info = EditorInfo(
        prompt="red", domain="toy", generator=domain.stylegan.generator_hash,
        manipulator={"kind": "stylegan", "mapper": mapper.config()}, hqs=None,
    )  # fmt: skip
    editor, images = Editor(mapper, info, domain), domain.images(2, 1, "test")
    tensors = to_tensors(info, mapper)
    fitted = Distillation().fit("red", "", domain, learned=tensors)
    assert torch.equal(fitted.edit(images, 0.5), editor(images, 0.5))
    assert of_tensors(fitted.learned(), "it")[0] == info
    for wrong in (
        {}, {"said": torch.zeros(3)}, {"said": torch.frombuffer(bytearray(b"[]"), dtype=torch.uint8)},
        {"said": tensors["said"]}, {**tensors, "learned.more": torch.zeros(1)},
    ):  # fmt: skip
        with pytest.raises(SddError):
            Distillation().fit("red", "", domain, learned=wrong)


# Files


def a_file(path: Path, **changes) -> Path:
    info = keeping.describe(Tinting(), "red", "", toy_domain(), MODELS).model_copy(update=changes)
    write(path, info, {"colour": torch.tensor([0.1, 0, 0])})
    return path


def test_a_file_says_what_it_holds_and_is_the_same_bytes_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "available", lambda: {"tint": Tinting()})
    path = a_file(home / "a.safetensors")
    info, fitted = opened(path, toy_domain(), MODELS)
    assert (info.method, info.prompt, info.domain) == ("tint", "red", "toy")
    images = toy_domain().images(1)
    assert torch.allclose(fitted.edit(images) - images, torch.tensor([0.1, 0, 0]).view(1, 3, 1, 1), atol=1e-6)
    assert a_file(home / "b.safetensors").read_bytes() == path.read_bytes()
    with pytest.raises(SddError, match="--domain"):
        opened(path, toy_domain(1), MODELS)


def test_hostile_files_are_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "available", lambda: {"tint": Tinting()})
    good = a_file(home / "good.safetensors")
    tensors, data = load_file(good), good.read_bytes()
    said = read(good)[0].model_dump(mode="json")

    def saying(text: str, **others: torch.Tensor) -> bytes:
        path = home / "made.safetensors"
        save_file({**tensors, **others}, path, {ENTRY: text})
        return path.read_bytes()

    hostile = {
        "empty": b"", "cut": data[:-5], "header": data[:20], "no safetensors": b"\x80\x04K\x01.",
        "huge header": b"\xff" * 8 + data[8:], "no json": saying("{"), "a list": saying("[]"),
        "deep": saying("[" * 100_000), "newer": saying(json.dumps(said | {"format": 99})),
        "strange": saying(json.dumps(said | {"run": "rm"})), "long": saying(json.dumps(said | {"prompt": "x" * 10**6})),
        "other method": saying(json.dumps(said | {"method": "\x1b[2J nothing"})),
        "bad generator": saying(json.dumps(said | {"generator": "../../etc"})),
        "NaN": saying(json.dumps(said), colour=torch.full((3,), float("nan"))),
        "shape": saying(json.dumps(said), colour=torch.zeros(7)),
    }  # fmt: skip
    for what, content in hostile.items():
        path = home / "hostile.safetensors"
        path.write_bytes(content)
        with bounded(), pytest.raises(SddError) as caught:
            opened(path, toy_domain(), MODELS)
        assert "\x1b" not in str(caught.value) and len(str(caught.value)) <= 600, what
    with pytest.raises(SddError, match="no file"):
        read(home / "nowhere.safetensors")
    with pytest.raises(SddError, match="a folder"):
        read(home)


def test_a_damaged_file_in_the_cache_is_one_sentence() -> None:
    method = Tinting()
    kept(method, "red", "", toy_domain(), MODELS)
    method = Tinting()
    (path,) = keeping.folder().glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(SddError, match="truncated"):
        kept(method, "red", "", toy_domain(), MODELS)


def test_nothing_learned_is_nothing_to_write(home: Path) -> None:
    info = keeping.describe(Tinting(), "red", "", toy_domain(), MODELS)
    with pytest.raises(SddError, match="trains nothing"):
        write(home / "x.safetensors", info, {})


# Code


def test_the_code_of_a_method_is_what_it_imports() -> None:
    assert code_of("sdd.methods.ddib") != code_of("sdd.methods.sdedit")
    assert code_of("sdd.methods.ddib") == code_of("sdd.methods.ddib")
    assert code_of("elsewhere.thing") == "elsewhere.thing"
