"""Tests run on one thread: how a convolution is split among threads changes its rounding, and with it the recorded
gradients that stand on the edge of an activation (see `tests/io/readers/test_parity_stylegan.py`).
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported


def pytest_addoption(parser):
    parser.addoption("--screenshots", metavar="FOLDER", help="where tests in a browser keep pictures of the studio")
    parser.addoption("--editors", metavar="FOLDER", help="editors that they use, instead of training some")


def pytest_collection_modifyitems(items):
    """The file that takes longest starts first, so that nothing waits for it in the end."""
    items.sort(key=lambda item: item.path.name != "test_avatars.py")
