"""Libraries tell the user what is meant for their own developers: while they load models they are silent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module

# Where a library's level of speech is set, and the variable by which a user sets it.
_SPEAKERS = {
    "transformers.utils.logging": "TRANSFORMERS_VERBOSITY",
    "diffusers.utils.logging": "DIFFUSERS_VERBOSITY",
    "huggingface_hub.utils.logging": "HF_HUB_VERBOSITY",
}


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """What transformers, diffusers and the hub's client say inside is dropped, errors excepted, and so are their bars.

    Who has set a library's own variable, such as DIFFUSERS_VERBOSITY, hears it.
    """
    with ExitStack() as stack:
        for name, variable in _SPEAKERS.items():  # transformers first: importing diffusers makes it speak
            if os.environ.get(variable, "error") != "error":  # which is what our commands set
                continue
            speaker = import_module(name)
            stack.callback(speaker.set_verbosity, speaker.get_verbosity())
            speaker.set_verbosity_error()
            if hasattr(speaker, "is_progress_bar_enabled") and speaker.is_progress_bar_enabled():
                stack.callback(speaker.enable_progress_bar)
                speaker.disable_progress_bar()
        yield
