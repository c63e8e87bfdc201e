"""A process that keeps its memory does not ask the system for the same pages again."""

import os
import subprocess
import sys

import pytest

COUNTED = """
import resource, sys
import numpy as np
from sdd.memory import keep_memory

if sys.argv[1] == "keep":
    assert keep_memory()
for _ in range(16):  # 64 MiB each, until there is a free block for it
    np.empty(2**24, np.float32).fill(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    np.empty(2**24, np.float32).fill(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


SMALL_PAGES = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}


def command(how):
    return [sys.executable, "-c", COUNTED, how]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere nothing is said to the C library")
def test_freed_memory_is_used_again():
    faults = [
        int(subprocess.run(command(how), check=True, capture_output=True, text=True, env=SMALL_PAGES).stdout)
        for how in ("keep", "give back")
    ]
    assert faults[0] < 100 and faults[1] > 10 * max(1, faults[0])
