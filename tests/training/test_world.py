"""Several processes learn what one learns from the same pictures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sdd.errors import SddError
from sdd.training.world import ALONE, World
from world_process import train


def logged(folder):
    return [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]


def test_shares_are_the_whole():
    assert ALONE.share(5) == slice(0, 5)
    rows = [list(range(6))[World(3, rank).share(6)] for rank in range(3)]
    assert rows == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(SddError, match=r"5 pictures a step cannot be shared equally by 2.*--set batch=4"):
        World(2, 0).share(5)


def test_two_processes_learn_what_one_learns(tmp_path):
    member = Path(__file__).parents[1] / "world_process.py"
    # What `accelerate launch` starts on a machine with GPUs; on one without, it leaves several processes to MPI.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    two, one = tmp_path / "two", tmp_path / "one"
    around = {"PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, member, two], capture_output=True, text=True, timeout=120, env=around)
    assert done.returncode == 0, done.stderr[-3000:]
    train(one)
    found, wanted = logged(two), logged(one)
    assert [row["step"] for row in found] == [1, 2, 3, 4]  # one process wrote, once
    for here, there in zip(found, wanted, strict=True):
        for name in ("loss", "guidance", "gradient", "slope", "change"):  # the gradient is that of the whole batch
            assert here[name] == pytest.approx(there[name], rel=2e-4, abs=1e-6), name
    found, wanted = load_file(two / "e.safetensors"), load_file(one / "e.safetensors")
    for name, want in wanted.items():
        torch.testing.assert_close(found[name], want, rtol=1e-3, atol=1e-4)
