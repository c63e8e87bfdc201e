"""A folder of pictures as a domain, and as what the embedded domain learns on."""

import pytest
import torch
from PIL import Image

from sdd.domains.assemble import folder_domain
from sdd.domains.photos import shuffled
from sdd.errors import SddError


@pytest.fixture
def mugs(tmp_path):
    folder = tmp_path / "mugs"
    folder.mkdir()
    for i in range(20):
        picture = Image.new("RGB", (60, 40), (0, 0, 0))
        picture.paste((12 * i, 255 - 12 * i, 90), (10, 0, 50, 40))  # the square in the middle
        picture.save(folder / f"{i:02}.png")
    return folder


def test_a_folder_is_a_domain_without_a_generator(mugs):
    domain = folder_domain(mugs, "some/sd", 32)
    assert domain.name == "mugs" and domain.image_size == 32 and domain.teacher == "some/sd"
    assert domain.backbone is None and domain.whole == 20 and domain.crop == "centre"
    with pytest.raises(SddError, match="--manipulator"):
        _ = domain.generator
    train, test = domain.images(100, 0, "train"), domain.images(100, 0, "test")
    assert train.shape == (18, 3, 32, 32) and test.shape == (2, 3, 32, 32)
    assert (train[:, 2] > -0.5).all(), "the middle alone, none of the black sides"
    assert len({tuple(p[:, 0, 0].tolist()) for p in torch.cat([train, test])}) == 20
    assert torch.equal(domain.images(4, 1), domain.images(4, 1))
    assert folder_domain(mugs, "some/sd").image_size == 128
    assert domain.to("cpu") is domain


def test_a_teacher_of_the_zoo_is_named_with_its_licence(mugs):
    domain = folder_domain(mugs, "sd-1.5")
    assert "/" in domain.teacher and any("RAIL" in note for note in domain.notes)


def test_folders_that_are_none(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty"):
        with pytest.raises(SddError, match=name):
            folder_domain(tmp_path / name, "some/sd")


def test_pictures_that_cannot_be_read_are_passed_over(mugs):
    (mugs / "00.png").write_bytes(b"no picture")
    domain = folder_domain(mugs, "some/sd", 16)
    assert len(domain.images(100, 0, "train")) + len(domain.images(100, 0, "test")) == 19


def test_splits_share_nothing_unless_there_are_too_few():
    for total in (10, 11, 100):
        train, test = shuffled(total, 3, "train"), shuffled(total, 3, "test")
        assert not set(train) & set(test) and sorted(train + test) == list(range(total))
        assert len(test) == total // 10
    assert sorted(shuffled(5, 0, "train")) == sorted(shuffled(5, 0, "test")) == list(range(5))
