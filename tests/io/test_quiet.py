"""What other libraries say while they load models is not for the user; who asks for it hears it."""

import os
import subprocess
import sys

import pytest

SPEAK = """
from sdd.io.quiet import quiet_libraries
with quiet_libraries():
    from transformers.utils import logging as one
    from diffusers.utils import logging as two
    one.get_logger("transformers.x").warning("noise")
    two.get_logger("diffusers.x").warning("noise")
    two.get_logger("diffusers.x").error("trouble")
one.get_logger("transformers.x").warning("afterwards")
"""


@pytest.mark.parametrize(("asked", "heard"), [(None, 0), ("warning", 1)])
def test_libraries_are_silent_while_models_load(asked, heard):
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_VERBOSITY")}
    environment |= {} if asked is None else {"DIFFUSERS_VERBOSITY": asked}
    done = subprocess.run([sys.executable, "-c", SPEAK], capture_output=True, text=True, env=environment, check=True)
    assert done.stderr.count("noise") == heard
    assert done.stderr.count("trouble") == 1 and done.stderr.count("afterwards") == 1
