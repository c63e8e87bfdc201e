"""A process that keeps its memory does not ask the system for the same pages again."""

import subprocess
import sys

import pytest

COUNTED = """
import resource, sys
import torch
from sdd.memory import keep_memory

if sys.argv[1] == "keep":
    assert keep_memory()
for _ in range(16):  # 64 MiB each, until there is a free block for it
    torch.ones(2**24).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(2**24).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing is said to the C library")
def test_freed_memory_is_used_again():
    faults = [
        int(subprocess.run([sys.executable, "-c", COUNTED, how], check=True, capture_output=True, text=True).stdout)
        for how in ("keep", "give back")
    ]
    assert faults[0] < 100 and faults[1] > 10 * max(1, faults[0])
