"""Distillation against a teacher whose answer is known, and the ways a run can stop, break off and go on."""

import copy
import json
import math
from dataclasses import replace

import pytest
import torch

import sdd
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.manipulators.inversion import encode
from sdd.nets.arcface import IRSE, identity_features
from sdd.paper.hqs import HQS
from sdd.training.config import DistillConfig
from sdd.training.distil import Interrupted, distill
from toy import ToyTeacher, toy_domain

QUICK = {"timesteps": "list:500", "scale": 2.0, "images": 24, "hidden": 32, "lr": 0.01, "progress": False}


def train(prompt="red", **options):
    return distill(prompt, toy_domain(), teacher=ToyTeacher(), **{**QUICK, **options})


def redness(images):
    """How far each picture's first channel is above zero, on average: the teacher's latents are block means."""
    return ToyTeacher().encode_image(images)[:, 0].mean((1, 2))


@pytest.fixture(scope="module")
def held_out():
    return toy_domain().images(16, 77, "test")


@pytest.fixture(scope="module")
def red():
    return train()


def test_the_function_wins():
    assert sdd.distill is distill and sdd.Editor is Editor


@pytest.mark.parametrize(
    "options",
    [
        {"guidance": "sds"},
        {"guidance": "csd", "l2": 1.0},
        {"mapper": "single"},
        {"mapper": "stylespace"},
        {"mapper": "stylespace_without_rgb", "identity": 0.0},
    ],
)
def test_edits_go_where_the_prompt_points(options, held_out):
    editor = train(**options, max_steps=40)
    moved = redness(editor(held_out)) - redness(editor(held_out, strength=0))
    assert moved.min() > 0.1 and moved.mean() > 0.3
    back = redness(editor(held_out, strength=-1)) - redness(editor(held_out, strength=0))
    assert back.mean() < -0.1


def test_dds_settles_at_the_known_answer(held_out):
    """With the teacher's Gaussians, guidance vanishes where the latents moved by scale * (target - null).

    That is 0.5 scale here. The generator cannot change one colour alone, so it stops a little before.
    """
    moved = []
    for scale in (0.4, 0.8):
        editor = train(scale=scale, l2=0.0, strength=1.0, steps=60)
        moved.append(float((redness(editor(held_out)) - redness(editor(held_out, strength=0))).mean()))
    assert 0.6 * 0.2 < moved[0] < 1.1 * 0.2 and 0.6 * 0.4 < moved[1] < 1.1 * 0.4


def test_known_answer_does_not_depend_on_the_guidance_scale_s_unit(held_out):
    """A gradient that is a thousand times larger is the same training: rates and weights keep their meaning."""

    class Loud(ToyTeacher):
        def predict_noise(self, latents, t, condition):
            return 1000 * super().predict_noise(latents, t, condition)

    loud = distill("red", toy_domain(), teacher=Loud(), **QUICK, steps=20)
    plain = train(steps=20)
    torch.testing.assert_close(loud(held_out), plain(held_out), atol=2e-3, rtol=0)


def test_the_search_chooses_and_is_not_repeated(tmp_path):
    options = {"timesteps": "largest", "steps": 3, "run": tmp_path / "r"}
    info = train(**options).info
    hqs = HQS.from_json(json.dumps(info.hqs.model_dump()))
    assert info.timesteps == [hqs.timesteps[int(hqs.score.argmax())]] and hqs.norm.shape[0] == 12
    again = distill("red", toy_domain(), teacher=Break(6), **{**QUICK, **options})  # too few calls for a search
    assert again.info == info
    several = train(timesteps="above:0", steps=2).info
    assert len(several.timesteps) > 1 and train(timesteps="random", steps=2).info.hqs is None


def test_training_asks_the_teacher_at_the_timesteps_that_have_descended():
    asked = []

    class Listening(ToyTeacher):
        def predict_noise(self, latents, t, condition):
            asked.append(int(t.max()))
            return super().predict_noise(latents, t, condition)

    options = {**QUICK, "timesteps": "random", "descend": 1.0, "steps": 40, "strength": 1.0}
    distill("red", toy_domain(), teacher=Listening(), **options)
    assert max(asked[:10]) > 800 and max(asked[-4:]) < 100


def test_a_prompt_without_meaning_is_refused():
    with pytest.warns(UserWarning), pytest.raises(SddError, match="means nothing to the teacher"):
        train("nonsense")


def test_file_says_how_it_was_made(red, tmp_path):
    info = red.info
    assert info.prompt == "red" and info.domain == "toy" and info.timesteps == [500] and info.seed == 0
    assert DistillConfig.make(info.config) == DistillConfig(**{k: v for k, v in QUICK.items() if k != "progress"})
    assert {"sdd", "torch"} <= set(info.versions) and 30 <= info.figures["steps"] < 160  # it stopped by itself
    red.save(tmp_path / "red.safetensors")
    assert Editor.load(tmp_path / "red.safetensors").info == info


def test_seeds(tmp_path):
    train(out=tmp_path / "a", steps=9)
    train(out=tmp_path / "b", steps=9)
    train(out=tmp_path / "c", steps=9, seed=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(steps=2, sample_posterior=True)
    assert torch.equal(before, torch.get_rng_state())


class Break(ToyTeacher):
    """Raises after some calls, as a kill or Ctrl-C would."""

    def __init__(self, calls, error=KeyboardInterrupt):
        super().__init__()
        self.calls, self.error = calls, error

    def predict_noise(self, latents, t, condition):
        self.calls -= 1
        if self.calls < 0:
            raise self.error
        return super().predict_noise(latents, t, condition)


@pytest.mark.parametrize("options", [{}, {"guidance": "sds", "mapper": "stylespace", "timesteps": "list:300,600"}])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, options):
    options = {**QUICK, **options, "steps": 23, "checkpoint_every": 5, "grid_every": 10}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    distill("red", toy_domain(), teacher=ToyTeacher(), out=tmp_path / "whole.st", run=whole, **options)
    for calls in (6 + 13, 4, 6):  # in the middle of step 14; then before a step; then again
        with pytest.raises(Interrupted, match=f"{broken}; the same command resumes"):
            distill("red", toy_domain(), teacher=Break(calls), out=tmp_path / "broken.st", run=broken, **options)
        assert not (tmp_path / "broken.st").exists()
    distill("red", toy_domain(), teacher=ToyTeacher(), out=tmp_path / "broken.st", run=broken, **options)
    assert (tmp_path / "whole.st").read_bytes() == (tmp_path / "broken.st").read_bytes()

    def log(folder):
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]

    assert log(whole) == log(broken) and [line["step"] for line in log(whole)] == list(range(1, 24))
    for name in ("step-000010.png", "step-000020.png", "step-000023.png"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes()


def test_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    first = train(run=tmp_path / "r", steps=6, out=tmp_path / "a")
    monkeypatch.setattr("sdd.training.source.psnr", None)  # the pictures are not looked at again either
    again = distill("red", toy_domain(), teacher=Break(5), run=tmp_path / "r", out=tmp_path / "b", **QUICK, steps=6)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() and first.info == again.info


def test_a_run_folder_holds_one_run(tmp_path):
    train(run=tmp_path / "r", steps=2)
    with pytest.raises(SddError, match="holds another run \\(they differ in config\\)"):
        train(run=tmp_path / "r", steps=3)
    with pytest.raises(SddError, match="differ in prompt"):
        train("blue", run=tmp_path / "r", steps=2)
    (tmp_path / "r" / "editor.safetensors").unlink()  # as if it had not finished
    (tmp_path / "r" / "checkpoint.pt").write_bytes(b"junk")
    with pytest.raises(SddError, match=r"checkpoint in .* is damaged"):
        train(run=tmp_path / "r", steps=2)


def test_a_finished_run_is_of_the_same_pictures_and_models(tmp_path):
    """A name does not tell: pictures, encoder and teacher may have been replaced under it."""
    models = tmp_path / "teacher"
    models.mkdir()
    (models / "weights").write_bytes(bytes(5_000_000))
    teacher = ToyTeacher()
    teacher.name = str(models)
    options = {**QUICK, "steps": 1, "run": tmp_path / "r"}
    domain = toy_domain()
    first = distill("red", domain, teacher=teacher, **options)
    encoder = copy.deepcopy(domain.encoder)
    encoder.weight.mul_(1.001)
    codes = encode(domain.images(24, 0, "train"), domain.stylegan)
    for other in (
        replace(domain, draw=lambda n, seed, split: domain.draw(n, seed + 1, split)),
        replace(domain, backbone=replace(domain.stylegan, encoder=encoder)),
        replace(domain, latents=codes),
    ):
        with pytest.raises(SddError, match="they differ in pictures and models"):
            distill("red", other, teacher=teacher, **options)
    (models / "weights").write_bytes(bytes(2_499_999) + b"x" + bytes(2_500_000))
    with pytest.raises(SddError, match="they differ in pictures and models"):
        distill("red", domain, teacher=teacher, **options)
    (models / "weights").write_bytes(bytes(5_000_000))  # written anew, the same bytes
    assert distill("red", domain, teacher=teacher, **options).info == first.info


def test_automatic_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train("more red", run="auto", steps=2)
    train("more red", run="auto", steps=2)
    train("more red", run="auto", steps=3)
    assert len(list((tmp_path / "runs").glob("more-red-*"))) == 2


def test_nothing_is_written_without_a_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(steps=2)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Interrupted, match="nothing was kept"):
        distill("red", toy_domain(), teacher=Break(9), **QUICK)


def test_a_gradient_that_is_not_finite_stops_the_training(tmp_path):
    class Broken(Break):
        def predict_noise(self, latents, t, condition):
            self.calls -= 1
            return ToyTeacher.predict_noise(self, latents, t, condition) * (math.nan if self.calls < 0 else 1)

        __init__ = Break.__init__

    # two predictions for the mask, six for the signal, three steps
    with pytest.raises(SddError, match="gradient is not finite; lower the guidance scale"):
        distill("red", toy_domain(), teacher=Broken(2 + 6 + 3), run=tmp_path / "r", out=tmp_path / "o", **QUICK)
    assert not (tmp_path / "o").exists()
    with pytest.raises(SddError, match="not finite at the first step"):
        distill("red", toy_domain(), teacher=Broken(0), **QUICK)


def test_outliers_among_gradients_are_scaled_down():
    class Jump(Break):
        def predict_noise(self, latents, t, condition):
            self.calls -= 1
            return ToyTeacher.predict_noise(self, latents, t, condition) * (1e4 if self.calls == 0 else 1)

    def size(limit):
        editor = distill("red", toy_domain(), teacher=Jump(6 + 20), **QUICK, steps=25, max_gradient=limit, strength=1.0)
        return editor.info.figures["change"]

    calm = train(steps=25, strength=1.0).info.figures["change"]
    assert abs(size(4.0) - calm) < abs(size(None) - calm)


def test_levels_follow_the_signal():
    assert train(steps=1, level_share=0.0).info.manipulator["mapper"]["levels"] == [
        "coarse",
        "medium",
    ]  # it has no fine layers
    assert train(steps=1, level_share=0.5).info.manipulator["mapper"]["levels"] == ["medium"]
    assert train(steps=1, levels=["coarse"]).info.manipulator["mapper"]["levels"] == ["coarse"]


def test_identity_is_kept():
    """With nothing but the identity loss against it, an edit is smaller the more that loss weighs."""
    torch.manual_seed(0)
    net = IRSE(units=(1, 1, 1, 1), channels=(16, 16, 32, 32), embedding=16, input_size=32, crop="none")
    domain = replace(toy_domain(), identity=net.eval().requires_grad_(False))

    def alike(weight):
        editor = distill("red", domain, teacher=ToyTeacher(), **QUICK, steps=15, identity=weight, l2=0, strength=1.0)
        edit = editor.edit(images)
        assert edit.identity.shape == (8,)
        both = (identity_features(net, x) for x in (edit.images, edit.unedited))
        return float(torch.mul(*both).sum(1).mean())

    images = domain.images(8, 3, "test")
    assert alike(100.0) > alike(0.0)


def test_an_identity_loss_needs_an_identity_network():
    with pytest.raises(
        SddError, match=r"asks for an identity loss .* has no identity network; give one with --identity"
    ):
        train(config="paper", steps=1, images=4)


def test_codes_alone_are_enough():
    domain = toy_domain()
    codes = encode(domain.images(24, 0, "train"), domain.stylegan)
    alone = replace(domain, latents=codes, draw=None)
    editor = distill("red", alone, teacher=ToyTeacher(), **QUICK, steps=5)
    assert editor.info.figures["inversion_psnr"] == 0


def test_words_the_teacher_does_not_know_are_named():
    with pytest.warns(UserWarning, match="does not know the word 'purple'; the nearest words it knows are red"):
        train("purple red", steps=1)


@pytest.mark.parametrize(
    ("prompt", "options", "match"),
    [
        ("  ", {}, "prompt is empty"),
        ("red", {"stpes": 3}, "unknown option 'stpes' in the configuration; did you mean 'steps'"),
        ("red", {"steps": 0}, "steps must be at least 1"),
        ("red", {"levels": ["huge"]}, "'levels' cannot be 'huge'"),
        ("red", {"config": "publishd"}, "did you mean 'published'"),
        ("red", {"lr": float("nan")}, "'lr' cannot be nan"),
        ("red", {"timesteps": "best"}, "'timesteps' cannot be 'best': strategies are"),
        ("red", {"timesteps": "list:1,x"}, "'timesteps' cannot be 'list:1,x'"),
        ("red", {"timesteps": "list:1000"}, "outside 0…999"),
        ("red", {"timesteps": "list:"}, "'timesteps' cannot be 'list:'"),
        ("red", {"timesteps": "list:-5"}, "'timesteps' cannot be 'list:-5'"),
        ("red", {"timesteps": "above:1"}, "scores lie between -1 and 1"),
        ("red", {"timesteps": ""}, "'timesteps' cannot be ''"),
        ("red", {"timesteps": [700, "x"]}, r"'timesteps' cannot be \[700, 'x'\]: .*list:700,750"),
        ("red", {"lr": 1e300}, "'lr' cannot be 1e"),
        ("red", {"preset": "mine"}, "'preset' cannot be 'mine'"),
        ("red", {"timesteps": None}, "'timesteps' cannot be None"),
        ("red", {"device": "meta"}, "no device 'meta' on this machine"),
        ("red", {"seed": "one"}, "seed must be a whole number"),
        ("red", {"seed": -1}, "seed must be a whole number"),
        ("red", {"seed": 2**63}, "seed must be a whole number"),
        ("red", {"mapper": "magic"}, "'mapper' cannot be 'magic'"),
    ],
)
def test_bad_input_is_one_sentence(prompt, options, match):
    with pytest.raises(SddError, match=match) as caught:
        train(prompt, **options)
    assert "\n" not in str(caught.value)


def test_timesteps_are_those_of_the_teacher():
    class Long(ToyTeacher):
        num_timesteps = 2000

        def __init__(self):
            super().__init__()
            self.alphas_cumprod = self.alphas_cumprod.repeat_interleave(2)

    options = {**QUICK, "steps": 1, "timesteps": "list:1500"}
    assert distill("red", toy_domain(), teacher=Long(), **options).info.timesteps == [1500]
    with pytest.raises(SddError, match="outside 0…1999"):
        distill("red", toy_domain(), teacher=Long(), **{**options, "timesteps": "list:2000"})


def test_published_preset_runs(held_out):
    editor = train(config="published", steps=3, identity=0, images=8)
    assert editor.info.manipulator["mapper"]["kind"] == "LevelsMapper" and editor.info.manipulator["mapper"][
        "levels"
    ] == ["medium", "fine"]
    assert editor(held_out).shape == held_out.shape


def test_checkpoint_holds_tensors_only(tmp_path):
    train(run=tmp_path / "r", steps=2)
    state = torch.load(tmp_path / "r" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 2 and state["done"]


def test_the_file_says_what_in_it_is_not_the_papers(red):
    assert red.info.preset == "default" and {"guidance", "outside", "units"} <= set(red.info.departures)
    paper = train(config="paper", steps=1, images=4, identity=0, timesteps="list:500").info
    changed = ["guidance", "mapper", "identity", "pace"]  # by scale, rate, identity and steps
    assert paper.preset == "paper" and paper.departures == changed
    published = train(config="published", steps=1, images=4, identity=0).info
    assert published.departures == [*changed, "released code"]


def test_preparation_is_kept_and_found_by_content(tmp_path, monkeypatch):
    """The second prompt of a domain looks at no source picture again, and its editor is the same as without."""
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    models = tmp_path / "teacher"
    models.mkdir()
    (models / "weights").write_bytes(b"weights")

    class Counting(ToyTeacher):
        encoded = 0

        def encode_image(self, images, sample=True, generator=None):
            self.encoded += len(images)
            return super().encode_image(images)

    def run(prompt, domain, name):
        teacher = Counting()
        teacher.name = str(models)
        options = QUICK | {"timesteps": "list:500", "steps": 2, "strength": 1.0}
        editor = distill(prompt, domain, teacher=teacher, out=tmp_path / name, **options)
        return teacher.encoded, editor

    first, _ = run("red", toy_domain(), "a")
    second, _ = run("green", toy_domain(), "b")
    again, _ = run("red", toy_domain(), "c")
    assert first - second == 24 and again == second  # pictures of the source, and nothing else
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()
    (kept,) = (tmp_path / "home" / "prepared").glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:100])  # a damaged one is made again
    assert run("red", toy_domain(), "d")[0] == first
    assert (tmp_path / "a").read_bytes() == (tmp_path / "d").read_bytes()
    other = replace(toy_domain(), draw=lambda n, seed, split: toy_domain().draw(n, seed + 1, split))
    assert run("red", other, "e")[0] == first
    (models / "weights").write_bytes(b"others!")
    assert run("red", toy_domain(), "f")[0] == first


def test_pictures_that_can_be_told_are_not_drawn_again(tmp_path, monkeypatch):
    """A second prompt draws those that the search is taken on; other pictures are looked at anew."""
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))
    models = tmp_path / "teacher"
    models.mkdir()
    plain, asked = toy_domain().draw, []

    class Told:
        def __init__(self, name):
            self.name = name

        def __call__(self, n, seed, split):
            asked.append(n)
            return plain(n, seed + (self.name != "these"), split)

        def told(self, n, seed, split):
            return f"{self.name} {n} {seed} {split}"

    def run(pictures, name):
        teacher = ToyTeacher()
        teacher.name = str(models)
        asked.clear()
        domain = replace(toy_domain(), draw=pictures)
        options = QUICK | {"timesteps": "largest", "search_images": 4, "steps": 2, "strength": 1.0}
        distill("red", domain, teacher=teacher, out=tmp_path / name, **options)
        return list(asked)

    assert run(Told("these"), "a") == [24]
    assert run(Told("these"), "b") == [4]
    assert run(Told("others"), "c") == [24]
    run(plain, "d")
    a, b, c, d = ((tmp_path / name).read_bytes() for name in "abcd")
    assert a == b == d != c


def test_a_callback_hears_of_every_step_and_may_stop(tmp_path):
    heard = []
    train(steps=3, callback=lambda step, total, figures: heard.append((step, total, math.isfinite(figures["loss"]))))
    assert heard == [(1, 3, True), (2, 3, True), (3, 3, True)]

    def enough(step, total, figures):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="resumes"):
        train(steps=3, callback=enough, run=tmp_path / "run")


def test_timesteps_are_a_list_where_a_list_is_meant():
    assert train(steps=1, timesteps=[600, 700]).info.timesteps == [600, 700]
    assert DistillConfig.make(timesteps=(600, 700)) == DistillConfig.make(timesteps="list:600,700")
