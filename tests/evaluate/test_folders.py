"""Edits of real pictures, where nobody knows the answer: figures that must come out, files that are not believed."""

import json
import math

import pytest
import torch

from sdd.errors import SddError
from sdd.evaluate import pie_bench
from sdd.evaluate.folders import Compared, Networks, Pair, compare, networks, of_pair, pairs
from sdd.io.pictures.write import save_png

SIDE = pie_bench.SIDE


def picture(seed, size=(32, 32)):
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture
def folders(tmp_path):
    for i in range(3):
        save_png(picture(i), tmp_path / "source" / f"{i}.png")
    for i in range(2):
        save_png(picture(i), tmp_path / "edited" / f"{i}.png")
    return tmp_path / "source", tmp_path / "edited"


def test_what_is_unchanged_is_perfect_and_what_is_missing_is_said(folders):
    found, said = pairs(*folders)
    result = compare(found, networks(None, None, None), said=said)
    means = {name: m.value for name, m in result.means().items()}
    assert means["l1"] == means["mse"] == 0 and means["psnr"] == 120 and means["ssim"] == pytest.approx(1)
    assert abs(means["drift"]) < 1e-9
    for word in ("CLIP", "FID", "LPIPS", "--mask", "1 of 3 sources"):
        assert any(word in sentence for sentence in result.said), word
    assert not {"fid", "kid", "lpips", "clip_similarity_target_image"} & {*means, *result.sets}


def test_only_what_lies_outside_the_mask_counts_there():
    x = torch.zeros(1, 3, 32, 32)
    y = x.clone()
    y[..., :16, :] = 1.0  # inside the mask: the edit
    y[..., 20, 20] = 0.5  # outside: one pixel of 512
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[:, :16] = True
    found = of_pair(x, y, Pair("a", None, None, lambda h, w: mask), Networks())
    outside = 0.25**2 / 512  # in [0, 1], over the 512 pixels outside
    assert found["fidelity"] == pytest.approx(-10 * math.log10(outside))
    assert found["mse_unedit_part"] == pytest.approx(outside / 2)  # over all 1024, as PIE-Bench has it
    assert found["psnr_unedit_part"] == pytest.approx(-10 * math.log10(outside / 2))
    assert found["l1"] == pytest.approx((0.5 * 512 + 0.25) / 1024)


class Eyes:
    """A CLIP whose picture features are its mean colour, and whose texts are axes."""

    def features(self, images):
        return images.mean((2, 3)) + 1

    def texts(self, texts):
        return torch.eye(3)[: len(texts)]


def test_similarities_are_of_the_right_pair():
    x, y = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    x[:, 1], y[:, 0] = 1.0, 1.0
    found = of_pair(x, y, Pair("a", None, None, None, "green", "red"), Networks(clip=Eyes()))
    assert found["directional"] == pytest.approx(1)  # from green to red, as the texts go
    assert found["clip_similarity_target_image"] == pytest.approx(100 * 2 / math.sqrt(6))
    assert found["clip_similarity_source_image"] == pytest.approx(100 * 2 / math.sqrt(6))


class Mean(torch.nn.Module):
    """Features of a picture for FID: means of its corners."""

    num_features = 12

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images / 255.0, 2).flatten(1)


def test_sets_need_enough_pictures(tmp_path):
    few = [Pair(str(i), tmp_path / "a.png", tmp_path / "a.png") for i in range(3)]
    save_png(picture(0), tmp_path / "a.png")
    assert "fid" not in compare(few, Networks(inception=Mean())).sets
    many = []
    for i in range(50):
        save_png(picture(i), tmp_path / f"{i}.png")
        many.append(Pair(str(i), tmp_path / f"{i}.png", tmp_path / f"{i}.png"))
    found = compare(many, Networks(inception=Mean()))
    assert found.sets["fid"] == pytest.approx(0, abs=1e-3) and abs(found.sets["kid"]) < 0.1


def test_masks_by_name_and_one_for_all(folders, tmp_path):
    white = torch.ones(3, 32, 32)
    white[:, :16] = -1
    save_png(white, tmp_path / "mask.png")
    for i in range(2):
        save_png(white, tmp_path / "masks" / f"{i}.png")
    for mask in (tmp_path / "mask.png", tmp_path / "masks"):
        found, _ = pairs(*folders, mask)
        assert found[0].mask(32, 32).sum() == 16 * 32
    (tmp_path / "masks" / "1.png").unlink()
    with pytest.raises(SddError, match="no mask"):
        pairs(*folders, tmp_path / "masks")


def test_edits_without_a_source_and_of_another_shape_are_refused(folders):
    source, edited = folders
    save_png(picture(9, (32, 48)), edited / "2.png")
    with pytest.raises(SddError, match="another shape"):
        compare(pairs(source, edited)[0], Networks())
    save_png(picture(9), edited / "9.png")
    with pytest.raises(SddError, match="no source"):
        pairs(source, edited)


def test_an_edit_of_another_size_is_resized(folders):
    source, edited = folders
    save_png(picture(0).repeat_interleave(2, 1).repeat_interleave(2, 2), edited / "0.png")
    result = compare(pairs(source, edited)[0], Networks())
    assert any("1 edits have another size" in sentence for sentence in result.said)


# --- PIE-Bench -------------------------------------------------------------------------------------------------------


def entry(**other):
    asked = {
        "image_path": "0_random_140/a.jpg", "original_prompt": "a [red] ball", "editing_prompt": "a [blue] ball",
        "editing_instruction": "", "editing_type_id": "6", "blended_word": "", "mask": [SIDE + 1, 3, 5 * SIDE + 10, 2],
    }  # fmt: skip
    return asked | other


@pytest.fixture
def bench(tmp_path):
    folder = tmp_path / "pie"
    for where in (folder, tmp_path / "out"):
        path = where / pie_bench.IMAGES / "0_random_140" / "a.jpg"
        path.parent.mkdir(parents=True)
        save_png(picture(0, (SIDE, SIDE)), path)  # the suffix does not say the format
    (folder / pie_bench.MAPPING).write_text(json.dumps({"000": entry()}))
    return folder, tmp_path / "out"


def test_a_mask_is_runs_of_ones_in_reading_order_and_the_border():
    mask = pie_bench.decode([SIDE + 1, 3, 5 * SIDE + 10, 2, SIDE * SIDE - 1, 100])
    inside = mask.clone()
    inside[0], inside[-1], inside[:, 0], inside[:, -1] = False, False, False, False
    assert [tuple(p) for p in inside.nonzero().tolist()] == [(1, 1), (1, 2), (1, 3), (5, 10), (5, 11)]
    assert mask.sum() == 5 + 4 * SIDE - 4


def test_pie_bench_says_masks_and_prompts_itself(bench):
    found, said = pairs(*bench)
    assert [(p.before, p.after, p.kind) for p in found] == [("a red ball", "a blue ball", "6")] and said == []
    result = compare(found, Networks(clip=Eyes()))
    assert {"psnr_unedit_part", "ssim_unedit_part", "clip_similarity_target_image_edit_part"} <= set(result.means())
    assert pairs(*bench, kinds=["6"])[0]
    with pytest.raises(SddError, match="types"):
        pairs(*bench, kinds=["1"])


def test_of_a_strip_the_last_picture_is_the_edit(bench):
    source, out = bench
    strip = torch.cat([torch.zeros(3, SIDE, SIDE), picture(0, (SIDE, SIDE))], 2)
    save_png(strip, out / pie_bench.IMAGES / "0_random_140" / "a.jpg")
    assert compare(pairs(source, out)[0], Networks()).means()["l1"].value == 0


@pytest.mark.parametrize(
    "raw",
    [
        "", "[]", "{}", "[" * 100_000, '{"a": 3}', '{"a": {}}',
        json.dumps({"a": entry(image_path="../../etc/passwd")}), json.dumps({"a": entry(image_path="/etc/passwd")}),
        json.dumps({"a": entry(mask=[1])}), json.dumps({"a": entry(mask=[-1, 3])}),
        json.dumps({"a": entry(mask=[0, 10**12])}), json.dumps({"a": entry(mask=[0.5, 3])}),
        json.dumps({"a": entry(mask=[True, 3])}), json.dumps({"a": entry(mask="no")}),
    ],
)  # fmt: skip
def test_a_mapping_is_not_believed(bench, raw):
    (bench[0] / pie_bench.MAPPING).write_text(raw)
    with pytest.raises(SddError):
        pairs(*bench)


def test_intervals_are_of_one_kind_or_of_all():
    rows = [{"name": k, "kind": k, "figures": {"l1": v}} for k, v in (("1", 0.0), ("2", 1.0), ("2", 3.0))]
    found = Compared(rows, {}, [])
    assert found.means("2")["l1"].value == 2 and found.means()["l1"].value == pytest.approx(4 / 3)


@pytest.mark.parametrize("given", [(None, "gone.pth", None), (None, None, "resnet")])
def test_what_was_named_must_be_there(given, tmp_path):
    clip, inception, lpips = given
    with pytest.raises(SddError):
        networks(clip, inception and tmp_path / inception, lpips)
