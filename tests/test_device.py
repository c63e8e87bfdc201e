"""Devices and seeds that there are, and one sentence for those that there are not."""

import numpy as np
import pytest
import torch

from sdd.device import available, check_seed, pick_device
from sdd.errors import SddError


def test_the_cpu_is_always_there():
    assert pick_device("cpu") == pick_device(torch.device("cpu")) == torch.device("cpu")
    assert pick_device() == torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("cards", [0, 2])
def test_cards_are_those_of_the_machine(monkeypatch, cards):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert available() == (["cpu", "cuda", "cuda:0", "cuda:1"] if cards else ["cpu"])
    for name in available():
        assert pick_device(name) == torch.device(name)
    assert pick_device().type == ("cuda" if cards else "cpu")
    with pytest.raises(SddError, match=f"no device 'cuda:{cards}' on this machine; there is {', '.join(available())}$"):
        pick_device(f"cuda:{cards}")


@pytest.mark.parametrize(
    "name", ["meta", "cpu:7", "cuda:-1", "cuda:99", "xpu", "vulkan", "mkldnn", "privateuseone", "tpu", "", "cpu,cuda"]
)
def test_what_nothing_can_be_computed_on_is_refused(name, recwarn):
    with pytest.raises(SddError, match=r"there is no device .*; there is cpu"):
        pick_device(name)
    assert not list(recwarn)


def test_seeds():
    for seed in (0, 7, 2**62 - 1, np.int64(3)):
        check_seed(seed)
    for seed in (-1, 2**62, 2**63, 2**100, 0.5, 1.0, "1", None, True):
        with pytest.raises(SddError, match="the seed must be a whole number from 0 to"):
            check_seed(seed)
