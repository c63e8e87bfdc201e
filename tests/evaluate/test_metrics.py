"""Metrics against answers that are known exactly."""

import math

import pytest
import torch

from sdd.domains import avatars
from sdd.domains.avatars.truth import AVATARS, appearing
from sdd.errors import SddError
from sdd.evaluate import metrics, realism
from sdd.evaluate.judge import Judge, in_words
from untrained import HEADS, untrained_judge


@pytest.fixture(scope="module")
def person():
    return next(p for p in avatars.sample(50, 3) if p.visible("hair_color") and p.attributes["hair_color"] != "white")


@pytest.fixture(scope="module")
def pair(person):
    return person.render()[None], person.replace(hair_color="white").render()[None]


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    return untrained_judge()


def test_the_exact_edit_is_perfect_and_nothing_done_is_zero(pair):
    source, answer = pair
    assert metrics.editability(answer, source, answer).item() == 1
    assert metrics.editability(source, source, answer).item() == 0
    assert metrics.gain(answer, source, answer).item() == 1
    assert metrics.gain(source, source, answer).item() == 0
    assert metrics.fidelity(answer, source, answer).item() == pytest.approx(120)


def test_half_the_way_is_half_the_editability(pair):
    source, answer = pair
    assert metrics.editability((source + answer) / 2, source, answer).item() == pytest.approx(0.5, abs=1e-6)
    assert metrics.gain((source + answer) / 2, source, answer).item() == pytest.approx(0.5, abs=1e-6)


def test_gain_counts_what_a_redrawn_picture_spoils():
    """A change of 1 in one pixel of four, made exactly, and every other pixel off by 0.4: 1 − 1.2 / 1."""
    source, answer = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    answer[..., 0, 0] = 1
    edited = answer + 0.4
    edited[..., 0, 0] = 1
    assert metrics.gain(edited, source, answer).item() == pytest.approx(-0.2, abs=1e-6)
    assert metrics.editability(edited, source, answer).item() == 1


def test_fidelity_is_the_psnr_outside_the_change(pair):
    source, answer = pair
    mask = metrics.change_mask(source, answer)
    inside, outside = source + 0.7 * mask, source + 0.1 * ~mask
    assert metrics.fidelity(inside, source, answer).item() == pytest.approx(120)
    assert metrics.fidelity(outside, source, answer).item() == pytest.approx(10 * math.log10(4 / 0.01), abs=1e-3)


def test_collapse_keeps_editability_and_loses_gain(pair):
    """A picture that is right inside M and wrong everywhere else."""
    source, answer = pair
    collapsed = torch.where(metrics.change_mask(source, answer), answer, -source)
    assert metrics.editability(collapsed, source, answer).item() == 1
    assert metrics.gain(collapsed, source, answer).item() < 0


def test_what_is_already_so_cannot_be_measured(pair):
    source, _ = pair
    assert metrics.editability(source, source, source).isnan().item()
    everywhere = metrics.fidelity(source, source, source + 0.5)
    assert everywhere.isnan().item()


def test_the_best_counterfactual_counts(person):
    bare = person.replace(facial_hair="none")
    options = AVATARS.counterfactuals(bare, [{"facial_hair": "beard"}])
    # Two drawings, each in the ten colours of hair, for the source shows no beard's colour.
    assert len(options) == 20
    source = bare.render()[None]
    for index in (0, 7, len(options) - 1):
        found = metrics.measure(options[index][None], source, [options])
        assert (found.editability.item(), found.gain.item(), found.chosen.item()) == (1, 1, index)
    with pytest.raises(SddError):
        metrics.measure(source, source, [options[:0]])
    with pytest.raises(SddError):
        metrics.measure(source, source, [options, options])


def test_colours_that_show_already_stay(person):
    assert len(AVATARS.counterfactuals(person, [{"hair_color": "white"}])) == 1
    assert len(AVATARS.counterfactuals(person, [{"tilt": -8.0}, {"tilt": -14.0}])) == 2


def test_side_effects_count_the_attributes_that_changed(person):
    bare = person.replace(accessories="none")
    assert appearing(bare, bare.replace(accessories="sunglasses")) == ["accessories_color"]
    kept = AVATARS.kept(bare, [{"accessories": "sunglasses"}])
    assert not {"accessories", "accessories_color", "eyes", "brows"} & set(kept)  # hidden by them, or new
    assert {"hair_color", "tilt", "mouth"} <= set(kept)
    before = {n: torch.zeros(1) for n in HEADS}
    assert metrics.side_effects(before, before, [kept])[0].item() == 0
    after = before | {"mouth": torch.ones(1), "accessories": torch.ones(1), "tilt": torch.full((1,), 3.9)}
    share, each = metrics.side_effects(before, after, [kept])
    assert share.item() == pytest.approx(1 / len(kept))
    assert each["mouth"] == 1 and each["tilt"] == 0
    after["tilt"] += 0.2
    assert metrics.side_effects(before, after, [kept])[0].item() == pytest.approx(2 / len(kept))


def test_mean_squares_and_structure():
    pytest.importorskip("torchmetrics")
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    assert metrics.mse(x, x + 0.5).tolist() == pytest.approx([0.25, 0.25], abs=1e-6)
    assert metrics.ssim(x, x).tolist() == pytest.approx([1, 1])
    assert max(metrics.ssim(x, -x).tolist()) < 0  # the structure turned around
    flat, other = torch.full((1, 3, 32, 32), 0.5), torch.full((1, 3, 32, 32), 0.25)
    a, b, c1 = 0.75, 0.625, 0.01**2  # as light in [0, 1]; of flat pictures the luminance term alone is left
    expected = (2 * a * b + c1) / (a**2 + b**2 + c1)
    assert metrics.ssim(flat, other).item() == pytest.approx(expected, abs=1e-6)


def brighten(images, strength):
    """An edit that leaves 0.01 at strength 0, and otherwise adds a fifth of its strength."""
    return images + (0.2 * strength if strength else 0.01)


def test_axioms_of_an_edit_that_is_known():
    images = torch.zeros(3, 3, 8, 8)
    assert metrics.composition(brighten, images).tolist() == pytest.approx([10 * math.log10(4 / 1e-4)] * 3, abs=1e-3)
    ten = metrics.composition(brighten, images, 10)
    assert ten.tolist() == pytest.approx([10 * math.log10(4 / 1e-2)] * 3, abs=1e-3)
    assert metrics.reversibility(brighten, images).tolist() == pytest.approx([120] * 3)
    one_way = metrics.reversibility(lambda x, s: x + 0.1 * abs(s), images)
    assert one_way.tolist() == pytest.approx([10 * math.log10(4 / 0.04)] * 3, abs=1e-3)


@pytest.mark.parametrize(
    ("curve", "uniform", "monotone"),
    [
        ([0, 0.25, 0.5, 0.75, 1], 1, 1),
        ([-0.1, 0.0, 0.1, 0.2, 0.3], 1, 1),
        ([0, 0, 0, 0, 1], 0, 0.25),
        ([0, 0.5, 1, 1, 1], 1 - 1 / 1.5, 0.5),
        ([1, 0.5, 0.25], 0, 0),
        ([0, 2, 1], 0, 0.5),
    ],
)
def test_strength_curves(curve, uniform, monotone):
    assert metrics.uniformity(curve) == pytest.approx(uniform)
    assert metrics.monotonicity(curve) == pytest.approx(monotone)


def test_a_curve_of_one_point_says_nothing():
    assert math.isnan(metrics.uniformity([1, 2])) and math.isnan(metrics.monotonicity([1]))


def test_the_judge_reads_words_and_units(judge, pair):
    images = torch.cat(pair)
    readings = judge.read(images)
    assert set(readings) == set(HEADS) and all(len(v) == 2 for v in readings.values())
    for row in judge.words(images):
        assert all(row[n] in avatars.values(n) for n in avatars.COLORS)
    with torch.no_grad():
        tilt = judge.classifier(images)["tilt"][:, 0] * 16
        zoom = judge.classifier(images)["zoom"][:, 0] * 0.13 + 1.01
    assert torch.allclose(readings["tilt"], tilt, atol=1e-5) and torch.allclose(readings["zoom"], zoom, atol=1e-5)
    assert in_words(readings)[1]["tilt"] == pytest.approx(tilt[1].item(), abs=1e-5)


def test_distances_of_the_judge(judge, pair):
    source, answer = pair
    assert judge.distance(source, source).item() == 0
    assert judge.distance(source, answer).item() > 0
    with pytest.raises(SddError):
        judge.similarity(source, "white hair")


def test_realism_of_equal_sets_is_perfect_and_worsens_with_the_difference(judge):
    pytest.importorskip("torchmetrics")
    real = avatars.render(avatars.sample(24, 5), 64)
    assert realism.fid(judge, real, real) == pytest.approx(0, abs=1e-3)
    for measure in (realism.fid, realism.kid):
        near, far = measure(judge, real, real * 0.9), measure(judge, real, real * 0.3)
        assert near < far and far > 0


def test_kid_is_the_unbiased_estimate(judge):
    """Bińkowski et al., equation 4, with the cubic kernel, by hand."""
    pytest.importorskip("torchmetrics")
    real, fake = avatars.render(avatars.sample(6, 5), 64), avatars.render(avatars.sample(6, 9), 64) * 0.5
    x, y = judge.features(real).double(), judge.features(fake).double()

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def apart(k):
        return (k.sum() - k.trace()) / (len(k) * (len(k) - 1))

    expected = apart(kernel(x, x)) + apart(kernel(y, y)) - 2 * kernel(x, y).mean()
    assert realism.kid(judge, real, fake) == pytest.approx(float(expected), abs=1e-5)
    with pytest.raises(SddError):
        realism.kid(judge, real[:1], fake)


def test_spearman():
    assert metrics.spearman([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert metrics.spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert math.isnan(metrics.spearman([1, 2, 3], [5, 5, 5]))
    scipy = pytest.importorskip("scipy.stats")
    a, b = [3, 1, 2, 2, 5, 4], [1, 1, 2, 3, 9, 0]
    assert metrics.spearman(a, b) == pytest.approx(scipy.spearmanr(a, b).statistic)


def test_jaccard():
    assert metrics.jaccard([50, 100], [100, 50]) == 1
    assert metrics.jaccard([50, 100, 150], [100, 150, 200]) == 0.5
    assert metrics.jaccard([50], [100]) == 0 and metrics.jaccard([], []) == 1


def test_a_judge_round_trips_through_its_folder(judge, tmp_path, pair):
    import json

    from safetensors.torch import save_file

    half = {k: v.half().contiguous() for k, v in judge.classifier.state_dict().items()}
    path = tmp_path / "attributes.safetensors"
    save_file(half, path, {"config": json.dumps({"net": judge.classifier.config()})})
    again = Judge.load(tmp_path)
    assert torch.allclose(again.read(pair[0])["tilt"], judge.read(pair[0])["tilt"], atol=0.2)
    with pytest.raises(SddError):
        Judge.load(tmp_path / "nowhere")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SddError):
        Judge.load(tmp_path)
