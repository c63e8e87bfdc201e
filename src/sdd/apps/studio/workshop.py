"""What all visitors of one studio share: the domain, its models, the shelf of editors, the queue of long jobs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sdd.apps.studio.shelf import Shelf
from sdd.apps.studio.works import Works

if TYPE_CHECKING:
    import torch

    from sdd.domains.domain import Domain
    from sdd.methods.models import Models


@dataclass
class Workshop:
    """See above.

    Attributes:
        drawing: entered to draw an edit; no more do so at a time than pay for it.
    """

    domain: Domain
    shelf: Shelf
    works: Works = field(default_factory=Works)
    drawing: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(2))

    @cached_property
    def models(self) -> Models:
        """The models of the domain, each loaded when it is first asked for."""
        from sdd.methods.of_domain import models_of

        return models_of(self.domain)


def workshop(folders: Sequence[Path], domain: Domain, device: torch.device) -> Workshop:
    """A studio's things, of folders with editors and a domain on its device.

    Raises:
        SddError: a folder that is none.
    """
    return Workshop(domain, Shelf(folders, domain, device))
