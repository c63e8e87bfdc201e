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


LOAD = """
import os
from pathlib import Path
from sdd.domains.embedded import embedded
from sdd.teachers.instructed import load_instructed
for asked in ({}, {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}):  # our commands set the latter
    os.environ.update(asked)
    load_instructed(Path(embedded().teacher).parent / "instructed")
"""


def test_a_method_that_loads_its_models_shows_no_bar_of_theirs():
    """In a process of its own, as a user meets it: nothing but our own lines."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_VERBOSITY")}
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "" and done.stderr == ""
